"""Names and addresses by which other machines reach what an engine publishes, for a server's certificate."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from registry_tool.base.address import HostPort
from registry_tool.engine import Endpoint
from registry_tool.local.registry.spec import EVERY_ADDRESS, EVERY_ADDRESS_V6, LOOPBACK, is_loopback_ip

_EVERY = (EVERY_ADDRESS, EVERY_ADDRESS_V6)
_ANYWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # documentation (RFC 5737, RFC 3849): nothing is sent there
_MAX_ADDRESSES = 64
_LOOKUP_TIMEOUT = 1.0  # seconds

T = TypeVar("T")


def server_names(endpoint: Endpoint, listen: str, extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Names and addresses that the certificate of a registry must have which listens at ``listen``; none changes from day to day.

    Of an engine elsewhere they are those by which it is reached.
    """
    hosts = ["localhost", LOOPBACK, "::1"]
    if listen not in _EVERY and not is_loopback_ip(listen):
        hosts.append(listen)
    if not endpoint.is_local:
        hosts.append(urlsplit(endpoint.url).hostname or "")
    elif not is_loopback_ip(listen):
        name = socket.gethostname()
        hosts += [name, *([] if "." in name else [f"{name}.local"]), *_looked_up(lambda: [socket.getfqdn()])]
        hosts += [address for address in _route_addresses() if listen in _EVERY and _is_of_family(address, listen)]
    return valid_hosts([*hosts, *extra])


def other_addresses(endpoint: Endpoint, listen: str) -> tuple[str, ...]:
    """Further addresses of this machine, which a certificate may have: those of networks of containers come and go."""
    if listen not in _EVERY or not endpoint.is_local:
        return ()
    addresses = [*_kernel_addresses(), *_resolved_addresses()]
    usable = (address for address in addresses if _is_of_family(address, listen) and not is_loopback_ip(address))
    return tuple(dict.fromkeys(address for address in usable if not ipaddress.ip_address(address).is_link_local))[:_MAX_ADDRESSES]


def _is_of_family(address: str, listen: str) -> bool:
    """Whether both are IPv4 or both IPv6: an engine listens at 0.0.0.0 for IPv4 alone."""
    return (":" in address) == (":" in listen)


def is_local_address(address: str) -> bool:
    """Whether this machine has ``address``, as far as binding a port to it says."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def valid_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """``hosts`` in lower case, each once, without what is no host."""
    result = []
    for host in hosts:
        with suppress(ValueError):
            HostPort.parse(f"[{host}]" if ":" in host else host)
            result.append(host.lower())
    return tuple(dict.fromkeys(result))


def _route_addresses() -> Iterator[str]:
    """The addresses from which this machine would reach others."""
    for family, elsewhere in _ANYWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect((elsewhere, 9))
            yield str(ipaddress.ip_address(trial.getsockname()[0]))


def _kernel_addresses(proc: Path = Path("/proc/net")) -> Iterator[str]:
    """Linux: every address of every interface in this network namespace."""
    with suppress(OSError):
        previous = ""
        for line in (proc / "fib_trie").read_text().splitlines():
            if "/32 host LOCAL" in line:
                yield previous
            previous = line.rpartition("-- ")[2].strip()
    with suppress(OSError):
        for line in (proc / "if_inet6").read_text().splitlines():
            yield str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))


def _resolved_addresses() -> Iterator[str]:
    """The addresses of this machine's name, and those on the way to others."""
    for *_, address in _looked_up(lambda: socket.getaddrinfo(socket.gethostname(), None)):
        with suppress(ValueError):
            yield str(ipaddress.ip_address(str(address[0])))
    yield from _route_addresses()


def _looked_up(look_up: Callable[[], list[T]]) -> list[T]:
    """What ``look_up`` finds in DNS within a second; without a network it may take many, and find nothing."""
    found: list[T] = []

    def run() -> None:
        with suppress(OSError):
            found.extend(look_up())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LOOKUP_TIMEOUT)
    return list(found)
