"""State of one check that its repositories and threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from registry_tool.base.concurrency import SingleFlight
from registry_tool.base.errors import RegistryError
from registry_tool.base.progress import Observer
from registry_tool.content.check import blobs
from registry_tool.content.check.blobs import BlobContent
from registry_tool.oci import config as configs
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Registry, Repository

_ROW = "check"
_NOT_FOR_US = (400, 403, 405, 406, 410, 501)
"""Statuses of registries without lists of referrers, where the specification wants 404: no damage to any image."""


class Stopped(Exception):
    """The check has ended early; threads that still work on it end."""


class CheckRun:
    """Requests, progress, ``blobs`` that were checked, their contents (read once), ``bytes_read`` in all, ``notes`` on the registry."""

    def __init__(self, registry: Registry, *, deep: bool, observer: Observer) -> None:
        self.registry = registry
        self.deep = deep
        self.blobs: set[Digest] = set()
        self.bytes_read = 0
        self.notes: list[str] = []
        self._observer = observer
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._contents: SingleFlight[Digest, BlobContent] = SingleFlight()
        self._probe_lock = threading.Lock()
        self._total = 0
        self._done = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Bound the requests of a ``with`` block. Raises Stopped, TooManyRequests."""
        with self.registry.limiter:
            if self._stopped.is_set():
                raise Stopped
            yield

    def stop(self) -> None:
        """Send no request from now on."""
        self._stopped.set()

    def read(self, repository: Repository, descriptor: Descriptor, *, as_config: bool) -> BlobContent:
        """Return what the blob's bytes show, in whatever repository they were read first."""

        def read() -> BlobContent:
            is_config = as_config and descriptor.size <= configs.MAX_SIZE
            with self.request():
                return blobs.read_blob(repository, descriptor, as_config=is_config, unpack=self.deep, received=self.received)

        return self._contents.get(descriptor.digest, read)

    def referrers(self, repository: Repository, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """The registry's own list. Where it keeps none, the lists are under tags, and are checked with them."""
        with self._probe_lock:
            if self._keeps_lists() is None and not self.notes:
                try:
                    referrers = repository.listed_referrers(descriptor)
                except RegistryError as error:
                    if error.response is None or error.response.status not in _NOT_FOR_US:
                        raise
                    self.notes.append(f"the registry does not list what refers to an image: {error.message}")
                    return ()
                return referrers or ()
        return (repository.listed_referrers(descriptor) or ()) if self._keeps_lists() else ()

    def _keeps_lists(self) -> bool | None:
        return self.registry.capabilities.referrers

    # --- progress ---

    def start(self, repository: str) -> None:
        """Report that ``repository`` is being checked."""
        with self._lock:
            if not self._stopped.is_set():
                self._observer.start(_ROW, f"Checking {repository}", self._total or None)
                self._observer.advance(_ROW, self._done, self._total or None)

    def expect(self, *, things: int = 0, size: int = 0) -> None:
        """Add to the total: tags and blobs, or, if this check is deep, bytes."""
        with self._lock:
            self._total += size if self.deep else things

    def checked(self, blob: Digest | None = None) -> None:
        """Count a tag, or ``blob``. Raises Stopped."""
        with self._lock:
            if blob is not None:
                self.blobs.add(blob)
            self._advance(0 if self.deep else 1)

    def received(self, count: int) -> None:
        """Count bytes that were read. Raises Stopped."""
        with self._lock:
            self.bytes_read += count
            self._advance(count if self.deep else 0)

    def finish(self, label: str) -> None:
        """Report the end."""
        with self._lock:
            self._observer.finish(_ROW, label)

    def _advance(self, count: int) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._done += count
        # What a manifest or a config has is not foreseen.
        self._total = max(self._total, self._done)
        if count:
            self._observer.advance(_ROW, self._done, self._total)
