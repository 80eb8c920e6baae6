"""Maps over a few threads, one computation for each key, a limit on requests. A caller that leaves (Ctrl-C) waits for no thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from registry_tool.base.errors import TooManyRequests

NEAR_REQUESTS = 8
"""Requests under way at a time to a registry that is near: more do not make it faster, and look like an attack to some."""
FAR_REQUESTS = 32
"""The same to one that is far away, at most. As many as :data:`_RATE` takes, which is about what this process can send."""
REPOSITORIES = 4
"""Repositories that are read at a time: each sends as many requests as the limiter allows, and more would only wait for it."""

_RATE = 1000
"""Requests a second that are aimed at where a response takes its time on the way."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


def map_unordered(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | Callable[[], int] = NEAR_REQUESTS
) -> Iterator[tuple[Item, Result]]:
    """Map ``items`` in up to ``threads`` threads; yield (item, result) in order of completion.

    A thread takes its next item when it is free; where ``threads`` is a function, more are started when it returns more.
    What ``function`` or ``items`` raises is raised here. No item is taken after that, nor once the caller stops iterating;
    calls under way then are not waited for.
    """
    most = len(items) if isinstance(items, Sized) else None
    results: SimpleQueue[tuple[Item, Result] | BaseException | None] = SimpleQueue()
    lock, source, stopped = threading.Lock(), iter(items), threading.Event()
    started = ended = 0

    def work() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                results.put((item, function(item)))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            results.put(error)
        else:
            results.put(None)

    try:
        while True:
            wanted = max(1, threads() if callable(threads) else threads)
            # Where one has ended, there is nothing left to take.
            while not ended and started < (wanted if most is None else min(wanted, most)):
                if not _start(work, required=not started):
                    most = started
                    break
                started += 1
            if ended == started:
                return
            result = results.get()
            if result is None:
                ended += 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        stopped.set()


def _start(work: Callable[[], None], *, required: bool) -> bool:
    """Start a thread; returns whether the machine has one more, which is an error only where it is ``required``."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        if required:
            raise
        return False
    return True


def map_ordered(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | Callable[[], int] = NEAR_REQUESTS
) -> Iterator[Result]:
    """Map as :func:`map_unordered` does; yield the results in the order of ``items``."""
    waiting: dict[int, Result] = {}
    following = 0
    for (number, _), result in map_unordered(lambda numbered: function(numbered[1]), list(enumerate(items)), threads=threads):
        waiting[number] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


class SingleFlight(Generic[Key, Result]):
    """Compute a value once for each key, however many threads ask for it at a time. A failure is kept, too."""

    def __init__(self) -> None:
        self._values: dict[Key, Result] = {}
        self._futures: dict[Key, Future[Result]] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def keep(self, key: Key, value: Result) -> None:
        """Keep ``value``, unless there is one; a failure that is kept goes."""
        with self._lock:
            self._values.setdefault(key, value)

    def get(self, key: Key, compute: Callable[[], Result]) -> Result:
        """Return the value of ``key``, computed now if nobody did before. Raises what ``compute`` raised."""
        with self._lock:
            if key in self._values:
                return self._values[key]
            others = self._futures.get(key)
            future: Future[Result] = self._futures.setdefault(key, Future())
        if others is not None:
            return others.result()
        try:
            value = compute()
        except BaseException as error:
            future.set_exception(error)
            raise
        # A future is large, and there may be ten thousand keys.
        with self._lock:
            self._values[key] = value
            del self._futures[key]
        future.set_result(value)
        return value


class RateLimiter:
    """Context manager around a request: as many are under way as help, and no more than the registry still allows.

    ``remaining`` gives the ``RateLimit-Remaining`` of its last response, None where it sends none; ``latency`` the least
    seconds that a response took, None until that is known. Entering raises TooManyRequests, before anything is sent,
    where nothing is left.
    """

    def __init__(self, remaining: Callable[[], int | None] = lambda: None, latency: Callable[[], float | None] = lambda: None) -> None:
        self._remaining = remaining
        self._latency = latency
        self._least: int | None = None
        self._under_way = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            while self._under_way >= self._limit():
                if not self._under_way:
                    raise TooManyRequests(
                        "the registry allows no more requests for now (RateLimit-Remaining: 0)", hint="Wait, or log in: regctl login"
                    )
                self._changed.wait()
            self._under_way += 1

    def __exit__(self, *details: object) -> None:
        with self._changed:
            self._under_way -= 1
            if self._under_way:
                self._changed.notify(max(1, self._limit() - self._under_way))
            else:
                # Where nothing is left, each has to raise.
                self._changed.notify_all()

    @property
    def has_quota(self) -> bool:
        """Whether the registry counts requests, and allows only so many."""
        return self._remaining() is not None

    def helpful_requests(self) -> int:
        """Requests under way at a time that help: the farther away the registry is, the more."""
        latency = self._latency()
        return NEAR_REQUESTS if latency is None else max(NEAR_REQUESTS, min(round(latency * _RATE), FAR_REQUESTS))

    def _limit(self) -> int:
        """The least that was reported: responses overtake each other, and an older one would promise more than there is."""
        remaining = self._remaining()
        if remaining is not None:
            self._least = remaining if self._least is None else min(remaining, self._least)
        most = self.helpful_requests()
        return most if self._least is None else min(self._least, most)
