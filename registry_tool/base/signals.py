"""A moment in which Ctrl-C waits.

A request that makes something is answered after the thing is there; broken off in between, the engine makes it all the
same, and nobody knows of it. Such a request is finished first, and the interruption comes right after.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Hold the first SIGINT or SIGTERM back until the block ends. A second one breaks through, for engines that hang."""
    if threading.current_thread() is not threading.main_thread():
        # Signals are delivered to the main thread alone.
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            _deliver(number, frame)

    def _deliver(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _SIGNALS:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if len(came) == 1:
            _deliver(came[0], None)
