"""``list-tags``: list the tags of a repository."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import RegistryError, RegistryToolError, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.output import exit_code
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.listing import Options, Row, TagTable
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.reference import Reference
    from registry_tool.oci.versions import Range

_MAX_CELL = 3


@click.command("list-tags")
@click.argument("name", shell_complete=completions.repositories)
@click.option(
    "--sort",
    type=click.Choice(["name", "created", "size", "semver"]),
    default="name",
    show_default=True,
    help="By name, newest first, largest first or highest version first.",
)
@click.option("--filter", "matches", metavar="GLOB", help="Only tags that match: 'v1.*'.")
@click.option("--semver", "within", metavar="RANGE", help="Only versions in this range: '^1.2', '>=1.2 <2'.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N; of a remote registry only these are queried.")
@click.option(
    "--platform", metavar="OS/ARCH", type=options.platform, help="Only tags with an image for this platform; show its size and age."
)
@click.option("--digests", is_flag=True, help="Show full digests.")
@options.details
@options.registry_access
@options.quiet("the tags, one a line")
@options.as_json
@click.pass_obj
def list_tags(
    session: Session,
    name: str,
    sort: str,
    matches: str | None,
    within: str | None,
    limit: int | None,
    platform: Platform | None,
    digests: bool,
    details: bool | None,
    quiet: bool,
) -> int:
    """List the tags of the repository NAME; without a host it is in the local registry.

    SAME DIGEST AS lists other tags of the same digest. Manifests and configs are fetched from a registry on this machine; from
    any other only digests, unless --details is given. With -q or --no-details only the list is fetched; it may still contain a tag
    whose deletion was not finished.

    \b
    Examples:
      regctl list-tags john/get-started
      regctl list-tags --semver '^1.2' --sort semver --limit 5 john/get-started
      regctl list-tags -q docker.io/library/alpine
    """
    from registry_tool.base.address import is_loopback
    from registry_tool.content.listing import Options
    from registry_tool.content.listing import list_tags as tag_table

    wanted = Options(
        sort=sort,  # type: ignore[arg-type] # click has checked it
        matches=matches,
        within=_range(within) if within is not None else None,
        limit=limit,
        platform=platform,
    )
    needs_details = "--platform" if platform else f"--sort {sort}" if sort in ("created", "size") else None
    if needs_details and details is False:
        raise UsageError(f"{needs_details} needs the details that --no-details leaves out", hint="Omit one of the two.")
    reference = session.repository(name, "list-tags")
    quiet = quiet and not session.output.json
    wanted = _with_scope(wanted, details, needs_details, is_local=is_loopback(reference.host), quiet=quiet)
    with (
        session.open_registry(reference.host) as registry,
        session.observer(quiet=quiet, counting=True) as observer,
        session.content_cache(observer) if wanted.level != "names" else nullcontext() as cache,
    ):
        table = tag_table(registry.repository(reference.path), wanted, cache=cache, observer=observer)
    return _render(session, reference, table, registry.notes, wanted, digests=digests, quiet=quiet)


def _range(text: str) -> Range:
    from registry_tool.oci.versions import Range

    return Range.parse(text)


def _with_scope(wanted: Options, details: bool | None, needs_details: str | None, *, is_local: bool, quiet: bool) -> Options:
    if needs_details and not is_local and details is None:
        raise UsageError(f"{needs_details} needs every image's details", hint="Add --details to ask this registry for them.")
    if details is False or (quiet and not details and not needs_details):
        return replace(wanted, level="names")
    full = is_local or bool(details)
    # Names need no siblings, and a remote registry is not queried for thousands of tags to show a limit.
    siblings = not quiet and (is_local or not wanted.is_limited_first)
    return replace(wanted, level="details" if full else "digests", siblings=siblings)


def _render(
    session: Session, reference: Reference, table: TagTable, notes: tuple[str, ...], wanted: Options, *, digests: bool, quiet: bool
) -> int:
    out = session.output
    # A limit leaves out what was read for the order.
    total = sum(row.size or 0 for row in table.rows) if wanted.level == "details" and wanted.limit is None else None
    errors: list[tuple[str | None, RegistryToolError]] = [(row.name, row.error) for row in table.rows if row.error is not None]
    if table.stopped is not None:
        errors.append((None, table.stopped))
    if out.json:
        from registry_tool.base.codec import to_json

        documents = [{"tag": name, **to_json(error)} for name, error in errors]
        sizes = {"size": total, "unique_size": table.size if total is not None else None}
        out.document({"repository": reference.repository, "tags": table.rows, **sizes, "errors": documents, "notes": notes})
    elif quiet:
        out.lines([formatting.one_line(row.name) for row in table.rows])
    elif wanted.level == "names":
        out.table(("TAG",), [(row.name,) for row in table.rows])
    else:
        limit = _MAX_CELL if out.on_terminal else None
        heads = ("TAG", "DIGEST", "CREATED", "SIZE", "PLATFORMS", "SAME DIGEST AS", "TYPE")
        out.table(heads, [_cells(row, digests=digests, limit=limit) for row in table.rows])
        if out.on_terminal and total and len(table.rows) > 1:
            shared = f"{formatting.size(table.size)} with shared layers counted once"
            out.line(f"{units.count(len(table.rows), 'tag')}: {formatting.size(total)} in total, {shared}")
    if not out.json:
        if wanted.level == "digests" and table.rows and not quiet:
            out.flush()
            out.note("Use --details for size, age, platforms.")
        for note in notes:
            out.note(formatting.one_line(note))
    if table.vanished:
        out.note(formatting.one_line(f"deleted meanwhile: {', '.join(table.vanished)}"))
    if table.stopped is not None and not out.json:
        # The table comes first, also if both streams go to one file.
        out.flush()
        out.note(f"only {table.looked_at} of {units.count(table.count, 'tag')} could be read")
        out.print_error(table.stopped)
    # With --quiet the list of names is complete, also where an image is damaged.
    return exit_code([error for name, error in errors if name is None or not quiet])


def _cells(row: Row, *, digests: bool, limit: int | None) -> tuple[str, ...]:
    digest = formatting.UNKNOWN if row.digest is None else str(row.digest) if digests else row.digest.short
    kind = row.type or (formatting.UNKNOWN if row.error is None else "")
    if row.note is not None:
        kind = f"{kind}: {row.note}"
    if row.error is not None:
        word = "not readable" if isinstance(row.error, RegistryError) else "damaged"
        kind = f"{kind}, {word}: {row.error.message}".removeprefix(", ")
    platforms = [str(platform) for platform in row.platforms or ()]
    siblings = list(row.siblings or ())
    return (row.name, digest, formatting.age(row.created), formatting.size(row.size), _join(platforms, limit), _join(siblings, limit), kind)


def _join(words: list[str], limit: int | None) -> str:
    """``a,b,c``; with a ``limit`` the first ones and the number of the others: ``a,b,c,+4``."""
    if limit is not None and len(words) > limit + 1:
        words = [*words[:limit], f"+{len(words) - limit}"]
    return ",".join(words) or formatting.UNKNOWN
