"""``HOST[:PORT]``, taken apart and checked in one place (distribution/reference, ``domain``; RFC 3986, 3.2.2)."""

from __future__ import annotations

import errno
import ipaddress
import re
from contextlib import suppress
from typing import NamedTuple

MAX_PORT = 65535
MAX_NAME = 253
MAX_LABEL = 63
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
"""Errors where this machine has no IPv6, or no way to that address: they say nothing of what listens there."""

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:.]+\])"
_HOST_PORT = re.compile(rf"(?P<host>{HOST})(?::(?P<port>[0-9]+))?", re.ASCII)


class HostPort(NamedTuple):
    """``HOST[:PORT]``; ``host`` is a name, an IPv4 address or an IPv6 address without its brackets."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``text``. Raises ValueError, whose message names the part that is wrong."""
        match = _HOST_PORT.fullmatch(text)
        if match is None or not _is_host(match["host"]):
            raise ValueError(f"{text if len(text) <= 80 else text[:77] + '...'!r} is not a host")
        return cls(match["host"].strip("[]"), None if match["port"] is None else parse_port(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine: localhost, 127.0.0.0/8 or ::1."""
        try:
            return self.host.lower() == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def connect_hosts(self) -> tuple[str, ...]:
        """What to connect to, in order. ``localhost`` is 127.0.0.1 first: on macOS another program may listen on ::1."""
        return ("127.0.0.1", "::1") if self.host == "localhost" else (self.host,)


def _is_host(text: str) -> bool:
    """Whether ``text`` is an IPv6 address in brackets, or a name within the limits of DNS (RFC 1035, 2.3.4)."""
    if not text.startswith("["):
        return len(text) <= MAX_NAME and all(len(label) <= MAX_LABEL for label in text.split("."))
    try:
        ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def is_loopback(text: str) -> bool:
    """Whether ``text`` (``HOST[:PORT]``) is this machine."""
    try:
        return HostPort.parse(text).is_loopback
    except ValueError:
        return False


def parse_port(text: str) -> int:
    """A port's number. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not is_port(int(text)):
        raise ValueError(f"{text[:80]!r} is not a port (1 to {MAX_PORT})")
    return int(text)


def parse_ip(text: str) -> str:
    """An IPv4 or IPv6 address without a zone, as Go's ``net.ParseIP`` reads it. Raises ValueError."""
    with suppress(ValueError):
        if "%" not in text:
            return str(ipaddress.ip_address(text))
    raise ValueError(f"{text[:80]!r} is not an IP address")


def check_port(port: int) -> None:
    """Raises ValueError where ``port`` is no port's number."""
    if type(port) is not int or not is_port(port):
        raise ValueError(f"{port!r} is not a port (1 to {MAX_PORT})")


def is_port(number: int) -> bool:
    """Whether ``number`` may be a port's."""
    return 0 < number <= MAX_PORT
