"""Connections into the network of a clean engine, and those to the registry out of it: each one exec of the forwarder program."""

from __future__ import annotations

import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from registry_tool.base.address import HostPort
from registry_tool.base.errors import RegistryToolError, Unreachable
from registry_tool.base.signals import defer_signals
from registry_tool.engine.streams import demultiplex
from registry_tool.verify.environments.environment import Traffic

CONNECT_TIMEOUT = 10.0  # seconds for a connection
_MAIN = b"\n\nimport sys\n\nsys.exit(main(*sys.argv[1:]))\n"
_SPARE = 3  # execs that wait for something to do: starting one takes a tenth of a second, on a busy machine half of one
_ACCEPTORS = 3  # execs that wait for a connection to the registry
_RETRY = 0.5  # seconds until an exec is tried again that failed
_CHUNK = 1 << 16


class ExecStream(Protocol):
    """Input and output of an exec: :class:`registry_tool.engine.attach.AttachedStream`."""

    def fileno(self) -> int:
        """The stream's file descriptor."""

    def read(self, size: int = ...) -> bytes:
        """Read framed output; empty at the end."""

    def write(self, content: bytes) -> None:
        """Write all of ``content`` to the input."""

    def close_input(self) -> None:
        """End the input, and go on reading."""

    def shut_down(self) -> None:
        """End both directions, also for a thread that reads."""

    def close(self) -> None:
        """Free the descriptor."""


def program() -> bytes:
    """The forwarder as one file that Python runs."""
    return Path(__file__).with_name("forwarder.py").read_bytes() + _MAIN


class Tunnel:
    """Open until :meth:`close`. ``start`` execs the forwarder; ``registry`` is where this process reaches the registry."""

    def __init__(self, start: Callable[[], ExecStream], registry: HostPort) -> None:
        self._start = start
        self._registry = registry
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._streams: set[ExecStream] = set()
        self._spare: SimpleQueue[ExecStream | ConnectionError] = SimpleQueue()
        self._traffic: Counter[str] = Counter()
        for work, threads in ((self._add_spare, _SPARE), (self._accept_all, _ACCEPTORS)):
            for _ in range(threads):
                threading.Thread(target=work, daemon=True).start()

    def connect(self, target: int | str | tuple[str, int], *, timeout: float = CONNECT_TIMEOUT, wait: float = 0.0) -> socket.socket:
        """Connect to a port of the inner loopback or of a host, or to a unix socket's path, which may take ``wait`` seconds to be there.

        Raises ConnectionError, TimeoutError.
        """
        host, port = target if isinstance(target, tuple) else ("127.0.0.1", target)
        address = f"unix:{target}" if isinstance(target, str) else f"tcp:{host}:{port}"
        stream = self._take_spare()
        try:
            output = _handshake(stream, f"connect {address} {wait}", timeout + wait)
        except BaseException:
            self._forget(stream)
            raise
        connection: socket.socket | None = None
        try:
            # Interrupted between the two threads, nobody would close the stream.
            with defer_signals():
                connection, forwarded = socket.socketpair()
                connection.settimeout(timeout)
                self._forward(forwarded, stream, output)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection

    def traffic(self, *, reset: bool = False) -> Traffic:
        """Traffic with the registry so far."""
        with self._changing:
            counted = Traffic(**self._traffic)
            if reset:
                self._traffic.clear()
        return counted

    def close(self) -> None:
        """End every connection."""
        with self._changing:
            self._closed.set()
            streams = tuple(self._streams)
        for stream in streams:
            with suppress(OSError):
                stream.shut_down()
        with suppress(Empty):
            while True:
                spare = self._spare.get_nowait()
                if not isinstance(spare, ConnectionError):
                    self._forget(spare)
        for _ in range(_ACCEPTORS):
            self._spare.put(ConnectionError("the tunnel is closed"))

    def _add_spare(self) -> None:
        if self._closed.is_set():
            return
        try:
            stream = self._start()
        except RegistryToolError as error:
            self._spare.put(ConnectionError(error.message))
            return
        with self._changing:
            if not self._closed.is_set():
                self._streams.add(stream)
                self._spare.put(stream)
                return
        stream.close()

    def _take_spare(self) -> ExecStream:
        if self._closed.is_set():
            raise ConnectionError("the tunnel is closed")
        # First: a start waits, and an interruption there would lose the stream.
        threading.Thread(target=self._add_spare, daemon=True).start()
        spare = self._spare.get()
        if isinstance(spare, ConnectionError):
            raise spare
        return spare

    def _forget(self, stream: ExecStream) -> None:
        with self._changing:
            self._streams.discard(stream)
        stream.close()

    def _count(self, **numbers: int) -> None:
        with self._changing:
            self._traffic.update(numbers)

    def _accept_all(self) -> None:
        """Forward connections to the registry until the tunnel is closed."""
        while not self._closed.is_set():
            try:
                self._accept()
            except OSError:
                self._closed.wait(_RETRY)

    def _accept(self) -> None:
        stream = self._take_spare()
        try:
            output = _handshake(stream, "accept")
            connection = self._connect_registry()
            stream.write(b"+")
        except BaseException:
            self._forget(stream)
            raise
        self._count(connections=1)
        self._forward(connection, stream, output, counted=True)

    def _connect_registry(self) -> socket.socket:
        *others, last = self._registry.connect_hosts
        for host in others:
            with suppress(OSError):
                return self._connected(host)
        try:
            return self._connected(last)
        except OSError:
            self._count(refused=1)
            raise

    def _connected(self, host: str) -> socket.socket:
        connection = socket.create_connection((host, self._registry.port or 80), timeout=CONNECT_TIMEOUT)
        connection.settimeout(None)
        return connection

    def _forward(self, connection: socket.socket, stream: ExecStream, output: Iterator[bytes], *, counted: bool = False) -> None:
        """Forward both ways, in two threads, until either side ends."""

        def send() -> None:
            with suppress(OSError):
                while content := connection.recv(_CHUNK):
                    # Counted first: the engine may report the end of its pull before this thread goes on.
                    if counted:
                        self._count(down=len(content))
                    stream.write(content)
            with suppress(OSError):
                stream.close_input()

        def receive() -> None:
            with suppress(OSError):
                for content in output:
                    if counted:
                        self._count(up=len(content))
                    connection.sendall(content)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            sender.join()
            connection.close()
            self._forget(stream)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        threading.Thread(target=receive, daemon=True).start()


def _handshake(stream: ExecStream, command: str, timeout: float | None = None) -> Iterator[bytes]:
    """Have the program do ``command``; its output from the connection on. Raises ConnectionError, TimeoutError."""
    stream.write(f"{command}\n".encode())
    descriptor = stream.fileno()
    if descriptor < 0:
        raise ConnectionError("the connection was closed")
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if not waiting.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("no connection in time")
    errors: list[bytes] = []
    output = _output(stream, errors)
    first = next(output, None)
    if first is None:
        raise ConnectionRefusedError(b"".join(errors).decode(errors="replace").strip() or "the forwarder has ended")
    return chain((first[1:],), output)


def _output(stream: ExecStream, errors: list[bytes]) -> Iterator[bytes]:
    try:
        for kind, content in demultiplex(iter(stream.read, b"")):
            if kind == "stdout":
                yield content
            else:
                errors.append(content)
    except Unreachable as error:
        raise ConnectionError(error.message) from error
