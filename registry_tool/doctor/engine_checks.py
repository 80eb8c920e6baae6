"""Checks of the container engine: present, reachable, version, storage, disk, cgroup, clock."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

from registry_tool.auth import docker_config
from registry_tool.base import units
from registry_tool.base.errors import CredentialsError, RegistryToolError
from registry_tool.doctor.diagnosis import Observation, combined, ok, skipped, warning, wrong
from registry_tool.doctor.surroundings import Surroundings

OLDEST_DOCKER, OLDEST_PODMAN = (20, 10), (4, 0)
SLOW_STORAGE = {
    "vfs": "copies every layer whole: slow, and large",
    "devicemapper": "is removed in docker 25",
    "aufs": "is removed in docker 24",
}
ENGINE_NEEDS, FOLDER_NEEDS, LOW = 500 * 10**6, 50 * 10**6, 2 * 10**9
"""Bytes that must be free for the engine and for a folder of this tool, and below which the engine's are a warning."""
LEAST_INODES = 1000
MAX_SKEW = 60.0
"""Seconds that two clocks may differ: tokens and certificates allow about so much."""
_EARLIEST = datetime(2024, 1, 1, tzinfo=timezone.utc)


def engine(surroundings: Surroundings) -> Observation:
    """Whether an engine is there and answers."""
    try:
        connected = surroundings.engine
        info = connected.info
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Start it, or name another one in DOCKER_HOST.")
    endpoint = connected.endpoint
    seen = f"{info.product} {info.version} at {endpoint.url} ({endpoint.source})"
    context = _context()
    if context is not None and endpoint.source == "DOCKER_HOST":
        return warning(f"{seen}, which goes before docker's context {context}", "Unset DOCKER_HOST to use the context's engine.")
    return ok(seen)


def version(surroundings: Surroundings) -> Observation:
    """Whether the engine is one that this tool is tested with."""
    info = surroundings.engine.info
    numbers = re.match(r"(\d+)\.(\d+)", info.version)
    oldest = OLDEST_PODMAN if surroundings.engine.is_podman else OLDEST_DOCKER
    wanted = ".".join(map(str, oldest))
    if numbers is None:
        return skipped(f"{info.product} reports the version {info.version!r}")
    if (int(numbers[1]), int(numbers[2])) < oldest:
        return wrong(f"{info.product} {info.version} is older than {wanted}", f"Install {info.product} {wanted} or newer.")
    return ok(f"{info.product} {info.version}, API {info.api_version}")


def storage_driver(surroundings: Surroundings) -> Observation:
    """How the engine stores images."""
    driver = surroundings.setup.storage
    if driver in SLOW_STORAGE:
        return warning(
            f"the engine's storage driver is {driver}, which {SLOW_STORAGE[driver]}",
            'Use overlay2: {"storage-driver": "overlay2"} in /etc/docker/daemon.json (images have to be pulled again).',
        )
    return ok(driver + (", containerd's image store" if surroundings.engine.has_containerd_store else ""))


def cgroup(surroundings: Surroundings) -> Observation:
    """Whether limits of containers have an effect."""
    setup = surroundings.setup
    if setup.cgroup_driver == "none":
        return warning(
            "the engine manages no cgroups: limits of memory and CPU have no effect",
            "Rootless engines need cgroup v2 and systemd: see docs.docker.com/engine/security/rootless",
        )
    if setup.cgroup_version == "1" and setup.runtime == "crun":
        return warning("crun on cgroup v1 may refuse to start containers", 'Set runtime = "runc" in containers.conf, or use cgroup v2.')
    return ok(f"cgroup v{setup.cgroup_version or '?'}, driver {setup.cgroup_driver or 'unknown'}")


def disk(surroundings: Surroundings) -> Observation:
    """Free bytes and inodes of the engine's disk."""
    setup = surroundings.setup
    root = Path(setup.root_folder)
    # An engine in a virtual machine, or behind a socket out of a container, has a disk that cannot be seen from here.
    if not setup.root_folder or setup.host != socket.gethostname() or not _is_visible(root):
        return skipped(f"the engine's disk cannot be seen from here ({setup.root_folder or 'its folder is unknown'})")
    fix = "Make room: regctl gc --apply frees what no tag needs, docker system df shows what images and containers take."
    return _free(root, "the engine's disk", needs=ENGINE_NEEDS, fix=fix)


def folders(surroundings: Surroundings) -> Observation:
    """Folders of state and cache, and the temporary one: writable, with room."""
    try:
        dirs = surroundings.dirs
    except OSError as error:
        return wrong(f"there is no folder for state and cache: {error.strerror or error}", "Set XDG_STATE_HOME and XDG_CACHE_HOME.")
    if dirs.warning:
        return warning(dirs.warning, "Make the home folder writable, or set XDG_STATE_HOME and XDG_CACHE_HOME.")
    places = {"state": dirs.state, "cache": dirs.cache, "temporary files": Path(tempfile.gettempdir())}
    return combined(_folder(name, path) for name, path in places.items())


def clock(surroundings: Surroundings) -> Observation:
    """This machine's clock beside the engine's and the registry's."""
    now = datetime.now(timezone.utc)
    fix = "Set the clock: sudo timedatectl set-ntp true; Docker Desktop's machine gets it at a restart."
    if now < _EARLIEST:
        return wrong(f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC", fix)
    skews: dict[str, float] = {}
    try:
        setup = surroundings.setup
        skews["the engine's"] = _seconds(setup.system_time) - setup.asked_at
        for registry in surroundings.local_registries:
            if registry.running and (moment := surroundings.registry_clock(registry)) is not None:
                skews[f"the registry {registry.name}'s"] = parsedate_to_datetime(moment[0]).timestamp() - moment[1]
    except (RegistryToolError, ValueError):
        if not skews:
            return ok(f"{now:%Y-%m-%d %H:%M} UTC; there is no other clock to compare with")
    off = {whose: skew for whose, skew in skews.items() if abs(skew) > MAX_SKEW}
    if off:
        shown = ", ".join(f"{whose} clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}" for whose, skew in off.items())
        return wrong(f"{shown} of this machine's", fix)
    return ok(f"{now:%Y-%m-%d %H:%M} UTC, as {' and '.join(skews)}")


def _context() -> str | None:
    try:
        return docker_config.current_context()
    except CredentialsError:
        return None


def _is_visible(path: Path) -> bool:
    try:
        os.statvfs(path)
    except OSError:
        return False
    return True


def _folder(name: str, path: Path) -> Observation:
    try:
        with tempfile.TemporaryFile(dir=path, buffering=0) as trial:
            trial.write(b"0" * 4096)
    except OSError as error:
        fix = f"Make room on the disk of {path}, or make it writable for this user; TMPDIR, XDG_STATE_HOME, XDG_CACHE_HOME name others."
        return wrong(f"{path} ({name}) cannot be written to: {error.strerror or error}", fix)
    return _free(path, f"the disk of {path} ({name})", needs=FOLDER_NEEDS, fix=f"Make room there, or name another folder for {name}.")


def _free(path: Path, what: str, *, needs: int, fix: str) -> Observation:
    usage = os.statvfs(path)
    available = usage.f_bavail * usage.f_frsize
    # Some file systems have no fixed number of inodes, and report none at all.
    inodes = usage.f_favail if usage.f_files else None
    seen = f"{what} has {units.size(available)} free"
    if inodes is not None and inodes < LEAST_INODES:
        return wrong(f"{what} has {inodes} inodes free, and {units.size(available)}", f"Remove small files there. {fix}")
    if available < needs:
        return wrong(seen, fix)
    if needs == ENGINE_NEEDS and available < LOW:
        return warning(seen, fix)
    return ok(seen)


def _seconds(text: str) -> float:
    """Unix seconds of an engine's RFC 3339 time. Raises ValueError."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    return datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00")).timestamp()
