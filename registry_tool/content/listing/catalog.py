"""The repositories of a registry, and how much is in each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import ClassVar

from registry_tool.base.concurrency import REPOSITORIES, map_unordered
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.listing.contents import is_registry_wide
from registry_tool.content.listing.table import Options
from registry_tool.content.listing.tags import MAX_FAILURES, list_tags
from registry_tool.content.tag_reader import GetSavings
from registry_tool.targets.cache import Cache
from registry_tool.targets.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySummary:
    """``size``: bytes of configs and layers, each digest once; ``changed``: when its newest image was made. What is unknown is None."""

    JSON_MEMBERS: ClassVar = "name tags size last_change=changed"
    name: str
    tags: int | None = None
    size: int | None = None
    changed: datetime | None = None
    errors: tuple[RegistryToolError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Repositories by name. ``stopped`` is why there are not more."""

    repositories: tuple[RepositorySummary, ...]
    stopped: RegistryToolError | None = None


def catalog(registry: Registry, *, details: bool = True, cache: Cache | None = None, observer: Observer = SILENT) -> Catalog:
    """Summarize each repository (without ``details`` only its tags' number); ``observer`` counts them. Raises what listing them raises."""
    options = Options(level="details" if details else "names")
    stopped: list[RegistryToolError] = []
    savings = GetSavings()

    def summarize(name: str) -> RepositorySummary:
        try:
            table = list_tags(registry.repository(name), options, cache=cache, savings=savings)
        except NotFound:
            # distribution lists what never had a tag, and then does not know it.
            return RepositorySummary(name=name, tags=0)
        except RegistryToolError as error:
            if is_registry_wide(error):
                stopped.append(error)
            return RepositorySummary(name=name, errors=(error,))
        if table.stopped is not None:
            stopped.append(table.stopped)
            return RepositorySummary(name=name, errors=(table.stopped,))
        newest = max((row.created for row in table.rows if row.created is not None), default=None)
        errors = tuple(row.error for row in table.rows if row.error is not None)
        return RepositorySummary(name=name, tags=len(table.rows), size=table.size, changed=newest, errors=errors)

    names = sorted(registry.catalog())
    observer.start("catalog", "reading the repositories", len(names))
    summaries: list[RepositorySummary] = []
    failed_in_a_row = 0
    for _, summary in map_unordered(summarize, takewhile(lambda _: not stopped, names), threads=REPOSITORIES):
        summaries.append(summary)
        failed_in_a_row = failed_in_a_row + 1 if summary.tags is None else 0
        if failed_in_a_row > MAX_FAILURES:
            stopped.extend(summary.errors)
        observer.advance("catalog", len(summaries))
    observer.finish("catalog", "read the repositories")
    return Catalog(repositories=tuple(sorted(summaries, key=lambda summary: summary.name)), stopped=next(iter(stopped), None))
