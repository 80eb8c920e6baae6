"""Deadlines, and waiting until one: for a condition (:func:`poll`), for work that may hang (:func:`call_with_deadline`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from registry_tool.base.progress import Observer

Result = TypeVar("Result")


class DeadlineExceeded(Exception):
    """The time is up. The work may still be under way; its result is discarded."""


class Deadline:
    """The moment ``seconds`` from now, by the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left == 0

    def within(self, seconds: float) -> Deadline:
        """The sooner of this one and ``seconds`` from now."""
        return Deadline(min(seconds, self.left))


class ActivityObserver:
    """An observer that forwards all events to another and remembers when the last one was."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.touch()

    def touch(self) -> None:
        """Count this moment as activity."""
        self._last = time.monotonic()

    def left(self, seconds: float) -> float:
        """Of ``seconds`` without an event, how many are left; negative once there are more."""
        return self._last + seconds - time.monotonic()

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self.touch()
        self._observer.start(key, label, total)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        self.touch()
        self._observer.advance(key, done, total)

    def finish(self, key: str, label: str) -> None:
        self.touch()
        self._observer.finish(key, label)

    def note(self, text: str) -> None:
        self.touch()
        self._observer.note(text)


def poll(until: Callable[[], Result], deadline: Deadline, *, pause: float = 0.05) -> Result:
    """Call ``until`` until its result is true or ``deadline`` has passed; return its last result. Pauses grow up to ``pause`` seconds."""
    wait = min(0.01, pause)
    while not (result := until()) and not deadline.passed:
        time.sleep(min(wait, deadline.left))
        wait = min(1.5 * wait, pause)
    return result


def call_with_deadline(work: Callable[[], Result], left: Callable[[], float]) -> Result:
    """Run ``work`` in a thread, for as long as ``left()`` is positive. Raises DeadlineExceeded then, and does not wait for the thread."""
    results: SimpleQueue[tuple[Result] | BaseException] = SimpleQueue()

    def worker() -> None:
        try:
            results.put((work(),))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for the result
            results.put(error)

    threading.Thread(target=worker, daemon=True).start()
    while True:
        seconds = left()
        try:
            result = results.get(timeout=max(0.0, seconds)) if seconds > 0 else results.get_nowait()
        except Empty:
            if left() <= 0:
                raise DeadlineExceeded from None
            continue
        if isinstance(result, BaseException):
            raise result
        return result[0]
