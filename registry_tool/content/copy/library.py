"""``registry_tool.copy``: the command ``copy`` as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from registry_tool.base.errors import InvalidReference
from registry_tool.content.copy import NULL_LISTENER, CopyListener, CopyOptions, CopyResult, copy_all
from registry_tool.content.copy.jobs import TagSelection, make_jobs
from registry_tool.content.copy.location import Location
from registry_tool.content.copy.places import Places
from registry_tool.engine import connect
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.reference import has_host
from registry_tool.targets.registry import Registry, open_registry


def copy(
    source: str | Sequence[str],
    destination: str,
    *,
    all_tags: bool = False,
    tags: Sequence[str] = (),
    platform: str | Sequence[str] = (),
    referrers: bool = False,
    allow_foreign: bool = False,
    dry_run: bool = False,
    registry: str | None = None,
    open_registry: Callable[[str], Registry] = open_registry,
    listener: CopyListener = NULL_LISTENER,
) -> CopyResult:
    """Copy images from one or more places to another, as ``regctl copy`` does with the same words.

    ``tags`` are globs. Names without a host are in ``registry``. ``open_registry`` opens the registry of a host, by default with the
    credentials of docker's and podman's configuration. An image that fails ends no other: ``result.failures`` has the errors.
    Raises UsageError, InvalidReference, ValueError (a platform), NotFound where no tag is selected, Conflict.
    """
    sources = [source] if isinstance(source, str) else list(source)
    platforms = [platform] if isinstance(platform, str) else list(platform)
    options = CopyOptions(platforms=tuple(map(Platform.parse, platforms)), referrers=referrers, allow_foreign=allow_foreign)
    locations = [_location(name, registry) for name in (*sources, destination)]
    with ExitStack() as stack, Places(open_registry, connect_engine=lambda: stack.enter_context(connect()), dry_run=dry_run) as places:
        jobs = make_jobs(places, locations[:-1], locations[-1], tags=TagSelection(all=all_tags, globs=tuple(tags)), options=options)
        result = copy_all(jobs, dry_run=dry_run, listener=listener)
        if not dry_run and not result.failures:
            places.commit()
        return result


def _location(name: str, registry: str | None) -> Location:
    location = Location.parse(name, default_host=registry or "localhost")
    if location.kind == "registry" and registry is None and not has_host(name.removeprefix("docker://")):
        raise InvalidReference(f"{name[:80]!r} has no host", hint="Name it, as localhost:5000/john/get-started:part2, or give registry=.")
    return location
