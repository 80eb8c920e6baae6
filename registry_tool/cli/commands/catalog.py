"""``catalog``: what a registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import options, registry_options
from registry_tool.cli.registry_options import NOT_KNOWN
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.listing import Catalog, RepositorySummary


@click.command("catalog")
@click.argument("registry", required=False, metavar="[HOST:PORT]")
@registry_options.details
@registry_options.plain_http
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
    from registry_tool.base.loopback import is_loopback
    from registry_tool.content import listing
    from registry_tool.targets.registry import open_registry

    host = options.registry_host(registry) if registry is not None else registry_options.host(session)
    with open_registry(host, plain_http=plain_http or None) as opened, session.observer(quiet=quiet, counting=True) as observer:
        if quiet and not session.output.json:
            session.output.lines([formatting.one_line(name) for name in listing.names(opened)])
            return 0
        full = is_loopback(host) if details is None else details
        with session.content_cache(observer) as cache:
            found = listing.catalog(opened, details=full, cache=cache, observer=observer)
    return _render(session, host, found)


def _render(session: Session, host: str, found: Catalog) -> int:
    out = session.output
    errors = [(holding, error) for holding in found.holdings for error in holding.errors]
    if out.json:
        told = [_error(holding, error) for holding, error in errors]
        out.document({"registry": host, "repositories": [_document(holding) for holding in found.holdings], "errors": told})
    else:
        heads = ("REPOSITORY", "TAGS", "SIZE", "LAST CHANGE")
        head, *lines = formatting.columns(heads, [_cells(holding) for holding in found.holdings])
        out.spans((head, "head"))
        for holding, line in zip(found.holdings, lines, strict=True):
            out.spans((line, "dim" if holding.tags == 0 else ""))
        for holding, error in errors:
            out.note(formatting.one_line(f"{holding.name}: {error.message}"))
        if found.stopped is not None:
            out.note("not all of the repositories could be looked at")
            out.print_error(found.stopped)
    return registry_options.exit_code([error for _, error in errors])


def _cells(holding: RepositorySummary) -> tuple[str, ...]:
    tags = NOT_KNOWN if holding.tags is None else str(holding.tags)
    return holding.name, tags, registry_options.size(holding.size), registry_options.age(holding.changed)


def _document(holding: RepositorySummary) -> dict[str, object]:
    return {"name": holding.name, "tags": holding.tags, "size": holding.size, "last_change": registry_options.time(holding.changed)}


def _error(holding: RepositorySummary, error: RegistryToolError) -> dict[str, object]:
    return {"repository": holding.name, **error.as_json()}
