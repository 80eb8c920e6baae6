"""Undo: what a deletion removes is written to a journal before the first write, and can be restored with the same digests and tags."""

from registry_tool.content.undo.apply import apply
from registry_tool.content.undo.journal import Journal, require_one
from registry_tool.content.undo.restore import JournalSource, make_plan, missing_error, restore
from registry_tool.content.undo.values import (
    KEPT_FOR,
    JournalEntry,
    KeptManifest,
    KeptTag,
    MissingBlob,
    Restored,
    RestorePlan,
    TagPlan,
    UndoEntry,
    UndoSource,
)

__all__ = [
    "KEPT_FOR",
    "Journal",
    "JournalEntry",
    "JournalSource",
    "KeptManifest",
    "KeptTag",
    "MissingBlob",
    "RestorePlan",
    "Restored",
    "TagPlan",
    "UndoEntry",
    "UndoSource",
    "apply",
    "make_plan",
    "missing_error",
    "require_one",
    "restore",
]
