"""Deletion: first a plan, which is a value and changes nothing, then its application, which checks again before each write."""

from registry_tool.content.delete.apply import Deleted, PartlyDeleted, apply, check_deletable
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Group, Removal, Scope, Selection
from registry_tool.content.delete.planner import make_plan
from registry_tool.content.delete.snapshot import Deletable, take_snapshot
from registry_tool.content.delete.unprotect import unprotect

__all__ = [
    "Deletable",
    "Deleted",
    "DeletionPlan",
    "Dependent",
    "Group",
    "PartlyDeleted",
    "Removal",
    "Scope",
    "Selection",
    "apply",
    "check_deletable",
    "plan",
    "unprotect",
]


def plan(repository: Deletable, selection: Selection, *, most_tags: int | None = None, keep_attached: bool = False) -> DeletionPlan:
    """Plan the deletion of ``selection``; writes nothing.

    With an image goes what cosign's tags attach to it, unless ``keep_attached``. In a repository of more than
    ``most_tags`` only selected tags are looked at: the plan is to be shown, not applied.
    Raises NotFound (no such repository), Conflict (a tag is at another digest).
    """
    return make_plan(selection, take_snapshot(repository, selection, most_tags=most_tags), keep_attached=keep_attached)
