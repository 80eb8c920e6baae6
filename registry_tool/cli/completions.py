"""Names for the shell's completion: containers and images of the engine, repositories and tags of the local registry.

A shell waits for them, so that what is not available at once is left out, whatever the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import click

from registry_tool.base.errors import RegistryToolError
from registry_tool.cli.session import Session

_LIMIT = 500


def _names(find: Callable[[Session, str], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        session = context.find_object(Session)
        if session is None:
            return []
        # The program's own options are parsed, and not acted upon.
        options = context.find_root().params
        session.registry, session.context = options.get("registry"), options.get("context")
        try:
            return sorted({name for name in find(session, typed) if name.startswith(typed)})[:_LIMIT]
        except (RegistryToolError, OSError):
            return []
        finally:
            session.close()

    return complete


def _containers(session: Session, *, all: bool, typed: str) -> Sequence[str]:
    listed = session.engine.containers(all=all)
    return [container.name for container in listed if container.name] + ([container.short_id for container in listed] if typed else [])


def _images(session: Session, typed: str) -> Iterable[str]:
    for image in session.engine.images():
        for name in image.names:
            yield name.removesuffix(":latest")
            yield name
        if typed:
            yield image.short_id


def _repositories(session: Session, typed: str) -> Iterable[str]:
    """Repositories of the local registry, or of the host that was typed; after a colon the repository's tags."""
    from registry_tool.content.protection import is_protection_tag
    from registry_tool.oci.reference import Reference, has_host
    from registry_tool.targets.registry import open_registry

    name, colon, tag = typed.rpartition(":")
    is_tag = bool(colon) and "/" not in tag
    named = Reference.parse(f"{typed.partition('/')[0]}/name", default_host="").host if has_host(typed) else None
    prefix = f"{named}/" if named else ""
    host = named or session.registry_host()
    if host is None:
        return
    with open_registry(host) as registry:
        if is_tag:
            tags = registry.repository(name.removeprefix(prefix)).tags()
            yield from (f"{name}:{tag}" for tag in tags if not is_protection_tag(tag))
        else:
            yield from (f"{prefix}{path}" for path in islice(registry.catalog(), _LIMIT))


containers = _names(lambda session, typed: _containers(session, all=True, typed=typed))
running_containers = _names(lambda session, typed: _containers(session, all=False, typed=typed))
images = _names(_images)
repositories = _names(_repositories)
