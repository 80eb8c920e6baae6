"""``import`` and docker's ``load``: the images of an archive or an image layout to a registry, or into the engine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base.errors import UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.commands.copy import image_lines, parse_locations, summary
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.archive import Archive
    from registry_tool.targets.layout import Layout
    from registry_tool.targets.registry import Registry
    from registry_tool.targets.target import Target


@click.command("import")
@click.argument("file", metavar="FILE|DIR", required=False)
@click.argument("name", required=False, shell_complete=completions.repositories)
@click.option("-i", "--input", "typed_input", metavar="FILE", help="The archive, as docker load has it.")
@click.option(
    "--platform",
    "platforms",
    metavar="OS/ARCH",
    type=options.platform,
    multiple=True,
    help="Of an index import this image alone; of several platforms a smaller index.",
)
@click.option("--referrers", is_flag=True, help="Import signatures, attestations and SBOMs, too.")
@click.option("--dry-run", is_flag=True, help="Show what would be imported; write nothing.")
@options.registry_access
@options.as_json
@click.pass_obj
def import_(
    session: Session,
    file: str | None,
    name: str | None,
    typed_input: str | None,
    platforms: tuple[Platform, ...],
    referrers: bool,
    dry_run: bool,
) -> int:
    """Push the images of an archive, or of an OCI image layout, to a registry: the local one, or the one of NAME.

    FILE is of export, docker save (any version), podman save, skopeo or crane; gzip and zstd are unpacked; - is standard input.
    An image goes to the repository of its own name, whatever its host. NAME is a repository for all of them, or one image's
    name; with a slash at its end it comes before theirs. Where anything is missing or damaged no tag appears. What the
    registry has is not sent. regctl load is the same.

    \b
    Examples:
      regctl import images.tar
      regctl import app.tar john/app:1.0
      regctl import layout/ registry.example.com/mirror/
    """
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.archives.importing import destinations, import_images, import_jobs
    from registry_tool.content.copy import CopyOptions

    if typed_input is not None:
        # As docker has it, the only argument is a name then.
        file, name = typed_input, name or file
    if file is None:
        raise UsageError("an archive or a folder is needed", hint="For example: regctl import images.tar")
    location = parse_locations(session, [name])[0] if name is not None else None
    wanted = CopyOptions(platforms=platforms, referrers=referrers)
    with ExitStack() as stack:
        source = _open(file)
        stack.callback(source.close)
        host = session.required_registry_host() if location is None else ""
        found = destinations(source.images, host=host, name=location)
        registries: dict[str, Registry] = {}

        def open_repository(reference: Reference) -> Target:
            if reference.host not in registries:
                registries[reference.host] = stack.enter_context(session.open_registry(reference.host))
            return registries[reference.host].repository(reference.path)

        jobs = import_jobs(source, found, open_repository, options=wanted)
        with copy_view(progress=session.progress, quiet=False) as view:
            result = import_images(jobs, source, dry_run=dry_run, listener=view)
        notes = tuple(note for registry in registries.values() for note in registry.notes)
    out = session.output
    if not out.json:
        out.lines([line for image in result.images for line in image_lines(image)])
        out.line(summary(result.blobs, result.seconds, dry_run=dry_run))
        for note in notes:
            out.note(note)
    document = {"dry_run": dry_run, "path": file, "images": result.images, "blobs": result.blobs, "seconds": result.seconds, "notes": notes}
    return out.finish(document, result.failures)


def _open(file: str) -> Layout | Archive:
    from registry_tool.content.archives.exporting import open_images
    from registry_tool.targets.archive import open_archive

    if file == "-":
        return open_archive(sys.stdin.buffer)
    for kind in ("oci:", "oci-archive:", "docker-archive:"):
        file = file.removeprefix(kind)
    return open_images(Path(file))
