"""A repository in memory that behaves as registry:2: fast enough for thousands of cases, and killed at any write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import AuthenticationFailed, NotFound, RegistryError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.target import Readable


class Killed(BaseException):
    """Stands for the end of the process."""


class FakeRepository:
    """``lists_referrers``: by an interface. ``writes_left``: after how many writes it raises Killed. ``refused``: tags it does not show.

    ``locked``: manifests that it does not delete.
    """

    def __init__(self, *, lists_referrers: bool, untags: bool) -> None:
        self.lists_referrers = lists_referrers
        self.untags = untags
        self.writes_left: int | None = None
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.digests: dict[str, Digest] = {}
        self.limiter = RateLimiter()
        self.has_unlisted_tags = False
        self.refused: set[str] = set()
        self.locked: set[Digest] = set()

    def resolve(self, reference: str) -> Descriptor:
        return self.manifest(reference).descriptor

    def manifest(self, reference: str | Digest) -> Manifest:
        text = str(reference)
        if text in self.refused and text in self.digests:
            raise AuthenticationFailed(f"403 {text}")
        digest = Digest.parse(text) if ":" in text else self.digests.get(text)
        if digest is None or digest not in self.manifests:
            raise NotFound(text)
        return self.manifests[digest]

    @contextmanager
    def fetch(self, descriptor: Descriptor) -> Iterator[Readable]:
        if descriptor.digest not in self.blobs:
            raise NotFound(str(descriptor.digest))
        yield BytesIO(self.blobs[descriptor.digest])

    def exists(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.blobs or descriptor.digest in self.manifests

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        self._write()
        self.blobs[descriptor.digest] = stream.read()

    def push_manifest(self, manifest: Manifest, tag: str | None, *, add_referrer: bool = True) -> Descriptor:
        self._write()
        self.manifests[manifest.digest] = manifest
        if tag is not None:
            self.digests[tag] = manifest.digest
        return manifest.descriptor

    def tags(self) -> tuple[str, ...]:
        return tuple(self.digests)

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        if not self.lists_referrers:
            listed = self.digests.get(f"sha256-{descriptor.digest.hex}")
            return self.manifests[listed].children if listed else ()
        return tuple(
            manifest.referrer
            for manifest in self.manifests.values()
            if manifest.subject is not None and manifest.subject.digest == descriptor.digest
        )

    def listed_referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...] | None:
        return self.referrers(descriptor) if self.lists_referrers else None

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        self._write()
        if descriptor.digest in self.locked:
            raise RegistryError(f"405 {descriptor.digest}")
        if self.manifests.pop(descriptor.digest, None) is None:
            raise NotFound(str(descriptor.digest))
        self.digests = {tag: digest for tag, digest in self.digests.items() if digest != descriptor.digest}

    def can_delete(self) -> bool:
        return True

    def can_untag(self) -> bool:
        return self.untags

    def untag(self, tag: str) -> None:
        self._write()
        if self.digests.pop(tag, None) is None:
            raise NotFound(tag)

    def _write(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Killed
            self.writes_left -= 1
