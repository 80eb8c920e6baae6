"""Exporting images to one archive, or to an image layout; what an earlier archive has may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.errors import Conflict, InvalidReference
from registry_tool.content.copy import NULL_LISTENER, CopyJob, CopyListener, CopyOptions, CopyResult, copy_all
from registry_tool.content.copy.location import Location, join_name
from registry_tool.content.copy.places import Places
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference
from registry_tool.targets.archive import Archive, ArchiveWriter, open_archive
from registry_tool.targets.layout import Layout, LayoutReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What became of the images; ``needs`` is content that was left out, as an earlier archive has it. ``files`` were written."""

    copied: CopyResult
    needs: tuple[Digest, ...] = ()
    files: tuple[Path, ...] = ()


def open_images(path: Path) -> Layout | Archive:
    """Open a layout or an archive to be read; to be closed. Raises as both do."""
    return Layout.open(path) if path.is_dir() else open_archive(path)


def known_content(path: Path) -> frozenset[Digest]:
    """What an earlier export has, and what it needs itself of one before."""
    if path.is_dir():
        with Layout.open(path) as layout:
            return layout.digests
    with open_archive(path) as archive:
        return archive.digests | archive.needs


def export_jobs(places: Places, sources: Sequence[Location], destination: Layout, *, options: CopyOptions) -> list[CopyJob]:
    """The jobs that copy ``sources`` to ``destination``, each image under its whole name. Raises Conflict where two have one name."""
    references: dict[str, dict[str, list[str]]] = {}
    located: dict[str, Location] = {}
    taken: dict[str, str] = {}
    for source in sources:
        source.check_source()
        located.setdefault(source.store, source)
        for reference, name in _images(places, source):
            names = references.setdefault(source.store, {}).setdefault(reference, [])
            if name is None or name in names:
                continue
            if name in taken:
                raise Conflict(f"two images have the name {name}: of {taken[name]} and of {source.store}", hint="Export them one by one.")
            taken[name] = source.store
            names.append(name)
    return [
        CopyJob(
            source=places.source(located[store]),
            destination=destination,
            references={reference: tuple(names) for reference, names in of_store.items()},
            options=options,
            source_name=store,
            destination_name=destination.name,
        )
        for store, of_store in references.items()
    ]


def export_images(
    jobs: Sequence[CopyJob], destination: Layout, *, dry_run: bool = False, listener: CopyListener = NULL_LISTENER
) -> ExportResult:
    """Copy the images, and where none failed write the archive."""
    copied = copy_all(jobs, dry_run=dry_run, listener=listener)
    if dry_run or copied.failures or not isinstance(destination, ArchiveWriter):
        return ExportResult(copied=copied)
    needs = destination.commit()
    return ExportResult(copied=copied, needs=tuple(sorted(needs)), files=destination.files)


def _images(places: Places, source: Location) -> list[tuple[str, str | None]]:
    """What is read at a place, and the names that it gets: all of a layout or an archive where no image of it is named."""
    target = places.source(source)
    if source.kind == "engine":
        return [(source.name or "", _docker_name(source.name or ""))]
    if isinstance(target, LayoutReader):
        if source.image is not None:
            return [(source.image, source.name)]
        return [(image.name or str(image.descriptor.digest), image.name) for image in target.images]
    reference = source.image or DEFAULT_TAG
    tag = source.tag or (DEFAULT_TAG if source.image is None else None)
    return [(reference, join_name(source.store, tag) if tag is not None else None)]


def _docker_name(name: str) -> str | None:
    """The whole name that docker means; None of an image's id."""
    try:
        return str(Reference.parse(name, default_host=DOCKER_HUB).or_latest()) if "sha256:" not in name else None
    except InvalidReference:
        return None
