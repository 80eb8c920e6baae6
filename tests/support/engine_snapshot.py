"""Whether the tests leave the engine of whoever runs them as it was: what was there is there, and nothing of theirs beside it.

Others may use the same engine meanwhile, also other runs of these tests. So what a run of the tool makes and removes again (a demo,
a verify, a probe) is no damage when it goes, and what is left counts only where this run of the tests made it: its name has this
run's mark (:func:`unique_name`), or its run id begins with an owner id of one of this run's state folders.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import labels
from registry_tool.base.dirs import owner_id
from registry_tool.demo import layers
from registry_tool.engine import Engine

MARK = os.environ.setdefault("TESTS_MARK", f"t{uuid.uuid4().hex[:5]}")
"""Begins the names that this run of the tests, in all its workers, gives to containers, volumes, registries and repositories."""

_SHORT_LIVED = frozenset({labels.ROLE_DEMO, labels.ROLE_VERIFY, labels.ROLE_PROBE})
_TEST_NAME = re.compile(r"t[0-9a-f]{13}|\b[0-9a-f]{64}\b")
"""A name of any run of these tests, or an anonymous volume, which goes with its container."""


def unique_name() -> str:
    """A short name that nothing else has, fit for tags, containers, volumes and repositories."""
    return f"{MARK}{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Containers by id with state, names of images with their ids, volumes, networks; without what a run removes at its end."""

    containers: frozenset[tuple[str, str]]
    images: frozenset[tuple[str, str]]
    volumes: frozenset[str]
    networks: frozenset[str]


def snapshot(engine: Engine) -> Snapshot:
    """Everything that stays, whoever made it."""
    return Snapshot(
        containers=frozenset((item.id, item.state) for item in engine.containers(all=True) if _stays(item.labels, item.name)),
        images=frozenset((name, item.id) for item in engine.images() for name in item.names if _stays(item.labels, name)),
        volumes=frozenset(item.name for item in engine.volumes() if _stays(item.labels, item.name)),
        networks=frozenset(item.id for item in engine.networks() if _stays(item.labels, item.name)),
    )


def differences(before: Snapshot, engine: Engine, folders: Path) -> list[str]:
    """What went missing, and what this run of the tests left. Its state folders lie below ``folders``."""
    after = snapshot(engine)
    # Not into engines of the tests' own: these have thousands of folders, and a run that is broken off leaves them working.
    owners = {owner_id(Path(folder)) for folder, below, _ in os.walk(folders) if "runs" in _without(below, "containerd", "data")}
    return [
        *(f"gone or changed: container {name} ({state})" for name, state in before.containers - after.containers),
        *(f"gone or moved: image {name} ({image_id})" for name, image_id in before.images - after.images if name != layers.BUILD_CACHE),
        *(f"gone: volume {name}" for name in before.volumes - after.volumes),
        *(f"gone: network {name}" for name in before.networks - after.networks),
        *(f"left: {kind} {name}" for kind, marks, name in _ours(engine) if _made_here(owners, marks, name)),
    ]


def _without(folders: list[str], *names: str) -> list[str]:
    """``folders``, which ``os.walk`` goes into next, without those of these names."""
    folders[:] = [folder for folder in folders if folder not in names]
    return folders


def _ours(engine: Engine) -> Iterator[tuple[str, Mapping[str, str], str]]:
    """Kind, labels and name of everything that carries a label of the tool's."""
    wanted = {labels.ROLE: ""}
    yield from (("container", item.labels, item.name) for item in engine.containers(all=True, labels=wanted))
    yield from (("volume", item.labels, item.name) for item in engine.volumes(labels=wanted))
    yield from (("network", item.labels, item.name) for item in engine.networks(labels=wanted))
    for image in engine.images(labels=wanted):
        # Base images and the build cache are meant to stay: they are what makes the next time quick.
        if not any(name.startswith("localhost/registry-tool/") for name in image.names):
            yield from (("image", image.labels, name) for name in image.names)


def _stays(marks: Mapping[str, str], name: str) -> bool:
    """Whether a thing outlives the run that made it, and belongs to no run of these tests."""
    of_a_run = marks.get(labels.ROLE) in _SHORT_LIVED or labels.DEMO in marks
    return not of_a_run and _TEST_NAME.search(name) is None and _TEST_NAME.search(marks.get(labels.REGISTRY, "")) is None


def _made_here(owners: set[str], marks: Mapping[str, str], name: str) -> bool:
    run_id = marks.get(labels.DEMO) or marks.get(labels.VERIFY) or ""
    return run_id[:8] in owners or MARK in name or MARK in marks.get(labels.REGISTRY, "")
