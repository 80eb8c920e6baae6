"""Program in the network of a clean engine: it joins its own input and output to one connection there.

With HOST and PORT it is the container's process: it opens the registry's port there and hands that socket to all others. These read
from their first line of input what to do: ``accept`` takes one connection to that port, ``connect ADDRESS SECONDS`` makes one to
``unix:PATH`` or ``tcp:HOST:PORT``, and tries again for so long. Output before the first input may be lost (Engine API, ExecStart).
Both write ``+`` when there is a connection; ``accept`` then waits for a byte, without which it resets the connection. The standard
library of Python 3.9.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

CHUNK = 1 << 16
PAUSE = 0.02
"""Seconds between two tries to connect."""
TIMEOUT = 10
"""Seconds for one try."""
HANDOVER = __file__ + ".sock"
"""Where the socket of the registry's port is handed over."""


def listen(host: str, port: str) -> None:
    """Hand the listening socket to each process that connects to ``HANDOVER``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, int(port)), family=family, backlog=64) as listener, socket.socket(socket.AF_UNIX) as handover:
        handover.bind(HANDOVER)
        handover.listen(64)
        while True:
            with handover.accept()[0] as acceptor:
                socket.send_fds(acceptor, [b"+"], [listener.fileno()])


def registry_listener() -> socket.socket:
    """The listening socket, once the port is open."""
    with _connect("unix:" + HANDOVER, TIMEOUT) as handover:
        [descriptor] = socket.recv_fds(handover, 1, 1)[1]
    return socket.socket(fileno=descriptor)


def accept(listener: socket.socket) -> None:
    """Forward one connection to the registry's port."""
    with listener:
        connection, _ = listener.accept()
    os.write(1, b"+")
    if os.read(0, 1):
        _forward(connection)
    else:
        # The registry does not answer: what the engine sees is what it would see without a forwarder.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def connect(address: str, seconds: str) -> None:
    """Forward one connection to ``address``."""
    connection = _connect(address, float(seconds))
    os.write(1, b"+")
    _forward(connection)


def _connect(address: str, seconds: float) -> socket.socket:
    until = time.monotonic() + seconds
    kind, _, target = address.partition(":")
    while True:
        connection = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        connection.settimeout(TIMEOUT)
        try:
            if kind == "unix":
                connection.connect(target)
            else:
                host, _, port = target.rpartition(":")
                connection.connect((host, int(port)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE)
        else:
            connection.settimeout(None)
            return connection


def _forward(connection: socket.socket) -> None:
    """Both ways, until either side ends."""
    threading.Thread(target=_send_input, args=(connection,), daemon=True).start()
    while content := connection.recv(CHUNK):
        view = memoryview(content)
        while view:
            view = view[os.write(1, view) :]


def _send_input(connection: socket.socket) -> None:
    try:
        while content := os.read(0, CHUNK):
            connection.sendall(content)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the connection has ended, which the other thread sees


def main(*arguments: str) -> str | None:
    """``listen`` with arguments, else what the first line of input says; returns the error."""
    try:
        if arguments:
            listen(*arguments)
        mode, *words = _first_line().split()
        # Also before a connect, after which the engine may pull at once.
        listener = registry_listener()
        if mode == "accept":
            accept(listener)
        else:
            listener.close()
            connect(*words)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _first_line() -> str:
    """Byte by byte: what follows is the connection's."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise ConnectionError("end of input")
        line += byte
    return line.decode()
