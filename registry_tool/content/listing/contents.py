"""What a repository's manifests and configs say, each requested once, however many tags lead to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from registry_tool.base.concurrency import SingleFlight
from registry_tool.base.errors import (
    ConnectionLost,
    CredentialsError,
    InvalidManifest,
    RegistryToolError,
    TooManyRequests,
    UnknownMediaType,
    Unreachable,
)
from registry_tool.content.graph import MANIFESTS, MAX_DEPTH, Node, read_node, traverse, without_bytes
from registry_tool.content.protection import is_protection
from registry_tool.content.tag_reader import GetSavings, TagReader
from registry_tool.oci import config as configs
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import Config, parse_config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_attestation, is_platform_image
from registry_tool.targets.cache import Cache, MemoryCache, NoCache
from registry_tool.targets.target import Target

MAX_MANIFESTS = 1000
"""Manifests that one tag leads to."""

_CREATED = "org.opencontainers.image.created"
_HINT = "See: regctl inspect --raw"

Type = Literal["image", "index", "artifact", "signature", "unknown"]


def is_registry_wide(error: RegistryToolError) -> bool:
    """Whether there is no use in any further request to the registry. A 401 or 403 may be of one tag or repository alone."""
    return isinstance(error, (TooManyRequests, CredentialsError, Unreachable)) and not isinstance(error, ConnectionLost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Details of one tag: ``blobs`` are sizes in bytes of all its configs and layers; what is unknown because of ``error`` is None.

    ``note`` is why nothing is known of what is of type ``unknown``.
    """

    type: Type
    blobs: dict[Digest, int]
    size: int | None
    created: datetime | None
    platforms: tuple[Platform, ...]
    is_tombstone: bool = False
    is_protection: bool = False
    fits: bool = True
    error: RegistryToolError | None = None
    note: str | None = None


class Contents:
    """Reads a repository, through ``cache``. Threads may share it.

    ``remember``: keep all in memory, too: for one image, not a table. ``savings`` may be those of other repositories.
    """

    def __init__(self, source: Target, cache: Cache | None = None, *, remember: bool = False, savings: GetSavings | None = None) -> None:
        self.source = source
        self._cache = MemoryCache(cache) if remember else cache or NoCache()
        self._manifests: SingleFlight[Digest, Manifest] = SingleFlight()
        self._configs: SingleFlight[Digest, tuple[datetime | None, Platform | None, str | None]] = SingleFlight()
        self._tags = TagReader(source, is_kept=self._is_kept, keep=self._keep, savings=savings)

    def tags(self) -> tuple[str, ...]:
        """Every tag. Raises NotFound where there is no such repository."""
        with self.source.limiter:
            return self.source.tags()

    def resolve(self, tag: str, *, with_manifest: bool = False) -> Descriptor:
        """Return what ``tag`` stands for now; ``with_manifest``: :meth:`kept_manifest` of it is needed, too. Raises NotFound."""
        if with_manifest:
            return self._tags.resolve(tag)
        with self.source.limiter:
            return self.source.resolve(tag)

    def _is_kept(self, manifest: Digest) -> bool:
        return manifest in self._manifests or self._cache.get(manifest) is not None

    def keep(self, manifest: Manifest) -> None:
        """Keep a manifest that was read by somebody else."""
        self._manifests.keep(manifest.digest, without_bytes(manifest))

    def _keep(self, manifest: Manifest) -> None:
        self._cache.put(manifest.digest, manifest.raw)
        self.keep(manifest)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest that ``descriptor`` names. Raises NotFound, InvalidManifest, Mismatch, and what requests raise."""
        if descriptor.size > manifests.MAX_SIZE:
            raise InvalidManifest(f"a manifest of {descriptor.size} bytes: {manifests.MAX_SIZE} are allowed", hint=_HINT)
        cached = self._cache.get(descriptor.digest)
        if cached is not None:
            return manifests.parse(cached, descriptor.media_type, algorithm=descriptor.digest.algorithm)
        with self.source.limiter:
            manifest = self.source.manifest(descriptor.digest)
        self._cache.put(descriptor.digest, manifest.raw)
        return manifest

    def raw_config(self, descriptor: Descriptor) -> bytes:
        """Return the exact bytes of a config. Raises as :meth:`manifest` does."""
        if descriptor.size > configs.MAX_SIZE:
            raise InvalidManifest(f"a config of {descriptor.size} bytes: {configs.MAX_SIZE} are allowed", hint=_HINT)
        content = self._cache.get(descriptor.digest)
        if content is None:
            with self.source.limiter, self.source.fetch(descriptor) as stream:
                content = b"".join(iter(lambda: stream.read(1 << 20), b""))
            self._cache.put(descriptor.digest, content)
        return content

    def config(self, descriptor: Descriptor) -> Config:
        """Return the config of an image. Raises as :meth:`manifest` does."""
        return parse_config(self.raw_config(descriptor))

    def lenient_config(self, descriptor: Descriptor) -> Config:
        """The same, with what can be read of it: see :func:`parse_config`."""
        return parse_config(self.raw_config(descriptor), lenient=True)

    def details(self, descriptor: Descriptor, platform: Platform | None = None) -> Details:
        """Describe what a tag stands for, or its image for ``platform``. Raises as :meth:`manifest` where its own cannot be read."""
        images = _Images(self, platform)
        try:
            manifest = images.collect(descriptor)
        except UnknownMediaType as error:
            return _unknown(error, fits=platform is None)
        is_known = images.error is None
        return Details(
            type=manifest.type,
            blobs=images.blobs,
            size=sum(images.blobs.values()) if images.is_whole else None,
            created=max(images.created, default=None) if is_known else None,
            platforms=tuple(images.platforms),
            is_tombstone=manifest.is_tombstone,
            is_protection=is_protection(manifest),
            fits=platform is None or images.fits or not is_known,
            error=images.error or images.problem,
        )

    def blobs(self, descriptor: Descriptor) -> dict[Digest, int]:
        """Return configs and layers that a tag leads to, with their sizes in bytes; reads no config. Raises as :meth:`manifest` does."""
        images = _Images(self, None, configs=False)
        images.collect(descriptor)
        return images.blobs

    def summary(self, descriptor: Descriptor) -> Details:
        """Describe what its manifest alone says, without what it leads to. Raises as :meth:`manifest` does."""
        try:
            manifest = self.kept_manifest(descriptor)
        except UnknownMediaType as error:
            return _unknown(error)
        return Details(
            type=manifest.type,
            blobs={},
            size=None,
            created=None,
            platforms=(),
            is_tombstone=manifest.is_tombstone,
            is_protection=is_protection(manifest),
        )

    def platform_images(self, manifest: Manifest) -> list[Descriptor]:
        """Images of a named platform in an index, and in the indexes in it. Raises as :meth:`manifest` does."""

        def nested(children: Iterable[Descriptor]) -> list[Descriptor]:
            return [
                child
                for child in children
                if child.platform is None and child.media_type in manifests.INDEXES and not is_attestation(child)
            ]

        def read(descriptor: Descriptor) -> Node:
            return Node(descriptor=descriptor, manifest=self.kept_manifest(descriptor))

        children = list(manifest.children)
        for node in traverse(nested(children), read, lambda node: nested(node.children)):
            children += node.children
        return [child for child in children if is_platform_image(child)]

    def kept_manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest without its bytes, read once for all who ask. Raises as :meth:`manifest` does."""
        return self._manifests.get(descriptor.digest, lambda: without_bytes(self.manifest(descriptor)))

    def created_for(self, config: Descriptor) -> tuple[datetime | None, Platform | None, str | None]:
        """When an image was made, for what platform, by its config, and what is wrong with that. Raises as :meth:`manifest` does."""

        def read() -> tuple[datetime | None, Platform | None, str | None]:
            parsed = self.lenient_config(config)
            return parsed.created, parsed.platform, next(iter(parsed.problems), None)

        return self._configs.get(config.digest, read)


def _unknown(error: UnknownMediaType, *, fits: bool = True) -> Details:
    return Details(type="unknown", blobs={}, size=None, created=None, platforms=(), fits=fits, note=error.message)


class _Images:
    """All images below one tag's manifest, or those for ``platform``; ``configs`` False: without what their configs say."""

    def __init__(self, contents: Contents, platform: Platform | None, *, configs: bool = True) -> None:
        self._contents = contents
        self._configs = configs
        self._platform = platform
        self._count = 1
        self.blobs: dict[Digest, int] = {}
        self.created: list[datetime] = []
        self.platforms: dict[Platform, None] = {}
        self.error: RegistryToolError | None = None
        self.problem: RegistryToolError | None = None
        """What is wrong with a config, and keeps nothing else from being known."""
        self.is_whole = True
        self.fits = False

    def collect(self, descriptor: Descriptor) -> Manifest:
        """Read all of it; return the manifest itself. Raises where that cannot be read, and what is registry-wide."""
        manifest = self._contents.kept_manifest(descriptor)
        for node in traverse([descriptor], lambda each: read_node(each, self._contents.kept_manifest), self._follow):
            if node.error is not None:
                self._miss(node.error)
            if node.is_last:
                self._miss(InvalidManifest(f"indexes are nested more than {MAX_DEPTH} deep", hint=_HINT))
            if node.manifest is not None:
                self._add(node.descriptor, node.manifest)
        return manifest

    def _follow(self, node: Node) -> list[Descriptor]:
        wanted = [child for child in node.children if self._is_wanted(child)]
        if self._platform is not None:
            # The first that fits is the image that is chosen; only where none says so, each is looked at.
            wanted = [child for child in wanted if child.platform is not None][:1] or wanted
        if self._count + len(wanted) > MAX_MANIFESTS:
            self._miss(InvalidManifest(f"leads to more than {MAX_MANIFESTS} manifests", hint=_HINT))
            return []
        self._count += len(wanted)
        return wanted

    def _is_wanted(self, child: Descriptor) -> bool:
        if self._platform is None:
            return True
        if is_attestation(child):
            return False
        return child.platform is None or child.platform.fits(self._platform)

    def _add(self, descriptor: Descriptor, manifest: Manifest) -> None:
        for child in manifest.children:
            if child.platform is not None and is_platform_image(child):
                self.platforms[child.platform] = None
            if child.media_type not in MANIFESTS and self._is_wanted(child):
                # Builders keep caches in indexes whose entries are layers.
                self.blobs[child.digest] = child.size
        if not manifest.children:
            self._add_image(descriptor, manifest)

    def _add_image(self, descriptor: Descriptor, manifest: Manifest) -> None:
        created, platform = configs.parse_time(manifest.annotations.get(_CREATED)), descriptor.platform
        config = manifest.config
        if self._configs and config is not None and config.media_type in manifests.CONFIGS and not is_attestation(descriptor):
            try:
                configured_at, configured_platform, problem = self._contents.created_for(config)
                created, platform = configured_at or created, platform or configured_platform
                if problem is not None:
                    self.problem = self.problem or InvalidManifest(problem)
            except RegistryToolError as error:
                self._miss(error, is_whole=self._platform is None or platform is not None)
        if self._platform is not None and (self.fits or platform is None or not platform.fits(self._platform)):
            return
        self.fits = True
        self.blobs.update((blob.digest, blob.size) for blob in (*([config] if config else ()), *manifest.layers))
        if is_attestation(descriptor):
            return
        if created is not None:
            self.created.append(created)
        if platform is not None and platform.os != "unknown":
            self.platforms[platform] = None

    def _miss(self, error: RegistryToolError, *, is_whole: bool = False) -> None:
        if is_registry_wide(error):
            raise error
        self.error = self.error or error
        self.is_whole = self.is_whole and is_whole
