"""Orphans: what dead runs left on an engine, found by labels, and its removal. Living runs' and others' things are never touched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry_tool.base import concurrency, labels, runs
from registry_tool.base.errors import Conflict, NotFound
from registry_tool.engine import Container, Engine, Image, Network, Volume
from registry_tool.local import registry as local_registry
from registry_tool.local import tag_backup

T = TypeVar("T", Container, Network, Volume, Image)

_TRIES, _PAUSE = 20, 0.1  # how often a network is tried that something is attached to, and the seconds in between
_PLUGIN_REGISTRY = "pytest-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Things of runs that are over."""

    runs: frozenset[str]
    """Ids of the runs."""
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    volumes: tuple[Volume, ...]
    images: tuple[Image, ...]
    """A demo's images that have no name any more."""
    backups: tuple[tuple[str, str], ...]
    """(run id, tag that it borrowed)."""


def find(engine: Engine, state: Path, role: str, *, kept: bool = False) -> Orphans:
    """What is left of this owner's dead runs of ``role`` (demo or proof); with ``kept`` also what ``--keep`` left running."""
    id_label = runs.ID_LABELS[role]

    def of_dead_runs(items: Iterable[T]) -> tuple[T, ...]:
        return tuple(item for item in items if runs.is_over(state, item.labels.get(id_label, ""), kept=kept))

    wanted = {labels.ROLE: role, id_label: ""}
    containers = of_dead_runs(engine.containers(all=True, labels=wanted))
    networks = of_dead_runs(engine.networks(labels=wanted))
    volumes = of_dead_runs(engine.volumes(labels=wanted))
    # One listing for images and backups: listing is what an engine with many images is slow at.
    every = engine.images() if role == labels.ROLE_DEMO else ()
    images = of_dead_runs(image for image in every if not image.names)
    backups = tuple(
        (run_id, tag) for image in every for run_id, tag in tag_backup.backups_of(image) if runs.is_over(state, run_id, kept=kept)
    )
    items: tuple[Container | Network | Volume | Image, ...] = (*containers, *networks, *volumes, *images)
    ids = frozenset({item.labels[id_label] for item in items} | {run_id for run_id, _ in backups})
    return Orphans(runs=ids, containers=containers, networks=networks, volumes=volumes, images=images, backups=backups)


def sweep(engine: Engine, state: Path, role: str) -> frozenset[str]:
    """Remove what this owner's dead runs of ``role`` left and restore the tags they borrowed; returns their ids."""
    orphans = find(engine, state, role)
    remove(engine, state, orphans)
    return orphans.runs


def sweep_tag(engine: Engine, state: Path, tag: str) -> None:
    """Take ``tag``, which demos build under, from a dead demo's image: where nothing was kept for it, the run made it."""
    image = engine.image(tag)
    run_id = image.labels.get(labels.DEMO, "") if image is not None else ""
    if runs.is_over(state, run_id, kept=True):
        tag_backup.give_back(engine, run_id, tag)


def remove(engine: Engine, state: Path, orphans: Orphans) -> None:
    """Remove what :func:`find` found."""
    _remove(engine, orphans.containers, orphans.networks, orphans.volumes)
    for run_id, tag in orphans.backups:
        tag_backup.give_back(engine, run_id, tag)
    for image in orphans.images:
        remove_image(engine, image.id)
    for run_id in orphans.runs:
        runs.forget(state, run_id)


def forget_kept(engine: Engine, state: Path, run_id: str) -> tuple[str, ...]:
    """Remove the networks and volumes of a kept demo whose last container is gone; returns their names."""
    marks = {labels.ROLE: labels.ROLE_DEMO, labels.DEMO: run_id}
    if not runs.is_over(state, run_id, kept=True) or engine.containers(all=True, labels=marks):
        return ()
    names = [network.name for network in engine.networks(labels=marks)] + [volume.name for volume in engine.volumes(labels=marks)]
    clear(engine, marks)
    runs.forget(state, run_id)
    return tuple(names)


def clear(engine: Engine, marks: Mapping[str, str]) -> None:
    """Remove the containers, networks and volumes with the labels ``marks``, which are one run's."""
    _remove(engine, engine.containers(all=True, labels=marks), engine.networks(labels=marks), engine.volumes(labels=marks))


def remove_image(engine: Engine, name: str) -> None:
    """Remove an image's name or id; one that is gone, or that a container was started from meanwhile, is left."""
    with suppress(Conflict):
        engine.remove_image(name, missing_ok=True)


def plugin_registry_name(run: runs.Run, worker: str) -> str:
    """The name of the registry that the pytest plugin runs for ``worker`` while ``run`` lives."""
    return f"{_PLUGIN_REGISTRY}{worker}-{run.id}"


def sweep_plugin_registries(engine: Engine, state: Path) -> None:
    """Remove the pytest plugin's registries whose process was killed, with their volumes."""
    wanted = {labels.ROLE: labels.ROLE_REGISTRY}
    registries: list[Container | Volume] = [*engine.containers(all=True, labels=wanted), *engine.volumes(labels=wanted)]
    for name in sorted({item.labels.get(labels.REGISTRY, "") for item in registries}):
        run_id = name.rpartition("-")[2]
        if name.startswith(_PLUGIN_REGISTRY) and runs.is_over(state, run_id):
            with suppress(NotFound):  # somebody else sweeps at the same time
                local_registry.down(engine, name, volumes=True)
            runs.forget(state, run_id)


def _remove(engine: Engine, containers: Iterable[Container], networks: Iterable[Network], volumes: Iterable[Volume]) -> None:
    # Somebody else may sweep at the same time, so anything may be gone. Two at a time: an engine in a container takes a while
    # to end, and so does what shares its network.
    removals = concurrency.map_unordered(lambda item: _remove_container(engine, item), containers, threads=2)
    needed = [item for item, removed in removals if not removed]
    # Podman removes nothing whose network another container shares: now that one is gone.
    for item in needed:
        engine.remove(item.id, force=True, missing_ok=True)
    for network in networks:
        _remove_network(engine, network)
    for volume in volumes:
        engine.remove_volume(volume.name, missing_ok=True)


def _remove_container(engine: Engine, container: Container) -> bool:
    """Remove a container; False where another one has to go first."""
    try:
        engine.remove(container.id, force=True, missing_ok=True)
    except Conflict:
        return False
    return True


def _remove_network(engine: Engine, listed: Network) -> None:
    """Remove a network; what is attached to it and of another run, as the registry is, is detached."""
    for left in reversed(range(_TRIES)):
        # A listing does not know what is attached.
        network = engine.network(listed.id)
        for container in network.containers if network else ():
            engine.disconnect_network(listed.id, container)
        try:
            engine.remove_network(listed.id, missing_ok=True)
        except Conflict:
            # A container whose removal somebody else began is attached until that is through.
            if left == 0:
                raise
            time.sleep(_PAUSE)
        else:
            break
