"""The program inside a clean engine's network: its one way to the registry, and our way to what listens in there.

It speaks :mod:`registry_tool.verify.environments.tunnel.multiplexer` on its standard input and output, does what it is told by ``control``,
and ends with its input. The standard library of Python 3.9 is enough.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from registry_tool.verify.environments.tunnel.multiplexer import CHUNK, Multiplexer

CONTROL = "control"
REGISTRY = "registry"
CONNECT_TIMEOUT = 10
_BLOBS = b"/blobs/"


class Forwarder:
    """Listens where the registry is thought to be, and goes to the registry; counts, and refuses when it is told to."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.multiplexer = Multiplexer(send, self.connect, odd=False)
        self._counting = threading.Lock()
        self._counts = {"down": 0, "up": 0, "connections": 0, "refused": 0}
        self._refuses = "nothing"
        self._registry: list[Any] | None = None

    def connect(self, word: str) -> socket.socket:
        """``control``, ``unix:PATH``, or ``tcp:HOST:PORT`` in this network."""
        if word == CONTROL:
            mine, theirs = socket.socketpair()
            threading.Thread(target=self._serve_control, args=(mine,), daemon=True).start()
            return theirs
        kind, _, address = word.partition(":")
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(address)
            return connection
        host, _, port = address.rpartition(":")
        if kind != "tcp" or not port.isdigit():
            raise ConnectionRefusedError("nothing here is called " + word)
        return _connected((host, int(port)))

    def _serve_control(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            for line in lines:
                try:
                    answer = self.control(json.loads(line))
                except (OSError, ValueError, KeyError) as error:
                    answer = {"error": str(error) or type(error).__name__}
                lines.write(json.dumps(answer) + "\n")
                lines.flush()

    def control(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked: ``listen``, ``refuse`` or ``traffic``."""
        if order["do"] == "listen":
            self._registry = order["registry"]
            family = socket.AF_INET6 if ":" in order["host"] else socket.AF_INET
            listener = socket.create_server((order["host"], order["port"]), family=family, backlog=64)
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()
        elif order["do"] == "refuse":
            if order["what"] not in ("nothing", "blobs", "everything"):
                raise ValueError("cannot refuse " + repr(order["what"]))
            self._refuses = order["what"]
        elif order["do"] == "traffic":
            return self._traffic(reset=bool(order.get("reset")))
        else:
            raise ValueError("cannot do " + repr(order["do"]))
        return {}

    def _traffic(self, *, reset: bool) -> dict[str, Any]:
        with self._counting:
            counts = dict(self._counts)
            if reset:
                self._counts = dict.fromkeys(self._counts, 0)
        return counts

    def _count(self, what: str, number: int) -> None:
        with self._counting:
            self._counts[what] += number

    def _listen(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._forward, args=(connection,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        if self._refuses == "everything":
            self._count("refused", 1)
            _reset(client)
            client.close()
            return
        self._count("connections", 1)
        try:
            registry = self._reach_registry()
        except OSError:
            # What the engine sees is what it would see without us: nobody there.
            _reset(client)
            client.close()
            return
        upwards = threading.Thread(target=self._pump, args=(client, registry, "up"), daemon=True)
        upwards.start()
        self._pump(registry, client, "down")
        upwards.join()
        client.close()
        registry.close()

    def _reach_registry(self) -> socket.socket:
        if self._registry is None:
            return self.multiplexer.open(REGISTRY, timeout=CONNECT_TIMEOUT)
        return _connected((self._registry[0], self._registry[1]))

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        seen = b""
        try:
            while content := source.recv(CHUNK):
                if direction == "up":
                    seen = seen[1 - len(_BLOBS) :] + content
                    if self._refuses == "everything" or (self._refuses == "blobs" and _BLOBS in seen):
                        self._count("refused", 1)
                        _reset(source)
                        break
                target.sendall(content)
                self._count(direction, len(content))
            else:
                target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            # One side hung up, and so does the other: hard, or what was cut off would look whole.
            _reset(target)
        for side in (source, target):
            _shut(side)


def _connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=CONNECT_TIMEOUT)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _reset(connection: socket.socket) -> None:
    """Have the peer see a reset when it is closed, not the end of a whole answer."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def main() -> None:
    """Serve standard input and output, until the input ends."""
    forwarder = Forwarder(_write)
    forwarder.multiplexer.run(iter(lambda: os.read(0, CHUNK), b""))


def _write(content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(1, rest) :]
