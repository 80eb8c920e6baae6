"""Importing images from an archive or an image layout: their names at the destination, and whether all of their content can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from registry_tool.base.compression import HEAD, detect
from registry_tool.base.errors import Conflict, InvalidArchive, InvalidManifest, InvalidReference, Mismatch, NotFound, UsageError
from registry_tool.content.copy import NULL_LISTENER, CopyJob, CopyListener, CopyOptions, CopyPlan, CopyResult, PlannedImage, copy_all
from registry_tool.content.copy.location import Location
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import is_layer, wrong_compression
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference, is_tag
from registry_tool.targets.archive import Archive
from registry_tool.targets.layout import Layout, LayoutImage
from registry_tool.targets.target import Target

_LIBRARY = "library/"
_SHOWN = 20
"""Missing content that is named; the rest is counted."""


def destinations(images: Sequence[LayoutImage], *, host: str, name: Location | None) -> list[tuple[LayoutImage, Reference]]:
    """Return where each image goes: to the repository of its own name in the registry ``host``, or where ``name`` says.

    A ``name`` with a slash at its end comes before the images' own; any other is a repository for all of them, or one image's
    name. Raises UsageError where an image has no repository, Conflict where two would have one name.
    """
    if not images:
        raise NotFound("there is no image in it")
    named = [(image, _destination(image, host, name)) for image in images]
    taken: dict[Reference, LayoutImage] = {}
    for image, reference in named:
        other = taken.setdefault(reference, image)
        if other.descriptor.digest != image.descriptor.digest:
            message = f"two images would be {reference}: {shown(other)} and {shown(image)}"
            raise Conflict(message, hint="A name with a slash at its end comes before theirs: mirror/")
    return named


def _destination(image: LayoutImage, host: str, name: Location | None) -> Reference:
    path, tag = _own_name(image)
    if name is None or name.is_prefix:
        if path is None:
            raise UsageError(f"the image {shown(image)} has no name of a repository", hint="Name one after the archive: john/app")
        prefix = f"{name.name}/" if name is not None and name.name else ""
        host = name.reference.host if name is not None and name.reference is not None else host
        return Reference.parse(f"{host}/{prefix}{path}:{tag or DEFAULT_TAG}", default_host=host)
    if name.reference is None or name.digest is not None or name.reference.digest is not None:
        raise UsageError(f"{name} is not where images are imported to", hint="Name a repository, with or without a tag: john/app:1.0")
    return Reference(host=name.reference.host, path=name.reference.path, tag=name.reference.tag or tag or DEFAULT_TAG)


def _own_name(image: LayoutImage) -> tuple[str | None, str | None]:
    """Path and tag of an image's name in an archive: docker's, or a tag alone. Raises Conflict where it has another's digest."""
    name = image.name
    if name is None or is_tag(name):
        return None, name
    try:
        reference = Reference.parse(name, default_host=DOCKER_HUB)
    except InvalidReference:
        return None, None
    if reference.digest not in (None, image.descriptor.digest):
        raise Conflict(f"{name} has the digest {image.descriptor.digest}", hint="The archive's names are wrong: name the image after it.")
    is_official = reference.host == DOCKER_HUB and reference.path.startswith(_LIBRARY)
    return reference.path.removeprefix(_LIBRARY) if is_official else reference.path, reference.tag


def engine_names(images: Sequence[LayoutImage], *, name: str | None) -> list[tuple[LayoutImage, str | None]]:
    """Return each image with its whole name in an engine: its own, as docker means it, or ``name``; None where it has none.

    Raises UsageError where an image has a tag alone, or a ``name`` is for several images.
    """
    if not images:
        raise NotFound("there is no image in it")
    if name is not None:
        if len({image.descriptor.digest for image in images}) > 1:
            raise UsageError(f"{name} is one image's name, and there are several", hint="Leave the name out: the engine gets theirs.")
        return [(images[0], _engine_name(name))]
    named: list[tuple[LayoutImage, str | None]] = []
    for image in images:
        if image.name is not None and is_tag(image.name):
            raise UsageError(f"the image {image.name} has no name of a repository", hint="Name it after the archive: john/app:1.0")
        named.append((image, _engine_name(image.name) if image.name is not None else None))
    return named


def _engine_name(name: str) -> str:
    return str(Reference.parse(name, default_host=DOCKER_HUB).or_latest())


def engine_jobs(
    source: Layout | Archive,
    named: Sequence[tuple[LayoutImage, str | None]],
    destination: Target,
    *,
    options: CopyOptions = CopyOptions(),  # noqa: B008 - frozen
) -> list[CopyJob]:
    """The job that copies images to where an engine loads them from, under the names that :func:`engine_names` gave."""
    names: dict[Digest, tuple[str, dict[str, None]]] = {}
    for image, name in named:
        _, tags = names.setdefault(image.descriptor.digest, (shown(image), {}))
        tags |= {name: None} if name is not None else {}
    references = {known_as: tuple(tags) for known_as, tags in names.values()}
    return [
        CopyJob(
            source=source,
            destination=destination,
            references=references,
            options=options,
            source_name=source.name,
            destination_name="engine",
        )
    ]


def import_jobs(
    source: Layout | Archive,
    named: Sequence[tuple[LayoutImage, Reference]],
    open_repository: Callable[[Reference], Target],
    *,
    options: CopyOptions = CopyOptions(),  # noqa: B008 - frozen
) -> list[CopyJob]:
    """The jobs that copy images to where :func:`destinations` says."""
    references: dict[str, dict[str, tuple[str, ...]]] = {}
    opened: dict[str, Target] = {}
    first: dict[Digest, str] = {}
    for image, reference in named:
        if reference.repository not in opened:
            opened[reference.repository] = open_repository(reference)
        known_as = first.setdefault(image.descriptor.digest, image.name or str(image.descriptor.digest))
        tags = references.setdefault(reference.repository, {})
        tags[known_as] = tuple(dict.fromkeys((*tags.get(known_as, ()), reference.tag or DEFAULT_TAG)))
    return [
        CopyJob(
            source=source,
            destination=opened[repository],
            references=tags,
            options=options,
            source_name=source.name,
            destination_name=repository,
        )
        for repository, tags in references.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What became of the images; ``notes`` are what a person should know of the archive."""

    copied: CopyResult
    notes: tuple[str, ...] = ()


def import_images(
    jobs: Sequence[CopyJob], source: Layout | Archive, *, dry_run: bool = False, listener: CopyListener = NULL_LISTENER
) -> ImportResult:
    """Copy the images; nothing is written where content is missing, and no tag where content of any of them turns out to be damaged.

    Raises InvalidArchive, which says which image lacks what.
    """
    notes: dict[str, None] = {}

    def check(plan: CopyPlan) -> None:
        check_complete(plan, source)
        notes.update(dict.fromkeys(_media_type_notes(plan, source)))

    copied = copy_all(jobs, dry_run=dry_run, listener=listener, check=check, together=True)
    return ImportResult(copied=copied, notes=tuple(notes))


def _media_type_notes(plan: CopyPlan, source: Layout | Archive) -> Iterator[str]:
    """The layers whose first bytes contradict their media types. They are imported as they are, as skopeo does: digests stay."""
    for image in plan.images:
        for manifest in image.manifests:
            for number, layer in enumerate(manifest.layers):
                content = source.open_content(layer.digest) if is_layer(layer) else None
                if content is None:
                    continue
                with content:
                    wrong = wrong_compression(layer, detect(content.read(HEAD)))
                if wrong is not None:
                    yield f"{image.reference}: layers[{number}] {wrong}"


def check_complete(plan: CopyPlan, source: Layout | Archive) -> None:
    """Raise InvalidArchive where ``source`` lacks content that the destination has not either; it says which image lacks what."""
    lines = [line for image in plan.images for line in _lacks(image, plan, source)]
    if not lines:
        return
    hint = "Export the images again."
    if isinstance(source, Archive) and source.needs:
        hint = "It was exported with --since: import the earlier archive first."
    excerpt = (*lines[:_SHOWN], *([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []))
    raise InvalidArchive(f"{source.name} is incomplete: nothing is imported", hint=hint, excerpt=excerpt)


def _lacks(image: PlannedImage, plan: CopyPlan, source: Layout | Archive) -> Iterator[str]:
    if image.error is not None:
        if not isinstance(image.error, (NotFound, Mismatch, InvalidManifest)):
            raise image.error
        yield f"{image.reference}: {image.error.message}"
        return
    missing = {task.descriptor.digest for task in plan.tasks for _, destination in task.places if destination is image.job.destination}
    for blob in image.blobs:
        if blob.digest in missing and not source.exists(blob):
            size = source.stored_size(blob.digest)
            yield f"{image.reference} lacks {blob.digest}" + (f": it has {size} bytes, not {blob.size}" if size is not None else "")


def shown(image: LayoutImage) -> str:
    """An image's name, or its digest."""
    return image.name or str(image.descriptor.digest)
