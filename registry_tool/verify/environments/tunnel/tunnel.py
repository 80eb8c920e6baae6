"""Our end of the door: orders to the forwarder, connections to what listens inside, and the registry's where it is only ours to reach."""

from __future__ import annotations

import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from registry_tool.base.address import HostPort
from registry_tool.base.errors import RegistryToolError, Unreachable
from registry_tool.engine.streams import demultiplex
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.environments.tunnel.forwarder import CONTROL, REGISTRY
from registry_tool.verify.environments.tunnel.multiplexer import Multiplexer

OPEN_TIMEOUT = 10.0
"""Seconds for a connection through the door."""
_LOG = 4096
_PACKAGE = "registry_tool/verify/environments/tunnel"
_MAIN = b"from registry_tool.verify.environments.tunnel.forwarder import main\n\nmain()\n"


class TunnelStream(Protocol):
    """What the door is hung into: :class:`registry_tool.engine.attach.AttachedStream`."""

    def read(self, size: int = ...) -> bytes: ...
    def write(self, content: bytes) -> None: ...
    def close_input(self) -> None: ...
    def close(self) -> None: ...


def program() -> bytes:
    """The forwarder as one file that Python runs."""
    here = Path(__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        files = {"__main__.py": _MAIN}
        for folder in ("registry_tool", "registry_tool/verify", "registry_tool/verify/environments", _PACKAGE):
            files[f"{folder}/__init__.py"] = b""
        for name in ("multiplexer.py", "forwarder.py"):
            files[f"{_PACKAGE}/{name}"] = (here / name).read_bytes()
        for path, content in files.items():
            # Each with a date of its own making: with the machine's, a clock before 1980 would be an error.
            archive.writestr(zipfile.ZipInfo(path), content)
    return buffer.getvalue()


class Tunnel:
    """Open as long as the program at ``stream``'s other end lives; a context manager.

    ``registry`` is HOST:PORT as this process reaches it: for a forwarder that cannot itself.
    """

    def __init__(self, stream: TunnelStream, registry: tuple[str, int] | None) -> None:
        self._stream = stream
        self._registry = registry
        self._said = bytearray()
        self._listeners: dict[int, socket.socket] = {}
        self._multiplexer = Multiplexer(stream.write, self._connect, odd=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> tuple[str, ...]:
        """The last lines of the program's standard error."""
        return tuple(self._said.decode("utf-8", "replace").splitlines()[-10:])

    def open(self, where: int | str, *, timeout: float = OPEN_TIMEOUT) -> socket.socket:
        """A connection to a port of the inner loopback, or to a unix socket's path. Raises ConnectionError, TimeoutError."""
        word = f"unix:{where}" if isinstance(where, str) else f"tcp:127.0.0.1:{where}"
        return self._multiplexer.open(word, timeout=timeout)

    def address(self, port: int) -> tuple[str, int]:
        """Where on our own loopback connections are taken for inner ``port``. Whether anything listens inside is seen only then."""
        listener = self._listeners.get(port)
        if listener is None:
            listener = self._listeners[port] = socket.create_server(("127.0.0.1", 0), backlog=64)
            threading.Thread(target=self._listen, args=(listener, port), daemon=True).start()
        host, taken = listener.getsockname()[:2]
        return str(host), int(taken)

    def listen(self, host: str, port: int, registry: tuple[str, int] | None) -> None:
        """Have the forwarder take connections for the registry on HOST:PORT. ``registry`` is where it goes; None: to us."""
        self._order({"do": "listen", "host": host, "port": port, "registry": registry})

    def refuse(self, what: str) -> None:
        """``nothing``, ``blobs`` (requests for them; not through TLS), or ``everything``."""
        self._order({"do": "refuse", "what": what})

    def traffic(self, *, reset: bool = False) -> Traffic:
        """What went to the registry and back."""
        return Traffic(**self._order({"do": "traffic", "reset": reset}))

    def close(self) -> None:
        for listener in self._listeners.values():
            # It wakes the one who waits for connections.
            _shut(listener)
            listener.close()
        self._multiplexer.end()
        try:
            # The program ends with its input, and our reader with the program.
            self._stream.close_input()
        except OSError as error:
            self._said += f"\n{error}".encode()
        self._reader.join(timeout=OPEN_TIMEOUT)
        self._stream.close()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._multiplexer.open(CONTROL, timeout=OPEN_TIMEOUT) as connection:
                connection.settimeout(OPEN_TIMEOUT)
                connection.sendall(json.dumps(order).encode() + b"\n")
                with connection.makefile("r", encoding="utf-8") as lines:
                    answer: dict[str, Any] = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise Unreachable(f"the forwarder of the clean engine does not answer: {error}", excerpt=self.said) from error
        if "error" in answer:
            raise RegistryToolError(f"the forwarder of the clean engine cannot {order['do']}: {answer['error']}")
        return answer

    def _connect(self, word: str) -> socket.socket:
        if word != REGISTRY or self._registry is None:
            raise ConnectionRefusedError("nothing here is called " + word)
        return _first(HostPort(self._registry[0]).connect_hosts, self._registry[1])

    def _listen(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                connection, _ = listener.accept()
                self._multiplexer.carry(connection, f"tcp:127.0.0.1:{port}")
            except OSError:
                return  # closed, or the other end is

    def _read(self) -> None:
        try:
            self._multiplexer.run(self._heard())
        except (OSError, ValueError, Unreachable) as error:
            # Whoever uses the door next is told that it is shut; this is why.
            self._said += f"\n{error}".encode()

    def _heard(self) -> Iterator[bytes]:
        for kind, content in demultiplex(iter(self._stream.read, b"")):
            if kind == "stdout":
                yield content
            else:
                self._said = self._said[-_LOG:] + content


def _first(addresses: tuple[str, ...], port: int) -> socket.socket:
    refusals: list[OSError] = []
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), timeout=OPEN_TIMEOUT)
        except OSError as error:
            refusals.append(error)
        else:
            connection.settimeout(None)
            return connection
    raise refusals[0]


def _shut(listener: socket.socket) -> None:
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # a Mac does not know this of a listener
