"""Apply a plan: repository by repository, through the deletion of ``content.delete``, which looks again before each write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from registry_tool.base.errors import RegistryToolError, TooManyRequests
from registry_tool.content import delete, undo
from registry_tool.content.delete import Deletable, Deleted, PartlyDeleted
from registry_tool.content.retention.plan import PrunePlan, RepositoryPlan
from registry_tool.content.undo import KEPT_FOR, Journal, JournalEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """One step in ``repository``: what was ``deleted``, or the ``error`` that left something there."""

    repository: str
    deleted: Deleted | None = None
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedStep:
    """The same for JSON, of what was deleted."""

    JSON_MEMBERS: ClassVar = "repository what tags digest"
    repository: str
    what: str
    tags: tuple[str, ...]
    digest: str | None

    @classmethod
    def of(cls, repository: str, deleted: Deleted) -> PrunedStep:
        """A step of ``repository``."""
        digest = str(deleted.digest) if deleted.digest is not None else None
        return cls(repository=repository, what=deleted.what, tags=deleted.tags, digest=digest)


def check_applicable(plan: PrunePlan, open_repository: Callable[[str], Deletable], *, allow_empty: bool) -> None:
    """Raises ConfirmationRequired where a repository would lose its last tag without ``allow_empty``.

    Raises RegistryError where deletion is off or the registry is read-only, AuthenticationFailed.
    """
    for repository in plan.repositories:
        _deletion(repository).check_allowed(allow_empty=allow_empty)
    for repository in plan.repositories:
        if not repository.is_empty:
            delete.check_deletable(_deletion(repository), open_repository(repository.path))


def apply(
    plan: PrunePlan,
    open_repository: Callable[[str], Deletable],
    *,
    allow_empty: bool,
    journal: Journal | None = None,
    kept_for: float = KEPT_FOR,
    on_entry: Callable[[JournalEntry], object] = lambda entry: None,
) -> Iterator[Pruned]:
    """Apply ``plan``, yielding each step when it is done. What moved meanwhile, and what fails, is left; the others go on.

    What goes is kept in ``journal`` for ``kept_for`` seconds, with an entry for each repository, which ``on_entry`` gets.
    Raises what concerns the registry as a whole.
    """
    for repository in plan.repositories:
        if repository.is_empty:
            continue
        try:
            steps = undo.apply(
                _deletion(repository),
                open_repository(repository.path),
                journal,
                command="prune",
                seconds=kept_for,
                allow_empty=allow_empty,
                on_entry=on_entry,
            )
            for step in steps:
                yield Pruned(repository=repository.repository, deleted=step)
        except PartlyDeleted as error:
            for failure in error.failures:
                yield Pruned(repository=repository.repository, error=failure)
        except TooManyRequests:
            raise
        except RegistryToolError as error:
            if error.exit_code != 1:
                raise
            yield Pruned(repository=repository.repository, error=error)


def _deletion(repository: RepositoryPlan) -> delete.DeletionPlan:
    if repository.deletion is None:
        raise ValueError("a plan that was read from a file has to be made anew before it is applied")
    return repository.deletion
