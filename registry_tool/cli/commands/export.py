"""``export`` and docker's ``save``: images to one archive, or to an image layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.commands.copy import image_lines, parse_locations, summary
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.content.archives.exporting import ExportResult
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.digest import Digest
    from registry_tool.targets.layout import Layout

_FILE = click.Path(path_type=Path)


@click.command("export")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completions.repositories)
@click.option("-o", "--output", metavar="FILE|DIR", help="Archive to write, DIR/ for an image layout.  [default: standard output]")
@click.option("--since", metavar="FILE", type=_FILE, help="Leave out layers that this earlier archive or layout has.")
@click.option("--split", metavar="SIZE", type=options.volume_size, help="Write volumes of this size: FILE.001, FILE.002.")
@options.platforms("export")
@options.referrers("export")
@click.option("--dry-run", is_flag=True, help="Show what would be exported; write nothing.")
@options.registry_access
@options.as_json
@click.pass_obj
def export(
    session: Session,
    names: tuple[str, ...],
    output: str | None,
    since: Path | None,
    split: int | None,
    platforms: tuple[Platform, ...],
    referrers: bool,
    dry_run: bool,
) -> int:
    """Write images to one archive, or add them to an OCI image layout.

    NAME is an image in a registry; without a host it is in the local one. It can also be oci:DIR, oci-archive:FILE,
    docker-archive:FILE or engine:NAME. docker load, podman load and skopeo read the archive, too. The same images make the
    same bytes. It replaces FILE when all of it is written; an export that was interrupted goes on when it is run again.
    regctl save is the same.

    \b
    Examples:
      regctl export john/get-started:part2 john/redis:7 -o images.tar
      regctl export john/get-started:part3 -o new.tar --since images.tar
      regctl export --split 4GB john/get-started:part2 -o images.tar
      regctl export john/get-started:part2 | ssh HOST regctl import -
    """
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.archives.exporting import export_images, export_jobs, known_content
    from registry_tool.content.copy import CopyOptions
    from registry_tool.content.copy.places import Places

    output = "-" if output is None else output
    if output in ("", "oci:"):
        raise UsageError("-o names nothing", hint="Name a file, DIR/ for an image layout, or - for standard output.")
    path = _path(output)
    is_layout = path is not None and path.is_dir()
    is_layout |= output.endswith("/") or output.startswith("oci:")
    if since is not None and is_layout:
        raise UsageError("--since is for an archive: a layout keeps the layers that it has", hint="Name a file with -o.")
    if since is not None and path is not None and _is_replaced(since, path, split=split is not None):
        raise UsageError(f"{output} would replace the archive that it needs", hint="Name another file with -o.")
    if split is not None and (is_layout or path is None):
        raise UsageError("--split is for an archive in files", hint="Name a file with -o.")
    if path is None and sys.stdout.isatty() and not dry_run:
        raise UsageError("an archive is not for a terminal", hint="Name a file with -o, or redirect it.")
    if path is None and session.output.json:
        raise UsageError("--json and the archive cannot both go to standard output", hint="Name a file with -o.")
    locations = parse_locations(session, names)
    known = known_content(since) if since is not None else frozenset()
    wanted = CopyOptions(platforms=platforms, referrers=referrers)
    with (
        Places(session.open_registry, connect_engine=session.connect_engine) as places,
        _destination(path, known, split, is_layout=is_layout, dry_run=dry_run) as destination,
    ):
        jobs = export_jobs(places, locations, destination, options=wanted)
        with copy_view(progress=session.progress, quiet=False) as view:
            result = export_images(jobs, destination, dry_run=dry_run, listener=view)
        notes = places.notes
    failures = result.copied.failures
    size = sum(file.stat().st_size for file in result.files) if result.files else None
    out = session.output
    if not out.json:
        # The archive itself may be on standard output.
        is_stream = path is None or (path.exists() and not path.is_file() and not path.is_dir())
        say = out.note if is_stream else out.line
        for line in _lines(result, output, size, since, dry_run=dry_run):
            say(line)
        for note in notes:
            out.note(note)
        for error in failures:
            out.print_error(error)
        if failures and path is not None and not is_layout:
            out.note(f"{output} was not written; run it again to go on.")
    copied = result.copied
    document = {
        "dry_run": dry_run,
        "path": output,
        "files": tuple(map(str, result.files)),
        "size": size,
        "images": copied.images,
        "needs": result.needs,
        "blobs": copied.blobs,
    }
    return out.finish({**document, "seconds": copied.seconds, "notes": notes}, failures)


def _is_replaced(since: Path, path: Path, *, split: bool) -> bool:
    """Whether an export to ``path`` replaces files that the archive ``since`` is read from."""
    from registry_tool.targets.archive.volumes import files_of, volumes_at

    replaced = [path, *(volumes_at(path) if split else ())]
    return any(file.exists() and other.exists() and file.samefile(other) for file in files_of(since) for other in replaced)


def _path(output: str) -> Path | None:
    """A file or a folder; None for standard output, also by its path."""
    path = Path(output.removeprefix("oci:"))
    if output == "-" or (path.exists() and not path.is_dir() and _is_stdout(path)):
        return None
    return path


def _is_stdout(path: Path) -> bool:
    import os

    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        # Standard output is no file.
        return False


def _destination(path: Path | None, known: frozenset[Digest], split: int | None, *, is_layout: bool, dry_run: bool) -> Layout:
    import io

    from registry_tool.targets.archive import ArchiveWriter, check_path
    from registry_tool.targets.layout import Layout

    if path is not None and is_layout:
        if dry_run and not path.exists():
            return ArchiveWriter(io.BytesIO())
        return Layout.open(path, write=not dry_run)
    if dry_run:
        if path is not None:
            check_path(path)
        # What it collects is removed, and there is no commit.
        return ArchiveWriter(io.BytesIO(), known=known)
    return ArchiveWriter(path if path is not None else sys.stdout.buffer, known=known, volume_size=split)


def _lines(result: ExportResult, output: str, size: int | None, since: Path | None, *, dry_run: bool) -> list[str]:
    lines = [line for image in result.copied.images for line in image_lines(image)]
    lines.append(summary(result.copied.blobs, result.copied.seconds, dry_run=dry_run))
    if size is not None:
        volumes = f", {len(result.files)} volumes" if len(result.files) > 1 else ""
        lines.append(f"Wrote {result.files[0]} ({units.size(size)}{volumes}).")
    if result.needs:
        lines.append(f"Left out {units.count(len(result.needs), 'layer')} of {since}: import that first.")
    return lines
