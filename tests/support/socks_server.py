"""A SOCKS 5 proxy that records what it is asked for (RFC 1928, RFC 1929)."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.support.fake_server import tcp_server


@dataclass
class SocksServer:
    """``user`` (name, password) is wanted where it is given; ``reply`` other than 0 refuses. All connections lead to ``target``."""

    target: tuple[str, int]
    user: tuple[str, str] | None = None
    reply: int = 0
    host: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        client.settimeout(60)
        _, count = _exactly(client, 2)
        methods = _exactly(client, count)
        method = 2 if self.user else 0
        client.sendall(bytes((5, method if method in methods else 255)))
        if method not in methods:
            return
        if self.user is not None:
            name = _exactly(client, _exactly(client, 2)[1]).decode()
            self.logins.append((name, _exactly(client, _exactly(client, 1)[0]).decode()))
            client.sendall(bytes((1, int(self.logins[-1] != self.user))))
            if self.logins[-1] != self.user:
                return
        kind = _exactly(client, 4)[3]
        if kind == 3:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        else:
            family, length = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, _exactly(client, length))
        self.asked.append((host, int.from_bytes(_exactly(client, 2), "big")))
        client.sendall(bytes((5, self.reply, 0, 3, 4)) + b"here" + bytes(2))
        if self.reply == 0:
            with socket.create_connection(self.target, timeout=60) as server:
                _relay(client, server)


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise OSError("closed")
        received += piece
    return received


def _relay(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    while True:
        for readable in select.select([client, server], [], [], 60)[0]:
            piece = readable.recv(65536)
            if not piece:
                return
            other[readable].sendall(piece)


@contextmanager
def socks_server(port: int, *, user: tuple[str, str] | None = None, reply: int = 0) -> Iterator[SocksServer]:
    """A proxy for the block that leads to ``port`` on loopback, whatever it is asked for."""
    proxy = SocksServer(("127.0.0.1", port), user, reply)
    serving: list[tuple[socket.socket, threading.Thread]] = []

    def serve(connection: socket.socket) -> None:
        # Each in a thread of its own: the one before may still be open.
        copy = connection.dup()

        def run() -> None:
            with copy, suppress(OSError):
                proxy.serve(copy)

        thread = threading.Thread(target=run, daemon=True)
        serving.append((copy, thread))
        thread.start()

    try:
        with tcp_server(serve) as proxy.host:
            yield proxy
    finally:
        for connection, thread in serving:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(60)
