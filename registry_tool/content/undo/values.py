"""What can be undone, and the plan of a restoration. Frozen values."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from registry_tool.base.codec import AnyText
from registry_tool.base.errors import InvalidManifest
from registry_tool.content.protection import Protection, refusal
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest

TagAction = Literal["restore", "unchanged", "moved"]

KEPT_FOR = 7 * 86400.0
"""Seconds for which a removal can be undone, unless something else is asked for."""


# --- what is kept ---


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTag:
    """A tag, and the digest that it stood for."""

    tag: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptManifest:
    """The bytes of a manifest, as base64. ``is_deleted`` is False where only tags of it were removed."""

    digest: Digest
    media_type: AnyText
    is_deleted: bool
    content: AnyText

    @classmethod
    def of(cls, descriptor: Descriptor, raw: bytes, *, is_deleted: bool) -> KeptManifest:
        """Keep ``raw``, the manifest that ``descriptor`` names."""
        content = base64.b64encode(raw).decode()
        return cls(digest=descriptor.digest, media_type=descriptor.media_type, is_deleted=is_deleted, content=content)

    @property
    def manifest(self) -> Manifest:
        """The manifest; one of a type that is not read names nothing. Raises InvalidManifest where the bytes are others."""
        try:
            raw = base64.b64decode(self.content, validate=True)
        except ValueError:
            raw = b""
        if Digest.of(raw, self.digest.algorithm) != self.digest:
            raise InvalidManifest(f"the journal is damaged: it has other bytes than those of {self.digest}", hint="Push the image again.")
        try:
            return manifests.parse(raw, self.media_type or None, algorithm=self.digest.algorithm)
        except InvalidManifest:
            descriptor = Descriptor(media_type=self.media_type, digest=self.digest, size=len(raw))
            return Manifest(raw=raw, descriptor=descriptor, kind="image")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What one removal from ``repository`` (``HOST/PATH``) takes away, parents before children. There are no secrets in it.

    ``lists`` are tags of lists of referrers that are rewritten by it. ``lost`` are tags and digests whose content could not be
    read: they cannot be restored.
    """

    version: int
    id: str
    command: str
    repository: str
    created: datetime
    until: datetime
    tags: tuple[KeptTag, ...]
    lists: tuple[KeptTag, ...]
    manifests: tuple[KeptManifest, ...]
    lost: tuple[str, ...]


# --- what can be undone, from whatever source ---


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoEntry:
    """One removal that can be undone, for the list. ``bytes`` are those that are kept for it.

    ``interrupted``: it was begun, and it is not known how far it came. ``problem``: why it cannot be undone.
    """

    JSON_MEMBERS: ClassVar = "id command repositories tags manifests bytes created until interrupted lost problem?"
    id: str
    command: str
    repositories: tuple[str, ...]
    tags: tuple[str, ...]
    manifests: int
    bytes: int
    created: datetime
    until: datetime
    interrupted: bool = False
    lost: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPlan:
    """What becomes of a tag: ``restore`` if it is gone, ``unchanged`` if it is as it was, ``moved`` if it is at ``current`` now."""

    JSON_MEMBERS: ClassVar = "repository tag digest action current"
    repository: str
    tag: str
    digest: Digest
    action: TagAction
    current: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingBlob:
    """Content that a manifest needs and that is not there any more."""

    repository: str
    manifest: Digest
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restoration writes: ``manifests`` that are gone, and tags. With ``missing`` content nothing can be written.

    ``protected`` are moved tags that are protected where they are now. ``notes`` are for a person.
    """

    entry: UndoEntry
    tags: tuple[TagPlan, ...] = ()
    manifests: tuple[Digest, ...] = ()
    missing: tuple[MissingBlob, ...] = ()
    protected: tuple[tuple[str, Protection], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def moved(self) -> tuple[TagPlan, ...]:
        """Tags of which a newer one exists."""
        return tuple(tag for tag in self.tags if tag.action == "moved")

    @property
    def is_empty(self) -> bool:
        """Whether all is there already, but for newer tags."""
        return not (self.manifests or any(tag.action == "restore" for tag in self.tags))

    def check_allowed(self, *, overwrite: bool) -> None:
        """Raises Protected where it would move a protected tag."""
        if overwrite and self.protected:
            raise refusal(self.entry.repositories[0], dict(self.protected), outcome="nothing was restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """One step that is done: a ``manifest`` is there again, or a ``tag``."""

    JSON_MEMBERS: ClassVar = "what repository tag digest"
    what: Literal["manifest", "tag"]
    repository: str
    tag: str | None = None
    digest: Digest | None = None


class UndoSource(Protocol):
    """Removals of one kind that can be undone, wherever they are kept."""

    def entries(self) -> Sequence[UndoEntry]:
        """What can be undone now, without what has expired. Raises nothing for one that is damaged: it has a ``problem``."""

    def plan(self, id: str) -> RestorePlan:
        """What undoing the entry ``id`` would write; writes nothing. Raises NotFound."""

    def restore(self, plan: RestorePlan, *, overwrite: bool) -> Iterator[Restored]:
        """Restore, yielding each step when it is done; moved tags too where ``overwrite``. When all is done the entry is gone."""
