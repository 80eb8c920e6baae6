"""A container's streams and signals for commands in the foreground; the terminal is raw for ``-it``."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from registry_tool.base.errors import RegistryToolError, Unreachable
from registry_tool.cli.output import Output

if TYPE_CHECKING:
    from registry_tool.engine.attach import AttachedStream

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals that are passed on to a container, as docker does with all that concern it."""
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3  # interrupts that a container may ignore
_DETACH_KEYS = b"\x10\x11"  # Ctrl-P Ctrl-Q

Resize = Callable[[int, int], None]
"""Sets a terminal's size inside: rows, columns."""


class SignalForwarder:
    """Passes signals on from the block to ``send``, in a thread: the main thread may be in the middle of a request.

    They are kept until :meth:`begin`. After three interrupts that changed nothing, ``give_up`` is called. Without ``active``
    signals do what they do to this program.
    """

    def __init__(self, send: Callable[[str], None], give_up: Callable[[], None], *, active: bool = True) -> None:
        self._send, self._give_up, self._active = send, give_up, active
        self._received: SimpleQueue[int | None] = SimpleQueue()
        self._before: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> SignalForwarder:
        if self._active and threading.current_thread() is threading.main_thread():
            # What is ignored (nohup) stays ignored.
            numbers = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *details: object) -> None:
        self._received.put(None)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin(self) -> None:
        """Pass on what came, and what comes."""
        self._thread.start()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.put(number)

    def _forward(self) -> None:
        interrupts = 0
        while (number := self._received.get()) is not None:
            interrupts += number in _INTERRUPTS
            # The container may have ended, and standard error may be closed.
            with suppress(RegistryToolError, OSError):
                if interrupts >= _PATIENCE:
                    self._give_up()
                else:
                    self._send(signal.Signals(number).name)


def terminal_size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal on standard output or input; None without one."""
    for stream in (sys.stdout, sys.stdin):
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(stream.fileno())
            return (size.lines, size.columns) if size.lines and size.columns else None
    return None


def connect_streams(stream: AttachedStream, output: Output, *, interactive: bool, resize: Resize) -> bool:
    """Copy a container's output to standard output and, with ``interactive``, standard input to it, until its output ends.

    A terminal in the container has the size of this one, which is raw with ``interactive``. Returns whether the keys that detach
    (Ctrl-P Ctrl-Q) were typed. Raises Unreachable.
    """
    from registry_tool.engine.streams import demultiplex

    detach = threading.Event()
    with ExitStack() as stack:
        if stream.tty and interactive and sys.stdin.isatty():
            stack.enter_context(_raw_mode(sys.stdin))
        if stream.tty and terminal_size() is not None:
            stack.enter_context(_follow_window_size(resize))
        if interactive:
            # A daemon thread, as it may block in a read for ever.
            threading.Thread(target=_forward_input, args=(stream, sys.stdin.fileno(), detach), daemon=True).start()
        chunks = _chunks(stream)
        frames = (("stdout", chunk) for chunk in chunks) if stream.tty else demultiplex(chunks)
        for which, chunk in frames:
            if which == "stdout":
                output.write_bytes(chunk)
            else:
                # Standard error that is gone is no reason to lose standard output.
                with suppress(OSError):
                    output.write_error_bytes(chunk)
    return detach.is_set()


def _chunks(stream: AttachedStream) -> Iterator[bytes]:
    while True:
        try:
            chunk = stream.read()
        except OSError as error:
            hint = "Check that the engine is still running."
            raise Unreachable("the connection to the engine was lost during the run", hint=hint) from error
        if not chunk:
            return
        yield chunk


def _forward_input(stream: AttachedStream, source: int, detach: threading.Event) -> None:
    """Copy ``source`` to the container; sets ``detach`` where the keys for that are among it."""
    last = b""
    try:
        while content := os.read(source, 65536):
            if _DETACH_KEYS in last + content:
                detach.set()
            last = content[-1:]
            stream.write(content)
        stream.close_input()
    except OSError:
        return  # the container ended; the reading side notices


@contextmanager
def _raw_mode(terminal: IO[str]) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSADRAIN)  # keeps what was typed ahead
    try:
        yield
    finally:
        # A terminal that was closed has no mode any more.
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _follow_window_size(resize: Resize) -> Iterator[None]:
    """Keep the size of the container's terminal equal to this terminal's during the block."""

    def fit(number: int = 0, frame: FrameType | None = None) -> None:
        if (size := terminal_size()) is not None:
            with suppress(RegistryToolError):  # the program ended meanwhile, or has not begun
                resize(*size)

    before = signal.signal(signal.SIGWINCH, fit)
    try:
        fit()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
