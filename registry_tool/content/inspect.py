"""One image of a registry: manifest, config, layers and who shares them, referrers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.graph import Node, traverse, unseen
from registry_tool.content.listing import Contents, Details, is_registry_wide
from registry_tool.content.protection import is_protection_tag
from registry_tool.oci.config import Config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import CONFIGS, Manifest
from registry_tool.targets.registry.referrers import attached_tags

MAX_FAILURES = 16
"""Other tags in a row that a registry may fail to answer for, before no more are requested."""
MAX_REFERRERS = 1000
"""Referrers, of an image and of each other, whose own referrers are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A manifest that refers to an image, and what refers to that. ``error`` is why the latter is unknown."""

    descriptor: Descriptor
    referrers: tuple[Referrer, ...] = ()
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """``step`` is the line of the history that made it, if one is known. ``shared`` are other tags that have it; None: not requested."""

    descriptor: Descriptor
    step: str = ""
    shared: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """``image`` is the manifest itself, or its image for the platform where it is an index; None where it could be several.

    ``siblings`` are other tags on the same digest; None: not requested. ``unread`` are other tags that could not be read,
    and may be siblings and share layers, too. ``others`` is how many other tags were not read as they were too many,
    ``siblings_error`` why siblings are not known.
    ``referrers_error`` is why its referrers are not known, ``errors`` why something else is not.
    """

    descriptor: Descriptor
    manifest: Manifest
    details: Details
    image: Manifest | None
    config: Config | None
    layers: tuple[Layer, ...]
    siblings: tuple[str, ...] | None
    referrers: tuple[Referrer, ...]
    unread: tuple[str, ...] = ()
    others: int = 0
    siblings_error: RegistryToolError | None = None
    referrers_error: RegistryToolError | None = None
    errors: tuple[RegistryToolError, ...] = ()


def inspect(
    contents: Contents,
    descriptor: Descriptor,
    *,
    tag: str | None = None,
    platform: Platform | None = None,
    siblings: bool = True,
    most_tags: int | None = None,
    observer: Observer = SILENT,
) -> Inspection:
    """Inspect ``descriptor``, which ``tag`` stands for; ``siblings``: read every other tag's manifest, to tell who shares what.

    That is left out where there are more than ``most_tags``.

    Raises NotFound where there is no image for ``platform``; NotFound, Mismatch, InvalidManifest where the manifest
    itself cannot be read.
    """
    manifest = contents.manifest(descriptor)
    image = image_of(contents, manifest, platform)
    details = contents.details(descriptor, platform)
    errors = [details.error] if details.error is not None else []
    config = _config(contents, image, errors)
    names = _other_tags(contents, tag) if siblings else None
    is_read = isinstance(names, list) and (most_tags is None or len(names) <= most_tags)
    unread: list[str] = []
    others: tuple[str, ...] | None = None
    shared: dict[Digest, list[str]] | None = None
    siblings_error: RegistryToolError | None = names if isinstance(names, RegistryToolError) else None
    if isinstance(names, list) and is_read:
        try:
            others, shared = _siblings(contents, descriptor, names, unread, observer)
        except RegistryToolError as error:
            siblings_error = error
            if is_registry_wide(error):
                errors.append(error)
    root = _referrers(contents, descriptor, names if isinstance(names, list) else None)
    return Inspection(
        descriptor=descriptor,
        manifest=manifest,
        details=details,
        image=image,
        config=config,
        layers=_layers(image, config, shared),
        siblings=others,
        referrers=root.referrers,
        unread=tuple(sorted(unread)) if others is not None else (),
        referrers_error=root.error,
        others=len(names) if isinstance(names, list) and not is_read else 0,
        siblings_error=siblings_error,
        errors=tuple(errors),
    )


def _other_tags(contents: Contents, tag: str | None) -> list[str] | RegistryError:
    """The other tags, or why they are not listed."""
    try:
        return [name for name in contents.tags() if name != tag and not is_protection_tag(name)]
    except NotFound:
        # distribution knows no list of tags where there are none.
        return []
    except TooManyRequests:
        raise
    except RegistryError as error:
        return error


def image_of(contents: Contents, manifest: Manifest, platform: Platform | None) -> Manifest | None:
    """``manifest``, an index's only image, or its one for ``platform`` (NotFound where there is none); None where it could be several."""
    if manifest.kind == "image":
        if platform is not None and not contents.details(manifest.descriptor, platform).fits:
            raise NotFound(f"{manifest.digest} is not an image for {platform}", hint="Leave --platform out.")
        return manifest
    images = contents.platform_images(manifest)
    if platform is None:
        return contents.manifest(images[0]) if len(images) == 1 else None
    for image in images:
        if image.platform is not None and image.platform.fits(platform):
            return contents.manifest(image)
    known = ", ".join(sorted({str(image.platform) for image in images})) or "none"
    raise NotFound(f"there is no image for {platform} in {manifest.digest}", hint=f"It has: {known}")


def _config(contents: Contents, image: Manifest | None, errors: list[RegistryToolError]) -> Config | None:
    if image is None or image.config is None or image.config.media_type not in CONFIGS:
        return None
    try:
        config = contents.lenient_config(image.config)
        if config.problems and config.problems[0] not in [other.message for other in errors]:
            errors.append(InvalidManifest(config.problems[0]))
        return config
    except RegistryToolError as error:
        if error.message not in [other.message for other in errors]:
            errors.append(error)
        return None


def _layers(image: Manifest | None, config: Config | None, shared: dict[Digest, list[str]] | None) -> tuple[Layer, ...]:
    if image is None:
        return ()
    steps = [step.created_by for step in config.history if not step.empty_layer] if config is not None else []
    if len(steps) != len(image.layers):
        # A history that does not go with the layers says nothing of any of them.
        steps = [""] * len(image.layers)
    return tuple(
        Layer(descriptor=layer, step=step, shared=None if shared is None else tuple(sorted(shared.get(layer.digest, ()))))
        for layer, step in zip(image.layers, steps, strict=True)
    )


def _siblings(
    contents: Contents, descriptor: Descriptor, names: list[str], unread: list[str], observer: Observer
) -> tuple[tuple[str, ...], dict[Digest, list[str]]]:
    """(other tags on the same digest, blob -> other tags that have it).

    Tags that cannot be read are added to ``unread``: their own table says what is wrong with them. Raises what makes any
    further request useless, or many in a row fail.
    """

    def read(name: str) -> tuple[Digest | None, Iterable[Digest], RegistryToolError | None]:
        digest = None
        try:
            other = contents.resolve(name, with_manifest=True)
            digest = other.digest
            return digest, contents.blobs(other), None
        except RegistryToolError as error:
            return digest, (), error

    siblings: list[str] = []
    shared: dict[Digest, list[str]] = {}
    failed_in_a_row = 0
    observer.start("tags", "reading the other tags", len(names))
    for done, (name, (digest, blobs, error)) in enumerate(map_unordered(read, names, threads=contents.source.limiter.helpful_requests), 1):
        observer.advance("tags", done)
        failed_in_a_row = failed_in_a_row + 1 if error is not None and not isinstance(error, NotFound) else 0
        if error is not None and (is_registry_wide(error) or failed_in_a_row > MAX_FAILURES):
            raise error
        if digest == descriptor.digest:
            siblings.append(name)
        elif error is not None and not isinstance(error, NotFound):
            unread.append(name)
        for blob in blobs:
            shared.setdefault(blob, []).append(name)
    observer.finish("tags", "read the other tags")
    return tuple(sorted(siblings)), shared


def _referrers(contents: Contents, descriptor: Descriptor, names: Collection[str] | None) -> Referrer:
    """``descriptor`` as the root of the tree of its referrers, each of which is in it once.

    What cosign's tags attach to it is among them; ``names`` are the repository's tags, if they are known.
    """
    tags = [tag for tag in attached_tags(descriptor.digest) if names is None or tag in names]
    attached = [each for _, each in map_unordered(lambda tag: _attached(contents, tag), tags) if each is not None]

    def read(descriptor: Descriptor) -> Node:
        try:
            with contents.source.limiter:
                listed = contents.source.referrers(descriptor)
        except RegistryToolError as error:
            return Node(descriptor=descriptor, referrers=tuple(attached) if descriptor.digest == root else (), error=error)
        return Node(descriptor=descriptor, referrers=(*listed, *(attached if descriptor.digest == root else ())))

    root = descriptor.digest
    nodes = {node.descriptor.digest: node for node in islice(traverse([descriptor], read, lambda node: [*node.referrers]), MAX_REFERRERS)}
    placed = {descriptor.digest}

    def tree(descriptor: Descriptor) -> Referrer:
        node = nodes.get(descriptor.digest, Node(descriptor=descriptor))
        below = tuple(map(tree, unseen(node.referrers, placed)))
        return Referrer(descriptor=descriptor, referrers=below, error=node.error)

    return tree(descriptor)


def _attached(contents: Contents, tag: str) -> Descriptor | None:
    """What is under one of cosign's tags, with the type of what it holds; None where nothing is, or nothing can be read."""
    try:
        with contents.source.limiter:
            manifest = contents.source.manifest(tag)
    except (NotFound, RegistryError, InvalidManifest, Mismatch):
        return None
    kind = manifest.artifact_type or (manifest.layers[0].media_type if manifest.layers else manifest.descriptor.media_type)
    return replace(manifest.descriptor, artifact_type=kind, annotations=manifest.annotations)
