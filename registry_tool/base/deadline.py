"""Work that may hang is waited for as long as it may take, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from registry_tool.base.progress import Observer

Result = TypeVar("Result")


class TooLong(Exception):
    """The time was up. The work may still be under way; nobody hears of it any more."""


class Deadline:
    """A moment, so many seconds from when this was made."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; never less than none."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left == 0

    def within(self, seconds: float) -> Deadline:
        """This one, or one in so many seconds where that is sooner."""
        return Deadline(min(seconds, self.left))


class ActivityObserver:
    """An observer that hands on what it hears, and knows how long ago it heard something last."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.hear()

    def hear(self) -> None:
        """Something is going on."""
        self._last = time.monotonic()

    def left(self, seconds: float) -> float:
        """How many of so many seconds of silence are left; less than none where it is longer."""
        return self._last + seconds - time.monotonic()

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self.hear()
        self._observer.start(key, label, total)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        self.hear()
        self._observer.advance(key, done, total)

    def finish(self, key: str, label: str) -> None:
        self.hear()
        self._observer.finish(key, label)

    def note(self, text: str) -> None:
        self.hear()
        self._observer.note(text)


def bounded(work: Callable[[], Result], left: Callable[[], float]) -> Result:
    """What ``work`` gives, or raises. ``left()`` is asked again and again for how many seconds it still has; TooLong when none.

    It is done by a thread of its own, which is not waited for when the time is up: neither must it hold up Ctrl-C.
    """
    done: SimpleQueue[tuple[Result] | BaseException] = SimpleQueue()

    def labour() -> None:
        try:
            done.put((work(),))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            done.put(error)

    threading.Thread(target=labour, daemon=True).start()
    while True:
        seconds = left()
        try:
            found = done.get(timeout=max(0.0, seconds)) if seconds > 0 else done.get_nowait()
        except Empty:
            if left() <= 0:
                raise TooLong from None
            continue
        if isinstance(found, BaseException):
            raise found
        return found[0]
