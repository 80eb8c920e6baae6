"""Deletion: first a plan, which is a value and changes nothing, then its application, which looks again before each write."""

from registry_tool.content.delete.apply import Deleted, apply, check_deletable
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Looked, Removal, Tombstone
from registry_tool.content.delete.planner import decide
from registry_tool.content.delete.selection import Selection
from registry_tool.content.delete.snapshot import Deletable, RepositorySnapshot, look

__all__ = [
    "Deletable",
    "Deleted",
    "DeletionPlan",
    "Dependent",
    "Looked",
    "Removal",
    "RepositorySnapshot",
    "Selection",
    "Tombstone",
    "apply",
    "check_deletable",
    "decide",
    "look",
    "plan",
]


def plan(repository: Deletable, selection: Selection) -> DeletionPlan:
    """What deleting ``selection`` would take and hit. Writes nothing.

    Raises NotFound where there is no such repository, Conflict where a tag is not at the digest it was named with, and
    what the repository raises where it cannot be read.
    """
    return decide(selection, look(repository, selection))
