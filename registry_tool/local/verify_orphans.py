"""What proofs make on an engine, found by labels, and its end: of this run, and of runs that were killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import concurrency, labels, runs
from registry_tool.base.dirs import owner_id
from registry_tool.base.errors import Conflict, NotFound
from registry_tool.engine import Container, Engine, Network, Volume

_TRIES, _PAUSE = 20, 0.1
"""How often a network is tried that something is attached to, and the seconds in between."""


def marks(run: runs.Run) -> dict[str, str]:
    """The labels of everything that a proof makes, on the engine and inside the clean one."""
    return {labels.ROLE: labels.ROLE_PROOF, labels.PROOF: run.id}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOrphans:
    """Things of runs that are over. ``runs`` are their ids."""

    runs: frozenset[str]
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    volumes: tuple[Volume, ...]


def find(engine: Engine, state: Path) -> VerifyOrphans:
    """What this owner's dead runs left. Living runs' and other people's things are none of it."""
    wanted = {labels.PROOF: ""}
    containers, networks = engine.containers(all=True, labels=wanted), engine.networks(labels=wanted)
    volumes = engine.volumes(labels=wanted)
    marks = [item.labels for item in containers] + [item.labels for item in networks] + [item.labels for item in volumes]
    dead = frozenset(run_id for run_id in {mark.get(labels.PROOF, "") for mark in marks} if _is_over(state, run_id))
    return VerifyOrphans(
        runs=dead,
        containers=tuple(item for item in containers if item.labels.get(labels.PROOF) in dead),
        networks=tuple(item for item in networks if item.labels.get(labels.PROOF) in dead),
        volumes=tuple(item for item in volumes if item.labels.get(labels.PROOF) in dead),
    )


def sweep(engine: Engine, state: Path) -> frozenset[str]:
    """Remove what this owner's dead runs left; returns their ids."""
    found = find(engine, state)
    remove(engine, state, found)
    return found.runs


def remove(engine: Engine, state: Path, found: VerifyOrphans) -> None:
    """Remove what :func:`find` found."""
    for run_id in found.runs:
        clear(engine, run_id)
        runs.forget(state, run_id)


def clear(engine: Engine, run_id: str) -> None:
    """Remove the containers, networks and volumes of one run. What else is attached to its networks, as the registry is, is detached."""
    mine = {labels.PROOF: run_id}
    # Two at a time: an engine in a container takes a while to end, and so does what shares its network.
    for _ in concurrency.map_unordered(
        lambda container: _if_there(engine.remove, container.id, force=True), engine.containers(all=True, labels=mine), threads=2
    ):
        continue
    for network in engine.networks(labels=mine):
        _if_there(_remove_network, engine, network)
    for volume in engine.volumes(labels=mine):
        _if_there(engine.remove_volume, volume.name)


def _remove_network(engine: Engine, listed: Network) -> None:
    for left in reversed(range(_TRIES)):
        # A listing does not know what is attached.
        network = engine.network(listed.id)
        for container in network.containers if network else ():
            engine.disconnect_network(listed.id, container)
        try:
            engine.remove_network(listed.id)
        except Conflict:
            # A container whose removal somebody else began is attached until that is through.
            if left == 0:
                raise
            time.sleep(_PAUSE)
        else:
            break


def _if_there(act: Callable[..., None], *arguments: object, **options: object) -> None:
    """Somebody else may sweep at the same time."""
    try:
        act(*arguments, **options)
    except NotFound:
        return


def _is_over(state: Path, run_id: str) -> bool:
    return run_id.isalnum() and run_id.startswith(owner_id(state)) and not runs.is_alive(state, run_id)
