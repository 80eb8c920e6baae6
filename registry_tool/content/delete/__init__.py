"""Deletion: first a plan, which is a value and changes nothing, then its application, which checks again before each write."""

from registry_tool.content.delete.apply import Deleted, apply, check_deletable
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Removal, Scope, Selection, Tombstone
from registry_tool.content.delete.planner import make_plan
from registry_tool.content.delete.snapshot import Deletable, take_snapshot

__all__ = [
    "Deletable",
    "Deleted",
    "DeletionPlan",
    "Dependent",
    "Removal",
    "Scope",
    "Selection",
    "Tombstone",
    "apply",
    "check_deletable",
    "plan",
]


def plan(repository: Deletable, selection: Selection) -> DeletionPlan:
    """Plan the deletion of ``selection``. Writes nothing.

    Raises NotFound where there is no such repository, Conflict where a tag is not at the digest it was named with, and
    what the repository raises where it cannot be read.
    """
    return make_plan(selection, take_snapshot(repository, selection))
