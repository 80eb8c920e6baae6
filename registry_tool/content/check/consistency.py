"""Whether manifests, configs and layers agree with what names them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from registry_tool.base import units
from registry_tool.content.check.blobs import BlobContent, ConfigFacts
from registry_tool.content.graph import Edge
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_attestation, is_foreign, wrong_compression

_ATTESTED = "vnd.docker.reference.digest"
_ENCRYPTED = "+encrypted"

Named = tuple[Digest, Edge]
"""A manifest, and the edge by which it names something."""


def size_detail(named: int, actual: int) -> str:
    """The detail of a finding on a wrong size."""
    return f"has {actual} bytes, its descriptor says {named}"


def is_image(manifest: Manifest) -> bool:
    """Whether its layers make a file system."""
    return manifest.kind == "image" and manifest.type == "image"


def parent_mismatches(manifest: Manifest, named_by: Collection[Named]) -> Iterator[tuple[str, Named, str]]:
    """(kind, which of ``named_by`` is wrong, detail) where ``manifest`` is not as it is named."""
    actual, subject = manifest.descriptor, manifest.subject
    for holder, edge in named_by:
        named = edge.descriptor
        if named.size != actual.size:
            yield "wrong-size", (holder, edge), size_detail(named.size, actual.size)
        if named.media_type != actual.media_type:
            yield "wrong-media-type", (holder, edge), f"is {actual.media_type}, its descriptor says {named.media_type}"
        if edge.role == "referrer" and (subject is None or subject.digest != holder):
            yield "wrong-subject", (holder, edge), f"its subject is {subject.digest if subject else 'missing'}"


def omitted_children(edges: tuple[Edge, ...], present: Collection[Digest]) -> set[Digest]:
    """The entries of an index that seem to have been left out when it was copied for some of its platforms only.

    From outside, what was never pushed looks like what was lost. But damage hits one thing, and a copy leaves out a
    platform with its attestations, or several platforms, and keeps the others with all that is theirs.
    """
    children = [edge.descriptor for edge in edges if edge.role == "child" and edge.is_manifest]
    families: dict[Digest, list[Descriptor]] = {child.digest: [child] for child in children if not is_attestation(child)}
    for child in filter(is_attestation, children):
        attested = child.annotations.get(_ATTESTED, "")
        family = next((members for digest, members in families.items() if str(digest) == attested), None)
        if family is None:
            families[child.digest] = [child]
        else:
            family.append(child)
    missing = {child.digest for child in children if child.digest not in present}
    whole = [members for members in families.values() if not any(member.digest in missing for member in members)]
    kept = any(member.platform is not None and not is_attestation(member) for members in whole for member in members)
    torn = any(0 < sum(member.digest in missing for member in members) < len(members) for members in families.values())
    return missing if len(missing) > 1 and kept and not torn else set()


def platform_mismatches(config: BlobContent, named_by: Collection[Named]) -> list[Named]:
    """Entries of indexes that name another platform of an image than its config does."""
    actual = platform_of(config)
    if actual is None:
        return []
    return [
        (holder, edge)
        for holder, edge in named_by
        if edge.role == "child" and edge.descriptor.platform is not None and not _agree(edge.descriptor.platform, actual)
    ]


def platform_of(config: BlobContent) -> Platform | None:
    """The platform that a config names."""
    return config.config.platform if isinstance(config.config, ConfigFacts) else None


def _agree(named: Platform, actual: Platform) -> bool:
    if named.os in ("", "unknown"):
        return True
    # Configs of old images name no variant.
    variants = not named.variant or not actual.variant or named.fits(replace(actual, os_version="", os_features=()))
    return (named.os, named.architecture) == (actual.os, actual.architecture) and variants


def image_mismatches(
    manifest: Manifest, config: BlobContent, blobs: Mapping[Digest, BlobContent], *, deep: bool
) -> Iterator[tuple[str, str]]:
    """(kind, detail) where an image's config and its layers do not agree."""
    if isinstance(config.config, str):
        yield "invalid-config", config.config
    if not isinstance(config.config, ConfigFacts):
        return
    diff_ids = config.config.diff_ids
    if len(diff_ids) != len(manifest.layers):
        counts = f"the config names {units.count(len(diff_ids), 'layer')}, the manifest {len(manifest.layers)}"
        yield "wrong-diff-id", counts
        return
    for number, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True) if deep else ()):
        blob = blobs.get(layer.digest)
        if blob is None or is_foreign(layer) or layer.media_type.endswith(_ENCRYPTED):
            continue
        unpacked = blob.unpacked
        if (wrong := wrong_compression(layer, unpacked.compression)) is not None:
            yield "wrong-media-type", f"layers[{number}]: {wrong}"
        elif unpacked.is_broken:
            yield "wrong-diff-id", f"layers[{number}]: cannot be unpacked"
        elif unpacked.digest is not None and diff_id.algorithm == unpacked.digest.algorithm and unpacked.digest != diff_id:
            yield "wrong-diff-id", f"layers[{number}]: unpacks to {unpacked.digest}, the config says {diff_id}"


def unverified_layers(manifest: Manifest, config: BlobContent, blobs: Mapping[Digest, BlobContent]) -> int:
    """How many layers were read, and not compared with the ``diff_ids`` of the config."""
    if not isinstance(config.config, ConfigFacts):
        return 0
    count = 0
    for layer, diff_id in zip(manifest.layers, config.config.diff_ids, strict=False):
        blob = blobs.get(layer.digest)
        if blob is None:
            continue
        unpacked = blob.unpacked
        if layer.media_type.endswith(_ENCRYPTED):
            count += 1
        elif not unpacked.is_broken:
            count += unpacked.digest is None or unpacked.digest.algorithm != diff_id.algorithm
    return count
