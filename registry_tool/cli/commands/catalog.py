"""``catalog``: list the repositories of a registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.codec import to_json
from registry_tool.cli import options
from registry_tool.cli.output import exit_code
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.listing.catalog import Catalog, RepositorySummary


@click.command("catalog")
@click.argument("registry", required=False, metavar="[HOST:PORT]")
@options.details
@options.registry_access
@options.quiet("the names of the repositories, one a line")
@options.as_json
@click.pass_obj
def catalog(session: Session, registry: str | None, details: bool | None, quiet: bool) -> int:
    """List the repositories of a registry (by default the local one) with number of tags, size and newest image.

    SIZE is that of all images, with shared content counted once. NEWEST IMAGE is the age of the image that was created last:
    registries do not record when it was pushed. With --no-details only tags are counted.

    \b
    Examples:
      regctl catalog
      regctl catalog -q registry.example.com
    """
    from registry_tool.base.address import is_loopback
    from registry_tool.content.listing.catalog import catalog as summarize

    host = options.registry_host(registry) if registry is not None else session.required_registry_host()
    with session.open_registry(host) as opened, session.observer(quiet=quiet, counting=True) as observer:
        if quiet and not session.output.json:
            session.output.lines([formatting.one_line(name) for name in sorted(opened.catalog())])
            _print_notes(session, opened.notes)
            return 0
        full = is_loopback(host) if details is None else details
        with session.content_cache(observer) as cache:
            listed = summarize(opened, details=full, cache=cache, observer=observer)
    return _render(session, host, listed, opened.notes, shortened=details is None and not full)


def _print_notes(session: Session, notes: Sequence[str]) -> None:
    for note in notes:
        session.output.note(formatting.one_line(note))


def _render(session: Session, host: str, listed: Catalog, notes: tuple[str, ...], *, shortened: bool) -> int:
    out = session.output
    errors = [(summary.name, error) for summary in listed.repositories for error in summary.errors]
    if out.json:
        documents = [{"repository": name, **to_json(error)} for name, error in errors]
        out.document({"registry": host, "repositories": listed.repositories, "errors": documents, "notes": notes})
    else:
        heads = ("REPOSITORY", "TAGS", "SIZE", "NEWEST IMAGE")
        head, *lines = formatting.columns(heads, [_cells(summary) for summary in listed.repositories])
        out.spans((head, "head"))
        for summary, line in zip(listed.repositories, lines, strict=True):
            out.spans((line, "dim" if summary.tags == 0 else ""))
        sizes = [summary.size for summary in listed.repositories if summary.size is not None]
        if out.on_terminal and len(sizes) > 1:
            tags = units.count(sum(summary.tags or 0 for summary in listed.repositories), "tag")
            repositories = units.count(len(listed.repositories), "repository")
            out.line(f"{repositories}, {tags}: {formatting.size(sum(sizes))} in total")
        for name, error in errors:
            out.note(formatting.one_line(f"{name}: {error.message}"))
        if shortened and listed.repositories:
            out.flush()
            out.note("Use --details for size and newest image.")
        _print_notes(session, notes)
        if listed.stopped is not None:
            out.note("not all repositories could be read")
            out.print_error(listed.stopped)
    return exit_code([error for _, error in errors])


def _cells(summary: RepositorySummary) -> tuple[str, ...]:
    tags = formatting.UNKNOWN if summary.tags is None else str(summary.tags)
    return summary.name, tags, formatting.size(summary.size), formatting.age(summary.changed)
