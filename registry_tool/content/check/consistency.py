"""Whether what is there agrees with what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from registry_tool.base import units
from registry_tool.content.check.blobs import BlobContent, ConfigFacts
from registry_tool.content.graph import Edge, Node
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_attestation, is_foreign

_ATTESTED = "vnd.docker.reference.digest"
_GZIP, _ZSTD = ("+gzip", ".gzip"), ("+zstd", ".zstd")

Named = tuple[Digest, Edge]
"""A manifest, and how it names something."""


def without_bytes(node: Node) -> Node:
    """``node`` for keeping: ten thousand manifests are kept at a time, and nobody needs their bytes any more."""
    return node if node.manifest is None else replace(node, manifest=replace(node.manifest, raw=b""))


def sizes(said: int, found: int) -> str:
    """What to say of a size that is not as said."""
    return f"has {found} bytes, {said} are said"


def is_image(manifest: Manifest) -> bool:
    """Whether it is a manifest with a config and layers that make a file system."""
    return manifest.kind == "image" and manifest.type == "image"


def with_parents(manifest: Manifest, named_by: Collection[Named]) -> Iterator[tuple[str, Named, str]]:
    """(kind, who is wrong, detail) where ``manifest`` is not as those say who name it."""
    found = manifest.descriptor
    for holder, edge in named_by:
        said = edge.descriptor
        if said.size != found.size:
            yield "wrong-size", (holder, edge), sizes(said.size, found.size)
        if said.media_type != found.media_type:
            yield "wrong-media-type", (holder, edge), f"is {found.media_type}, {said.media_type} is said"
        subject = manifest.subject
        if edge.role == "referrer" and (subject is None or subject.digest != holder):
            yield "wrong-subject", (holder, edge), f"refers to {subject.digest if subject else 'nothing'}"


def left_out(edges: tuple[Edge, ...], there: Collection[Digest]) -> set[Digest]:
    """The entries of an index that seem to have been left out when it was copied for some of its platforms only.

    From outside, what was never pushed looks as what was lost. But damage hits one thing, and a copy leaves out a
    platform with its attestations, or several platforms, and keeps the others with all that is theirs.
    """
    children = [edge.descriptor for edge in edges if edge.role == "child" and edge.is_manifest]
    families: dict[Digest, list[Descriptor]] = {child.digest: [child] for child in children if not is_attestation(child)}
    for child in filter(is_attestation, children):
        of = child.annotations.get(_ATTESTED, "")
        family = next((members for digest, members in families.items() if str(digest) == of), None)
        if family is None:
            families[child.digest] = [child]
        else:
            family.append(child)
    gone = {child.digest for child in children if child.digest not in there}
    whole = [members for members in families.values() if not any(member.digest in gone for member in members)]
    kept = any(member.platform is not None and not is_attestation(member) for members in whole for member in members)
    torn = any(0 < sum(member.digest in gone for member in members) < len(members) for members in families.values())
    return gone if len(gone) > 1 and kept and not torn else set()


def of_another_platform(reading: BlobContent, named_by: Collection[Named]) -> list[Named]:
    """Entries of indexes that say another platform of an image than its config does."""
    found = platform_of(reading)
    if found is None:
        return []
    return [
        (holder, edge)
        for holder, edge in named_by
        if edge.role == "child" and edge.descriptor.platform is not None and not _is_one(edge.descriptor.platform, found)
    ]


def platform_of(reading: BlobContent) -> Platform | None:
    """What the config says."""
    return reading.config.platform if isinstance(reading.config, ConfigFacts) else None


def _is_one(said: Platform, found: Platform) -> bool:
    if said.os in ("", "unknown"):
        return True
    # Configs of old images do not say their variant.
    variants = not said.variant or not found.variant or said.fits(found)
    return (said.os, said.architecture) == (found.os, found.architecture) and variants


def image(manifest: Manifest, config: BlobContent, readings: Mapping[Digest, BlobContent], *, deep: bool) -> Iterator[tuple[str, str]]:
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
        reading = readings.get(layer.digest)
        if reading is None or is_foreign(layer):
            continue
        inside = reading.inside
        said = "gzip" if layer.media_type.endswith(_GZIP) else "zstd" if layer.media_type.endswith(_ZSTD) else "plain"
        if inside.packing != said:
            yield "wrong-media-type", f"layers[{number}]: is {_words(inside.packing)}, {layer.media_type} is said"
        elif inside.is_broken:
            yield "wrong-diff-id", f"layers[{number}]: cannot be unpacked"
        elif inside.digest is not None and diff_id.algorithm == inside.digest.algorithm and inside.digest != diff_id:
            yield "wrong-diff-id", f"layers[{number}]: unpacks to {inside.digest}, the config says {diff_id}"


def not_looked_into(manifest: Manifest, config: BlobContent, readings: Mapping[Digest, BlobContent]) -> int:
    """How many layers were read, and not compared with what the config says they unpack to."""
    if not isinstance(config.config, ConfigFacts):
        return 0
    pairs = zip((readings.get(layer.digest) for layer in manifest.layers), config.config.diff_ids, strict=False)
    known = [(reading.inside, diff_id) for reading, diff_id in pairs if reading is not None and not reading.inside.is_broken]
    return sum(inside.digest is None or inside.digest.algorithm != diff_id.algorithm for inside, diff_id in known)


def _words(packing: str) -> str:
    return "not packed" if packing == "plain" else f"packed with {packing}"
