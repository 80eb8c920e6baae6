"""What is on the engine of whoever runs the tests: there, untouched, afterwards; and nothing of ours beside it."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base import labels
from registry_tool.demo import build_cache
from registry_tool.engine import Engine


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Containers by id with state, names of images with their ids, volumes, networks."""

    containers: frozenset[tuple[str, str]]
    images: frozenset[tuple[str, str]]
    volumes: frozenset[str]
    networks: frozenset[str]


def snapshot(engine: Engine) -> Snapshot:
    """Everything, whoever made it."""
    return Snapshot(
        containers=frozenset((item.id, item.state) for item in engine.containers(all=True)),
        images=frozenset((name, item.id) for item in engine.images() for name in item.names),
        volumes=frozenset(item.name for item in engine.volumes()),
        networks=frozenset(item.id for item in engine.networks()),
    )


def troubles(before: Snapshot, engine: Engine) -> list[str]:
    """What went missing, and what was left that carries a label of ours."""
    after = snapshot(engine)
    found = [
        *(f"gone or changed: container {name} ({state})" for name, state in before.containers - after.containers),
        *(f"gone or moved: image {name} ({image_id})" for name, image_id in before.images - after.images if name != build_cache.NAME),
        *(f"gone: volume {name}" for name in before.volumes - after.volumes),
        *(f"gone: network {name}" for name in before.networks - after.networks),
    ]
    known = {name for name, _ in before.containers}
    found += [f"left: container {item.name}" for item in engine.containers(all=True, labels=_OURS) if item.id not in known]
    found += [f"left: volume {item.name}" for item in engine.volumes(labels=_OURS) if item.name not in before.volumes]
    found += [f"left: network {item.name}" for item in engine.networks(labels=_OURS) if item.id not in before.networks]
    named = {name for name, _ in before.images}
    for item in engine.images(labels=_OURS):
        # Base images and the build cache are meant to stay: they are what makes the next time quick.
        stays = [name for name in item.names if name.startswith("localhost/registry-tool/")]
        if not stays:
            found += [f"left: image {name}" for name in item.names if name not in named]
    return found


_OURS = {labels.ROLE: ""}
