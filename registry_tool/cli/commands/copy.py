"""``copy``: copy images from one place to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.content.copy import BlobCounts, CopiedImage, CopyResult
    from registry_tool.content.copy.location import Location
    from registry_tool.oci.descriptor import Platform


@click.command("copy")
@click.argument("names", nargs=-1, required=True, metavar="SOURCE... DESTINATION", shell_complete=completions.repositories)
@click.option("-a", "--all-tags", is_flag=True, help="Copy all tags of each SOURCE, a repository.")
@click.option("--tags", "globs", metavar="GLOB", multiple=True, help="Copy the tags of each SOURCE that match: 'v1.*'.")
@options.platforms("copy")
@options.referrers("copy")
@click.option("--allow-foreign", is_flag=True, help="Copy non-distributable layers, too.")
@click.option("--dry-run", is_flag=True, help="Show what would be copied; write nothing.")
@options.missing_ok
@options.quiet("REPOSITORY@DIGEST of each copy, one a line")
@options.registry_access
@options.as_json
@click.pass_obj
def copy(
    session: Session,
    names: tuple[str, ...],
    all_tags: bool,
    globs: tuple[str, ...],
    platforms: tuple[Platform, ...],
    referrers: bool,
    allow_foreign: bool,
    dry_run: bool,
    missing_ok: bool,
    quiet: bool,
) -> int:
    """Copy images from one or more SOURCEs to DESTINATION; digests stay.

    A place is a name in a registry, without a host in the local one; oci:DIR[:NAME], an OCI image layout; oci-archive:FILE[:NAME] or
    docker-archive:FILE[:NAME], an archive, which docker load reads, too; engine:NAME. DESTINATION keeps the tag of SOURCE, unless it has
    one; with a slash at its end it gets a repository for each SOURCE, by the last part of its name. Content that is there is
    skipped; what another repository of the registry has is mounted. Tags are written last: a copy that is interrupted leaves none
    that is incomplete, and goes on when it is run again.

    \b
    Examples:
      regctl copy docker.io/library/alpine:3.20 john/alpine
      regctl copy --all-tags john/get-started registry.example.com/john/get-started
      regctl copy --platform linux/amd64 ghcr.io/a/b:1 ghcr.io/a/c:2 mirror/
      regctl copy john/get-started:part2 oci:images
    """
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.copy import CopyOptions, copy_all
    from registry_tool.content.copy.jobs import TagSelection, make_jobs
    from registry_tool.content.copy.places import Places

    if len(names) < 2:
        raise UsageError("copy needs a source and a destination", hint=f"For example: regctl copy {names[0]} mirror/")
    locations = parse_locations(session, names)
    wanted = CopyOptions(platforms=platforms, referrers=referrers, allow_foreign=allow_foreign)
    with Places(session.open_registry, connect_engine=session.connect_engine, dry_run=dry_run, uploads=session.uploads_folder) as places:
        jobs = make_jobs(places, locations[:-1], locations[-1], tags=TagSelection(all=all_tags, globs=globs), options=wanted)
        with copy_view(progress=session.progress, quiet=quiet) as view:
            result = copy_all(jobs, dry_run=dry_run, listener=view)
        notes = places.notes
        failures = [error for error in result.failures if not (missing_ok and isinstance(error, NotFound))]
        if not failures and not dry_run:
            places.commit()
    out = session.output
    if not out.json:
        if quiet:
            out.lines(list(_quiet_lines(result)))
        else:
            out.lines([line for image in result.images for line in image_lines(image)])
            out.line(summary(result.blobs, result.seconds, dry_run=dry_run))
            for note in notes:
                out.note(note)
    if not out.json:
        for error in failures:
            out.print_error(error)
    document = {"dry_run": dry_run, "images": result.images, "blobs": result.blobs, "seconds": result.seconds, "notes": notes}
    return out.finish(document, failures)


def parse_locations(session: Session, names: Sequence[str]) -> list[Location]:
    """What is typed, parsed; the local registry is looked for only where a name needs it, after all were found valid."""
    from registry_tool.content.copy.location import Location

    unresolved = "localhost"
    parsed = [Location.parse(name, default_host=unresolved) for name in names]
    if not any(_is_local(name, location) for name, location in zip(names, parsed, strict=True)):
        return parsed
    host = session.required_registry_host()
    return [Location.parse(name, default_host=host) for name in names]


def _is_local(name: str, location: Location) -> bool:
    from registry_tool.oci.reference import has_host

    return location.kind == "registry" and not has_host(name.removeprefix("docker://"))


def _quiet_lines(result: CopyResult) -> Iterator[str]:
    for image in result.images:
        if image.stored_digest is not None:
            for name in dict.fromkeys(destination_store(name) for name in image.destinations):
                yield f"{name}@{image.stored_digest}"


def destination_store(name: str) -> str:
    """The repository of a full name."""
    before, at, _ = name.partition("@")
    return before if at else name.rpartition(":")[0]


def image_lines(image: CopiedImage) -> Iterator[str]:
    """What became of an image, for people."""
    words = {"copied": "Copied", "planned": "Would copy", "unchanged": "Unchanged", "failed": "Not copied"}
    names = ", ".join(image.destinations)
    digest = f" ({image.stored_digest})" if image.stored_digest is not None else ""
    if image.status == "unchanged":
        yield f"Unchanged: {names}{digest}"
    elif image.status == "failed":
        yield f"Not copied: {image.source}"
    else:
        yield f"{words[image.status]} {image.source} to {names}{digest}"
    if image.stored_digest not in (None, image.digest):
        yield f"  in place of {image.digest}"
    if image.left_out:
        yield f"  left out: {', '.join(image.left_out)}"
    yield from (f"  non-distributable layer, not copied: {layer}" for layer in image.foreign)


def summary(blobs: BlobCounts, seconds: float, *, dry_run: bool) -> str:
    """One line about all blobs."""
    sent = f"{units.count(blobs.sent, 'blob')} ({units.size(blobs.bytes_sent)})"
    if dry_run:
        return f"Would send {sent}, mount {blobs.mounted}, skip {blobs.skipped}."
    return f"Sent {sent}, mounted {blobs.mounted}, skipped {blobs.skipped} in {seconds:.1f} s."
