"""``catalog``: what a registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry_tool.cli import options, remotes, render
from registry_tool.cli.remotes import NOT_KNOWN
from registry_tool.cli.session import Session
from registry_tool.errors import RegistryToolError

if TYPE_CHECKING:
    from registry_tool.survey import Catalog, Holding


@click.command("catalog")
@click.argument("registry", required=False, metavar="[HOST:PORT]")
@remotes.details
@remotes.plain_http
@options.quiet("the repositories' names, one a line,")
@options.as_json
@click.pass_obj
def catalog(session: Session, registry: str | None, details: bool | None, plain_http: bool, quiet: bool) -> int:
    """List the repositories of a registry, the local one where none is named: number of tags, size, last change.

    The size is that of all images together, what they share counted once. The last change is when the newest image was
    made: registries do not tell when it was pushed. With --no-details tags are counted and nothing else.

    \b
    Examples:
      regctl catalog
      regctl catalog -q registry.example.com
    """
    from registry_tool import remote, survey
    from registry_tool.loopback import is_loopback

    host = options.registry_host(registry) if registry is not None else remotes.host(session)
    with remote.open(host, plain_http=plain_http or None) as opened, session.watch(quiet=quiet, counting=True) as observer:
        if quiet and not session.output.json:
            session.output.lines([render.one_line(name) for name in survey.names(opened)])
            return 0
        full = is_loopback(host) if details is None else details
        with session.content_cache(observer) as cache:
            found = survey.catalog(opened, details=full, cache=cache, observer=observer)
    return _tell(session, host, found)


def _tell(session: Session, host: str, found: Catalog) -> int:
    out = session.output
    errors = [(holding, error) for holding in found.holdings for error in holding.errors]
    if out.json:
        told = [_error(holding, error) for holding, error in errors]
        out.document({"registry": host, "repositories": [_document(holding) for holding in found.holdings], "errors": told})
    else:
        heads = ("REPOSITORY", "TAGS", "SIZE", "LAST CHANGE")
        head, *lines = render.columns(heads, [_cells(holding) for holding in found.holdings])
        out.spans((head, "head"))
        for holding, line in zip(found.holdings, lines, strict=True):
            out.spans((line, "dim" if holding.tags == 0 else ""))
        for holding, error in errors:
            out.note(render.one_line(f"{holding.name}: {error.message}"))
        if found.stopped is not None:
            out.note("not all of the repositories could be looked at")
            out.complaint(found.stopped)
    return remotes.exit_code([error for _, error in errors])


def _cells(holding: Holding) -> tuple[str, ...]:
    tags = NOT_KNOWN if holding.tags is None else str(holding.tags)
    return holding.name, tags, remotes.size(holding.size), remotes.age(holding.changed)


def _document(holding: Holding) -> dict[str, object]:
    return {"name": holding.name, "tags": holding.tags, "size": holding.size, "last_change": remotes.time(holding.changed)}


def _error(holding: Holding, error: RegistryToolError) -> dict[str, object]:
    return {"repository": holding.name, **error.as_json()}
