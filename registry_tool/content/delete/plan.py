"""What is selected for deletion, and the plan of it: what is removed, what depends on it, what it frees. Pure values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from registry_tool.base.errors import ConfirmationRequired, UsageError
from registry_tool.content.protection import Protection, refusal
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.oci.reference import Reference

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Many ``tags``, which go with their referrers, and ``untagged`` manifests; a digest goes only where nothing that stays needs it."""

    tags: frozenset[str]
    untagged: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One of: ``tag``; ``digest``; ``tag`` if it is at ``digest``; ``pattern``, a glob over tags; ``group``.

    ``repository`` is ``HOST/PATH``.
    """

    repository: str
    tag: str | None = None
    digest: Digest | None = None
    pattern: str | None = None
    group: Group | None = None

    @classmethod
    def parse(cls, text: str, *, default_host: str) -> tuple[Reference, Selection]:
        """Return (repository, selection in it). Raises UsageError where a name has neither tag nor digest, InvalidReference."""
        name, pattern = _split_glob(text)
        reference = Reference.parse(name, default_host=default_host)
        if pattern is not None and reference.tag is not None:
            raise UsageError(f"{text!r} has both a tag and a glob", hint="One of them: NAME:v1 or 'NAME:v1.*'.")
        if pattern is None and reference.tag is None and reference.digest is None:
            raise UsageError(
                f"{text} names no tag, digest or glob of tags",
                hint=f"Type {text}:latest for one tag, or '{text}:*' for all of them.",
            )
        selection = cls(repository=reference.repository, tag=reference.tag, digest=reference.digest, pattern=pattern)
        return replace(reference, tag=None, digest=None), selection

    def matching(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of ``tags`` that are selected; a glob's are sorted."""
        if self.pattern is not None:
            return tuple(sorted(tag for tag in tags if fnmatchcase(tag, self.pattern)))
        if self.group is not None:
            return tuple(sorted(self.group.tags.intersection(tags)))
        return tuple(tag for tag in tags if tag == self.tag)

    @property
    def is_rule(self) -> bool:
        """Whether it was not a person who named each tag."""
        return self.pattern is not None or self.group is not None

    def __str__(self) -> str:
        """The reference, with its host."""
        tag = self.pattern or self.tag
        return f"{self.repository}{f':{tag}' if tag else ''}{f'@{self.digest}' if self.digest else ''}"


def _split_glob(text: str) -> tuple[str, str | None]:
    """(name, glob over its tags); None where there is no glob."""
    name, colon, pattern = text.rpartition(":")
    if not colon or "/" in pattern:
        name, pattern = text, ""
    if _GLOB.search(name):
        raise UsageError(f"{text!r} has a glob outside of the tag", hint="One repository at a time; it looks like 'john/get-started:v1.*'.")
    if not _GLOB.search(pattern):
        return text, None
    if "@" in name or "@" in pattern:
        raise UsageError(f"{text!r} has both a glob and a digest", hint="A digest is typed whole; a glob is over tags: 'NAME:v1.*'.")
    return name, pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A manifest that stays, and its tags; ``type`` is :attr:`Manifest.type`, or ``unknown``."""

    digest: Digest
    type: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One manifest that loses ``tags``, and is deleted itself unless ``untag_only``.

    ``siblings`` are its tags that stay, ``indexes`` contain it and stay, ``referrers`` have it as their subject and
    stay: if the manifest is deleted all the same, the indexes are incomplete and the referrers without a subject. From
    the list of its own ``subject``'s referrers it is removed, too. ``part_of`` is the index it is deleted with, and
    ``attached_to`` the image whose signature, attestation or SBOM it is by its tag, if it was not selected itself.
    """

    descriptor: Descriptor
    type: str
    tags: tuple[str, ...] = ()
    untag_only: bool
    siblings: tuple[str, ...] = ()
    indexes: tuple[Dependent, ...] = ()
    referrers: tuple[Dependent, ...] = ()
    subject: Descriptor | None = None
    part_of: Digest | None = None
    attached_to: Digest | None = None

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.descriptor.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A tag whose deletion was begun and not finished."""

    tag: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the plan is based on: how many ``tags`` and ``manifests`` were read, why some are ``unread``, and how many ``others`` there are.

    Others are tags that were not looked at. Unread and other tags may be on any digest.
    """

    tags: int
    manifests: int
    unread: tuple[str, ...] = ()
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan:
    """A deletion, in the order in which it is applied: ``unfinished``, ``removals``, ``unresolved``.

    ``protected`` are the tags and digests of the removals that are protected, or needed by what is, with the protection: a plan
    with any cannot be applied.

    ``unresolved`` are selected tags of which it is not known what they stand for: they alone are removed. Of tags that
    are not selected this is not known of ``unreadable``. Where there are other tags (``scope``), what depends on the
    removals is not known, and the plan cannot be applied.

    ``bytes_freed`` is what a collection could free afterwards: manifests and blobs that nothing else needs in this
    repository, as far as tags and referrers lead (``scope``); another repository may still have them. ``tags_left``
    counts neither lists of referrers nor unfinished deletions nor protections. ``absent``: nothing that was selected is there.
    """

    selection: Selection
    removals: tuple[Removal, ...]
    unfinished: tuple[Tombstone, ...] = ()
    unresolved: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    protected: Mapping[str, Protection] = field(default_factory=dict, hash=False)
    absent: bool = False
    bytes_freed: int = 0
    tags_left: int = 0
    scope: Scope
    referrer_lists: Mapping[str, Digest] = field(default_factory=dict, hash=False, repr=False)
    """Tags of the lists of referrers that are rewritten, as a removal refers to something, with what they stand for."""
    manifests: tuple[Manifest, ...] = field(default=(), repr=False, compare=False)
    """Those that were read: a digest never stands for another one, so none is read twice."""

    @property
    def tags(self) -> frozenset[str]:
        """The tags that are removed."""
        return frozenset(tag for removal in self.removals for tag in removal.tags) | frozenset(self.unresolved)

    @property
    def deleted(self) -> frozenset[Digest]:
        """The manifests that are deleted."""
        return frozenset(removal.digest for removal in self.removals if not removal.untag_only)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.removals or self.unfinished or self.unresolved)

    @property
    def is_complete(self) -> bool:
        """Whether every tag was looked at."""
        return not self.scope.others

    def check_allowed(self, *, allow_empty: bool) -> None:
        """Raises Protected where it removes something protected; ConfirmationRequired where a glob or a rule removes the last tag."""
        if self.protected:
            raise refusal(self.selection.repository, self.protected)
        if self.selection.is_rule and self.tags and not self.tags_left and not allow_empty:
            what = f"{self.selection} removes" if self.selection.group is None else "the rules remove"
            raise ConfirmationRequired(
                f"{what} the last tag of {self.selection.repository}", hint="Add --allow-empty if that is what you want."
            )
