"""Registries that a garbage collection keeps read-only, and their recovery where that collection died.

While a collection runs, the registry's container is stopped, and a stand-in serves its content read-only. A worker container holds the
registry's volume; it ends with the process that attached to it, however that ends. So everybody who uses the engine sees whether a
collection lives. What a dead one leaves is removed, and the registry's container is started again: until then only content was removed
that nothing needs, so the registry is whole at any time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import labels, runs
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import Conflict, EngineTimeout, NotFound, PortTaken
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, Engine
from registry_tool.local.registry.locks import lock

STAND_IN, WORKER = "stand-in", "worker"
_TRIES, _PAUSE = 5, 0.5  # how often a start is tried, and the seconds in between
_ENDS = 30.0  # seconds that a container may take to end at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The containers of one garbage collection. ``registry`` is the name of the registry's container, ``container_id`` its id."""

    id: str
    registry: str
    container_id: str
    restart: bool
    workers: tuple[Container, ...]
    stand_ins: tuple[Container, ...]

    def is_alive(self, state: Path | None) -> bool:
        """Whether its process lives, here or elsewhere; ``state`` is the folder of this owner's runs."""
        if state is not None and runs.is_owned(state, self.id):
            return not runs.is_over(state, self.id)
        return any(worker.running for worker in self.workers)


def collection_labels(run: runs.Run, part: str, container: Container, *, restart: bool) -> Mapping[str, str]:
    """Labels of the ``part`` (:data:`STAND_IN`, :data:`WORKER`) of a collection; ``restart``: ``container`` has to run in the end."""
    return {
        **run.labels(labels.ROLE_COLLECTION),
        labels.COLLECTION_PART: part,
        labels.COLLECTED: container.id,
        labels.COLLECTED_RESTART: "true" if restart else "false",
        labels.REGISTRY: container.labels.get(labels.REGISTRY, container.name),
    }


def find_collections(engine: Engine, registry: str | None = None) -> tuple[Collection, ...]:
    """The collections of which there are containers, of ``registry`` or of all; its name is a container's where it is not this tool's."""
    if registry == "":
        return ()
    wanted = {labels.ROLE: labels.ROLE_COLLECTION} | ({labels.REGISTRY: registry} if registry is not None else {})
    groups: dict[str, list[Container]] = {}
    for container in engine.containers(all=True, labels=wanted):
        groups.setdefault(container.labels.get(labels.COLLECTION, ""), []).append(container)
    return tuple(
        Collection(
            id=id,
            registry=group[0].labels.get(labels.REGISTRY, ""),
            container_id=group[0].labels.get(labels.COLLECTED, ""),
            restart=group[0].labels.get(labels.COLLECTED_RESTART) == "true",
            workers=tuple(each for each in group if each.labels.get(labels.COLLECTION_PART) == WORKER),
            stand_ins=tuple(each for each in group if each.labels.get(labels.COLLECTION_PART) != WORKER),
        )
        for id, group in sorted(groups.items())
    )


def recover(engine: Engine, registry: str | None = None, *, state: Path | None, locked: bool = False) -> tuple[Collection, ...]:
    """Bring back the registries whose collection died; returns those collections. Raises what :func:`bring_back` raises.

    ``locked``: the caller has the registry's lock, which is taken otherwise, so that no next collection has begun meanwhile.
    """
    if state is None or locked:
        return _recover(engine, registry, state)
    dead = {each.registry for each in find_collections(engine, registry) if not each.is_alive(state)}
    recovered: list[Collection] = []
    for name in sorted(dead):
        with lock(engine, name, state):
            recovered += _recover(engine, name, state)
    return tuple(recovered)


def _recover(engine: Engine, registry: str | None, state: Path | None) -> tuple[Collection, ...]:
    dead = tuple(each for each in find_collections(engine, registry) if not each.is_alive(state))
    for collection in dead:
        bring_back(engine, collection)
        if state is not None and runs.is_owned(state, collection.id):
            runs.forget(state, collection.id)
    return dead


def check_not_collected(engine: Engine, registry: str, *, state: Path | None, observer: Observer = SILENT) -> None:
    """Raises Conflict while a garbage collection of ``registry`` runs; one that died is recovered, with a note.

    The caller has the registry's lock, if there is one.
    """
    for dead in recover(engine, registry, state=state, locked=True):
        observer.note(interruption(dead))
    if find_collections(engine, registry):
        raise being_collected(registry)


def being_collected(registry: str) -> Conflict:
    """The error for a registry whose garbage is being collected."""
    return Conflict(
        f"the registry {registry!r} is read-only: its garbage is being collected",
        hint="Wait until that has ended, and try again. See: regctl status",
    )


def interruption(collection: Collection) -> str:
    """What a person is told of a collection that died and was recovered."""
    return f"{collection.registry}: a garbage collection was interrupted; the registry is whole, and writable again"


def bring_back(engine: Engine, collection: Collection) -> None:
    """End ``collection``: stop its worker, remove its stand-in, start the registry's container if it ran before. Can be repeated.

    Raises PortTaken where something else has the registry's port meanwhile; EngineError. As long as one of its containers is there, the
    next call tries again.
    """
    with defer_signals():
        # First: a collection that goes on while the registry accepts a push breaks the image being pushed (distribution#3045).
        for worker in collection.workers:
            end(engine, worker.id)
        if collection.restart:
            _restart(engine, collection)
        for container in (*collection.stand_ins, *collection.workers):
            engine.remove(container.id, force=True, missing_ok=True)


def end(engine: Engine, id: str) -> None:
    """End a container at once, and wait until it has ended; one that is not there or does not run is left. Raises EngineTimeout."""
    with suppress(NotFound, Conflict):  # it has ended, or is being removed
        # Not killed: podman closes the ports of a killed container a moment later, and with them those of another that began to use them.
        engine.stop(id, timeout=0)

    def ended() -> bool:
        container = engine.container(id)
        return container is None or not container.running

    if not poll(ended, Deadline(_ENDS)):
        raise EngineTimeout(f"the container {id[:12]} did not end within {_ENDS:g} s", hint="Is the engine busy? Try again.")


def _restart(engine: Engine, collection: Collection) -> None:
    """Start the registry's container; what a process that died had asked the engine for may still be under way."""
    for left in reversed(range(_TRIES)):
        for stand_in in collection.stand_ins:
            end(engine, stand_in.id)
        container = engine.container(collection.container_id)
        if container is None:
            return  # removed meanwhile: `up` creates it again
        try:
            if not container.running:
                engine.start(container.id)
            elif collection.stand_ins:
                engine.restart(container.id)  # it may be stopping
        except NotFound:
            return
        except PortTaken:
            # By the stand-in, which was being started.
            if left == 0:
                raise
            time.sleep(_PAUSE)
        else:
            return
