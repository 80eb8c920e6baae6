"""A plan to delete: what goes, what it hits, what it frees. Pure values; making and showing one changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry_tool.base.errors import ConfirmationRequired
from registry_tool.content.delete.selection import Selection
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A manifest that stays, with the tags it has of its own; ``type`` is :attr:`Manifest.type`, or ``unknown``."""

    digest: Digest
    type: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One manifest that loses ``tags``, and goes itself unless they go ``alone``.

    ``siblings`` are its tags that stay, ``indexes`` contain it and stay, ``referrers`` have it as their subject and
    stay: where the manifest goes all the same, the indexes are no longer whole and the referrers are without a subject.
    ``subject`` is what it is a referrer of; where it goes, it goes from that one's list, too. ``part_of`` is the index it
    goes with, where it was not named itself.
    """

    descriptor: Descriptor
    type: str
    tags: tuple[str, ...] = ()
    alone: bool
    siblings: tuple[str, ...] = ()
    indexes: tuple[Dependent, ...] = ()
    referrers: tuple[Dependent, ...] = ()
    subject: Descriptor | None = None
    part_of: Digest | None = None

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A tag whose deletion was begun and not finished."""

    tag: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the plan knows: ``tags`` and ``manifests`` are how many were looked at, ``unread`` is why some could not be."""

    tags: int
    manifests: int
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan:
    """In the order in which it is applied: ``unfinished``, then ``removals``.

    ``bytes_freed`` is what a collection could then free, manifests included: blobs and manifests that nothing else needs
    in this repository, as far as tags and referrers lead (``looked``); another repository may still have them.
    ``tags_left`` counts neither lists of referrers nor unfinished deletions. ``absent`` is what was named and is not there.
    """

    selection: Selection
    removals: tuple[Removal, ...]
    unfinished: tuple[Tombstone, ...] = ()
    absent: bool = False
    bytes_freed: int = 0
    tags_left: int = 0
    looked: Looked
    manifests: tuple[Manifest, ...] = field(default=(), repr=False, compare=False)
    """Those that were read: a digest never means another one, so nothing is read twice."""

    @property
    def tags(self) -> frozenset[str]:
        """The tags that go."""
        return frozenset(tag for removal in self.removals for tag in removal.tags)

    @property
    def going(self) -> frozenset[Digest]:
        """The manifests that go."""
        return frozenset(removal.digest for removal in self.removals if not removal.alone)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.removals or self.unfinished)

    def check_allowed(self, *, allow_empty: bool) -> None:
        """Raises Refused where a glob takes the last tag, and that was not allowed."""
        if self.selection.pattern is not None and self.removals and not self.tags_left and not allow_empty:
            raise ConfirmationRequired(
                f"{self.selection} takes the last tag of {self.selection.repository}", hint="Add --allow-empty if that is what you want."
            )
