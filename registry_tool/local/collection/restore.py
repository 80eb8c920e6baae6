"""Undo of collections: what is kept on a registry's volume, and its restoration while the registry goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from registry_tool.base.errors import NotFound
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.undo import Restored, RestorePlan, UndoEntry
from registry_tool.engine import Engine
from registry_tool.local.collection import undo
from registry_tool.local.collection.session import session
from registry_tool.local.collection.subject import CollectedRegistry
from registry_tool.local.collection.undo import CollectionUndo


class CollectionSource:
    """What collections of ``registries`` removed, as :class:`~registry_tool.content.undo.UndoSource`."""

    def __init__(self, engine: Engine, registries: Sequence[CollectedRegistry], *, state: Path, observer: Observer = SILENT) -> None:
        self._engine, self._registries = engine, registries
        self._state, self._observer = state, observer

    def entries(self) -> Sequence[UndoEntry]:
        """What can be restored now."""
        if not self._registries:
            return ()
        now, pairs = self._engine.time(), ((registry, kept) for registry in self._registries for kept in list_undo(self._engine, registry))
        return tuple(_entry(registry, kept) for registry, kept in pairs if kept.until > now)

    def plan(self, id: str) -> RestorePlan:
        """What restoring ``id`` would write. Raises NotFound."""
        registry, kept = self._find(id)
        return RestorePlan(
            entry=_entry(registry, kept),
            manifests=tuple(dict.fromkeys(digest for _, digest in kept.revisions)),
            notes=("The manifests get no tags: gc removes them again after --grace.",) if kept.revisions else (),
        )

    def restore(self, plan: RestorePlan, *, overwrite: bool) -> Iterator[Restored]:
        """Restore; then the entry is gone."""
        registry, _ = self._find(plan.entry.id)
        restored = restore_undo(self._engine, registry, plan.entry.id, state=self._state, observer=self._observer)
        for name, digest in restored.revisions:
            yield Restored(what="manifest", repository=f"{_host(registry)}/{name}", digest=digest)

    def _find(self, id: str) -> tuple[CollectedRegistry, CollectionUndo]:
        for registry in self._registries:
            for kept in list_undo(self._engine, registry):
                if kept.id == id:
                    return registry, kept
        raise NotFound(f"nothing is kept for undo under {id[:80]!r}", hint="See: regctl undo")


def _entry(registry: CollectedRegistry, kept: CollectionUndo) -> UndoEntry:
    names = sorted({name for name, _ in (*kept.revisions, *kept.layers)})
    return UndoEntry(
        id=kept.id,
        command="gc",
        repositories=tuple(f"{_host(registry)}/{name}" for name in names),
        tags=(),
        manifests=len(kept.revisions),
        bytes=kept.size,
        created=kept.created_at,
        until=kept.until_at,
    )


def _host(registry: CollectedRegistry) -> str:
    return f"localhost:{registry.port}" if registry.port else registry.name


def list_undo(engine: Engine, registry: CollectedRegistry) -> tuple[CollectionUndo, ...]:
    """What can be restored, oldest first. Nothing is run for it."""
    return undo.entries(engine, registry.container.id, registry.mounted_at)


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
