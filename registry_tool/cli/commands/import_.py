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
    from registry_tool.content.copy import CopyJob, CopyOptions
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
@options.platforms("import")
@click.option("--into", type=click.Choice(["engine"]), help="Load the images into the engine, not into a registry.")
@options.referrers("import")
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
    into: str | None,
    referrers: bool,
    dry_run: bool,
) -> int:
    """Push the images of an archive, or of an OCI image layout, to a registry: the local one, or the one of NAME.

    FILE is of export, docker save (any version), podman save, skopeo or crane; gzip and zstd are unpacked; - is standard input.
    An image goes to the repository of its own name, whatever its host. NAME is a repository for all of them, or one image's
    name; with a slash at its end it comes before theirs. With --into engine the engine loads them under their own names, or
    the one image as NAME. Where anything is missing or damaged no tag appears. What the registry has is not sent. regctl load
    is the same.

    \b
    Examples:
      regctl import images.tar
      regctl import app.tar john/app:1.0
      regctl import layout/ registry.example.com/mirror/
      regctl import --into engine images.tar
    """
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.archives.importing import import_images
    from registry_tool.content.copy import CopyOptions

    if typed_input is not None and file is not None and (name is not None or Path(file).is_file()):
        raise UsageError(f"an archive is named twice: {file} and {typed_input}", hint="Import one after the other.")
    if typed_input is not None:
        # As docker has it, the only argument is a name then.
        file, name = typed_input, name or file
    if file is None:
        if sys.stdin.isatty():
            raise UsageError("an archive or a folder is needed", hint="For example: regctl import images.tar")
        file = "-"
    wanted = CopyOptions(platforms=platforms, referrers=referrers)
    with ExitStack() as stack:
        source = _open(file)
        stack.callback(source.close)
        target = _Engine(session, stack, dry_run=dry_run) if into is not None else _Registries(session, stack)
        jobs = target.jobs(source, name, wanted)
        with copy_view(progress=session.progress, quiet=False) as view:
            imported = import_images(jobs, source, dry_run=dry_run, listener=view)
        result = imported.copied
        if not dry_run and not result.failures:
            target.commit()
        notes = (*imported.notes, *target.notes)
    out = session.output
    if not out.json:
        out.lines([line for image in result.images for line in image_lines(image)])
        out.line(summary(result.blobs, result.seconds, dry_run=dry_run))
        for note in notes:
            out.note(note)
        for error in result.failures:
            out.print_error(error)
    document = {"dry_run": dry_run, "path": file, "images": result.images, "blobs": result.blobs, "seconds": result.seconds, "notes": notes}
    return out.finish(document, result.failures)


class _Registries:
    """Registries to import to, each opened once."""

    def __init__(self, session: Session, stack: ExitStack) -> None:
        self._session = session
        self._stack = stack
        self._opened: dict[str, Registry] = {}

    def jobs(self, source: Layout | Archive, name: str | None, wanted: CopyOptions) -> list[CopyJob]:
        """What is to be copied where."""
        from registry_tool.content.archives.importing import destinations, import_jobs

        location = parse_locations(self._session, [name])[0] if name is not None else None
        host = self._session.required_registry_host() if location is None else ""
        return import_jobs(source, destinations(source.images, host=host, name=location), self._repository, options=wanted)

    def commit(self) -> None:
        """Nothing is left to do."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the registries' responses."""
        return tuple(note for registry in self._opened.values() for note in registry.notes)

    def _repository(self, reference: Reference) -> Target:
        if reference.host not in self._opened:
            self._opened[reference.host] = self._stack.enter_context(self._session.open_registry(reference.host))
        return self._opened[reference.host].repository(reference.path)


class _Engine:
    """The engine, which loads the images when all of them are there."""

    notes: tuple[str, ...] = ()

    def __init__(self, session: Session, stack: ExitStack, *, dry_run: bool) -> None:
        from registry_tool.content.copy.places import EmptyTarget
        from registry_tool.content.engine_images import EngineLoader

        self._loader = None if dry_run else stack.enter_context(EngineLoader(session.engine))
        self._target: Target = self._loader or EmptyTarget()

    def jobs(self, source: Layout | Archive, name: str | None, wanted: CopyOptions) -> list[CopyJob]:
        """What is to be loaded under which names."""
        from registry_tool.content.archives.importing import engine_jobs, engine_names

        own_name = name.removeprefix("engine:") if name is not None else None
        return engine_jobs(source, engine_names(source.images, name=own_name), self._target, options=wanted)

    def commit(self) -> None:
        """Load what was collected."""
        if self._loader is not None:
            self._loader.commit()


def _open(file: str) -> Layout | Archive:
    from registry_tool.content.archives.exporting import open_images
    from registry_tool.targets.archive import open_archive

    if file == "-":
        return open_archive(sys.stdin.buffer)
    for kind in ("oci:", "oci-archive:", "docker-archive:"):
        file = file.removeprefix(kind)
    return open_images(Path(file))
