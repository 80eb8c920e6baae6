"""Which ports are free, and what holds one that is not. On another machine the engine reports it when the container starts."""

from __future__ import annotations

import errno
import platform
import socket
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from shutil import which

from registry_tool.base import labels
from registry_tool.base.address import MAX_PORT
from registry_tool.base.errors import Conflict, PortTaken
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.engine.values import Container
from registry_tool.local.registry.spec import DEFAULT_PORT, EVERY_ADDRESS, EVERY_ADDRESS_V6, LOOPBACK

_LISTENING = "0A"  # tCP_LISTEN in the tables of /proc/net
_LOOPBACK_ADDRESSES = frozenset({"", "0.0.0.0", "::", "::1", LOOPBACK})  # noqa: S104 - compared with, not bound
_LOOKUP_TIMEOUT = 2.0  # seconds that finding the holder's name may take


def holder(port: int, containers: Iterable[Container], *, local: bool, listen: str = LOOPBACK) -> str | None:
    """Describe what holds ``port`` on loopback or at ``listen``; None where it is free.

    ``local``: the engine publishes on this machine, so it is tried, too.
    """
    for container in containers:
        if _publishes(container, port, listen):
            return _describe(container)
    if local and (is_taken(port) or (listen != LOOPBACK and _is_bound(listen, port))):
        process = _process_of_proc(port) if Path("/proc/net/tcp").exists() else _process_of_lsof(port)
        return _airplay(port) or process or "something else on this machine"
    return None


def is_taken(port: int) -> bool:
    """Whether something on this machine has ``port`` on a loopback address.

    127.0.0.1 is tried by binding. Both it and ::1, which ``localhost`` may mean, are connected to as well: on macOS 127.0.0.1 can be
    bound while another process listens on every address.
    """
    return _is_bound(LOOPBACK, port) or _accepts(socket.AF_INET, LOOPBACK, port) or _accepts(socket.AF_INET6, "::1", port)


def _is_bound(address: str, port: int) -> bool:
    """Whether a server on this machine has ``port`` at ``address``, by binding it."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
            # As servers do: connections of an earlier one that are still closing do not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address, port))
    except OSError as error:
        # A port that this user may not bind is not taken: the engine reports that.
        return error.errno == errno.EADDRINUSE
    return False


def next_free(
    containers: Iterable[Container], *, local: bool, listen: str = LOOPBACK, avoid: Collection[int] = ()
) -> tuple[int, str | None]:
    """The first free port from 5000 on and not in ``avoid``, and what holds 5000 where it is another. Raises Conflict if there is none."""
    containers = tuple(containers)
    reason = None
    for port in range(DEFAULT_PORT, MAX_PORT + 1):
        held_by = holder(port, containers, local=local, listen=listen)
        if held_by is None and port not in avoid:
            return port, reason
        if port == DEFAULT_PORT and held_by is not None:
            reason = held_by
    raise Conflict(f"no port from {DEFAULT_PORT} on is free", hint="Name one with --port.")


def port_taken(port: int, held_by: str) -> PortTaken:
    """The error for a taken port."""
    return PortTaken(f"port {port} is in use by {held_by}", hint="Name another with --port, or leave --port out to get the next free one.")


def _publishes(container: Container, port: int, listen: str) -> bool:
    if container.state not in ("running", "paused"):
        return False
    addresses = _LOOPBACK_ADDRESSES | {listen}
    # Every address of the machine is also that of another container.
    is_every = listen in (EVERY_ADDRESS, EVERY_ADDRESS_V6)
    return any(binding.host_port == port and (is_every or binding.host_ip in addresses) for binding in container.ports)


def _describe(container: Container) -> str:
    if container.labels.get(labels.ROLE) == labels.ROLE_REGISTRY:
        return f"the registry {container.labels.get(labels.REGISTRY, container.name)!r} of this tool"
    return f"the container {container.name!r}"


def _accepts(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family) as trial:
            trial.settimeout(0.5)
            trial.connect((address, port))
    except OSError:
        # Refused, no such address family, no route.
        return False
    return True


def _airplay(port: int) -> str | None:
    if platform.system() != "Darwin":
        return None
    try:
        page = get_page(f"http://{LOOPBACK}:{port}/v2/", timeout=_LOOKUP_TIMEOUT)
    except NoResponse:
        return None
    is_airplay = page.status == 403 and "AirTunes" in page.headers.get("server", "")
    return "AirPlay (System Settings, General, AirDrop & Handoff, AirPlay Receiver)" if is_airplay else None


def _process_of_proc(port: int, proc: Path = Path("/proc")) -> str | None:
    """Linux: find the listening socket's inode, then the process that has it open, as far as this user may read."""
    sockets = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for folder in proc.glob("[0-9]*/fd"):
        name = _process_name(folder, sockets)
        if name is not None:
            return f"the process {name} (pid {folder.parent.name})"
    return None


def _process_name(folder: Path, sockets: Collection[str]) -> str | None:
    try:
        if any(str(entry.readlink()) in sockets for entry in folder.iterdir()):
            return (folder.parent / "comm").read_text().strip()
    except OSError:
        return None  # it has ended, or belongs to another user
    return None


def _process_of_lsof(port: int) -> str | None:
    program = which("lsof")
    if program is None:
        return None
    try:
        result = subprocess.run(
            [program, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], capture_output=True, text=True, timeout=_LOOKUP_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    fields = {line[:1]: line[1:] for line in reversed(result.stdout.splitlines()) if line}
    return f"the process {fields['c']} (pid {fields['p']})" if {"c", "p"} <= fields.keys() else None
