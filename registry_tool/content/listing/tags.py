"""The table of a repository's tags, requested a few at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import ConnectionLost, NotFound, RegistryError, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.listing.contents import Contents, Details, is_registry_wide
from registry_tool.content.listing.table import Options, Row, TagTable, selected, sort_rows
from registry_tool.content.protection import is_protection_tag
from registry_tool.content.tag_reader import GetSavings
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import may_be_tombstone
from registry_tool.targets.cache import Cache
from registry_tool.targets.target import Target

MAX_FAILURES = 16
"""Tags in a row that a registry may fail to answer for, before no more are requested."""
_ROUNDS = 3
_WORTH_A_BAR = 32

Item = TypeVar("Item")
Result = TypeVar("Result")


def list_tags(
    source: Target,
    options: Options | None = None,
    *,
    cache: Cache | None = None,
    observer: Observer = SILENT,
    savings: GetSavings | None = None,
) -> TagTable:
    """Make the table of ``source``'s tags.

    Each tag costs one HEAD, each manifest and config that is not in ``cache`` one GET; where the first few tags lead to as
    many manifests that are not, a tag costs one GET of its manifest instead of both. A tag that cannot be looked up,
    or leads to something damaged, is a row that says so. Where the registry refuses any more requests, the table has
    the rows so far. ``observer`` gets tags, not bytes. Raises what listing the tags raises, and NotFound.
    """
    return _Listing(Contents(source, cache, savings=savings), options or Options(), observer).table()


class _Listing:
    def __init__(self, contents: Contents, options: Options, observer: Observer) -> None:
        self._contents = contents
        self._options = options
        self._observer = observer
        self._described: set[str] = set()
        self._descriptors: dict[str, Descriptor] = {}
        self._errors: dict[str, RegistryToolError] = {}
        self._details: dict[Digest, Details | RegistryToolError] = {}
        self._blobs: dict[Digest, int] = {}
        self._tags_on: defaultdict[Digest, list[str]] = defaultdict(list)
        self._stopped: RegistryToolError | None = None
        self._failed_in_a_row = 0
        self._done = self._total = 0

    def table(self) -> TagTable:
        names = self._contents.tags()
        chosen = selected(names, self._options)
        if self._options.level == "names":
            # What is under a protection's tag is not read here.
            rows = [Row(name=name) for name in chosen if not is_protection_tag(name)]
            return TagTable(rows=sort_rows(rows, self._options), count=len(names))
        count = min(len(chosen), self._options.limit or len(chosen)) if self._options.is_limited_first else len(chosen)
        if self._options.level == "details":
            self._described.update(chosen[:count])
        self._total = len(names if self._options.siblings else chosen) + (count if self._options.level == "details" else 0)
        if self._total > _WORTH_A_BAR:
            self._observer.start("tags", "reading the tags", self._total)
        rows = self._rows(names, chosen)
        absent = [name for name in chosen if isinstance(self._errors.get(name), NotFound)]
        vanished = self._unlisted(absent)
        for name in absent:
            if name not in vanished:
                detail = f"the tag is listed, but its manifest is missing: {self._errors[name].message}"
                rows.append(Row(name=name, error=NotFound(detail, hint="See: regctl check")))
        if self._total > _WORTH_A_BAR:
            self._observer.finish("tags", "read the tags")
        return TagTable(
            rows=sort_rows(rows, self._options),
            count=len(names),
            size=sum(self._blobs.values()) if self._options.level == "details" else None,
            vanished=tuple(sorted(vanished)),
            stopped=self._stopped,
            looked_at=len(self._descriptors),
        )

    def _rows(self, names: Sequence[str], chosen: Sequence[str]) -> list[Row]:
        options = self._options
        if options.siblings:
            self._resolve(names)
        rows: list[Row] = []
        waiting = iter(chosen)
        while True:
            count = options.limit - len(rows) if options.limit is not None and options.is_limited_first else None
            batch = list(islice(waiting, count))
            if not batch:
                break
            self._resolve([name for name in batch if name not in self._descriptors and name not in self._errors])
            rows += self._describe(batch)
        return rows

    # --- what a tag stands for ---

    def _resolve(self, names: Collection[str]) -> None:
        for name, descriptor in self._map(lambda name: self._contents.resolve(name, with_manifest=name in self._described), names):
            if isinstance(descriptor, RegistryToolError):
                self._errors[name] = descriptor
            else:
                self._descriptors[name] = descriptor
                self._tags_on[descriptor.digest].append(name)
            self._advance()

    def _unlisted(self, absent: Sequence[str]) -> set[str]:
        """Those that are not listed any more: what is still listed and is not there is damaged."""
        if not absent or self._stopped is not None:
            return set()
        try:
            return set(absent).difference(self._contents.source.tags())
        except NotFound:
            return set(absent)

    # --- what that is ---

    def _describe(self, names: Sequence[str]) -> list[Row]:
        waiting = list(names)
        for _ in range(_ROUNDS):
            moved = self._read(waiting)
            if not moved:
                break
            # The manifest went meanwhile. So did the tag, or it stands for another one now.
            for name in moved:
                self._tags_on[self._descriptors.pop(name).digest].remove(name)
            self._resolve(moved)
            waiting = moved
        rows = (self._row(name) for name in names)
        return [row for row in rows if row is not None]

    def _read(self, names: Sequence[str]) -> list[str]:
        """Read what ``names`` stand for; return those whose manifest is not there."""
        by_digest: dict[Digest, Descriptor] = {}
        tags: defaultdict[Digest, list[str]] = defaultdict(list)
        for name in names:
            descriptor = self._descriptors.get(name)
            if descriptor is None or descriptor.digest in self._details:
                continue
            if self._options.level == "details" or may_be_tombstone(descriptor) or is_protection_tag(name):
                by_digest[descriptor.digest] = descriptor
                tags[descriptor.digest].append(name)

        def read(descriptor: Descriptor) -> Details:
            if self._options.level == "digests":
                return self._contents.summary(descriptor)
            return self._contents.details(descriptor, self._options.platform)

        for descriptor, details in self._map(read, by_digest.values()):
            self._details[descriptor.digest] = details
            if isinstance(details, Details):
                self._blobs.update(details.blobs)
            self._advance(len(tags[descriptor.digest]))
        lost = [digest for digest in by_digest if isinstance(self._details.get(digest), NotFound)]
        return [name for digest in lost for name in tags[digest]]

    def _row(self, name: str) -> Row | None:
        """None for what is not shown: not looked up, gone, an unfinished deletion, a protection, not for the platform."""
        error, descriptor = self._errors.get(name), self._descriptors.get(name)
        if descriptor is None:
            return Row(name=name, error=error) if error is not None and not isinstance(error, NotFound) else None
        siblings = None
        if self._options.siblings or not self._options.is_limited_first:
            siblings = tuple(sorted(other for other in self._tags_on[descriptor.digest] if other != name))
        details = self._details.get(descriptor.digest)
        error = details.error if isinstance(details, Details) else details
        row = Row(name=name, digest=descriptor.digest, media_type=descriptor.media_type or None, siblings=siblings, error=error)
        if not isinstance(details, Details):
            return row
        if details.is_tombstone or not details.fits or (details.is_protection and is_protection_tag(name)):
            return None
        if self._options.level != "details":
            return row
        if details.type == "unknown":
            return replace(row, type=details.type, note=details.note)
        return replace(row, created=details.created, size=details.size, platforms=details.platforms, type=details.type)

    # --- requests ---

    def _map(self, request: Callable[[Item], Result], items: Collection[Item]) -> Iterator[tuple[Item, Result | RegistryToolError]]:
        """Map ``items`` to results or failures; nothing is requested once the registry refuses any more."""

        def attempt(item: Item) -> Result | RegistryToolError:
            if self._stopped is not None:
                return self._stopped
            try:
                result = request(item)
            except RegistryToolError as error:
                # At once: the others would go on until it is this result's turn.
                self._count_failure(error)
                return error
            self._failed_in_a_row = 0
            return result

        for item, result in map_unordered(attempt, items, threads=self._contents.source.limiter.helpful_requests):
            if isinstance(result, RegistryToolError) and (result is self._stopped or is_registry_wide(result)):
                continue
            yield item, result

    def _count_failure(self, error: RegistryToolError) -> None:
        if isinstance(error, (ConnectionLost, RegistryError)):
            self._failed_in_a_row += 1
        if is_registry_wide(error) or self._failed_in_a_row > MAX_FAILURES:
            self._stopped = self._stopped or error

    def _advance(self, count: int = 1) -> None:
        self._done += count
        if self._total > _WORTH_A_BAR:
            self._observer.advance("tags", self._done)
