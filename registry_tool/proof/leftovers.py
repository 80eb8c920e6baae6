"""What proofs make on an engine, found by labels, and its end: of this run, and of runs that were killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from registry_tool import labels, parallel
from registry_tool.engine import Engine, Network
from registry_tool.errors import Conflict, NotFound
from registry_tool.lifecycle import running
from registry_tool.places import owner

_TRIES, _PAUSE = 20, 0.1
"""How often a network is tried that something is attached to, and the seconds in between."""


def marks(run: running.Run) -> dict[str, str]:
    """The labels of everything that a proof makes, on the engine and inside the clean one."""
    return {labels.ROLE: labels.ROLE_PROOF, labels.PROOF: run.id}


def sweep(engine: Engine, state: Path) -> frozenset[str]:
    """Remove what this owner's dead runs left; returns their ids. Living runs and other people's things are not touched."""
    wanted = {labels.PROOF: ""}
    marked = [item.labels for item in engine.containers(all=True, labels=wanted)]
    marked += [item.labels for item in engine.networks(labels=wanted)]
    marked += [item.labels for item in engine.volumes(labels=wanted)]
    dead = frozenset(run_id for run_id in (item.get(labels.PROOF, "") for item in marked) if _is_over(state, run_id))
    for run_id in dead:
        clear(engine, run_id)
        running.forget(state, run_id)
    return dead


def clear(engine: Engine, run_id: str) -> None:
    """Remove the containers, networks and volumes of one run. What else is attached to its networks, as the registry is, is detached."""
    mine = {labels.PROOF: run_id}
    # Two at a time: an engine in a container takes a while to end, and so does what shares its network.
    for _ in parallel.each(
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
    return run_id.isalnum() and run_id.startswith(owner(state)) and not running.alive(state, run_id)
