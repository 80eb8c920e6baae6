"""Who pushes an image: the engine, or this program from the engine's archive of it. Decided by what is known, nothing is tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry_tool.base import units
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import InvalidReference, NotFound, RegistryToolError, UsageError
from registry_tool.engine import Engine, Image
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.layer_cache import LayerCache
from registry_tool.targets.registry import Registry

Via = Literal["auto", "direct", "engine"]

LITTLE = 4
"""New layers of less than the image's size by this are little. The engine compresses for three times as long as it takes to read all."""
_MAX_IMAGES = 50
"""Images of the engine that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRoute:
    """The way of a push, and why."""

    via: Literal["direct", "engine"]
    reason: str


def choose_route(
    engine: Engine, image: Image, target: Reference, registry: Registry, via: Via = "auto", cache: LayerCache | None = None
) -> PushRoute:
    """The way of pushing ``image`` to ``target`` in ``registry``; ``cache`` has what was pushed directly before.

    An image keeps its way, and with it its digest. Raises UsageError where ``via`` is ``direct`` and that cannot be.
    """
    if via == "engine":
        return PushRoute(via="engine", reason="as requested")
    refusal = _why_not_direct(engine, image, target)
    if via == "direct":
        if refusal is not None:
            raise UsageError(f"{target} cannot be pushed directly: {refusal}", hint="Leave out --via direct.")
        return PushRoute(via="direct", reason="as requested")
    if refusal is not None:
        return PushRoute(via="engine", reason=refusal)
    if cache is not None and image.layers and cache.has(image.layers):
        return PushRoute(via="direct", reason="it was pushed directly before")
    if image.digests:
        return PushRoute(via="engine", reason="the engine pushed or pulled it before")
    known = _known_layers(engine, target.host)
    shared = next((count for count, layer in enumerate(image.layers) if layer not in known), len(image.layers))
    new = _newest_layers_size(engine, image, len(image.layers) - shared)
    if image.layers and shared and new * LITTLE <= image.size:
        return PushRoute(via="engine", reason=f"the engine knows {shared} of {len(image.layers)} layers at {target.host}")
    try:
        registry.ping()
    except RegistryToolError as error:
        return PushRoute(via="engine", reason=f"the registry does not let us in from here: {error.message}")
    what = f"{units.size(new)} of {units.size(image.size)}" if shared else "all layers"
    return PushRoute(via="direct", reason=f"the engine would compress {what}")


def _why_not_direct(engine: Engine, image: Image, target: Reference) -> str | None:
    if engine.is_podman:
        return "podman's own pusher is fast"
    if image.in_containerd_store:
        return "the engine keeps layers compressed (containerd image store)"
    if is_loopback(target.host) and not engine.endpoint.is_local:
        return f"{target.host} is on the engine's machine"
    if image.platform is not None and image.platform.os == "windows":
        return "an image for Windows may have foreign layers"
    return None


def _known_layers(engine: Engine, host: str) -> set[str]:
    """Diff ids of images that the engine pulled from a registry or pushed to it: it need not send those layers again."""
    known: set[str] = set()
    listed = [image for image in engine.images() if any(_host(digest) == host for digest in image.digests)]
    for each in listed[:_MAX_IMAGES]:
        image = engine.image(each.id)
        known.update(image.layers if image is not None else ())
    return known


def _host(name: str) -> str | None:
    try:
        return Reference.parse(name, default_host=DOCKER_HUB).host
    except InvalidReference:
        return None


def _newest_layers_size(engine: Engine, image: Image, count: int) -> int:
    """Bytes of the last ``count`` layers, at most: steps of the build that changed no file have no layer, or an empty one."""
    try:
        sizes = [size for size in engine.history_sizes(image.id) if size]
    except NotFound:
        return image.size
    return sum(sizes[:count])
