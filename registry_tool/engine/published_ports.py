"""Ports to publish: docker's ``-p`` (go-connections, ``nat.ParsePortSpec``), and what an engine is given. Pure.

An engine publishes on every address where it is given one that it cannot read, so that each is checked before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry_tool.base.address import MAX_PORT, check_port, is_port, parse_ip
from registry_tool.base.errors import UsageError
from registry_tool.engine.values import PortBinding

_FORMS = "It looks like -p 4000:80, -p 127.0.0.1:4000:80, -p 4000-4005:80-85 or -p 80."
_EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound here
_RANGE = re.compile(r"(?P<first>[0-9]{1,20})(?:-(?P<last>[0-9]{1,20}))?", re.ASCII)
_CONTAINER_PORT = re.compile(r"(?P<port>[0-9]{1,5})/(?:tcp|udp|sctp)", re.ASCII)


def parse(text: str) -> tuple[PortBinding, ...]:
    """The bindings of ``[[IP:][HOST_PORT[-LAST]]:]PORT[-LAST][/PROTOCOL]``. Raises UsageError."""
    *before, container = text.split(":")
    ports, _, protocol = container.partition("/")
    address = ":".join(before[:-1])
    if not ports:
        raise _invalid(text)
    protocol = (protocol or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise UsageError(f"{text[:80]!r}: {protocol[:80]!r} is not a protocol", hint="Use tcp, udp or sctp: -p 4000:80/udp")
    host_ip = _address(text, address)
    first, last = _range(text, ports, least=1)
    host_ports = before[-1] if before else ""
    # 0 is any free port, as is none.
    host_first, host_last = _range(text, host_ports, least=0) if host_ports else (0, 0)
    if not host_first:
        if host_last:
            raise _invalid(text)
        return tuple(PortBinding(container_port=f"{port}/{protocol}", host_port=0, host_ip=host_ip) for port in range(first, last + 1))
    if first == last:
        end = host_last if host_last > host_first else None
        return (PortBinding(container_port=f"{first}/{protocol}", host_port=host_first, last_host_port=end, host_ip=host_ip),)
    if host_last - host_first != last - first:
        raise UsageError(f"{text[:80]!r}: the two ranges of ports differ in length", hint="For example: -p 4000-4005:80-85")
    return tuple(
        PortBinding(container_port=f"{port}/{protocol}", host_port=host_first + port - first, host_ip=host_ip)
        for port in range(first, last + 1)
    )


def check(binding: PortBinding) -> None:
    """Raise UsageError where ``binding`` is not one that every engine understands as it is meant."""
    match = _CONTAINER_PORT.fullmatch(binding.container_port)
    if match is None or not is_port(int(match["port"])):
        raise UsageError(f"{binding.container_port[:80]!r} is not a container's port", hint="It looks like 80/tcp.")
    if binding.host_ip:
        # As it is sent: an engine reads no address in brackets, and publishes on every one instead.
        _check_ip(binding.host_ip, binding.host_ip)
    first, last = binding.host_port, binding.last_host_port
    try:
        for port in (first or None, last):
            if port is not None:
                check_port(port)
    except ValueError as error:
        raise UsageError(str(error), hint="0 lets the engine choose one.") from None
    if last is not None and not 0 < first <= last:
        raise UsageError(f"{first}-{last} is not a range of ports", hint="For example: 4000-4005")


def host_ports(binding: PortBinding) -> str:
    """The port or the range on the engine's machine (Engine API, ``HostPort``); empty where the engine chooses."""
    if not binding.host_port:
        return ""
    return str(binding.host_port) + (f"-{binding.last_host_port}" if binding.last_host_port is not None else "")


def find_conflict(wanted: Iterable[PortBinding], held: Iterable[PortBinding]) -> PortBinding | None:
    """The first of ``wanted`` whose port on the engine's machine is among ``held``, on the same address or on every one."""
    holders = [(binding.host_port, _protocol(binding), binding.host_ip) for binding in held]
    for binding in wanted:
        for port, protocol, address in holders:
            is_same = binding.host_port == port != 0 and binding.last_host_port is None and protocol == _protocol(binding)
            if is_same and (address == binding.host_ip or _EVERY_ADDRESS & {address, binding.host_ip}):
                return binding
    return None


def _protocol(binding: PortBinding) -> str:
    return binding.container_port.partition("/")[2]


def _address(text: str, address: str) -> str:
    if not address:
        return ""
    return _check_ip(text, address[1:-1] if address.startswith("[") and address.endswith("]") else address)


def _check_ip(text: str, address: str) -> str:
    try:
        return parse_ip(address)
    except ValueError:
        hint = "Without an address the port is published on every one: -p 127.0.0.1:4000:80 is for this machine alone."
        raise UsageError(f"{text[:80]!r}: {address[:80]!r} is not an IP address", hint=hint) from None


def _range(text: str, ports: str, *, least: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(ports)
    if match is None:
        raise _invalid(text)
    first, last = int(match["first"]), int(match["last"] or match["first"])
    for port in (first, last):
        if not least <= port <= MAX_PORT:
            raise UsageError(f"{text[:80]!r}: {port} is not a port (1 to {MAX_PORT})", hint=_FORMS)
    if last < first:
        raise UsageError(f"{text[:80]!r}: the range {ports} ends before it begins", hint=_FORMS)
    return first, last


def _invalid(text: str) -> UsageError:
    return UsageError(f"{text[:80]!r} is not a port to publish", hint=_FORMS)
