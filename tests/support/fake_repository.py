"""A repository in memory, as registry:2 keeps one: fast enough for thousands of cases, and dead at any write that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from registry_tool.base.errors import NotFound
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.target import Readable


class Killed(BaseException):
    """The process ended here."""


class PretendRepository:
    """``lists_referrers``: as registries do that have an interface for it. ``lives`` is how many writes there may be."""

    def __init__(self, *, lists_referrers: bool, untags: bool) -> None:
        self.lists_referrers = lists_referrers
        self.untags = untags
        self.lives: int | None = None
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.at: dict[str, Digest] = {}

    def resolve(self, reference: str) -> Descriptor:
        return self.manifest(reference).descriptor

    def manifest(self, reference: str | Digest) -> Manifest:
        text = str(reference)
        digest = Digest.parse(text) if ":" in text else self.at.get(text)
        if digest is None or digest not in self.manifests:
            raise NotFound(text)
        return self.manifests[digest]

    @contextmanager
    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[Readable]:
        if descriptor.digest not in self.blobs:
            raise NotFound(str(descriptor.digest))
        yield BytesIO(self.blobs[descriptor.digest][offset:])

    def exists(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.blobs or descriptor.digest in self.manifests

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        self._write()
        self.blobs[descriptor.digest] = stream.read()

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        self._write()
        self.manifests[manifest.digest] = manifest
        if tag is not None:
            self.at[tag] = manifest.digest
        return manifest.descriptor

    def tags(self) -> tuple[str, ...]:
        return tuple(self.at)

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        if not self.lists_referrers:
            listed = self.at.get(f"sha256-{descriptor.digest.hex}")
            return self.manifests[listed].children if listed else ()
        return tuple(
            found.referrer for found in self.manifests.values() if found.subject is not None and found.subject.digest == descriptor.digest
        )

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        self._write()
        if self.manifests.pop(descriptor.digest, None) is None:
            raise NotFound(str(descriptor.digest))
        self.at = {tag: digest for tag, digest in self.at.items() if digest != descriptor.digest}

    def can_delete(self) -> bool:
        return True

    def can_untag(self) -> bool:
        return self.untags

    def untag(self, tag: str) -> None:
        self._write()
        if self.at.pop(tag, None) is None:
            raise NotFound(tag)

    def _write(self) -> None:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed
            self.lives -= 1
