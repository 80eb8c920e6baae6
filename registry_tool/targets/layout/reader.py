"""Reading a place of the form of an image layout: an index with names, and content by digest."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import Conflict, InvalidManifest, InvalidReference, Mismatch, NotFound
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, INDEXES, Manifest, is_layer
from registry_tool.targets.layout.index import LayoutImage, LayoutIndex, bare
from registry_tool.targets.target import Readable, verified

_LIKE_DIGEST = re.compile(r"(?:sha256|sha512):.*")
_MAX_DEPTH = 16
"""Indexes inside each other that are read for referrers."""


class LayoutReader(ABC):
    """The reading half of a Target. Threads may share it. Names take the part of tags: ``1.0``, ``localhost:5000/app:1.0``."""

    def __init__(self, name: str) -> None:
        self.name = name
        """What messages call it."""
        self.limiter = RateLimiter()
        self._walked: dict[Digest, Manifest] = {}

    @property
    @abstractmethod
    def index(self) -> LayoutIndex:
        """Its index, as it is now."""

    @abstractmethod
    def open_content(self, digest: Digest) -> BinaryIO | None:
        """Open what is stored for ``digest``, which may be damaged; None where there is nothing."""

    @abstractmethod
    def stored_size(self, digest: Digest) -> int | None:
        """Bytes of what is stored for ``digest``, None where there is nothing."""

    @property
    def images(self) -> tuple[LayoutImage, ...]:
        """Every image, each as often as it has names. A manifest without a name that refers to another one is its referrer, and none."""
        return tuple(image for image in self.index.images if image.name is not None or not self._is_referrer(image.descriptor))

    def only(self) -> LayoutImage:
        """The one image in it. Raises NotFound where there is none, and Conflict where there are several."""
        images = {image.descriptor.digest: image for image in self.images}
        if not images:
            raise NotFound(f"there is no image in {self.name}")
        if len(images) > 1:
            names = ", ".join(image.name or str(image.descriptor.digest) for image in list(images.values())[:5])
            raise Conflict(f"there are {len(images)} images in {self.name}", hint=f"Name one of them: {names}")
        return next(iter(images.values()))

    def tags(self) -> tuple[str, ...]:
        """Every name, in order."""
        return tuple(dict.fromkeys(image.name for image in self.index.images if image.name is not None))

    def resolve(self, reference: str) -> Descriptor:
        """Return what a name or a digest stands for. Raises NotFound, and Conflict where several images have the name."""
        return self._find(reference)[0]

    def manifest(self, reference: str | Digest) -> Manifest:
        """Return a manifest, with its exact bytes. Raises NotFound, Mismatch, InvalidManifest."""
        descriptor, raw = self._find(str(reference))
        try:
            return manifests.parse(raw, descriptor.media_type or None, algorithm=descriptor.digest.algorithm)
        except InvalidManifest as error:
            error.content = raw
            raise

    @contextmanager
    def fetch(self, descriptor: Descriptor) -> Iterator[Readable]:
        """Open content, verified as it is read. Raises NotFound, and Mismatch while it is read."""
        stream = self.open_content(descriptor.digest)
        if stream is None:
            raise NotFound(f"{descriptor.digest} is not in {self.name}")
        with verified(stream, descriptor) as content:
            yield content

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether it is there with its size; it may still be damaged."""
        return self.stored_size(descriptor.digest) == descriptor.size

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """The manifests whose subject it is, found by reading all others. What cannot be read refers to nothing."""
        return tuple(
            manifest.referrer for manifest in self.walk() if manifest.subject is not None and manifest.subject.digest == descriptor.digest
        )

    def walk(self, *, strict: bool = False) -> Iterator[Manifest]:
        """Every manifest that the index leads to, each once and without its bytes.

        With ``strict`` nothing is left out: raises NotFound, Mismatch or InvalidManifest where a manifest cannot be read, is nested too
        deep, or is of an unknown media type, so that nobody knows what it contains.
        """
        seen: set[Digest] = set()
        level = [entry.digest for entry in self.index.entries]
        for _ in range(_MAX_DEPTH):
            below: list[Digest] = []
            for digest in level:
                if digest in seen:
                    continue
                seen.add(digest)
                try:
                    manifest = self._parsed(digest)
                except (NotFound, Mismatch, InvalidManifest):
                    if strict:
                        raise
                    continue
                below += [child.digest for child in manifest.children if child.media_type in (*IMAGES, *INDEXES)]
                if strict:
                    self._require_known(manifest.children)
                yield manifest
            level = below
        if strict and not seen.issuperset(level):
            raise InvalidManifest(f"the indexes in {self.name} are nested too deep", hint=f"{_MAX_DEPTH} levels are read.")

    # --- inside ---

    def _require_known(self, children: Iterable[Descriptor]) -> None:
        for child in children:
            is_known = child.media_type in (*IMAGES, *INDEXES) or is_layer(child)
            if not is_known and self.stored_size(child.digest) is not None:
                raise InvalidManifest(f"{child.digest} in {self.name} is of an unknown media type: {child.media_type[:140]!r}")

    def _parsed(self, digest: Digest) -> Manifest:
        if digest not in self._walked:
            self._walked[digest] = replace(self.manifest(digest), raw=b"")
        return self._walked[digest]

    def _is_referrer(self, descriptor: Descriptor) -> bool:
        try:
            return self._parsed(descriptor.digest).subject is not None
        except (NotFound, Mismatch, InvalidManifest):
            return False

    def _find(self, reference: str) -> tuple[Descriptor, bytes]:
        """The descriptor of a manifest, and its bytes, which have that digest."""
        if not reference:
            raise InvalidReference(
                "an image has a name or a digest, and neither is given", hint="A name looks like localhost:5000/app:1.0."
            )
        if not _LIKE_DIGEST.fullmatch(reference):
            entry = self.index.find(reference)
            if entry is None:
                raise NotFound(f"there is no image {reference} in {self.name}", hint=self._hint())
            return bare(entry), self._raw(entry.digest, size=entry.size)
        try:
            digest = Digest.parse(reference)
        except ValueError as error:
            raise InvalidReference(f"neither a name nor a digest: {error}") from None
        entry = self.index.entry(digest)
        raw = self._raw(digest, size=entry.size if entry is not None else None)
        media_type = entry.media_type if entry is not None else manifests.media_type_of(raw)
        if not media_type:
            raise NotFound(f"{digest} in {self.name} is not a manifest")
        return Descriptor(media_type=media_type, digest=digest, size=len(raw)), raw

    def _raw(self, digest: Digest, *, size: int | None = None) -> bytes:
        stream = self.open_content(digest)
        if stream is None:
            raise NotFound(f"the manifest {digest} is not in {self.name}", hint=self._hint())
        with stream:
            raw = stream.read(manifests.MAX_SIZE + 1)
        if len(raw) > manifests.MAX_SIZE:
            raise NotFound(f"{digest} in {self.name} is not a manifest: it is too large")
        if Digest.of(raw, digest.algorithm) != digest:
            raise Mismatch(f"the manifest {digest} in {self.name} has other bytes", hint="It is damaged: copy the image again.")
        if size not in (None, len(raw)):
            raise Mismatch(f"the manifest {digest} in {self.name} has {len(raw)} bytes, not {size}", hint="Copy the image again.")
        return raw

    def _hint(self) -> str | None:
        names = self.tags()
        return f"There are: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" if names else None
