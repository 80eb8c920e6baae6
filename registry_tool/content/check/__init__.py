"""Is every image in a registry whole? Every tag, manifest, config and layer, children of indexes and referrers."""

from __future__ import annotations

from collections.abc import Iterable

from registry_tool.base import concurrency, units
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.check.findings import KINDS, Checked, CheckReport, Finding, Rule
from registry_tool.content.check.repository import RepositoryCheck
from registry_tool.content.check.run import CheckRun
from registry_tool.targets.registry import Registry

__all__ = ["KINDS", "CheckReport", "Checked", "Finding", "Rule", "check"]

_AT_A_TIME = 4
"""Repositories; requests are bounded for themselves."""


def check(registry: Registry, repositories: Iterable[str] | None = None, *, deep: bool = False, observer: Observer = SILENT) -> CheckReport:
    """Look at all that the tags of ``repositories`` (paths; None: of all there are) lead to.

    What is asked, and how often: a tag once; a manifest, and the presence of a config or layer, once for each
    repository that names it; a blob's bytes once at most, with ``deep`` all of them, without it configs of images and
    what is in doubt. ``deep`` compares bytes with digests, and what layers unpack to with what configs say.

    ``observer`` hears of one row: bytes if ``deep``, otherwise tags and blobs.

    What goes wrong with one thing is a finding. What concerns the whole registry is the report's ``error``, beside
    what was found until then, and so is a repository that was named and is not there. Raises nothing of the sort.
    """
    run = CheckRun(registry, deep=deep, observer=observer)
    done: list[Checked] = []
    error: RegistryToolError | None = None

    def one(path: str) -> Checked | NotFound:
        run.begin(path)
        try:
            return RepositoryCheck(run, registry.repository(path)).run()
        except NotFound as missing:
            return missing

    try:
        # Sorted and each once, whatever a catalog says.
        paths = sorted(set(registry.catalog() if repositories is None else repositories))
        for _, found in concurrency.map_unordered(one, paths, threads=min(_AT_A_TIME, len(paths))):
            if isinstance(found, Checked):
                done.append(found)
            elif repositories is not None:
                error = error or found
            # distribution's catalog has repositories that never had a tag, and knows no list of their tags.
    except RegistryToolError as raised:
        error = raised
    finally:
        run.end()
    done.sort(key=lambda checked: checked.name)
    notes = (*run.notes, *(note for checked in done for note in checked.notes))
    run.finish(f"Checked {units.count(sum(each.images for each in done), 'image')} in {places(len(done))}")
    return CheckReport(repositories=tuple(done), blobs=len(run.blobs), bytes_read=run.bytes_read, notes=notes, error=error)


def places(count: int) -> str:
    """``1 repository``, ``2 repositories``."""
    return "1 repository" if count == 1 else f"{count} repositories"
