"""A deletion whose plan is written to the journal first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from registry_tool.base.errors import Conflict, Protected, RegistryToolError
from registry_tool.content import delete
from registry_tool.content.delete import Deletable, Deleted, DeletionPlan
from registry_tool.content.undo.journal import Journal
from registry_tool.content.undo.values import KEPT_FOR, JournalEntry


def apply(
    plan: DeletionPlan,
    repository: Deletable,
    journal: Journal | None,
    *,
    command: str,
    seconds: float = KEPT_FOR,
    allow_empty: bool = False,
    on_entry: Callable[[JournalEntry], object] = lambda entry: None,
) -> Iterator[Deleted]:
    """As :func:`registry_tool.content.delete.apply`, with what is removed in ``journal`` before the first write, unless it is None.

    ``on_entry`` gets the entry when it is written. Raises RegistryToolError where that cannot be written; nothing is removed then.
    """
    plan.check_allowed(allow_empty=allow_empty)
    steps = delete.apply(plan, repository, allow_empty=allow_empty)
    if journal is None or not plan.removals:
        yield from steps
        return
    delete.check_deletable(plan, repository)
    entry = journal.begin(plan, repository, command=command, seconds=seconds)
    on_entry(entry)
    count = 0
    try:
        for step in steps:
            count += 1
            yield step
    except (Conflict, Protected):
        # The repository differs from the plan: without a step nothing was written.
        journal.end(entry) if count else journal.remove(entry.id)
        raise
    except RegistryToolError:
        journal.end(entry)
        raise
    journal.end(entry)
