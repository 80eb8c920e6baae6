"""Connections through a SOCKS 5 proxy (RFC 1928, RFC 1929). The proxy looks up the names of hosts."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_PORT = 1080
_SCHEMES = ("socks", "socks5", "socks5h")
_NO_LOGIN, _PASSWORD = 0, 2
_REPLIES = (
    "",
    "general failure",
    "its rules do not allow the connection",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "time to live expired",
    "command not supported",
    "address type not supported",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocksProxy:
    """A proxy's address, with user name and password where it has some."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> SocksProxy:
        """Read ``socks5://[USER:PASSWORD@]HOST[:PORT]``. Raises ValueError, whose message has no password."""
        scheme = url.partition("://")[0].lower()
        if scheme not in _SCHEMES:
            raise ValueError(f"{scheme} is not supported, but socks5 is")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _PORT
        except ValueError:
            # Not quoted: a password with a '/' in it makes it unreadable.
            raise ValueError("it is no address") from None
        if not host:
            raise ValueError("it is no address")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if max(len(username.encode()), len(password.encode())) > 255:
            raise ValueError("user name or password are longer than 255 bytes")
        return cls(host=host, port=port, username=username, password=password)

    def connect(self, host: str, port: int, *, timeout: float | None) -> socket.socket:
        """Connect to ``host`` through the proxy; ``timeout`` is in seconds, for each step. Raises OSError."""
        connection = socket.create_connection((self.host, self.port), timeout=timeout)
        try:
            _log_in(connection, self)
            connection.sendall(bytes((5, 1, 0)) + _address(host) + port.to_bytes(2, "big"))
            _, reply, _, kind = _receive(connection, 4)
            if reply:
                why = _REPLIES[reply] if reply < len(_REPLIES) else f"reply {reply}"
                raise OSError(f"{why} (SOCKS)")
            length = {1: 4, 4: 16}.get(kind)
            _receive(connection, (length if length is not None else _receive(connection, 1)[0]) + 2)
        except BaseException:
            connection.close()
            raise
        return connection


def _log_in(connection: socket.socket, proxy: SocksProxy) -> None:
    methods = bytes((_NO_LOGIN, _PASSWORD) if proxy.username else (_NO_LOGIN,))
    connection.sendall(bytes((5, len(methods))) + methods)
    version, method = _receive(connection, 2)
    if version != 5:
        raise OSError("it does not speak SOCKS 5")
    if method == _PASSWORD and proxy.username:
        username, password = proxy.username.encode(), proxy.password.encode()
        connection.sendall(bytes((1, len(username))) + username + bytes((len(password),)) + password)
        if _receive(connection, 2)[1]:
            raise OSError("it does not accept the user name or the password (SOCKS)")
    elif method != _NO_LOGIN:
        raise OSError("it requires a user name and a password (SOCKS)")


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes((3, len(name))) + name
    return bytes((1 if address.version == 4 else 4,)) + address.packed


def _receive(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise OSError("it closed the connection (SOCKS)")
        received += piece
    return received
