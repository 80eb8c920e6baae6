"""The jobs of a copy between places: which images, and what they are called where they go."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from registry_tool.base.errors import Conflict, InvalidReference, NotFound, UsageError
from registry_tool.base.regexes import search_all
from registry_tool.content.copy.location import Location
from registry_tool.content.copy.places import Places
from registry_tool.content.copy.values import CopyJob, CopyOptions
from registry_tool.content.protection import is_protection_tag
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference, is_tag
from registry_tool.oci.versions import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSelection:
    """Which tags of a source are copied, where not one is named: ``all``, or those that match each of what is given.

    ``globs``: one of them; ``regex``: anywhere in the tag; ``versions``: a range.
    """

    all: bool = False
    globs: tuple[str, ...] = ()
    regex: re.Pattern[str] | None = None
    versions: Range | None = None

    def __bool__(self) -> bool:
        return self.all or bool(self.globs) or self.regex is not None or self.versions is not None

    def matching(self, tags: Collection[str]) -> frozenset[str]:
        """Those of ``tags`` that are selected; a protection only where all are. Raises UsageError where ``regex`` takes too long."""
        found = search_all([self.regex.pattern], tags)[self.regex.pattern] if self.regex is not None else frozenset(tags)
        is_selective = bool(self.globs) or self.regex is not None or self.versions is not None
        return frozenset(
            tag
            for tag in found
            if not (is_selective and is_protection_tag(tag))
            and (not self.globs or any(fnmatchcase(tag, glob) for glob in self.globs))
            and (self.versions is None or tag in self.versions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selected:
    """An image at a source: ``reference`` finds it there; ``path`` and ``tag`` are for a registry, ``name`` for a layout or an archive."""

    reference: str
    path: str
    tag: str | None
    name: str | None


def make_jobs(
    places: Places, sources: Sequence[Location], destination: Location, *, tags: TagSelection, options: CopyOptions
) -> list[CopyJob]:
    """The jobs that copy ``sources`` to ``destination``, one for each repository that is read and written.

    A destination without a tag keeps those of the sources; one that ends with a slash gets a repository for each of theirs.
    Raises UsageError where the two do not fit, NotFound where no tag is selected, Conflict where two images would get one tag.
    """
    _check(sources, destination, tags)
    references: dict[tuple[str, str], dict[str, list[str]]] = {}
    located: dict[str, Location] = {}
    taken: dict[tuple[str, str], tuple[str, str]] = {}
    for source in sources:
        for selected in _select(places, source, tags):
            if tags and destination.kind == "engine" and is_protection_tag(selected.tag or ""):
                # An engine has images alone.
                continue
            target = destination.below(selected.path) if destination.is_prefix else destination
            located |= {source.store: source, target.store: target}
            names = references.setdefault((source.store, target.store), {}).setdefault(selected.reference, [])
            tag = target.tag or (selected.tag if target.kind == "registry" else selected.name or selected.tag)
            if tag is None or tag in names:
                continue
            if target.kind == "engine" and target.name is None and is_tag(tag):
                raise UsageError(f"the image {tag} of {source.store} has no name of a repository", hint="Name it: engine:john/app:1.0")
            names.append(tag)
            image = source.store, selected.reference
            if taken.setdefault((target.store, tag), image) != image:
                raise Conflict(f"two images would get the tag {tag} of {target.store}", hint="Copy them to different repositories.")
    return [
        CopyJob(
            source=places.source(located[source]),
            destination=places.destination(located[target]),
            references={reference: tuple(names) for reference, names in of_pair.items()},
            options=options,
            source_name=source,
            destination_name=target,
        )
        for (source, target), of_pair in references.items()
    ]


def _check(sources: Sequence[Location], destination: Location, tags: TagSelection) -> None:
    if destination.image is not None and destination.image != destination.tag:
        raise UsageError(f"{destination}: a destination has no digest", hint=f"The digest stays; name a tag: {destination.store}:TAG")
    if destination.image is not None and (len(sources) > 1 or tags):
        raise UsageError(f"{destination} is one image, and several are copied", hint=f"Name the place alone: {destination.store}")
    for source in sources:
        source.check_source()
        if tags and source.image is not None:
            hint = f"Try: {source.store}" if source.kind != "engine" else "Name each image of the engine: engine:NAME"
            raise UsageError(f"{source} has a tag or a digest, and --all-tags or --tags selects others", hint=hint)
        if _is_same_file(source, destination):
            raise UsageError(f"{source.store} is source and destination", hint="Copy it to another place.")
    stores = {source.store for source in sources}
    if len(stores) > 1 and destination.kind == "registry" and not destination.is_prefix:
        hint = f"With a slash at its end each gets a repository of its own: {destination.store}/"
        raise UsageError(f"images of {len(stores)} repositories do not go into one: {destination.store}", hint=hint)


def _is_same_file(source: Location, destination: Location) -> bool:
    """Whether two places are one folder or file, however they are spelled."""
    if source.path is None or destination.path is None:
        return False
    return source.path.resolve() == destination.path.resolve() or (
        source.path.exists() and destination.path.exists() and source.path.samefile(destination.path)
    )


def _select(places: Places, source: Location, tags: TagSelection) -> list[_Selected]:
    """The images of a source that are copied. Raises NotFound where there is none."""
    if source.reference is None:
        return _select_from_file(places, source, tags)
    path = source.reference.path
    if not tags:
        tag = source.tag if source.image is not None else DEFAULT_TAG
        name = f"{source.store}:{tag}" if tag is not None else None
        return [_Selected(reference=source.image or DEFAULT_TAG, path=path, tag=tag, name=name)]
    target = places.source(source)
    with target.limiter:
        names = target.tags()
    matching = tags.matching(names)
    listed = [tag for tag in names if tag in matching]
    if not listed:
        raise _nothing_selected(source, tags, f"See: regctl list-tags {source.store}")
    return [_Selected(reference=tag, path=path, tag=tag, name=f"{source.store}:{tag}") for tag in listed]


def _select_from_file(places: Places, source: Location, tags: TagSelection) -> list[_Selected]:
    target = places.file(source)
    stem = (source.path.name if source.path is not None else "").partition(".")[0].lower()
    if tags:
        selected = [_named(name, stem) for name in target.tags()]
        matching = tags.matching([*(each.reference for each in selected), *(each.tag for each in selected if each.tag is not None)])
        selected = [each for each in selected if each.reference in matching or each.tag in matching]
        if not selected:
            raise _nothing_selected(source, tags, None)
        return selected
    if source.kind == "engine" and source.name is not None:
        # To the engine every name is one of docker's.
        reference = Reference.parse(source.name, default_host=DOCKER_HUB).or_latest()
        return [_Selected(reference=source.name, path=reference.path, tag=reference.tag, name=str(reference))]
    if source.image is not None:
        named = _named(source.tag, stem) if source.tag is not None else _Selected(reference="", path=stem, tag=None, name=None)
        return [_Selected(reference=source.image, path=named.path, tag=named.tag, name=named.name)]
    image = target.only()
    if image.name is None:
        return [_Selected(reference=str(image.descriptor.digest), path=stem, tag=None, name=None)]
    return [_named(image.name, stem)]


def _named(name: str, stem: str) -> _Selected:
    """An image of a layout or an archive, by a tag or by a whole name; ``stem`` is the file's."""
    if "/" not in name and ":" not in name:
        return _Selected(reference=name, path=stem, tag=name if is_tag(name) else None, name=name)
    try:
        reference = Reference.parse(name, default_host=DOCKER_HUB).or_latest()
    except InvalidReference:
        return _Selected(reference=name, path=stem, tag=None, name=name)
    return _Selected(reference=name, path=reference.path, tag=reference.tag, name=name)


def _nothing_selected(source: Location, tags: TagSelection, hint: str | None) -> NotFound:
    what = "has no tag that is selected" if not tags.all else "has no tags"
    if tags.globs:
        what = f"has no tag that matches {' or '.join(tags.globs)}"
    return NotFound(f"{source.store} {what}", hint=hint)
