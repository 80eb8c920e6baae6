"""The plan of a pruning, as it is shown, written and read again. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from registry_tool.base.codec import AnyText, from_json
from registry_tool.base.errors import Conflict, UsageError
from registry_tool.base.reader import Document, Source
from registry_tool.content.delete import DeletionPlan, Removal
from registry_tool.oci.digest import Digest

MAX_SIZE = 64 << 20
"""Bytes of a plan that is read."""

_HINT = "Make a new plan: regctl prune --json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTag:
    """What is to become of one tag. ``rule`` keeps it; where none does, it goes.

    ``siblings`` are the other tags of its digest. ``needed_by`` is what keeps the manifest of a tag that goes: tags as they
    are, indexes and referrers by their digest.
    """

    JSON_MEMBERS: ClassVar = "tag digest created pulled? action rule reason siblings needed_by"
    tag: str
    digest: Digest | None
    created: datetime | None = None
    pulled: datetime | None = None
    action: Literal["keep", "go"]
    rule: str | None = None
    reason: str
    siblings: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedManifest:
    """A manifest that is deleted, or, ``alone``, only loses ``tags``. The other members are those of :class:`Removal`."""

    digest: Digest
    media_type: AnyText
    type: str
    tags: tuple[str, ...] = ()
    alone: bool
    subject: Digest | None = None
    part_of: Digest | None = None
    attached_to: Digest | None = None

    @classmethod
    def of(cls, removal: Removal) -> PlannedManifest:
        """The same of a removal."""
        return cls(
            digest=removal.digest,
            media_type=removal.descriptor.media_type,
            type=removal.type,
            tags=removal.tags,
            alone=removal.untag_only,
            subject=removal.subject.digest if removal.subject is not None else None,
            part_of=removal.part_of,
            attached_to=removal.attached_to,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """What is to become of a repository, ``HOST/PATH``. ``deletion`` is what is applied, None of a plan that was read from a file.

    ``tags_left`` counts tags that a person gave; ``unread`` is what could not be read, and therefore may need anything.
    """

    JSON_MEMBERS: ClassVar = "repository tags manifests unfinished tags_left bytes_freed unread"
    repository: str
    tags: tuple[PlannedTag, ...]
    manifests: tuple[PlannedManifest, ...]
    unfinished: tuple[str, ...] = ()
    tags_left: int = 0
    bytes_freed: int = 0
    unread: tuple[str, ...] = ()
    deletion: DeletionPlan | None = None

    @property
    def going(self) -> tuple[PlannedTag, ...]:
        """The tags that go."""
        return tuple(tag for tag in self.tags if tag.action == "go")

    @property
    def deleted(self) -> tuple[PlannedManifest, ...]:
        """The manifests that are deleted."""
        return tuple(each for each in self.manifests if not each.alone)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.manifests or self.unfinished)

    @property
    def path(self) -> str:
        """The repository without its host."""
        return self.repository.partition("/")[2]

    def check_unchanged(self, now: RepositoryPlan) -> None:
        """Raises Conflict where ``now``, the same made anew, differs: other tags, other digests, or another fate of a manifest."""
        before, current = ({tag.tag: tag.digest for tag in plan.tags} for plan in (self, now))
        changes = [f"the tag {tag} is new" for tag in sorted(current.keys() - before.keys())]
        changes += [f"the tag {tag} is gone" for tag in sorted(before.keys() - current.keys())]
        changes += [f"the tag {tag} moved" for tag in sorted(before.keys() & current.keys()) if before[tag] != current[tag]]
        if not changes and _fates(self) != _fates(now):
            changes = ["its indexes, referrers or untagged manifests are others"]
        if changes:
            more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise Conflict(f"{self.repository} changed since the plan was made: {', '.join(changes[:3])}{more}", hint=_HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """A plan for repositories of one registry; ``planned`` is when it was made."""

    JSON_MEMBERS: ClassVar = "registry planned repositories bytes_freed"
    registry: str
    planned: datetime
    repositories: tuple[RepositoryPlan, ...]

    @property
    def bytes_freed(self) -> int:
        """What garbage collection could free afterwards, in bytes, where repositories share nothing."""
        return sum(each.bytes_freed for each in self.repositories)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(each.is_empty for each in self.repositories)

    @classmethod
    def read(cls, content: bytes, file: str) -> PrunePlan:
        """Read what ``prune --json`` printed. Raises UsageError."""
        source = Source(error=UsageError, hint="It is what this prints: regctl prune --json", position=lambda path: f"{file}: ")
        plan = from_json(cls, Document.read(content, what=file, max_size=MAX_SIZE, source=source))
        for repository in plan.repositories:
            if repository.repository.partition("/")[0] != plan.registry:
                raise UsageError(f"{file}: {repository.repository[:200]} is not a repository of {plan.registry[:200]}", hint=source.hint)
        twice = _twice([each.repository for each in plan.repositories])
        if twice is not None:
            raise UsageError(f"{file}: {twice[:200]} appears twice", hint=source.hint)
        return plan


def _fates(plan: RepositoryPlan) -> set[tuple[Digest, tuple[str, ...], bool]]:
    return {(each.digest, each.tags, each.alone) for each in plan.manifests}


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
