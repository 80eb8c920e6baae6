"""Checks of what else is on the machine: builders, compose, base images and wheels, leftovers of dead runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import partial

from registry_tool.base import labels, units
from registry_tool.base.errors import NotFound
from registry_tool.doctor.diagnosis import Observation, combined, ok, skipped, warning, wrong
from registry_tool.doctor.surroundings import Surroundings
from registry_tool.engine.build import buildkit
from registry_tool.engine.build.dockerfile import needs_buildkit
from registry_tool.local import orphans
from registry_tool.local.base_images import PYTHON, REGISTRY, Base
from registry_tool.local.base_images.archive import ImageArchive

_PROGRAM_TIMEOUT = 8.0
_HUB_TIMEOUT = 2.0
_OLDEST_COMPOSE = (1, 27)
"""The first without a required ``version`` in its files."""


def builder(surroundings: Surroundings) -> Observation:
    """Whether BuildKit is there for a Dockerfile in the current folder that needs it."""
    docker = buildkit.available()
    reason = _buildkit_reason(surroundings)
    install = "Install docker's buildx plugin (Debian, Ubuntu: docker-buildx), or write the Dockerfile without it."
    if docker is None and reason is not None:
        return wrong(f"the Dockerfile in this folder needs BuildKit ({reason}), and `docker buildx` is not there", install)
    if reason is not None and os.environ.get("DOCKER_BUILDKIT") == "0":
        seen = f"DOCKER_BUILDKIT=0 makes docker build use the classic builder, and the Dockerfile needs BuildKit ({reason})"
        return warning(seen, "unset DOCKER_BUILDKIT")
    if docker is None:
        return ok("the classic builder; `docker buildx`, for Dockerfiles that need BuildKit, is not there")
    return ok(_version(docker, "buildx", "version") or "docker buildx")


def compose(surroundings: Surroundings) -> Observation:
    """Whether compose can read this tool's compose files."""
    versions = []
    for command in (("docker", "compose", "version", "--short"), ("docker-compose", "version", "--short")):
        program = shutil.which(command[0])
        text = _version(program, *command[1:]) if program is not None else None
        match = re.match(r"v?(\d+)\.(\d+)\S*", text or "")
        if match is not None:
            versions.append((int(match[1]), int(match[2]), match[0]))
    if not versions:
        return skipped("compose is not there; only docker-compose.yml needs it")
    major, minor, text = max(versions)
    if (major, minor) < _OLDEST_COMPOSE:
        wanted = ".".join(map(str, _OLDEST_COMPOSE))
        return wrong(f"compose {text} is older than {wanted}", "Install docker's compose plugin (Debian, Ubuntu: docker-compose).")
    return ok(f"compose {text}")


def base_images(surroundings: Surroundings) -> Observation:
    """Whether the registry's and the sample app's base image are here, for work without a network; damaged copies."""
    archive = ImageArchive(surroundings.dirs.cache / "bases")
    observed = [_base_image(surroundings, archive, base) for base in (REGISTRY, PYTHON)]
    wheels = surroundings.dirs.cache / "wheels"
    has_wheels = wheels.is_dir() and any(path.is_dir() for path in wheels.iterdir())
    observed.append(ok("wheels of the sample app" if has_wheels else "no wheels yet"))
    return combined(observed)


def leftovers(surroundings: Surroundings) -> Observation:
    """What killed demos and verifications left on the engine."""
    engine, state = surroundings.engine, surroundings.dirs.state
    left = [orphans.find(engine, state, role) for role in (labels.ROLE_DEMO, labels.ROLE_VERIFY)]
    runs = {run for each in left for run in each.runs}
    if not runs:
        return ok("nothing of dead runs")
    kinds = ("container", "network", "volume", "image")
    counts = {kind: sum(len(getattr(each, f"{kind}s")) for each in left) for kind in kinds}
    counts["borrowed tag"] = sum(len(each.backups) for each in left)
    shown = ", ".join(units.count(count, kind) for kind, count in counts.items() if count)

    def sweep() -> None:
        for role in (labels.ROLE_DEMO, labels.ROLE_VERIFY):
            orphans.sweep(engine, state, role)

    return warning(f"{shown} of {units.count(len(runs), 'dead run')}", "regctl doctor --fix leftovers removes them.", mend=sweep)


def _buildkit_reason(surroundings: Surroundings) -> str | None:
    try:
        text = (surroundings.folder / "Dockerfile").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return needs_buildkit(text)


def _version(program: str, *arguments: str) -> str | None:
    """The first line that a program prints about its version, if it succeeds."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(done.stdout.splitlines()), None) if done.returncode == 0 else None


def _base_image(surroundings: Surroundings, archive: ImageArchive, base: Base) -> Observation:
    engine = surroundings.engine
    platform = engine.info.platform
    try:
        copy = archive.find(base.role, platform)
    except ValueError as error:
        discard = partial(archive.discard, base.role, platform)
        return wrong(f"the kept copy of {base.official} is damaged: {error}", "regctl doctor --fix base-images discards it.", mend=discard)
    except OSError as error:
        return warning(f"the kept copies cannot be read: {error.strerror or error}", f"Make {archive.folder} readable.")
    present = next((name for name in base.names if engine.image(name) is not None), None)
    if present is not None or copy is not None:
        return ok(f"{base.official}: {'in the engine' if present else 'a kept copy'}")
    if _can_pull(surroundings, base):
        return ok(f"{base.official}: from {base.host}, at the first use")
    if shutil.which("mmdebstrap"):
        return ok(f"{base.official}: built from packages at the first use")
    return warning(
        f"{base.official} is neither in the engine nor kept, and {base.host} does not answer",
        f"docker load -i FILE brings {base.official} from a machine that has it (docker save -o FILE {base.official}).",
    )


def _can_pull(surroundings: Surroundings, base: Base) -> bool:
    try:
        return surroundings.engine.can_pull(base.official, timeout=_HUB_TIMEOUT)
    except NotFound:
        return False
