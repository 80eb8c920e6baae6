"""Undo of collections: what is kept on a registry's volume, and its restoration while the registry goes on."""

from __future__ import annotations

from pathlib import Path

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local.collection import undo
from registry_tool.local.collection.session import session
from registry_tool.local.collection.subject import CollectedRegistry
from registry_tool.local.collection.undo import CollectionUndo


def list_undo(engine: Engine, registry: CollectedRegistry, *, state: Path) -> tuple[CollectionUndo, ...]:
    """What can be restored, oldest first. Raises Conflict while a collection runs."""
    with session(engine, registry, state=state, read_only=True) as (worker, _):
        return undo.entries(worker)


def restore_undo(engine: Engine, registry: CollectedRegistry, id: str, *, state: Path, observer: Observer = SILENT) -> CollectionUndo:
    """Restore an entry: same digests, without tags, as they had none. It can be repeated where it fails.

    Nothing is stopped: content is added before the manifests that need it. The entry is gone then.
    Raises NotFound where there is none of that id; Conflict while a collection runs.
    """
    with session(engine, registry, state=state, observer=observer) as (worker, _):
        restored = undo.restore(worker, id, worker.read()[0])
        undo.discard(worker, [id])
    return restored


def discard_undo(engine: Engine, registry: CollectedRegistry, id: str, *, state: Path) -> CollectionUndo:
    """Remove an entry for good: the disk is free of it. Raises NotFound where there is none of that id."""
    with session(engine, registry, state=state) as (worker, _):
        entry = undo.entry(worker, id)
        undo.discard(worker, [id])
    return entry


def discard_expired(engine: Engine, registry: CollectedRegistry, *, state: Path) -> tuple[str, ...]:
    """Remove entries whose time is over; returns their ids. Raises Conflict while a collection runs."""
    with session(engine, registry, state=state) as (worker, _):
        ids = undo.expired(worker, now=worker.time())
        undo.discard(worker, ids)
    return ids
