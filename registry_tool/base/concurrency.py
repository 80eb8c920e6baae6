"""The same work for many things, by a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

THREADS = 8
"""As many requests as are under way at a time: more do not make a registry faster, and look like an attack to some."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


def map_unordered(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int = THREADS) -> Iterator[tuple[Item, Result]]:
    """(item, what ``work`` makes of it) as they get done, in no order. Items are taken when a thread is free for them.

    What ``work`` raises is raised here, and nothing new is begun then; nor is it where the caller stops early. Whatever
    is under way at that time is not waited for: a request to a server that hangs must not hold up Ctrl-C.
    """
    done: SimpleQueue[tuple[Item, Result] | BaseException | None] = SimpleQueue()
    taking, source, over = threading.Lock(), iter(items), threading.Event()

    def labour() -> None:
        try:
            while not over.is_set():
                with taking:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                done.put((item, work(item)))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            done.put(error)
        else:
            done.put(None)

    labourers = [threading.Thread(target=labour, daemon=True) for _ in range(threads)]
    for labourer in labourers:
        labourer.start()
    working = threads
    try:
        while working:
            found = done.get()
            if found is None:
                working -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found
    finally:
        over.set()


class SingleFlight(Generic[Key, Result]):
    """Makes a thing once for each key, however many threads want it at the same time. What failed is not tried again."""

    def __init__(self) -> None:
        self._made: dict[Key, Result] = {}
        self._failed: dict[Key, Exception] = {}
        self._under_way: dict[Key, Future[Result]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Result]) -> Result:
        """What was made for ``key``, or what ``make`` makes now. Raises what ``make`` raised."""
        with self._lock:
            if key in self._made:
                return self._made[key]
            if key in self._failed:
                raise self._failed[key]
            others = self._under_way.get(key)
            mine: Future[Result] = self._under_way.setdefault(key, Future())
        if others is not None:
            return others.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
                if isinstance(error, Exception):
                    self._failed[key] = error
            mine.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self._made[key] = made
        mine.set_result(made)
        return made
