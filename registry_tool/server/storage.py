"""Where a registry of this process keeps what it holds: one interface, so that memory and folders can stand behind it.

The model is distribution's own. Content lies once, under the sha256 digest of its bytes. A repository has nothing but
links to it: of its *layers* (every blob, configs included), of its *manifests*, and one for each tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO, Literal, Protocol

from registry_tool.oci.digest import Digest

Kind = Literal["layer", "manifest"]


class WrongDigest(ValueError):
    """What was uploaded does not have the digest that was said."""


class StoredUpload(Protocol):
    """A blob on its way in. What was written stays, whatever becomes of the connection."""

    @property
    def id(self) -> str:
        """A UUID."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def write(self, piece: bytes) -> None:
        """Append."""

    def commit(self, digest: Digest) -> Digest:
        """Keep what was written, which has ``digest``; gives its sha256 digest. WrongDigest where it has another: the upload goes on."""

    def cancel(self) -> None:
        """Forget it."""


class Storage(Protocol):
    """What the application asks of its storage. Called by many threads at once."""

    def repositories(self) -> Iterable[str]:
        """Every repository that ever had a layer: that is what distribution's catalog lists."""

    def link(self, repository: str, kind: Kind, digest: Digest, target: Digest) -> None:
        """Let ``digest`` lead to the content ``target`` in ``repository``; they differ where ``digest`` is not a sha256."""

    def unlink(self, repository: str, kind: Kind, digest: Digest) -> None:
        """Take the link away, if it is there. The content stays: only a collection frees it."""

    def linked(self, repository: str, kind: Kind, digest: Digest) -> Digest | None:
        """What ``digest`` leads to in ``repository``."""

    def tags(self, repository: str) -> Mapping[str, Digest] | None:
        """A copy of the tags, in no order. None where the repository never had one, empty where the last one went."""

    def tag(self, repository: str, name: str, digest: Digest) -> None:
        """Let ``name`` be ``digest`` from now on."""

    def untag(self, repository: str, name: str) -> None:
        """Take the tag away, if it is there."""

    def put(self, content: bytes) -> Digest:
        """Keep ``content``."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of the content, None where it is not there."""

    def open(self, digest: Digest) -> BinaryIO | None:
        """The content, seekable; None where it is not there."""

    def begin(self, repository: str) -> StoredUpload:
        """A new upload."""

    def resume(self, repository: str, id: str) -> StoredUpload | None:
        """The upload ``id`` of ``repository``, None where there is none, or none any more."""
