"""Deletion: first a plan, which is a value and changes nothing, then its application, which checks again before each write."""

from registry_tool.content.delete.apply import Deleted, apply, check_deletable
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Removal, Scope, Selection
from registry_tool.content.delete.planner import make_plan
from registry_tool.content.delete.snapshot import Deletable, take_snapshot

__all__ = ["Deletable", "Deleted", "DeletionPlan", "Dependent", "Removal", "Scope", "Selection", "apply", "check_deletable", "plan"]


def plan(repository: Deletable, selection: Selection) -> DeletionPlan:
    """Plan the deletion of ``selection``; writes nothing. Raises NotFound (no such repository), Conflict (a tag is at another digest)."""
    return make_plan(selection, take_snapshot(repository, selection))
