"""Which port is free, and who holds one that is not.

A port is tried, on this machine, and looked for among the containers that the engine publishes. What neither can see
(an engine on another machine) the engine says itself when the container starts.
"""

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
from registry_tool.local.registry.spec import FIRST_PORT, LOOPBACK

_LISTENING = "0A"
"""TCP_LISTEN in the tables of /proc/net."""
_REACH_LOOPBACK = frozenset({"", "0.0.0.0", "::", "::1", LOOPBACK})  # noqa: S104 - compared with, not bound
_LOOKING = 2.0
"""Seconds that finding out a holder's name may take: the name is a courtesy."""


def holder(port: int, containers: Iterable[Container], *, here: bool) -> str | None:
    """In words, who holds ``port``; None where it is free.

    ``here`` says whether the engine publishes ports on this machine: if not, trying one here says nothing.
    """
    for container in containers:
        if _publishes(container, port):
            return _words(container)
    if here and is_taken(port):
        return _airplay(port) or _process(port) or "something else on this machine"
    return None


def is_taken(port: int) -> bool:
    """Whether something on this machine has ``port`` on a loopback address.

    Binding tells on 127.0.0.1. On ::1 it matters whether something answers, as ``localhost`` may lead there; and on a Mac
    one can bind 127.0.0.1 beside somebody who listens on every address, so there, too, the answer counts.
    """
    with socket.socket(socket.AF_INET) as trial:
        # What a server wants: connections of the last one that are still being closed do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError as error:
            # A port that this user may not bind is not taken: the engine has a word of its own for it.
            if error.errno == errno.EADDRINUSE:
                return True
    return _answers(socket.AF_INET, LOOPBACK, port) or _answers(socket.AF_INET6, "::1", port)


def next_free(containers: Iterable[Container], *, here: bool, avoid: Collection[int] = ()) -> tuple[int, str | None]:
    """The first free port from 5000 on, and who holds 5000 where it is another. Ports in ``avoid`` are passed over.

    Raises Conflict where there is none.
    """
    known = tuple(containers)
    why = None
    for port in range(FIRST_PORT, MAX_PORT + 1):
        held_by = holder(port, known, here=here)
        if held_by is None and port not in avoid:
            return port, why
        if port == FIRST_PORT and held_by is not None:
            why = held_by
    raise Conflict(f"no port from {FIRST_PORT} on is free", hint="Name one with --port.")


def taken(port: int, held_by: str) -> PortTaken:
    """The error that names who holds ``port``."""
    return PortTaken(f"port {port} is held by {held_by}", hint="Name another with --port, or leave --port out to get the next free one.")


def _publishes(container: Container, port: int) -> bool:
    if container.state not in ("running", "paused"):
        return False
    return any(binding.host_port == port and binding.host_ip in _REACH_LOOPBACK for binding in container.ports)


def _words(container: Container) -> str:
    if container.labels.get(labels.ROLE) == labels.ROLE_REGISTRY:
        return f"the registry {container.labels.get(labels.REGISTRY, container.name)!r} of this tool"
    return f"the container {container.name!r}"


def _answers(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family) as trial:
        trial.settimeout(0.5)
        try:
            trial.connect((address, port))
        except OSError:
            # Refused, no such family, no route: nobody is there.
            return False
    return True


def _airplay(port: int) -> str | None:
    if platform.system() != "Darwin":
        return None
    try:
        page = get_page(f"http://{LOOPBACK}:{port}/v2/", timeout=_LOOKING)
    except NoResponse:
        return None
    is_airplay = page.status == 403 and "AirTunes" in page.headers.get("server", "")
    return "AirPlay (System Settings, General, AirDrop & Handoff, AirPlay Receiver)" if is_airplay else None


def _process(port: int) -> str | None:
    return _process_of_proc(port) if Path("/proc/net/tcp").exists() else _process_of_lsof(port)


def _process_of_proc(port: int, proc: Path = Path("/proc")) -> str | None:
    """Linux: the listening socket's inode, then whose open file it is, as far as this user may look."""
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
        name = _name_of_owner(folder, sockets)
        if name is not None:
            return f"the process {name} (pid {folder.parent.name})"
    return None


def _name_of_owner(folder: Path, sockets: Collection[str]) -> str | None:
    try:
        if any(str(entry.readlink()) in sockets for entry in folder.iterdir()):
            return (folder.parent / "comm").read_text().strip()
    except OSError:
        return None  # it ended meanwhile, or belongs to somebody else
    return None


def _process_of_lsof(port: int) -> str | None:
    program = which("lsof")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], capture_output=True, text=True, timeout=_LOOKING, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    found = {line[:1]: line[1:] for line in reversed(answer.stdout.splitlines()) if line}
    return f"the process {found['c']} (pid {found['p']})" if {"c", "p"} <= found.keys() else None
