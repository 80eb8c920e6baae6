"""What dead demos left on the engine, found by labels, and its end. Living demos and other people's things are never touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import labels, runs
from registry_tool.base.errors import Conflict, NotFound
from registry_tool.engine import Container, Engine, Image, Network
from registry_tool.local import tag_backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Things of runs that are over. ``runs`` are their ids; ``loans`` are (run id, borrowed name)."""

    runs: frozenset[str]
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    images: tuple[Image, ...]
    """Images of dead runs that have no name any more."""
    loans: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.images or self.loans)


def find(engine: Engine, state: Path, *, kept: bool = False) -> Orphans:
    """What is left of this owner's dead runs; with ``kept`` also what ``--keep`` left running."""
    demos = {labels.DEMO: ""}
    containers = [item for item in engine.containers(all=True, labels=demos) if runs.is_owned(state, item.labels)]
    networks = [item for item in engine.networks(labels=demos) if runs.is_owned(state, item.labels)]
    # One listing for both: listing is what an engine with many images is slow at.
    every = engine.images()
    images = [image for image in every if runs.is_owned(state, image.labels)]
    loans = [loan for image in every for loan in tag_backup.on_loan(image) if runs.is_own_id(state, loan[0])]
    marks = [item.labels for item in containers] + [item.labels for item in networks] + [item.labels for item in images]
    seen = {mark.get(labels.DEMO, "") for mark in marks} | {run_id for run_id, _ in loans}
    dead = frozenset(run_id for run_id in seen if _is_over(state, run_id, kept=kept))
    return Orphans(
        runs=dead,
        containers=tuple(item for item in containers if item.labels.get(labels.DEMO) in dead),
        networks=tuple(item for item in networks if item.labels.get(labels.DEMO) in dead),
        images=tuple(item for item in images if item.labels.get(labels.DEMO) in dead and not item.names),
        loans=tuple(loan for loan in loans if loan[0] in dead),
    )


def sweep(engine: Engine, state: Path, *, friendly: str) -> Orphans:
    """Remove what dead runs left and give borrowed names back; returns what was found.

    ``friendly`` is the name a demo builds under: where it points at a dead run's image and nothing was kept for it,
    the run made it.
    """
    found = find(engine, state)
    made = engine.image(friendly)
    if made is not None and runs.is_owned(state, made.labels):
        run_id = made.labels.get(labels.DEMO, "")
        if _is_over(state, run_id, kept=True):
            tag_backup.give_back(engine, run_id, friendly)
    remove(engine, state, found)
    return found


def remove(engine: Engine, state: Path, found: Orphans) -> None:
    """Remove what :func:`find` found."""
    _remove_things(engine, found.containers, found.networks)
    for run_id, name in found.loans:
        tag_backup.give_back(engine, run_id, name)
    for image in found.images:
        _remove_image(engine, image.id)
    for run_id in found.runs:
        runs.forget(state, run_id)


def clear(engine: Engine, run: runs.Run) -> None:
    """Remove the containers and networks of one run, its own."""
    mine = {labels.DEMO: run.id}
    _remove_things(engine, engine.containers(all=True, labels=mine), engine.networks(labels=mine))


def clear_images(engine: Engine, run: runs.Run) -> None:
    """Remove what an unfinished run built."""
    for image in engine.images(labels={labels.DEMO: run.id}):
        for name in (*image.names, image.id):
            _remove_image(engine, name)


def remove_nameless(engine: Engine, image_id: str) -> None:
    """Remove an earlier demo's image that has lost its name to a later one."""
    image = engine.image(image_id)
    if image is not None and not image.names:
        _remove_image(engine, image_id)


def _is_over(state: Path, run_id: str, *, kept: bool) -> bool:
    if not run_id.isalnum() or runs.is_alive(state, run_id):
        return False
    return kept or not runs.is_kept(state, run_id)


def _remove_things(engine: Engine, containers: tuple[Container, ...], networks: tuple[Network, ...]) -> None:
    for container in containers:
        try:
            engine.remove(container.id, force=True)
        except NotFound:
            continue
    for network in networks:
        try:
            engine.remove_network(network.id)
        except NotFound:
            continue


def _remove_image(engine: Engine, name: str) -> None:
    try:
        engine.remove_image(name)
    except (NotFound, Conflict):
        # Gone already, or somebody started a container from it: then it is in use, and theirs.
        return
