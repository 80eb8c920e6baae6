"""A registry's storage in memory."""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
from collections.abc import Mapping
from typing import BinaryIO

from registry_tool.oci.digest import Digest
from registry_tool.server.storage import LinkKind, WrongDigest


class MemoryStorage:
    """A :class:`~registry_tool.server.storage.Storage`. ``blobs`` may be tampered with, as a failing disk would."""

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
    """A :class:`~registry_tool.server.storage.StoredUpload`."""

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
