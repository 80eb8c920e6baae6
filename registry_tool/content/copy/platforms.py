"""An index reduced to some of its platforms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry_tool.base import units
from registry_tool.base.errors import InvalidManifest, NotFound
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import MAX_SIZE as MAX_CONFIG_SIZE
from registry_tool.oci.config import parse_config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.manifest import Manifest, is_attestation, is_platform_image
from registry_tool.targets.target import Target

_ATTESTED = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What is copied in place of an index. ``manifest`` is None where it is one of its images, which is still to be read."""

    descriptor: Descriptor
    manifest: Manifest | None = None
    left_out: tuple[str, ...] = ()


def reduce(index: Manifest, platforms: Sequence[Platform]) -> Reduced:
    """Reduce ``index`` to the image of one platform, or to an index of several with their attestations.

    What is no index is left as it is. Raises NotFound where a platform is not in it.
    """
    if index.kind != "index":
        return Reduced(descriptor=index.descriptor, manifest=index)
    images = [child for child in index.children if is_platform_image(child)]
    kept: list[Descriptor] = []
    for wanted in platforms:
        fitting = [child for child in images if child.platform is not None and child.platform.fits(wanted)]
        if not fitting:
            has = ", ".join(dict.fromkeys(str(child.platform) for child in images)) or "none"
            raise NotFound(f"there is no image for {wanted} in {index.digest}", hint=f"Its platforms: {has}")
        if len(platforms) == 1:
            return Reduced(descriptor=fitting[0], left_out=_names(child for child in index.children if child is not fitting[0]))
        kept += fitting
    digests = {str(child.digest) for child in kept}
    is_chosen = [child in kept or child.annotations.get(_ATTESTED) in digests for child in index.children]
    if all(is_chosen):
        return Reduced(descriptor=index.descriptor, manifest=index)
    members = json.loads(index.raw)
    members["manifests"] = [entry for entry, chosen in zip(members["manifests"], is_chosen, strict=True) if chosen]
    raw = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
    reduced = manifests.parse(raw, index.descriptor.media_type, algorithm=index.digest.algorithm)
    left_out = _names(child for child, chosen in zip(index.children, is_chosen, strict=True) if not chosen)
    return Reduced(descriptor=reduced.descriptor, manifest=reduced, left_out=left_out)


def check_platform(source: Target, manifest: Manifest, platforms: Sequence[Platform]) -> None:
    """Raise NotFound where an image that is in no index is for another platform than ``platforms``, by its config.

    Artifacts, and configs that name no platform, are for all.
    """
    descriptor = manifest.config
    if manifest.kind == "index" or descriptor is None or descriptor.size > MAX_CONFIG_SIZE:
        return
    with source.fetch(descriptor) as stream:
        content = b"".join(iter(lambda: stream.read(1 << 20), b""))
    try:
        platform = parse_config(content, lenient=True).platform
    except InvalidManifest:
        return
    if platform is not None and not any(platform.fits(wanted) for wanted in platforms):
        wanted_names = ", ".join(map(str, platforms))
        raise NotFound(f"{manifest.digest} is an image for {platform}, not for {wanted_names}", hint="Leave --platform out to copy it.")


def _names(left_out: Iterable[Descriptor]) -> tuple[str, ...]:
    """The platforms of entries, and how many others there are."""
    entries = list(left_out)
    platforms = [str(entry.platform) for entry in entries if is_platform_image(entry)]
    attestations = sum(map(is_attestation, entries))
    others = len(entries) - len(platforms) - attestations
    counts = [units.count(number, what) for number, what in ((attestations, "attestation"), (others, "other entry")) if number]
    return (*platforms, *counts)
