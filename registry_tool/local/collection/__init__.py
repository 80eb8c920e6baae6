"""Garbage collection of a registry that runs on this engine: planned first, applied behind a read-only stand-in, restorable."""

from registry_tool.local.collection.collect import collect, plan_collection
from registry_tool.local.collection.plan import CollectionPlan, UnfinishedUpload, UnneededManifest
from registry_tool.local.collection.restore import CollectionSource, discard_expired, discard_undo, list_undo, restore_undo
from registry_tool.local.collection.result import CollectionOptions, CollectionResult
from registry_tool.local.collection.subject import CollectedRegistry, find_subject
from registry_tool.local.collection.undo import CollectionUndo

__all__ = [
    "CollectedRegistry",
    "CollectionOptions",
    "CollectionPlan",
    "CollectionResult",
    "CollectionSource",
    "CollectionUndo",
    "UnfinishedUpload",
    "UnneededManifest",
    "collect",
    "discard_expired",
    "discard_undo",
    "find_subject",
    "list_undo",
    "plan_collection",
    "restore_undo",
]
