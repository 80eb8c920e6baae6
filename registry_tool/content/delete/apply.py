"""Apply a deletion plan: before each write the repository is read again, and the plan must still be right."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn

from registry_tool.base.errors import AuthenticationFailed, Conflict, NotFound, Protected, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.content.delete import advice
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Removal, Tombstone
from registry_tool.content.delete.planner import protected, with_dependents
from registry_tool.content.delete.snapshot import Deletable, RepositorySnapshot, take_snapshot
from registry_tool.content.delete.writes import Writer
from registry_tool.content.graph import attempt, closure
from registry_tool.content.protection import Protection, refusal
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY

MAX_FAILURES = 16
"""Steps that may fail before no more are tried."""


class PartlyDeleted(RegistryToolError):
    """Some steps of a plan by rules were not done: ``failures`` say which and why."""

    def __init__(self, failures: Sequence[RegistryToolError]) -> None:
        more = f"; and {len(failures) - 1} more failed" if len(failures) > 1 else ""
        super().__init__(f"{failures[0].message}{more}", hint=failures[0].hint)
        self.failures = tuple(failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """One step that is done: an earlier deletion ``finished``, a tag ``untagged``, or a manifest ``deleted`` with its tags."""

    what: Literal["finished", "untagged", "deleted"]
    tags: tuple[str, ...] = ()
    digest: Digest | None = None


def apply(plan: DeletionPlan, repository: Deletable, *, allow_empty: bool = False) -> Iterator[Deleted]:
    """Apply ``plan``, yielding each step when it is done: the registry was asked, and what was deleted is not there any more.

    What was deleted concurrently is no failure.

    Raises ConfirmationRequired where a glob or a rule removes the last tag without ``allow_empty``; Protected where something
    of it is protected; Conflict where the repository differs from the plan: nothing more is removed then; before anything is
    written, RegistryError where deletion is off or the registry is read-only, AuthenticationFailed. A step that fails, or
    leaves something there though the registry claims that it is deleted, ends only the removal of what it needs: its
    RegistryError is raised after the others. Of a group, what is protected now or differs from the plan ends no more than that
    either, and PartlyDeleted is raised after all.
    """
    plan.check_allowed(allow_empty=allow_empty)
    if plan.is_empty:
        return
    if not plan.is_complete:
        raise ValueError("a plan that was made without looking at all tags")
    check_deletable(plan, repository)
    writer = Writer(repository, plan.selection.repository, {manifest.digest: manifest for manifest in plan.manifests})
    guard = _Guard(plan, repository)
    failures: list[RegistryToolError] = []
    kept: set[Digest] = set()
    steps = [
        *((None, partial(_finish, tombstone, writer)) for tombstone in plan.unfinished),
        *((removal.digest, partial(_remove, removal, writer, guard, repository)) for removal in plan.removals),
        *((None, partial(_untag_unresolved, tag, writer, guard)) for tag in plan.unresolved),
    ]
    for digest, step in steps:
        if digest is not None and not kept.isdisjoint([digest, *guard.holders(digest)]):
            continue
        try:
            yield from step()
        except TooManyRequests:
            raise
        except (RegistryError, Conflict, Protected) as error:
            if not (isinstance(error, RegistryError) or guard.is_group):
                raise
            # One that is locked ends nothing but the removal of what it needs.
            failures.append(error)
            kept |= _needed(plan, digest)
            if sum(isinstance(each, RegistryError) for each in failures) > MAX_FAILURES:
                break
    if guard.is_group and failures:
        raise PartlyDeleted(failures)
    if len(failures) > 1:
        failures[0].message += f"; and {len(failures) - 1} more failed"
    if failures:
        raise failures[0]


def _needed(plan: DeletionPlan, digest: Digest | None) -> set[Digest]:
    """The manifest, its children, its subject and what it is attached to, and theirs."""
    manifests = {manifest.digest: manifest for manifest in plan.manifests}
    attached = {removal.digest: removal.attached_to for removal in plan.removals}

    def follow(digest: Digest) -> list[Digest]:
        manifest = manifests.get(digest)
        named = (*manifest.children, *([manifest.subject] if manifest.subject else ())) if manifest is not None else ()
        image = attached.get(digest)
        return [*(each.digest for each in named), *([image] if image is not None else [])]

    return set(closure([digest], follow)) if digest is not None else set()


def _finish(tombstone: Tombstone, writer: Writer) -> Iterator[Deleted]:
    # Whatever the tag stands for now, this digest is a tombstone's and nothing else's.
    writer.delete(tombstone.descriptor, tags=(tombstone.tag,))
    yield Deleted(what="finished", tags=(tombstone.tag,))


def _remove(removal: Removal, writer: Writer, guard: _Guard, repository: Deletable) -> Iterator[Deleted]:
    return _untag(removal, writer, guard) if removal.untag_only else _delete(removal, writer, guard, repository)


def _untag_unresolved(tag: str, writer: Writer, guard: _Guard) -> Iterator[Deleted]:
    guard.check_unresolved(tag)
    writer.untag(tag)
    yield Deleted(what="untagged", tags=(tag,))


def _delete(removal: Removal, writer: Writer, guard: _Guard, repository: Deletable) -> Iterator[Deleted]:
    """Delete a manifest, at once or after its tags."""
    guard.check(removal)
    try:
        writer.delete(removal.descriptor, tags=removal.tags, subject=removal.subject)
    except RegistryError as error:
        # Google's registries refuse a digest that has tags.
        is_refused = error.response is not None and error.response.status in (400, 405, 409, 412)
        if not (is_refused and removal.tags and repository.can_untag()):
            raise
    else:
        yield Deleted(what="deleted", tags=removal.tags, digest=removal.digest)
        return
    yield from _untag(removal, writer, guard)
    writer.delete(removal.descriptor, subject=removal.subject)
    yield Deleted(what="deleted", digest=removal.digest)


def _untag(removal: Removal, writer: Writer, guard: _Guard) -> Iterator[Deleted]:
    for tag in removal.tags:
        guard.check(removal)
        if guard.is_unchanged(tag, removal):
            writer.untag(tag, removal)
        yield Deleted(what="untagged", tags=(tag,))


def check_deletable(plan: DeletionPlan, repository: Deletable) -> None:
    """Raises RegistryError where deletion is off or the registry is read-only, AuthenticationFailed. Changes nothing."""
    require_deletion(repository, plan.selection.repository)


def require_deletion(repository: Deletable, name: str) -> None:
    """The same of a repository, whose full name is ``name``."""
    try:
        if repository.can_delete() or repository.can_untag():
            return
    except AuthenticationFailed as error:
        way = advice.other_way(name)
        if way is None:
            raise
        # Docker Hub, for example, lets nobody delete by this interface.
        raise AuthenticationFailed(error.message, hint=way) from error
    nothing = Descriptor(media_type=EMPTY.media_type, digest=Digest.of(uuid.uuid4().bytes), size=0)
    try:
        # Once more for its response: only that says why.
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
        answer = f"{error.response.status} {error.response.code} {error.response.message}".rstrip() if error.response else error.message
        raise RegistryError(
            f"{name}: deletion is turned off in this registry ({answer})",
            hint=advice.turned_off(name),
        ) from error


class _Guard:
    """Compares the repository with the plan."""

    def __init__(self, plan: DeletionPlan, repository: Deletable) -> None:
        self.is_group = plan.selection.group is not None
        self._outcome = "it was left" if self.is_group else "nothing more was removed"
        self._plan = plan
        self._repository = repository
        self._snapshot: RepositorySnapshot | None = None
        self._valid_until = 0.0
        self._removals = {each.digest: each for each in plan.removals}
        self._containing: dict[Digest, list[Digest]] = {}
        for manifest in plan.manifests:
            for child in manifest.children if manifest.digest in plan.deleted else ():
                self._containing.setdefault(child.digest, []).append(manifest.digest)

    def holders(self, digest: Digest) -> list[Digest]:
        """Manifests of a group for whose sake ``digest`` is deleted: its subject, the indexes that contain it, and so on."""
        if not self.is_group:
            return []

        def follow(each: Digest) -> list[Digest]:
            removal = self._removals.get(each)
            subject = removal.subject.digest if removal is not None and removal.subject is not None else None
            image = removal.attached_to if removal is not None else None
            named = [subject, image, *self._containing.get(each, ())]
            return [other for other in named if other is not None and other in self._plan.deleted]

        return [other for other in closure([digest], follow) if other != digest]

    def check(self, removal: Removal) -> None:
        """Raises Conflict where something else depends on ``removal``, or on what it belongs to, than was planned; Protected."""
        self._check(removal)
        if not removal.untag_only:
            for digest in self.holders(removal.digest):
                if digest in self._removals:
                    self._check(self._removals[digest])

    def _check(self, removal: Removal) -> None:
        for tag in removal.tags:
            self.is_unchanged(tag, removal)
        self._refuse_protected(protected(self._current(), [removal]))
        unreadable = sorted(self._current().unresolved.keys() - {*self._plan.unresolved, *self._plan.unreadable})
        if unreadable and not removal.untag_only:
            self._refuse(f"{', '.join(unreadable)} cannot be read any more, and may be on {removal.digest}")
        if self._current().has_unlisted_tags and not removal.untag_only and self._plan.selection.digest is None:
            self._refuse("the list of tags may be incomplete now")
        # Any other tag may have been moved to it meanwhile, also one that was to go from another image.
        now = with_dependents(self._current(), removal, tags=frozenset(removal.tags), deleted=self._plan.deleted)
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

    def check_unresolved(self, tag: str) -> None:
        """Raises Conflict where it is known now what ``tag`` stands for: that is another deletion; Protected."""
        self._refuse_protected(self._current().protections.protected([tag]))
        descriptor = attempt(lambda: self._repository.resolve(tag))
        if isinstance(descriptor, Descriptor):
            self._refuse(f"the tag {tag} can be read again: it is at {descriptor.digest}")

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

    def _refuse_protected(self, found: dict[str, Protection]) -> None:
        if found:
            raise refusal(self._plan.selection.repository, found, outcome=self._outcome)

    def _refuse(self, why: str) -> NoReturn:
        raise Conflict(f"{self._plan.selection.repository}: {why}; {self._outcome}", hint="Run it again to see what it would hit now.")


def _digests(dependents: tuple[Dependent, ...]) -> tuple[str, ...]:
    return tuple(str(dependent.digest) for dependent in dependents)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
