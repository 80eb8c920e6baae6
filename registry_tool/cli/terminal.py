"""Connect a container's streams with the standard streams, for ``run`` in the foreground; the terminal is raw for ``run -it``."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from registry_tool.base.errors import Conflict, NotFound, Unreachable
from registry_tool.cli.output import Output

if TYPE_CHECKING:
    from registry_tool.engine import Container, ContainerSpec, Engine
    from registry_tool.engine.attach import AttachedStream


def connect_streams(engine: Engine, container: Container, stream: AttachedStream, spec: ContainerSpec, output: Output) -> None:
    """Copy the container's output to standard output and, with ``interactive``, standard input to it, until its output ends.

    With ``interactive`` and ``tty`` the terminal is raw meanwhile and its size is that of the container's terminal. Raises Unreachable.
    """
    from registry_tool.engine.streams import demultiplex

    with ExitStack() as stack:
        if spec.interactive and spec.tty:
            stack.enter_context(_raw_mode(sys.stdin.fileno()))
            stack.enter_context(_follow_window_size(engine, container))
        if spec.interactive:
            # A daemon thread, as it may block in a read for ever.
            threading.Thread(target=_forward_input, args=(stream, sys.stdin.fileno()), daemon=True).start()
        chunks = _chunks(stream)
        frames = (("stdout", chunk) for chunk in chunks) if stream.tty else demultiplex(chunks)
        for which, chunk in frames:
            (output.write_bytes if which == "stdout" else output.write_error_bytes)(chunk)


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


def _forward_input(stream: AttachedStream, source: int) -> None:
    try:
        while content := os.read(source, 65536):
            stream.write(content)
        stream.close_input()
    except OSError:
        return  # the container ended; the reading side notices


@contextmanager
def _raw_mode(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)  # keeps what was typed ahead
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _follow_window_size(engine: Engine, container: Container) -> Iterator[None]:
    """Keep the size of the container's terminal equal to this terminal's during the block."""

    def fit(number: int = 0, frame: FrameType | None = None) -> None:
        size = os.get_terminal_size(sys.stdin.fileno())
        try:
            engine.resize(container.id, rows=size.lines, columns=size.columns)
        except (NotFound, Conflict):
            return  # the container ended meanwhile

    before = signal.signal(signal.SIGWINCH, fit)
    try:
        fit()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
