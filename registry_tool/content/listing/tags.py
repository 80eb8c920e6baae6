"""Looking at every tag of a repository at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import TypeVar

from registry_tool.base.concurrency import THREADS, map_unordered
from registry_tool.base.errors import ConnectionLost, NotFound, RegistryError, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.listing.contents import Contents, Details
from registry_tool.content.listing.source import Cache, ContentSource, ends_all
from registry_tool.content.listing.table import Options, Row, SiblingIndex, TagTable, ordered, selected
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_IMAGE, tombstone
from registry_tool.oci.reference import is_tag

MAX_IN_A_ROW = 16
"""Tags that a registry may fail to answer for, one after the other, before it is left alone."""
_ROUNDS = 3
_LONGEST_MARK = 64
_WORTH_A_BAR = 32
_BUSY = (500, 502, 503, 504)

Item = TypeVar("Item")
Found = TypeVar("Found")


def list_tags(
    source: ContentSource,
    options: Options | None = None,
    *,
    cache: Cache | None = None,
    observer: Observer = SILENT,
    threads: int = THREADS,
) -> TagTable:
    """The table of ``source``'s tags.

    Each tag costs one HEAD, each manifest and config that is not in ``cache`` one GET. A tag that cannot be looked at,
    or leads to something damaged, is a row that says so. Where the registry will not be asked any more, the table has
    the rows so far. Raises what listing the tags raises, and NotFound where there is no such repository. ``observer``
    is told of the tags, not of bytes.
    """
    return _Survey(source, options or Options(), cache, observer, threads).table()


class _Survey:
    def __init__(self, source: ContentSource, options: Options, cache: Cache | None, observer: Observer, threads: int) -> None:
        self._contents = Contents(source, cache)
        self._options = options
        self._observer = observer
        self._threads = threads
        self._heads: dict[str, Descriptor] = {}
        self._troubles: dict[str, RegistryToolError] = {}
        self._details: dict[Digest, Details | RegistryToolError] = {}
        self._blobs: dict[Digest, int] = {}
        self._neighbours = SiblingIndex()
        self._stopped: RegistryToolError | None = None
        self._failed_in_a_row = 0
        self._done = self._total = 0

    def table(self) -> TagTable:
        names = self._contents.budget.ask(self._contents.source.tags)
        chosen = selected(names, self._options)
        if self._options.look == "names":
            return TagTable(rows=ordered([Row(name=name) for name in chosen], self._options), count=len(names))
        self._begin(names if self._options.siblings else chosen, chosen)
        rows = self._rows(names, chosen)
        absent = [name for name in chosen if isinstance(self._troubles.get(name), NotFound)]
        vanished = self._gone(absent)
        rows += [Row(name=name, error=_listed_only(self._troubles[name])) for name in absent if name not in vanished]
        if self._total > _WORTH_A_BAR:
            self._observer.finish("tags", "looked at the tags")
        return TagTable(
            rows=ordered(rows, self._options),
            count=len(names),
            size=sum(self._blobs.values()) if self._options.look == "details" else None,
            vanished=tuple(sorted(vanished)),
            stopped=self._stopped,
            looked_at=len(self._heads),
        )

    def _rows(self, names: Sequence[str], chosen: Sequence[str]) -> list[Row]:
        options = self._options
        if options.siblings:
            self._look_up(names)
        rows: list[Row] = []
        waiting = iter(chosen)
        while True:
            count = options.limit - len(rows) if options.limit is not None and options.is_limited_first else None
            batch = list(islice(waiting, count))
            if not batch:
                break
            self._look_up(name for name in batch if name not in self._heads and name not in self._troubles)
            rows += self._described(batch)
        return rows

    # --- what a tag stands for ---

    def _look_up(self, names: Iterable[str]) -> None:
        for name, found in self._each(self._head, names):
            if isinstance(found, Descriptor):
                self._heads[name] = found
                self._neighbours.add(found.digest, name)
            else:
                self._troubles[name] = found
            self._step()

    def _head(self, name: str) -> Descriptor | RegistryToolError:
        if not is_tag(name):
            return RegistryError(f"the registry lists {name[:200]!a} as a tag, which it cannot be", hint="Look at the registry's log.")
        return self._tried(lambda: self._contents.budget.ask(lambda: self._contents.source.head(name)))

    def _gone(self, absent: Sequence[str]) -> set[str]:
        """Those that are not listed any more: what is still listed and is not there is damaged."""
        if not absent or self._stopped is not None:
            return set()
        try:
            return set(absent).difference(self._contents.source.tags())
        except NotFound:
            return set(absent)

    # --- what that is ---

    def _described(self, names: Sequence[str]) -> list[Row]:
        waiting = list(names)
        for _ in range(_ROUNDS):
            moved = self._describe(waiting)
            if not moved:
                break
            # The manifest went while we looked. So did the tag, or it stands for another one now.
            for name in moved:
                self._neighbours.remove(self._heads.pop(name).digest, name)
            self._look_up(moved)
            waiting = moved
        rows = (self._row(name) for name in names)
        return [row for row in rows if row is not None]

    def _describe(self, names: Iterable[str]) -> list[str]:
        """Look into what ``names`` stand for; those whose manifest is not there."""
        by_digest: dict[Digest, Descriptor] = {}
        tags: dict[Digest, list[str]] = {}
        for name in names:
            descriptor = self._heads.get(name)
            if descriptor is not None and descriptor.digest not in self._details and self._is_looked_into(name, descriptor):
                by_digest[descriptor.digest] = descriptor
                tags.setdefault(descriptor.digest, []).append(name)
        for descriptor, found in self._each(self._look_into, by_digest.values()):
            self._details[descriptor.digest] = found
            if isinstance(found, Details):
                self._blobs.update(found.blobs)
            self._step(len(tags[descriptor.digest]))
        lost = [digest for digest in by_digest if isinstance(self._details.get(digest), NotFound)]
        return [name for digest in lost for name in tags[digest]]

    def _is_looked_into(self, name: str, descriptor: Descriptor) -> bool:
        return self._options.look == "details" or _may_be_tombstone(name, descriptor)

    def _look_into(self, descriptor: Descriptor) -> Details | RegistryToolError:
        if self._options.look == "digests":
            return self._tried(lambda: self._contents.glance(descriptor))
        return self._tried(lambda: self._contents.details(descriptor, self._options.platform))

    def _row(self, name: str) -> Row | None:
        """None for what is not shown: not looked at, gone, a leftover of ours, not for the platform that is wanted."""
        trouble, head = self._troubles.get(name), self._heads.get(name)
        if head is None:
            return Row(name=name, error=trouble) if trouble is not None and not isinstance(trouble, NotFound) else None
        details = self._details.get(head.digest)
        siblings = self._neighbours.of(head.digest, name) if self._options.siblings or not self._options.is_limited_first else None
        error = details.error if isinstance(details, Details) else details
        row = Row(name=name, digest=head.digest, media_type=head.media_type, siblings=siblings, error=error)
        if not isinstance(details, Details):
            return row
        if details.is_tombstone or not details.fits:
            return None
        if self._options.look != "details":
            return row
        return replace(row, created=details.created, size=details.size, platforms=details.platforms, type=details.type)

    # --- asking ---

    def _each(
        self, work: Callable[[Item], Found | RegistryToolError], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Found | RegistryToolError]]:
        """``work`` on each of ``items``; nothing new is begun once the registry will not be asked any more."""
        for item, found in map_unordered(work, takewhile(lambda _: self._stopped is None, items), threads=self._threads):
            if isinstance(found, RegistryToolError):
                if self._ends(found):
                    self._stopped = self._stopped or found
                    continue
            else:
                self._failed_in_a_row = 0
            yield item, found

    def _tried(self, ask: Callable[[], Found]) -> Found | RegistryToolError:
        try:
            return ask()
        except RegistryToolError as error:
            if ends_all(error):
                # At once, by whoever hears it: the others would go on asking until it is their result's turn.
                self._stopped = self._stopped or error
            return error

    def _ends(self, error: RegistryToolError) -> bool:
        if ends_all(error):
            return True
        if isinstance(error, ConnectionLost) or (error.refusal is not None and error.refusal.status in _BUSY):
            self._failed_in_a_row += 1
        return self._failed_in_a_row > MAX_IN_A_ROW

    # --- reporting ---

    def _begin(self, names: Sequence[str], chosen: Sequence[str]) -> None:
        rows = min(len(chosen), self._options.limit or len(chosen)) if self._options.is_limited_first else len(chosen)
        self._total = len(names) + (rows if self._options.look == "details" else 0)
        if self._total > _WORTH_A_BAR:
            self._observer.start("tags", "looking at the tags", self._total)

    def _step(self, count: int = 1) -> None:
        self._done += count
        if self._total > _WORTH_A_BAR:
            self._observer.advance("tags", self._done)


def _listed_only(error: RegistryToolError) -> NotFound:
    return NotFound(f"the tag is listed, and what it stands for is not there: {error.message}", hint="Look with: regctl check")


def _may_be_tombstone(tag: str, descriptor: Descriptor) -> bool:
    """Whether it is worth a look. Nearly all manifests are larger, by their type and size alone it is clear that they are none."""
    smallest = len(tombstone(tag, unique="").raw)
    return descriptor.media_type == OCI_IMAGE and smallest <= descriptor.size <= smallest + _LONGEST_MARK
