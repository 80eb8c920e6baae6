"""Where a container listens: ``/proc/net/tcp`` (Linux, proc(5)), read inside it."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from registry_tool.base.deadline import DeadlineExceeded, call_with_deadline
from registry_tool.base.errors import RegistryToolError
from registry_tool.engine import Engine

_READ = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"
_TIMEOUT = 10.0  # seconds: in a container that has used up its processes nothing more starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """TCP ports. ``loopback`` are those open on the container's own loopback only, where nobody else reaches them."""

    reachable: frozenset[int]
    loopback: frozenset[int]

    def __str__(self) -> str:
        shown = [str(port) for port in sorted(self.reachable)] + [f"{port} on its loopback" for port in sorted(self.loopback)]
        return f"it listens on {', '.join(shown)}" if shown else "it listens nowhere"


def read(engine: Engine, container: str) -> Listening | None:
    """Where it listens now; None where the container has no ``cat``, or has ended."""
    try:
        # Without the second file (an engine without IPv6) cat fails, and prints the first all the same.
        code, output = call_with_deadline(lambda: engine.execute(container, _READ), lambda: _TIMEOUT)
    except (RegistryToolError, DeadlineExceeded):
        return None
    text = output.decode(errors="replace")
    return parse(text) if code in (0, 1) and "local_address" in text else None


def parse(text: str) -> Listening:
    """Parse one or more such tables; other lines between theirs are ignored."""
    sockets = list(_sockets(text))
    reachable = frozenset(port for address, port in sockets if not address.is_loopback)
    return Listening(reachable=reachable, loopback=frozenset(port for _, port in sockets) - reachable)


def _sockets(text: str) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] != _LISTENS or not words[0].endswith(":"):
            continue
        host, _, port = words[1].rpartition(":")
        try:
            yield _address(bytes.fromhex(host)), int(port, 16)
        except ValueError:
            continue


def _address(raw: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints each group of four bytes as one number, in the machine's byte order."""
    ordered = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)) if sys.byteorder == "little" else raw
    address = ipaddress.ip_address(ordered)
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
