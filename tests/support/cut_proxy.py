"""A proxy of a real engine whose connections are cut: a unix socket that forwards bytes until it sees certain ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.engine import Endpoint

_JOIN = 600.0


@dataclass(kw_only=True)
class CutProxy:
    """Listens at ``url``. Once ``cut_at`` is seen in either direction, the connection is closed, or (``stall``) nothing more is sent."""

    target: Endpoint
    listener: socket.socket
    url: str
    cut_at: bytes | None = None
    stall: bool = False
    received: bytearray = field(default_factory=bytearray)
    """The bytes that were sent to the engine."""
    connections: int = 0
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            engine = _connected(self.target)
            self._open += [client, engine]
            self._spawn(client, engine, self.received)
            self._spawn(engine, client, bytearray())

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

    def _spawn(self, source: socket.socket, target: socket.socket, received: bytearray) -> None:
        thread = threading.Thread(target=self._pass_on, args=(source, target, received), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _pass_on(self, source: socket.socket, target: socket.socket, received: bytearray) -> None:
        try:
            while data := source.recv(65536):
                received += data
                if self.cut_at is not None and self.cut_at in received:
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
def cut_proxy(target: Endpoint, folder: Path) -> Iterator[CutProxy]:
    """A proxy of ``target`` at a socket in ``folder`` (whose path must be short: a socket's has 108 bytes)."""
    path = folder / "cut.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        proxy = CutProxy(target=target, listener=listener, url=f"unix://{path}")
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.close()
            thread.join(_JOIN)
            path.unlink(missing_ok=True)
