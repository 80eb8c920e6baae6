"""A plan is applied: before each write the repository is looked at again, and what was planned must still be right."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from registry_tool.base.errors import AuthenticationFailed, Conflict, NotFound, RegistryError
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Removal
from registry_tool.content.delete.planner import hits
from registry_tool.content.delete.snapshot import Deletable, RepositorySnapshot, look
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT, tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """One thing that is gone: an unfinished deletion (``finished``), a tag (``untagged``), or a manifest (``deleted``) with its tags."""

    what: Literal["finished", "untagged", "deleted"]
    tags: tuple[str, ...] = ()
    digest: Digest | None = None


def apply(plan: DeletionPlan, repository: Deletable, *, allow_empty: bool = False) -> Iterator[Deleted]:
    """Delete what ``plan`` says, a thing at a time; each is told when it is done. What went meanwhile is no failure.

    Raises Refused where a glob takes the last tag without ``allow_empty``; Conflict where the repository is no longer as
    it was when the plan was made: nothing more is removed then; RegistryError where deletion is off or the registry is
    read-only, AuthenticationFailed where we may not: before anything is written.
    """
    plan.check_allowed(allow_empty=allow_empty)
    if plan.is_empty:
        return
    check_deletable(plan, repository)
    for dead in plan.unfinished:
        # Its digest is of nothing but a tombstone: whatever the tag is now, nothing else can be meant.
        _delete(repository, dead.descriptor)
        yield Deleted(what="finished", tags=(dead.tag,))
    guard = _Guard(plan, repository)
    for removal in plan.removals:
        if not removal.alone:
            guard.check(removal)
            _delete(repository, removal.descriptor, subject=removal.subject)
            yield Deleted(what="deleted", tags=removal.tags, digest=removal.digest)
            continue
        for tag in removal.tags:
            guard.check(removal)
            if guard.stands(tag, removal):
                _untag(repository, tag, plan)
            yield Deleted(what="untagged", tags=(tag,))


def check_deletable(plan: DeletionPlan, repository: Deletable) -> None:
    """Raises RegistryError where deletion is off or the registry is read-only, AuthenticationFailed. Changes nothing."""
    if repository.can_delete():
        return
    name = plan.selection.repository
    nothing = Descriptor(media_type=EMPTY.media_type, digest=Digest.of(uuid.uuid4().bytes), size=0)
    try:
        # Asked again for the answer's own words: only they tell one from the other.
        repository.delete(nothing)
    except NotFound:
        return
    except AuthenticationFailed:
        raise
    except RegistryError as error:
        if error.refusal is not None and error.refusal.status == 405 and not error.refusal.code:
            raise RegistryError(
                f"{name}: the registry is read-only, nothing can be deleted now",
                hint="Wait until its maintenance is over, or take REGISTRY_STORAGE_MAINTENANCE out of its environment.",
            ) from error
        raise RegistryError(
            f"{name}: deletion is turned off in this registry",
            hint="Start it with REGISTRY_STORAGE_DELETE_ENABLED=true in its environment, as regctl up does.",
        ) from error


class _Guard:
    """Looks again, and compares with the plan."""

    def __init__(self, plan: DeletionPlan, repository: Deletable) -> None:
        self._plan = plan
        self._repository = repository
        self._seen: RepositorySnapshot | None = None
        self._until = 0.0

    def check(self, removal: Removal) -> None:
        """Raises Conflict where ``removal`` would hit something else than was planned."""
        for tag in removal.tags:
            self.stands(tag, removal)
        now = hits(self._now(), removal, tags=self._plan.tags, going=self._plan.going)
        for planned, found, what in (
            (removal.siblings, now.siblings, "the tags on it"),
            (_digests(removal.indexes), _digests(now.indexes), "the indexes that contain it"),
            (_digests(removal.referrers), _digests(now.referrers), "its referrers"),
        ):
            if planned != found:
                self._refuse(f"{removal.digest}: {what} are no longer those of the plan: {_listed(found)}, not {_listed(planned)}")

    def stands(self, tag: str, removal: Removal) -> bool:
        """Whether ``tag`` still has to go; False where somebody else removed it. Raises Conflict where it is something else now."""
        try:
            found = self._repository.resolve(tag).digest
        except NotFound:
            return False
        if found != removal.digest and not self._is_tombstone(found):
            self._refuse(f"the tag {tag} moved: it is at {found} now, not at {removal.digest}")
        return found == removal.digest

    def _is_tombstone(self, digest: Digest) -> bool:
        try:
            return self._repository.manifest(digest).is_tombstone
        except NotFound:
            return False

    def _now(self) -> RepositorySnapshot:
        """What is there now. A look is used again for as long as it took: what it saw first is that old anyway."""
        began = time.monotonic()
        if self._seen is None or began > self._until:
            about = [removal.digest for removal in self._plan.removals]
            self._seen = look(self._repository, self._plan.selection, known=self._plan.manifests, about=about)
            ended = time.monotonic()
            self._until = ended + (ended - began)
        return self._seen

    def _refuse(self, why: str) -> NoReturn:
        raise Conflict(
            f"{self._plan.selection.repository}: {why}; nothing more was removed", hint="Run it again to see what it would hit now."
        )


def _untag(repository: Deletable, tag: str, plan: DeletionPlan) -> None:
    """Remove the tag and nothing else. Where the registry has nothing for that, a tombstone takes its place and is deleted.

    Ended between the two, the tombstone stays: no table shows it, and the next deletion finishes this one.
    """
    if repository.can_untag():
        try:
            repository.untag(tag)
        except NotFound:
            return
        return
    if not repository.exists(EMPTY):
        repository.push(EMPTY, io.BytesIO(EMPTY_CONTENT))
    grave = tombstone(tag, unique=uuid.uuid4().hex)
    repository.push_manifest(grave, tag)
    _delete(repository, grave.descriptor)


def _delete(repository: Deletable, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
    try:
        repository.delete(descriptor, subject=subject)
    except NotFound:
        # Somebody was faster.
        return


def _digests(held: tuple[Dependent, ...]) -> tuple[str, ...]:
    return tuple(str(each.digest) for each in held)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
