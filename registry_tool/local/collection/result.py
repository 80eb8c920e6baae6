"""Options, steps and the result of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from registry_tool.local.collection.plan import CollectionPlan
from registry_tool.local.collection.undo import CollectionUndo

HOUR, WEEK = 3600.0, 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOptions:
    """Seconds: uploads older than ``grace`` go, what is removed can be restored for ``undo_for`` (0: not at all).

    ``accept_changes``: what became unneeded since the plan was shown is removed, too.
    """

    grace: float = HOUR
    undo_for: float = WEEK
    accept_changes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionResult:
    """What a collection did. ``bytes_removed`` is what its plan said, and was; as long as ``undo`` is kept, the disk has its blobs still.

    ``pauses`` are the seconds in which the registry did not respond: before, and after. ``expired`` are earlier entries of ``undo``
    that were removed.
    """

    JSON_MEMBERS: ClassVar = "bytes_removed manifests blobs pauses undo? expired"
    plan: CollectionPlan
    bytes_removed: int
    pauses: tuple[float, ...]
    undo: CollectionUndo | None
    expired: tuple[str, ...] = ()

    @property
    def manifests(self) -> int:
        """How many manifests were removed."""
        return len(self.plan.manifests)

    @property
    def blobs(self) -> int:
        """How many blobs were removed."""
        return len(self.plan.blobs)
