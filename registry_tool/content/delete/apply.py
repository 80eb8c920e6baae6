"""Apply a deletion plan: before each write the repository is read again, and the plan must still be right."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn

from registry_tool.base.errors import AuthenticationFailed, Conflict, NotFound, RegistryError
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Removal
from registry_tool.content.delete.planner import with_dependents
from registry_tool.content.delete.snapshot import Deletable, RepositorySnapshot, take_snapshot
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """One step that is done: an earlier deletion ``finished``, a tag ``untagged``, or a manifest ``deleted`` with its tags."""

    what: Literal["finished", "untagged", "deleted"]
    tags: tuple[str, ...] = ()
    digest: Digest | None = None


def apply(plan: DeletionPlan, repository: Deletable, *, allow_empty: bool = False) -> Iterator[Deleted]:
    """Apply ``plan``, yielding each step when it is done. What was deleted concurrently is no failure.

    Raises ConfirmationRequired where a glob removes the last tag without ``allow_empty``; Conflict where the repository
    differs from the plan: nothing more is removed then; before anything is written, RegistryError where deletion is off
    or the registry is read-only, AuthenticationFailed.
    """
    plan.check_allowed(allow_empty=allow_empty)
    if plan.is_empty:
        return
    check_deletable(plan, repository)
    for tombstone in plan.unfinished:
        # Whatever the tag stands for now, this digest is a tombstone's and nothing else's.
        _delete(repository, tombstone.descriptor)
        yield Deleted(what="finished", tags=(tombstone.tag,))
    guard = _Guard(plan, repository)
    for removal in plan.removals:
        if not removal.untag_only:
            guard.check(removal)
            _delete(repository, removal.descriptor, subject=removal.subject)
            yield Deleted(what="deleted", tags=removal.tags, digest=removal.digest)
            continue
        for tag in removal.tags:
            guard.check(removal)
            if guard.is_unchanged(tag, removal):
                _untag(repository, tag)
            yield Deleted(what="untagged", tags=(tag,))


def check_deletable(plan: DeletionPlan, repository: Deletable) -> None:
    """Raises RegistryError where deletion is off or the registry is read-only, AuthenticationFailed. Changes nothing."""
    if repository.can_delete():
        return
    name = plan.selection.repository
    nothing = Descriptor(media_type=EMPTY.media_type, digest=Digest.of(uuid.uuid4().bytes), size=0)
    try:
        # Once more for its response: only that tells one from the other.
        repository.delete(nothing)
    except NotFound:
        return
    except AuthenticationFailed:
        raise
    except RegistryError as error:
        if error.response is not None and error.response.status == 405 and not error.response.code:
            raise RegistryError(
                f"{name}: the registry is read-only, nothing can be deleted now",
                hint="Wait until its maintenance is over, or take REGISTRY_STORAGE_MAINTENANCE out of its environment.",
            ) from error
        raise RegistryError(
            f"{name}: deletion is turned off in this registry",
            hint="Start it with REGISTRY_STORAGE_DELETE_ENABLED=true in its environment, as regctl up does.",
        ) from error


class _Guard:
    """Compares the repository with the plan."""

    def __init__(self, plan: DeletionPlan, repository: Deletable) -> None:
        self._plan = plan
        self._repository = repository
        self._snapshot: RepositorySnapshot | None = None
        self._valid_until = 0.0

    def check(self, removal: Removal) -> None:
        """Raises Conflict where something else depends on ``removal`` than was planned."""
        for tag in removal.tags:
            self.is_unchanged(tag, removal)
        now = with_dependents(self._current(), removal, tags=self._plan.tags, deleted=self._plan.deleted)
        for planned, current, what in (
            (removal.siblings, now.siblings, "the tags on it"),
            (_digests(removal.indexes), _digests(now.indexes), "the indexes that contain it"),
            (_digests(removal.referrers), _digests(now.referrers), "its referrers"),
        ):
            if planned != current:
                self._refuse(f"{removal.digest}: {what} are no longer those of the plan: {_listed(current)}, not {_listed(planned)}")

    def is_unchanged(self, tag: str, removal: Removal) -> bool:
        """Whether ``tag`` still has to be removed; False where somebody else did that. Raises Conflict where it moved."""
        try:
            digest = self._repository.resolve(tag).digest
        except NotFound:
            return False
        if digest != removal.digest and not self._is_tombstone(digest):
            self._refuse(f"the tag {tag} moved: it is at {digest} now, not at {removal.digest}")
        return digest == removal.digest

    def _is_tombstone(self, digest: Digest) -> bool:
        try:
            return self._repository.manifest(digest).is_tombstone
        except NotFound:
            return False

    def _current(self) -> RepositorySnapshot:
        """A snapshot, used again for as long as it took: what was read first is that old anyway."""
        began = time.monotonic()
        if self._snapshot is None or began > self._valid_until:
            about = [removal.digest for removal in self._plan.removals]
            self._snapshot = take_snapshot(self._repository, self._plan.selection, known=self._plan.manifests, about=about)
            ended = time.monotonic()
            self._valid_until = ended + (ended - began)
        return self._snapshot

    def _refuse(self, why: str) -> NoReturn:
        raise Conflict(
            f"{self._plan.selection.repository}: {why}; nothing more was removed", hint="Run it again to see what it would hit now."
        )


def _untag(repository: Deletable, tag: str) -> None:
    """Remove the tag alone, by a tombstone if need be: if that is left by an interruption, no table shows it; the next deletion ends it."""
    if repository.can_untag():
        with suppress(NotFound):
            repository.untag(tag)
        return
    if not repository.exists(EMPTY):
        repository.push(EMPTY, io.BytesIO(EMPTY_CONTENT))
    replacement = manifests.tombstone(tag, unique=uuid.uuid4().hex)
    repository.push_manifest(replacement, tag)
    _delete(repository, replacement.descriptor)


def _delete(repository: Deletable, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
    with suppress(NotFound):
        repository.delete(descriptor, subject=subject)


def _digests(dependents: tuple[Dependent, ...]) -> tuple[str, ...]:
    return tuple(str(dependent.digest) for dependent in dependents)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
