"""What a repository's manifests and configs say, each asked for once, however many tags lead to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from registry_tool.base.concurrency import SingleFlight
from registry_tool.base.errors import InvalidManifest, RegistryToolError
from registry_tool.content.listing.source import Cache, ContentSource, Memory, NoCache, RateLimiter, ends_all
from registry_tool.oci import config as configs
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import Config, parse_config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Child, Manifest, is_attestation

MAX_DEPTH = 8
"""Indexes inside each other. Builders make one, or one with an index of attestations in it."""
MAX_MANIFESTS = 1000
"""Manifests that one tag leads to."""

_MANIFESTS = (*manifests.IMAGES, *manifests.INDEXES, *manifests.SCHEMA_1)
_IMAGE_CONFIGS = (manifests.OCI_CONFIG, manifests.DOCKER_CONFIG)
_CREATED = "org.opencontainers.image.created"
_HINT = "Look at it with: regctl inspect --raw"

Type = Literal["image", "index", "artifact", "signature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What there is to say of one tag's manifest. ``error`` is what was wrong below it; what is not known for that is None.

    ``blobs`` are configs and layers of all its images with their sizes in bytes, each once.
    """

    type: Type
    blobs: dict[Digest, int]
    size: int | None
    created: datetime | None
    platforms: tuple[Platform, ...]
    is_tombstone: bool = False
    fits: bool = True
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSummary:
    """What is kept of one manifest: ten thousand of them must find room."""

    type: Type
    blobs: tuple[tuple[Digest, int], ...]
    config: Descriptor | None
    annotated: str | None
    children: tuple[Child, ...]
    is_tombstone: bool


class Contents:
    """Reads a repository, from ``cache`` where that has it. Threads share it.

    ``remember``: what was read stays at hand, whatever the cache is worth; for one image, not for a table of them.
    """

    def __init__(self, source: ContentSource, cache: Cache | None = None, *, remember: bool = False) -> None:
        self.source = source
        self.budget = RateLimiter(source)
        self._cache = Memory(cache or NoCache()) if remember else cache or NoCache()
        self._parts: SingleFlight[Digest, PlatformSummary] = SingleFlight()
        self._configs: SingleFlight[Digest, tuple[datetime | None, Platform | None]] = SingleFlight()

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """The manifest that ``descriptor`` names. Raises NotFound, InvalidManifest, Mismatch, and what asking raises."""
        if descriptor.size > manifests.MAX_SIZE:
            raise InvalidManifest(f"a manifest of {descriptor.size} bytes: {manifests.MAX_SIZE} are allowed", hint=_HINT)
        kept = self._cache.get(descriptor.digest)
        if kept is not None:
            return manifests.parse(kept, descriptor.media_type, algorithm=descriptor.digest.algorithm)
        found = self.budget.ask(lambda: self.source.manifest(descriptor.digest))
        self._cache.put(descriptor.digest, found.raw)
        return found

    def raw_config(self, descriptor: Descriptor) -> bytes:
        """The exact bytes of a config. Raises as :meth:`manifest` does."""
        if descriptor.size > configs.MAX_SIZE:
            raise InvalidManifest(f"a config of {descriptor.size} bytes: {configs.MAX_SIZE} are allowed", hint=_HINT)
        kept = self._cache.get(descriptor.digest)
        if kept is None:
            kept = self.budget.ask(lambda: self._read(descriptor))
            self._cache.put(descriptor.digest, kept)
        return kept

    def config(self, descriptor: Descriptor) -> Config:
        """The config of an image. Raises as :meth:`manifest` does."""
        return parse_config(self.raw_config(descriptor))

    def details(self, descriptor: Descriptor, wanted: Platform | None = None) -> Details:
        """What there is to say of what a tag stands for; of its image for the platform ``wanted`` alone, where one is given.

        Raises as :meth:`manifest` does where its own manifest cannot be had or read.
        """
        top = self.part(descriptor)
        walk = _Traversal(self, wanted)
        walk.visit(descriptor, top)
        known = walk.error is None
        return Details(
            type=top.type,
            blobs=walk.blobs,
            size=sum(walk.blobs.values()) if walk.is_whole else None,
            created=max(walk.created, default=None) if known else None,
            platforms=tuple(walk.platforms),
            is_tombstone=top.is_tombstone,
            fits=wanted is None or walk.fits or not known,
            error=walk.error,
        )

    def blobs(self, descriptor: Descriptor) -> dict[Digest, int]:
        """Configs and layers that a tag's manifest leads to, with their sizes; no config is read. Raises as :meth:`manifest` does."""
        walk = _Traversal(self, None, births=False)
        walk.visit(descriptor, self.part(descriptor))
        return walk.blobs

    def glance(self, descriptor: Descriptor) -> Details:
        """What its manifest alone says; nothing that it leads to is asked for. Raises as :meth:`manifest` does."""
        part = self.part(descriptor)
        return Details(type=part.type, blobs={}, size=None, created=None, platforms=(), is_tombstone=part.is_tombstone)

    def part(self, descriptor: Descriptor) -> PlatformSummary:
        """The manifest, as far as it is kept."""
        return self._parts.get(descriptor.digest, lambda: _reduced(self.manifest(descriptor)))

    def birth(self, config: Descriptor) -> tuple[datetime | None, Platform | None]:
        """When an image was made and for what, by its config."""

        def read() -> tuple[datetime | None, Platform | None]:
            found = self.config(config)
            return found.created, found.platform

        return self._configs.get(config.digest, read)

    def _read(self, descriptor: Descriptor) -> bytes:
        with self.source.fetch(descriptor) as stream:
            pieces = iter(lambda: stream.read(1 << 20), b"")
            return b"".join(pieces)


class _Traversal:
    """Everything below one tag. It ends, whatever indexes say: each manifest once, so many at most, so deep at most."""

    def __init__(self, contents: Contents, wanted: Platform | None, *, births: bool = True) -> None:
        self._contents = contents
        self._births = births
        self._wanted = wanted
        self._seen: set[Digest] = set()
        self.blobs: dict[Digest, int] = {}
        self.created: list[datetime] = []
        self.platforms: dict[Platform, None] = {}
        self.error: RegistryToolError | None = None
        self.is_whole = True
        self.fits = False

    def visit(self, descriptor: Descriptor, part: PlatformSummary, depth: int = 0) -> None:
        """Take in ``part``, whose descriptor says its platform where it is a child, and what it leads to."""
        self._seen.add(descriptor.digest)
        if not part.children:
            self._take(descriptor, part)
            return
        for child in part.children:
            if child.platform is not None and child.platform.os != "unknown" and not is_attestation(child):
                self.platforms[child.platform] = None
        below = [child for child in part.children if child.digest not in self._seen and self._is_wanted(child)]
        if depth == MAX_DEPTH:
            self._miss(InvalidManifest(f"indexes are nested more than {MAX_DEPTH} deep", hint=_HINT))
        elif len(below) + len(self._seen) > MAX_MANIFESTS:
            self._miss(InvalidManifest(f"leads to more than {MAX_MANIFESTS} manifests", hint=_HINT))
        else:
            for child in below:
                self._descend(child, depth + 1)

    def _descend(self, child: Child, depth: int) -> None:
        if child.media_type not in _MANIFESTS:
            # Builders keep caches in indexes whose entries are layers.
            self.blobs[child.digest] = child.size
            return
        try:
            self.visit(child, self._contents.part(child), depth)
        except RegistryToolError as error:
            self._miss(error)

    def _is_wanted(self, child: Child) -> bool:
        if self._wanted is None:
            return True
        if is_attestation(child):
            return False
        return child.platform is None or child.platform.fits(self._wanted)

    def _take(self, descriptor: Descriptor, part: PlatformSummary) -> None:
        born, platform = configs.moment(part.annotated), descriptor.platform
        if self._births and part.config is not None and part.config.media_type in _IMAGE_CONFIGS and not is_attestation(descriptor):
            try:
                written, own = self._contents.birth(part.config)
                born, platform = written or born, platform or own
            except RegistryToolError as error:
                self._miss(error, is_whole=self._wanted is None or platform is not None)
        if self._wanted is not None and (platform is None or not platform.fits(self._wanted)):
            return
        self.fits = True
        self.blobs.update(part.blobs)
        if is_attestation(descriptor):
            return
        if born is not None:
            self.created.append(born)
        if platform is not None and platform.os != "unknown":
            self.platforms[platform] = None

    def _miss(self, error: RegistryToolError, *, is_whole: bool = False) -> None:
        if ends_all(error):
            raise error
        self.error = self.error or error
        self.is_whole = self.is_whole and is_whole


def _reduced(manifest: Manifest) -> PlatformSummary:
    blobs = (manifest.config, *manifest.layers) if manifest.config else manifest.layers
    return PlatformSummary(
        type=manifest.type,
        blobs=tuple({blob.digest: blob.size for blob in blobs}.items()),
        config=manifest.config,
        annotated=manifest.annotations.get(_CREATED),
        children=manifest.children,
        is_tombstone=manifest.is_tombstone,
    )
