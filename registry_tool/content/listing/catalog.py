"""What a registry holds: its repositories, and how much is in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Protocol

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.listing.source import Cache, ContentSource, ends_all
from registry_tool.content.listing.table import Options
from registry_tool.content.listing.tags import list_tags

_AT_ONCE, _IN_EACH = 4, 2
"""Repositories at a time, and threads for each: together no more requests than a table of tags makes."""


class Holder(Protocol):
    """A registry."""

    def catalog(self) -> Iterator[str]: ...

    def repository(self, path: str) -> ContentSource: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySummary:
    """One repository. ``size`` is bytes of configs and layers, each digest once; what is not known is None.

    ``changed`` is when the newest of its images was made: a registry does not tell when it was pushed.
    """

    name: str
    tags: int | None = None
    size: int | None = None
    changed: datetime | None = None
    errors: tuple[RegistryToolError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """By name. ``stopped`` is why there are not more."""

    holdings: tuple[RepositorySummary, ...]
    stopped: RegistryToolError | None = None


def catalog(registry: Holder, *, details: bool = True, cache: Cache | None = None, observer: Observer = SILENT) -> Catalog:
    """Every repository of ``registry``; without ``details`` with the number of its tags alone, from one request each.

    Raises what listing the repositories raises. ``observer`` is told of repositories, not of bytes.
    """
    names = sorted(registry.catalog())
    stopped: list[RegistryToolError] = []
    holdings: list[RepositorySummary] = []

    def look(name: str) -> RepositorySummary | RegistryToolError:
        options = Options(look="details" if details else "names")
        try:
            table = list_tags(registry.repository(name), options, cache=cache, threads=_IN_EACH)
        except NotFound:
            # distribution lists what never had a tag, and then does not know it.
            return RepositorySummary(name=name, tags=0)
        except RegistryToolError as error:
            return error if ends_all(error) else RepositorySummary(name=name, errors=(error,))
        if table.stopped is not None:
            return table.stopped
        newest = max((row.created for row in table.rows if row.created is not None), default=None)
        errors = tuple(row.error for row in table.rows if row.error is not None)
        return RepositorySummary(name=name, tags=len(table.rows), size=table.size, changed=newest, errors=errors)

    observer.start("catalog", "looking at the repositories", len(names))
    for name, found in map_unordered(look, takewhile(lambda _: not stopped, names), threads=_AT_ONCE):
        if isinstance(found, RepositorySummary):
            holdings.append(found)
        else:
            stopped.append(found)
            holdings.append(RepositorySummary(name=name, errors=(found,)))
        observer.advance("catalog", len(holdings))
    observer.finish("catalog", "looked at the repositories")
    return Catalog(holdings=tuple(sorted(holdings, key=lambda holding: holding.name)), stopped=next(iter(stopped), None))
