"""A repository's tags as a table: which are shown, in what order, and what is known of each."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.listing.contents import Type
from registry_tool.oci import versions
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest

Sort = Literal["name", "created", "size", "semver"]
Look = Literal["names", "digests", "details"]
"""What is asked for: the list alone, each tag's digest, or its manifest and config as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is wanted. ``matches`` is a glob, ``limit`` counts rows, ``platform`` leaves away tags that have no image for it.

    ``siblings`` False: no tag is asked about for its neighbours' sake; where others than those shown are not known,
    their siblings are not, either. By ``created`` and ``size`` only what has details can be sorted.
    """

    look: Look = "details"
    sort: Sort = "name"
    matches: str | None = None
    within: versions.Range | None = None
    limit: int | None = None
    platform: Platform | None = None
    siblings: bool = True

    @property
    def is_limited_first(self) -> bool:
        """Whether which rows are shown is known from the names."""
        return self.limit is not None and self.sort in ("name", "semver") and self.platform is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tag. What is not known is None. ``size`` is in bytes; ``siblings`` are other tags of the repository on the same digest."""

    name: str
    digest: Digest | None = None
    media_type: str | None = None
    created: datetime | None = None
    size: int | None = None
    platforms: tuple[Platform, ...] | None = None
    siblings: tuple[str, ...] | None = None
    type: Type | None = None
    error: RegistryToolError | None = None
    """What is wrong with it, where something is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagTable:
    """``count`` is how many tags the registry lists, ``size`` bytes of all that was looked into, each digest once.

    ``vanished`` were listed, and gone when they were looked at. ``stopped`` is why not all was looked at.
    """

    rows: tuple[Row, ...]
    count: int
    size: int | None = None
    vanished: tuple[str, ...] = ()
    stopped: RegistryToolError | None = None
    looked_at: int = 0

    @property
    def damaged(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.error is not None)


@dataclass(slots=True)
class SiblingIndex:
    """Which tags stand for the same digest."""

    _tags: dict[Digest, list[str]] = field(default_factory=dict)

    def add(self, digest: Digest, tag: str) -> None:
        self._tags.setdefault(digest, []).append(tag)

    def remove(self, digest: Digest, tag: str) -> None:
        self._tags[digest].remove(tag)

    def of(self, digest: Digest, tag: str) -> tuple[str, ...]:
        """The others, by name."""
        return tuple(sorted(other for other in self._tags.get(digest, ()) if other != tag))


def selected(names: Iterable[str], options: Options) -> list[str]:
    """The names that are asked for, in an order that is right where it depends on names alone."""
    chosen = [
        name
        for name in names
        if (options.matches is None or fnmatch.fnmatchcase(name, options.matches)) and (options.within is None or name in options.within)
    ]
    return _newest_version_first(chosen) if options.sort == "semver" else sorted(chosen)


def ordered(rows: Sequence[Row], options: Options) -> tuple[Row, ...]:
    """Rows as they are shown: by name, the newest first, the largest first; what is not known comes last."""
    if options.sort in ("name", "semver"):
        place = {name: number for number, name in enumerate(selected((row.name for row in rows), options))}
        found = sorted(rows, key=lambda row: place[row.name])
    else:
        by_name = sorted(rows, key=lambda row: row.name)
        found = sorted(by_name, key=_by_age if options.sort == "created" else _by_size, reverse=True)
    return tuple(found[: options.limit])


def _by_age(row: Row) -> tuple[bool, float]:
    return row.created is not None, row.created.timestamp() if row.created else 0.0


def _by_size(row: Row) -> tuple[bool, int]:
    return row.size is not None, row.size or 0


def _newest_version_first(names: list[str]) -> list[str]:
    keys = {name: versions.order(name) for name in names}
    versioned = sorted((name for name in names if not keys[name][0]), key=lambda name: keys[name][2:])
    # A stable sort: of one version, the release stays before its variants.
    versioned.sort(key=lambda name: keys[name][1], reverse=True)
    return versioned + sorted(name for name in names if keys[name][0])
