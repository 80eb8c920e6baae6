"""What one check of a registry shares between its repositories and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from registry_tool.base import concurrency
from registry_tool.base.errors import RegistryError
from registry_tool.base.progress import Observer
from registry_tool.content.check import blobs
from registry_tool.content.check.blobs import BlobContent
from registry_tool.oci import config as configs
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Registry, Repository

Item = TypeVar("Item")
Result = TypeVar("Result")

_ROW = "check"
_NOT_FOR_US = (400, 403, 405, 406, 410, 501)
"""What registries without lists of referrers answer where the specification wants 404: that is no damage to any image."""


class Over(Exception):
    """The check has ended early; whoever is still at it stops."""


class CheckRun:
    """Requests, of which few are under way at a time, and what is known of blobs: their bytes are read once for all repositories.

    ``blobs`` are those that were looked at, ``bytes_read`` of everything, ``notes`` of the registry as a whole.
    """

    def __init__(self, registry: Registry, *, deep: bool, observer: Observer) -> None:
        self.registry = registry
        self.deep = deep
        self.blobs: set[Digest] = set()
        self.bytes_read = 0
        self.notes: list[str] = []
        self._observer = observer
        self._gate = threading.BoundedSemaphore(concurrency.THREADS)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._readings: concurrency.SingleFlight[Digest, BlobContent] = concurrency.SingleFlight()
        self._finding_out = threading.Lock()
        self._total = 0
        self._done = 0

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """What ``work`` makes of each, in no order; it is to :meth:`ask`."""
        wanted = list(items)
        for _, result in concurrency.map_unordered(work, wanted, threads=min(concurrency.THREADS, len(wanted))):
            yield result

    def ask(self, question: Callable[[], Result]) -> Result:
        """Do what asks the registry, when it may be asked. Raises Over, and what ``question`` raises."""
        with self._gate:
            if self._over.is_set():
                raise Over
            return question()

    def end(self) -> None:
        """Nothing is asked from now on."""
        self._over.set()

    def read(self, repository: Repository, descriptor: Descriptor, *, as_config: bool) -> BlobContent:
        """What the blob's bytes show, wherever it was read first."""

        def now() -> BlobContent:
            return self.ask(
                lambda: blobs.read(
                    repository,
                    descriptor,
                    as_config=as_config and descriptor.size <= configs.MAX_SIZE,
                    unpack=self.deep,
                    came=self.came,
                )
            )

        return self._readings.get(descriptor.digest, now)

    def referrers(self, repository: Repository, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """The registry's own list. Where it keeps none, the lists lie under tags, and are seen with them."""
        with self._finding_out:
            if self._keeps_lists() is None and not self.notes:
                try:
                    listed = repository.referrers(descriptor)
                except RegistryError as error:
                    if error.refusal is None or error.refusal.status not in _NOT_FOR_US:
                        raise
                    self.notes.append(f"the registry does not list what refers to an image: {error.message}")
                    return ()
                return listed if self._keeps_lists() else ()
        return repository.referrers(descriptor) if self._keeps_lists() else ()

    def _keeps_lists(self) -> bool | None:
        return self.registry.capabilities.referrers

    # --- what there is to tell ---

    def begin(self, repository: str) -> None:
        """Tell that ``repository`` is looked at."""
        with self._lock:
            if not self._over.is_set():
                self._observer.start(_ROW, f"Checking {repository}", self._total or None)
                self._observer.advance(_ROW, self._done, self._total or None)

    def expect(self, *, things: int = 0, size: int = 0) -> None:
        """So much more is going to be looked at, and read if this check is deep."""
        with self._lock:
            self._total += size if self.deep else things

    def looked_at(self, blob: Digest | None = None) -> None:
        """A tag, or ``blob``, was looked at."""
        with self._lock:
            if blob is not None:
                self.blobs.add(blob)
            self._advance(0 if self.deep else 1)

    def came(self, count: int) -> None:
        """``count`` bytes were read. Raises Over."""
        with self._lock:
            self.bytes_read += count
            self._advance(count if self.deep else 0)

    def finish(self, label: str) -> None:
        """Tell how it ended."""
        with self._lock:
            self._observer.finish(_ROW, label)

    def _advance(self, count: int) -> None:
        if self._over.is_set():
            raise Over
        self._done += count
        # What a manifest or a config has is not foreseen.
        self._total = max(self._total, self._done)
        if count:
            self._observer.advance(_ROW, self._done, self._total)
