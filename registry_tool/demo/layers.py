"""Layers in the engine: the build cache, removing base layers so that a pull transfers every layer, and what a transfer moved."""

from __future__ import annotations

from collections.abc import Iterable

from registry_tool.base import labels, units
from registry_tool.base.errors import NotFound
from registry_tool.base.runs import Run
from registry_tool.demo.result import DemoResult
from registry_tool.engine import Engine, Image, TransferResult
from registry_tool.local import orphans
from registry_tool.local.base_images import PYTHON, BaseImageResolver

BUILD_CACHE = "localhost/registry-tool/build-cache:sample-app"


def tag_cache(engine: Engine, run: Run, image_id: str, bases: Iterable[str] = ()) -> bool:
    """Tag the parent of this run's image; False where there is none but one of ``bases`` (ids), as with BuildKit and podman.

    The classic builder caches its steps as untagged parents of the image, which are removed with it. The parent before this
    run's labels gets a tag, so that the next build is quick.
    """
    parent = engine.image(image_id)
    while parent is not None and parent.labels.get(labels.DEMO) == run.id:
        parent = engine.image(parent.parent) if parent.parent else None
    if parent is None or parent.id in bases:
        return False
    before = engine.image(BUILD_CACHE)
    if before is None or before.id != parent.id:
        engine.tag(parent.id, BUILD_CACHE)
        if before is not None:
            orphans.remove_image(engine, before.id)
    return True


def remove_base(engine: Engine, bases: BaseImageResolver, result: DemoResult) -> str:
    """Remove the base image and the build cache, so that no layer of the app is left; return a description.

    The base image is archived in the cache first. One that was in the engine before this tool is not removed.
    """
    orphans.remove_image(engine, BUILD_CACHE)
    result.build_cache = None
    base = next(image for image in result.images if image.role == PYTHON.role)
    if not base.imported:
        return f"{base.name} stays: it was in the engine before this tool"
    bases.archive(base)
    try:
        engine.remove_image(base.name, force=True)
    except NotFound:
        return f"{base.name} was gone already"
    return f"{base.name} removed too, a copy is in the cache"


def describe_shared_layers(engine: Engine, image: Image, moved: TransferResult) -> str:
    """How many layers a pull did not transfer, and which images have them; empty where it transferred all."""
    there = sum(1 for word in moved.layers.values() if word == "Already exists")
    if not there:
        return ""
    others = (engine.image(listed.id) for listed in engine.images() if listed.id != image.id)
    holders = [other.names[0] if other.names else other.id for other in others if other and set(other.layers) & set(image.layers)]
    return f"; {units.count(there, 'layer')} not transferred, in use by {', '.join(holders) or 'the build cache'}"


def describe_transfer(moved: TransferResult, word: str, verb: str) -> str:
    """``2 layers pulled (23MB), 4 already there``; ``word`` is docker's status of a layer that was transferred."""
    if not moved.layers:
        return f"{verb}; the engine reports no layers"  # podman
    through = sum(1 for last in moved.layers.values() if last == word)
    there = len(moved.layers) - through
    text = f"{units.count(through, 'layer')} {verb} ({units.size(moved.bytes_moved)})"
    return f"{text}, {there} already there" if there else text
