"""What tags stand for: by HEAD, or by GET of their manifests where these are needed, too, and that takes fewer bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from registry_tool.base.errors import InvalidManifest, Mismatch, RegistryError, TooManyRequests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE, Manifest
from registry_tool.targets.target import Target

_LEAST = 4
"""Tags that are looked up by HEAD before any is by GET."""
_MOST = 32
"""Tags after which HEADs are not counted any more."""
_OVERHEAD = 1000
"""Bytes of a request without a body and the head of its response, about."""


class GetSavings:
    """Bytes that are saved by GETs of tags in the place of HEADs, by what the tags until now led to. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags = 0
        self._bytes = 0

    @property
    def are_likely(self) -> bool:
        """Whether the next tag is better requested by GET."""
        return self._tags >= _LEAST and self._bytes > 0

    @property
    def are_decided(self) -> bool:
        """Whether enough tags have been looked at, and GETs save nothing."""
        return self._tags >= _MOST and not self.are_likely

    def count(self, size: int, *, tags: int = 1) -> None:
        """Count a tag: ``size`` in bytes, positive where GET takes fewer. ``tags`` 0: it is counted already."""
        with self._lock:
            self._tags += tags
            self._bytes += size


class TagReader:
    """Looks up tags of ``source`` whose manifests are needed, too. Threads may share it.

    ``keep`` gets each manifest that a GET brought; ``is_kept`` tells whether a digest's manifest is there already, from whatever
    source.
    """

    def __init__(
        self, source: Target, *, is_kept: Callable[[Digest], bool], keep: Callable[[Manifest], object], savings: GetSavings | None = None
    ) -> None:
        self._source = source
        self._is_kept = is_kept
        self._keep = keep
        self._savings = savings or GetSavings()
        self._seen: set[Digest] = set()

    def resolve(self, tag: str) -> Descriptor:
        """Return what ``tag`` stands for now, whatever it is. Raises NotFound and what requests raise."""
        is_unread = False
        # Where a registry counts requests, it counts GETs.
        if self._savings.are_likely and not self._source.limiter.has_quota:
            try:
                with self._source.limiter:
                    manifest = self._source.manifest(tag)
            except TooManyRequests:
                raise
            except (InvalidManifest, Mismatch, RegistryError):
                # A HEAD tells what can be known of it all the same, and how much was received in vain.
                self._savings.count(-_OVERHEAD)
                is_unread = True
            else:
                self._count(manifest.descriptor)
                self._keep(manifest)
                return manifest.descriptor
        with self._source.limiter:
            descriptor = self._source.resolve(tag)
        if is_unread:
            self._savings.count(-min(descriptor.size, MAX_SIZE), tags=0)
        elif not self._savings.are_decided:
            self._count(descriptor)
        return descriptor

    def _count(self, descriptor: Descriptor) -> None:
        """A manifest that is not there takes another request after a HEAD; one that is there comes once more with a GET."""
        is_new = descriptor.digest not in self._seen and not self._is_kept(descriptor.digest)
        self._seen.add(descriptor.digest)
        self._savings.count(_OVERHEAD if is_new else -descriptor.size)
