"""A line to a real engine that can be cut: a unix socket that passes on what it hears, until it hears a certain word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.engine import Endpoint

_JOIN = 10.0


@dataclass(kw_only=True)
class CutLine:
    """Connect to ``url``. Once ``cut_at`` is seen in either direction, the line is cut, or (``stall``) falls silent."""

    target: Endpoint
    listener: socket.socket
    url: str
    cut_at: bytes | None = None
    stall: bool = False
    heard: bytearray = field(default_factory=bytearray)
    """Everything that was sent to the engine."""
    connections: int = 0
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            far = _connected(self.target)
            self._open += [near, far]
            self._spawn(near, far, self.heard)
            self._spawn(far, near, bytearray())

    def close(self) -> None:
        self._done.set()
        # close() alone does not wake an accept() of another thread.
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self._open:
            _shut(end)
        for thread in self._threads:
            thread.join(_JOIN)
        for end in self._open:
            end.close()

    def _spawn(self, source: socket.socket, target: socket.socket, heard: bytearray) -> None:
        thread = threading.Thread(target=self._pass_on, args=(source, target, heard), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _pass_on(self, source: socket.socket, target: socket.socket, heard: bytearray) -> None:
        try:
            while data := source.recv(65536):
                heard += data
                if self.cut_at is not None and self.cut_at in heard:
                    if self.stall:
                        self._done.wait()
                    _shut(source)
                    break
                target.sendall(data)
        except OSError:
            # The other direction was cut: so is this one.
            pass
        _shut(target)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _connected(target: Endpoint) -> socket.socket:
    if target.socket_path is not None:
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(target.socket_path))
        return end
    host, _, port = target.url.partition("://")[2].rpartition(":")
    return socket.create_connection((host, int(port)))


@contextmanager
def cut_line(target: Endpoint, folder: Path) -> Iterator[CutLine]:
    """A line to ``target`` at a socket in ``folder`` (whose path must be short: a socket's has 108 bytes)."""
    path = folder / "cut.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        line = CutLine(target=target, listener=listener, url=f"unix://{path}")
        thread = threading.Thread(target=line.serve, daemon=True)
        thread.start()
        try:
            yield line
        finally:
            line.close()
            thread.join(_JOIN)
            path.unlink(missing_ok=True)
