"""Check that every image in a registry is whole: tags, manifests, configs, layers, children of indexes, referrers."""

from __future__ import annotations

from collections.abc import Iterable

from registry_tool.base import units
from registry_tool.base.concurrency import REPOSITORIES, map_unordered
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.check.findings import RULES, CheckReport, Finding, RepositoryReport, Rule
from registry_tool.content.check.repository import RepositoryCheck
from registry_tool.content.check.run import CheckRun
from registry_tool.targets.registry import Registry

__all__ = ["RULES", "CheckReport", "Finding", "RepositoryReport", "Rule", "check"]


def check(registry: Registry, repositories: Iterable[str] | None = None, *, deep: bool = False, observer: Observer = SILENT) -> CheckReport:
    """Check all that the tags of ``repositories`` (paths; None: all there are) lead to.

    Requests: one for each tag; one for a manifest, and for the presence of a config or layer, in each repository that
    names it; a blob's bytes once at most, with ``deep`` of all, without it of images' configs and of blobs in doubt.
    ``deep`` compares bytes with digests, and what layers unpack to with configs. ``observer`` gets one row: bytes if
    ``deep``, otherwise tags and blobs.

    What is wrong with one thing is a finding. What concerns the whole registry is the report's ``error``, beside what
    was found until then, and so is a named repository that is not there. Raises neither.
    """
    run = CheckRun(registry, deep=deep, observer=observer)
    reports: list[RepositoryReport] = []
    error: RegistryToolError | None = None

    def check_repository(path: str) -> RepositoryReport | NotFound:
        run.start(path)
        try:
            return RepositoryCheck(run, registry.repository(path)).run()
        except NotFound as missing:
            return missing

    try:
        # Sorted and each once, whatever a catalog says.
        paths = sorted(set(registry.catalog() if repositories is None else repositories))
        for path, result in map_unordered(check_repository, paths, threads=REPOSITORIES):
            if isinstance(result, RepositoryReport):
                reports.append(result)
            elif repositories is not None and not _is_listed(registry, path):
                error = error or result
            elif repositories is not None:
                note = f"{registry.host}/{path}: it has no tags, nothing was checked"
                reports.append(RepositoryReport(name=f"{registry.host}/{path}", tags=(), images=0, findings=(), notes=(note,)))
            # distribution's catalog has repositories that never had a tag, and knows no list of their tags.
    except RegistryToolError as raised:
        error = raised
    finally:
        run.stop()
    reports.sort(key=lambda report: report.name)
    notes = (*run.notes, *registry.notes, *(note for report in reports for note in report.notes))
    images = units.count(sum(report.images for report in reports), "image")
    run.finish(f"Checked {images} in {units.count(len(reports), 'repository')}")
    return CheckReport(repositories=tuple(reports), blobs=len(run.blobs), bytes_read=run.bytes_read, notes=notes, error=error)


def _is_listed(registry: Registry, path: str) -> bool:
    """Whether the catalog has a repository whose tags are unknown: it is there, and has none."""
    try:
        return path in registry.catalog()
    except RegistryToolError:
        return False
