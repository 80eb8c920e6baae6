"""The storage of a registry in this process: an interface, and its implementation in memory.

The model is distribution's: content is stored once, by the sha256 digest of its bytes. A repository has links to it:
to its *layers* (every blob, configs included), to its *manifests*, and one for each tag.
"""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
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


class MemoryStorage:
    """Storage in memory. ``blobs`` may be tampered with, as a failing disk would."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self._links: dict[LinkKind, dict[str, dict[Digest, Digest]]] = {"layer": {}, "manifest": {}}
        self._tags: dict[str, dict[str, Digest]] = {}
        self._uploads: dict[tuple[str, str], MemoryUpload] = {}
        self._lock = threading.Lock()

    def repositories(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._links["layer"])

    def link(self, repository: str, kind: LinkKind, digest: Digest, target: Digest) -> None:
        with self._lock:
            self._links[kind].setdefault(repository, {})[digest] = target

    def unlink(self, repository: str, kind: LinkKind, digest: Digest) -> None:
        with self._lock:
            self._links[kind].get(repository, {}).pop(digest, None)

    def linked(self, repository: str, kind: LinkKind, digest: Digest) -> Digest | None:
        with self._lock:
            return self._links[kind].get(repository, {}).get(digest)

    def tags(self, repository: str) -> Mapping[str, Digest] | None:
        with self._lock:
            tags = self._tags.get(repository)
            return None if tags is None else dict(tags)

    def tag(self, repository: str, name: str, digest: Digest) -> None:
        with self._lock:
            self._tags.setdefault(repository, {})[name] = digest

    def untag(self, repository: str, name: str) -> None:
        with self._lock:
            self._tags.get(repository, {}).pop(name, None)

    def put(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        with self._lock:
            self.blobs[digest] = content
        return digest

    def size(self, digest: Digest) -> int | None:
        with self._lock:
            content = self.blobs.get(digest)
        return None if content is None else len(content)

    def open(self, digest: Digest) -> BinaryIO | None:
        with self._lock:
            content = self.blobs.get(digest)
        return None if content is None else io.BytesIO(content)

    def begin(self, repository: str) -> MemoryUpload:
        upload = MemoryUpload(self, repository)
        with self._lock:
            self._uploads[repository, upload.id] = upload
        return upload

    def resume(self, repository: str, id: str) -> MemoryUpload | None:
        with self._lock:
            return self._uploads.get((repository, id))

    def forget(self, upload: MemoryUpload) -> None:
        """Drop an upload that is complete or cancelled."""
        with self._lock:
            self._uploads.pop((upload.repository, upload.id), None)


class MemoryUpload:
    """An upload in progress, in memory."""

    def __init__(self, storage: MemoryStorage, repository: str) -> None:
        self.id = str(uuid.uuid4())
        self.repository = repository
        self._storage = storage
        self._content = bytearray()

    @property
    def size(self) -> int:
        return len(self._content)

    def write(self, chunk: bytes) -> None:
        self._content += chunk

    def commit(self, digest: Digest) -> Digest:
        content = bytes(self._content)
        if hashlib.new(digest.algorithm, content).hexdigest() != digest.hex:
            raise WrongDigest(f"these {len(content)} bytes do not have the digest {digest}")
        self._storage.forget(self)
        return self._storage.put(content)

    def cancel(self) -> None:
        self._storage.forget(self)
