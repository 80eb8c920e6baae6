"""Deferred signals: a request that creates something is completed first, or the engine creates it and nobody knows its id."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer the first SIGINT or SIGTERM until the block ends. A second one is delivered at once, for engines that hang."""
    if threading.current_thread() is not threading.main_thread():
        # Signals are delivered to the main thread only.
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            deliver(number, frame)

    def deliver(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _SIGNALS:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if len(received) == 1:
            deliver(received[0], None)
