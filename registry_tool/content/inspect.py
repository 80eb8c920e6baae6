"""One image of a registry, looked at from all sides: manifest, config, layers and who shares them, who refers to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.listing import Contents, Details, ends_all
from registry_tool.oci.config import Config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_CONFIG as DOCKER_IMAGE_CONFIG
from registry_tool.oci.manifest import OCI_CONFIG, Manifest, is_attestation, runnable

MAX_DEPTH = 8
"""Referrers of referrers: a signature of an attestation of an image is two deep."""
MAX_REFERRERS = 1000
_DEPTH_OF_INDEXES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """What refers to an image, and what refers to that. ``error`` is why the latter could not be told."""

    descriptor: Descriptor
    referrers: tuple[Referrer, ...] = ()
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """``step`` is the line of the history that made it, where one says so. ``shared`` are other tags that have it; None: not asked."""

    descriptor: Descriptor
    step: str = ""
    shared: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """``image`` is the manifest itself, or the one for the platform that is meant where it is an index; None where none is meant.

    ``siblings`` are other tags on the same digest; None where they were not asked for. ``errors`` is what could not be told.
    """

    descriptor: Descriptor
    manifest: Manifest
    details: Details
    image: Manifest | None
    config: Config | None
    layers: tuple[Layer, ...]
    siblings: tuple[str, ...] | None
    referrers: tuple[Referrer, ...]
    errors: tuple[RegistryToolError, ...] = ()


def inspect(
    contents: Contents,
    descriptor: Descriptor,
    *,
    tag: str | None = None,
    platform: Platform | None = None,
    neighbours: bool = True,
    observer: Observer = SILENT,
) -> Inspection:
    """Look at ``descriptor``, which ``tag`` stands for.

    ``neighbours``: every other tag's manifest is asked for, to tell who shares what. Raises NotFound where there is no
    image for ``platform``; NotFound, Mismatch, InvalidManifest where the manifest itself is not to be had.
    """
    manifest = contents.manifest(descriptor)
    image = image_of(contents, manifest, platform)
    details = contents.details(descriptor, platform)
    errors = [details.error] if details.error is not None else []
    config = _config(contents, image, errors)
    siblings: tuple[str, ...] | None = None
    shared: dict[Digest, list[str]] | None = None
    if neighbours:
        siblings, shared = _neighbours(contents, descriptor, tag, errors, observer)
    referrers: tuple[Referrer, ...] = ()
    try:
        referrers = _Tree(contents).of(descriptor)
    except RegistryToolError as error:
        errors.append(error)
    return Inspection(
        descriptor=descriptor,
        manifest=manifest,
        details=details,
        image=image,
        config=config,
        layers=_layers(image, config, shared),
        siblings=siblings,
        referrers=referrers,
        errors=tuple(errors),
    )


def image_of(contents: Contents, manifest: Manifest, platform: Platform | None) -> Manifest | None:
    """The image that is meant: ``manifest``, or an index's only one, or its one for ``platform``; None where it could be several.

    Raises NotFound where there is none for ``platform``.
    """
    if manifest.kind == "image":
        if platform is not None and not contents.details(manifest.descriptor, platform).fits:
            raise NotFound(f"{manifest.digest} is no image for {platform}", hint="Leave --platform out.")
        return manifest
    found = [child for child in _runnable(contents, manifest, _DEPTH_OF_INDEXES) if platform is None or _fits(child, platform)]
    if platform is not None and not found:
        known = ", ".join(sorted({str(child.platform) for child in _runnable(contents, manifest, _DEPTH_OF_INDEXES)})) or "none"
        raise NotFound(f"there is no image for {platform} in {manifest.digest}", hint=f"It has: {known}")
    return contents.manifest(found[0]) if platform is not None or len(found) == 1 else None


def _fits(child: Descriptor, platform: Platform) -> bool:
    return child.platform is not None and child.platform.fits(platform)


def _runnable(contents: Contents, manifest: Manifest, depth: int) -> list[Descriptor]:
    found = list(runnable(manifest))
    for child in manifest.children if depth else ():
        if child.platform is None and child.media_type.endswith(("index.v1+json", "list.v2+json")) and not is_attestation(child):
            found += _runnable(contents, contents.manifest(child), depth - 1)
    return found


def _config(contents: Contents, image: Manifest | None, errors: list[RegistryToolError]) -> Config | None:
    if image is None or image.config is None or image.config.media_type not in (OCI_CONFIG, DOCKER_IMAGE_CONFIG):
        return None
    try:
        return contents.config(image.config)
    except RegistryToolError as error:
        if error.message not in [other.message for other in errors]:
            errors.append(error)
        return None


def _layers(image: Manifest | None, config: Config | None, shared: dict[Digest, list[str]] | None) -> tuple[Layer, ...]:
    if image is None:
        return ()
    steps = [step.created_by for step in config.history if not step.empty_layer] if config is not None else []
    # A history that does not go with the layers says nothing of any of them.
    told: Sequence[str] = steps if len(steps) == len(image.layers) else [""] * len(image.layers)
    return tuple(
        Layer(descriptor=layer, step=step, shared=None if shared is None else tuple(sorted(shared.get(layer.digest, ()))))
        for layer, step in zip(image.layers, told, strict=True)
    )


def _neighbours(
    contents: Contents, own: Descriptor, tag: str | None, errors: list[RegistryToolError], observer: Observer
) -> tuple[tuple[str, ...] | None, dict[Digest, list[str]] | None]:
    """(other tags on the same digest, blob -> other tags that have it); None for both where not all could be asked."""

    def look(name: str) -> tuple[Digest, Iterable[Digest]] | RegistryToolError:
        try:
            head = contents.budget.ask(lambda: contents.source.head(name))
            return head.digest, contents.blobs(head)
        except RegistryToolError as error:
            return error

    names = [name for name in contents.budget.ask(contents.source.tags) if name != tag]
    siblings: list[str] = []
    shared: dict[Digest, list[str]] = {}
    observer.start("tags", "looking at the other tags", len(names))
    for done, (name, found) in enumerate(map_unordered(look, names), 1):
        observer.advance("tags", done)
        if isinstance(found, RegistryToolError):
            if ends_all(found):
                errors.append(found)
                return None, None
            # Its own table says what is wrong with another tag.
            continue
        digest, blobs = found
        if digest == own.digest:
            siblings.append(name)
        for blob in blobs:
            shared.setdefault(blob, []).append(name)
    observer.finish("tags", "looked at the other tags")
    return tuple(sorted(siblings)), shared


class _Tree:
    """Referrers, each once, however they refer to each other."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._seen: set[Digest] = set()

    def of(self, descriptor: Descriptor, depth: int = 0) -> tuple[Referrer, ...]:
        self._seen.add(descriptor.digest)
        listed = self._contents.budget.ask(lambda: self._contents.source.referrers(descriptor))
        return tuple(
            self._below(referrer, depth + 1) for referrer in listed if referrer.digest not in self._seen and len(self._seen) < MAX_REFERRERS
        )

    def _below(self, descriptor: Descriptor, depth: int) -> Referrer:
        if depth == MAX_DEPTH:
            return Referrer(descriptor=descriptor)
        try:
            return Referrer(descriptor=descriptor, referrers=self.of(descriptor, depth))
        except RegistryToolError as error:
            return Referrer(descriptor=descriptor, error=error)
