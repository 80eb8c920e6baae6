"""The storage of a registry in this process: an interface for memory and folders.

The model is distribution's: content is stored once, by the sha256 digest of its bytes. A repository has links to it:
to its *layers* (every blob, configs included), to its *manifests*, and one for each tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO, Literal, Protocol

from registry_tool.oci.digest import Digest

LinkKind = Literal["layer", "manifest"]


class WrongDigest(ValueError):
    """The uploaded content does not have the given digest."""


class StoredUpload(Protocol):
    """An upload in progress. What was written stays, whatever becomes of the connection."""

    @property
    def id(self) -> str:
        """A UUID."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append."""

    def commit(self, digest: Digest) -> Digest:
        """Store what was written and return its sha256 digest. Raises WrongDigest unless it has ``digest``; the upload goes on then."""

    def cancel(self) -> None:
        """Discard it."""


class Storage(Protocol):
    """What the application needs of its storage. Threads call it at the same time."""

    def repositories(self) -> Iterable[str]:
        """Every repository that ever had a layer: those that distribution's catalog lists."""

    def link(self, repository: str, kind: LinkKind, digest: Digest, target: Digest) -> None:
        """Link ``digest`` to the content ``target`` in ``repository``; they differ where ``digest`` is not a sha256."""

    def unlink(self, repository: str, kind: LinkKind, digest: Digest) -> None:
        """Remove the link, if there is one. The content stays: only garbage collection frees it."""

    def linked(self, repository: str, kind: LinkKind, digest: Digest) -> Digest | None:
        """The content that ``digest`` is linked to in ``repository``, None without a link."""

    def tags(self, repository: str) -> Mapping[str, Digest] | None:
        """A copy of the tags, unordered. None where the repository never had one, empty where the last one was removed."""

    def tag(self, repository: str, name: str, digest: Digest) -> None:
        """Point the tag ``name`` at ``digest``."""

    def untag(self, repository: str, name: str) -> None:
        """Remove the tag, if there is one."""

    def put(self, content: bytes) -> Digest:
        """Store ``content`` and return its digest."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of the content, None where it is not there."""

    def open(self, digest: Digest) -> BinaryIO | None:
        """The content, seekable; None where it is not there."""

    def begin(self, repository: str) -> StoredUpload:
        """Start an upload."""

    def resume(self, repository: str, id: str) -> StoredUpload | None:
        """The upload ``id`` of ``repository``, None where there is none."""
