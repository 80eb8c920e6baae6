"""A repository's tags as a table: which are shown, in what order, and what is known of each."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, ClassVar, Literal

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.listing.contents import Type
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest

if TYPE_CHECKING:
    from registry_tool.oci import versions

Sort = Literal["name", "created", "size", "semver"]
Level = Literal["names", "digests", "details"]
"""What is requested: the list alone, each tag's digest, or its manifest and config as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Which tags a table shows, and how. ``matches`` is a glob, ``limit`` counts rows; tags without an image for ``platform`` are left out.

    ``siblings`` False: only tags that are shown are looked up; siblings are unknown where that leaves tags out.
    Sorting by ``created`` or ``size`` needs details.
    """

    level: Level = "details"
    sort: Sort = "name"
    matches: str | None = None
    within: versions.Range | None = None
    limit: int | None = None
    platform: Platform | None = None
    siblings: bool = True

    @property
    def is_limited_first(self) -> bool:
        """Whether names alone tell which rows are shown."""
        return self.limit is not None and self.sort in ("name", "semver") and self.platform is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tag. What is unknown is None. ``size`` is in bytes; ``siblings`` are other tags of the repository on the same digest.

    ``note`` is why nothing is known of what is of type ``unknown``: it is not damaged, but nothing that this program reads.
    """

    JSON_MEMBERS: ClassVar = "name digest media_type created size platforms siblings type note?"
    name: str
    digest: Digest | None = None
    media_type: str | None = None
    created: datetime | None = None
    size: int | None = None
    platforms: tuple[Platform, ...] | None = None
    siblings: tuple[str, ...] | None = None
    type: Type | None = None
    note: str | None = None
    error: RegistryToolError | None = None
    """What is wrong with it, where something is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagTable:
    """``count`` is how many tags the registry lists, ``size`` the bytes of all blobs of the rows, each digest once.

    ``vanished`` were listed, and gone when they were looked up. ``stopped`` is why ``looked_at`` is not all of them.
    """

    rows: tuple[Row, ...]
    count: int
    size: int | None = None
    vanished: tuple[str, ...] = ()
    stopped: RegistryToolError | None = None
    looked_at: int = 0


def selected(names: Iterable[str], options: Options) -> list[str]:
    """Names that ``options`` select, in order where the order depends on names alone."""
    chosen = [
        name
        for name in names
        if (options.matches is None or fnmatch.fnmatchcase(name, options.matches)) and (options.within is None or name in options.within)
    ]
    return _newest_version_first(chosen) if options.sort == "semver" else sorted(chosen)


def sort_rows(rows: Sequence[Row], options: Options) -> tuple[Row, ...]:
    """Rows by name, newest first or largest first, with unknown values last; up to the limit."""
    if options.sort in ("name", "semver"):
        position = {name: number for number, name in enumerate(selected((row.name for row in rows), options))}
        result = sorted(rows, key=lambda row: position[row.name])
    else:
        unknown = datetime.min.replace(tzinfo=timezone.utc)
        by_name = sorted(rows, key=lambda row: row.name)
        if options.sort == "created":
            result = sorted(by_name, key=lambda row: row.created or unknown, reverse=True)
        else:
            result = sorted(by_name, key=lambda row: -1 if row.size is None else row.size, reverse=True)
    return tuple(result[: options.limit])


def _newest_version_first(names: list[str]) -> list[str]:
    from registry_tool.oci import versions  # noqa: PLC0415 - few tables are sorted like this

    keys = {name: versions.order(name) for name in names}
    # Stable sorts: of one version, the release stays before its variants; versions behind a prefix stay with it.
    result = sorted(names, key=lambda name: keys[name][3:])
    result.sort(key=lambda name: keys[name][2], reverse=True)
    return sorted(result, key=lambda name: keys[name][:2] if keys[name][0] < 2 else (2, name))
