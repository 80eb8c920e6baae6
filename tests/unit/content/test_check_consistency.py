from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from registry_tool.base.compression import Compression
from registry_tool.content.check import consistency
from registry_tool.content.check.blobs import BlobContent, ConfigFacts
from registry_tool.content.check.decompress import Unpacked
from registry_tool.content.graph import edges
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_IMAGE, OCI_INDEX, Manifest, parse

LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def child(name: str, platform: str, *, attests: str | None = None) -> dict[str, object]:
    os, architecture = platform.split("/")
    entry: dict[str, object] = {
        "mediaType": OCI_IMAGE,
        "digest": str(digest(name)),
        "size": 7,
        "platform": {"os": os, "architecture": architecture},
    }
    if attests is not None:
        entry["annotations"] = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(digest(attests))}
    return entry


def index(*children: Mapping[str, object]) -> Manifest:
    return parse(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode())


def image(*layers: str, media_type: str = f"{LAYER}+gzip") -> Manifest:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(digest("config")), "size": 7},
        "layers": [{"mediaType": media_type, "digest": str(digest(name)), "size": 7} for name in layers],
    }
    return parse(json.dumps(document).encode())


def config(*diff_ids: str, platform: Platform | None = None) -> BlobContent:
    return BlobContent(config=ConfigFacts(platform=platform, diff_ids=tuple(map(digest, diff_ids))))


def layer(compression: Compression, name: str) -> BlobContent:
    return BlobContent(unpacked=Unpacked(compression, digest(name)))


BUILT_WITH_BUILDKIT = [
    child("amd", "linux/amd64"),
    child("arm", "linux/arm64"),
    child("says-amd", "unknown/unknown", attests="amd"),
    child("says-arm", "unknown/unknown", attests="arm"),
]
MANY = [child(name, f"linux/{name}") for name in ("amd64", "arm64", "s390x", "riscv64")]


@pytest.mark.parametrize(
    ("children", "present", "omitted"),
    [
        (BUILT_WITH_BUILDKIT, ("amd", "says-amd"), {"arm", "says-arm"}),
        (MANY, ("amd64",), {"arm64", "s390x", "riscv64"}),
        (MANY, ("amd64", "s390x"), {"arm64", "riscv64"}),
        # One thing is gone: that is what damage looks like.
        (MANY, ("amd64", "arm64", "s390x"), set()),
        (MANY[:2], ("amd64",), set()),
        (BUILT_WITH_BUILDKIT, ("amd", "says-amd", "arm"), set()),
        # A platform is half there: nobody copies like that.
        (BUILT_WITH_BUILDKIT, ("amd", "says-arm"), set()),
        (BUILT_WITH_BUILDKIT, ("amd", "says-amd", "says-arm"), set()),
        # Nothing that runs is left: so a collection leaves it that takes what has no tag.
        (MANY, (), set()),
        (BUILT_WITH_BUILDKIT, (), set()),
        (BUILT_WITH_BUILDKIT, ("amd", "says-amd", "arm", "says-arm"), set()),
    ],
)
def test_omitted_children_are_whole_platforms(children: list[dict[str, object]], present: tuple[str, ...], omitted: set[str]) -> None:
    assert consistency.omitted_children(edges(index(*children)), {digest(name) for name in present}) == {digest(name) for name in omitted}


@pytest.mark.parametrize(
    ("named", "actual", "agrees"),
    [
        ("linux/amd64", Platform(os="linux", architecture="amd64"), True),
        ("linux/amd64", Platform(os="linux", architecture="arm64"), False),
        ("linux/amd64", Platform(os="windows", architecture="amd64"), False),
        ("linux/arm64", Platform(os="linux", architecture="arm64", variant="v8"), True),
        ("unknown/unknown", Platform(os="linux", architecture="arm64"), True),
        ("linux/amd64", None, True),
    ],
)
def test_platform_mismatch_of_index_and_config(named: str, actual: Platform | None, agrees: bool) -> None:
    whole = index(child("x", named))
    named_by = [(whole.digest, edge) for edge in edges(whole)]
    assert consistency.platform_mismatches(config(platform=actual), named_by) == ([] if agrees else named_by)


def test_variants_are_compared_where_both_name_one() -> None:
    entry = child("x", "linux/arm")
    entry["platform"] = {"os": "linux", "architecture": "arm", "variant": "v6"}
    whole = index(entry)
    named_by = [(whole.digest, edge) for edge in edges(whole)]
    old, other = Platform(os="linux", architecture="arm"), Platform(os="linux", architecture="arm", variant="v5")
    assert consistency.platform_mismatches(config(platform=old), named_by) == []
    assert consistency.platform_mismatches(config(platform=other), named_by) == named_by


def test_config_with_another_number_of_layers_is_a_mismatch() -> None:
    [(kind, detail)] = consistency.image_mismatches(image("a", "b"), config("x"), {}, deep=False)
    assert (kind, detail) == ("wrong-diff-id", "the config names 1 layer, the manifest 2")


@pytest.mark.parametrize(
    ("media_type", "content", "kinds"),
    [
        (f"{LAYER}+gzip", layer("gzip", "inside"), []),
        (f"{LAYER}+gzip", layer("gzip", "other"), ["wrong-diff-id"]),
        (f"{LAYER}+gzip", BlobContent(unpacked=Unpacked("gzip", is_broken=True)), ["wrong-diff-id"]),
        (f"{LAYER}+gzip", layer("plain", "inside"), ["wrong-media-type"]),
        (f"{LAYER}+gzip", layer("zstd", "inside"), ["wrong-media-type"]),
        (LAYER, layer("plain", "inside"), []),
        (LAYER, layer("gzip", "inside"), ["wrong-media-type"]),
        (f"{LAYER}+zstd", layer("zstd", "inside"), []),
        (f"{LAYER}+zstd", layer("zstd", "other"), ["wrong-diff-id"]),
        (f"{LAYER}+zstd", BlobContent(unpacked=Unpacked("zstd", is_broken=True)), ["wrong-diff-id"]),
        (f"{LAYER}+zstd", BlobContent(unpacked=Unpacked("zstd")), []),
        (f"{LAYER}+zstd", layer("gzip", "inside"), ["wrong-media-type"]),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer("gzip", "inside"), []),
    ],
)
def test_layers_unlike_the_config_are_mismatches(media_type: str, content: BlobContent, kinds: list[str]) -> None:
    whole = image("a", media_type=media_type)
    assert [kind for kind, _ in consistency.image_mismatches(whole, config("inside"), {digest("a"): content}, deep=True)] == kinds
    assert list(consistency.image_mismatches(whole, config("inside"), {digest("a"): content}, deep=False)) == []
    assert list(consistency.image_mismatches(whole, config("inside"), {}, deep=True)) == [], "what was not read is not known"


def test_unverified_layers_are_counted() -> None:
    contents = {digest("a"): BlobContent(unpacked=Unpacked("zstd")), digest("b"): layer("gzip", "b"), digest("c"): BlobContent()}
    assert consistency.unverified_layers(image("a", "b", "c", "d"), config("a", "b", "c", "d"), contents) == 2
    other = BlobContent(config=ConfigFacts(platform=None, diff_ids=(Digest("sha512", "0" * 128),)))
    assert consistency.unverified_layers(image("b"), other, contents) == 1
    broken = {digest("a"): BlobContent(unpacked=Unpacked("zstd", is_broken=True))}
    assert consistency.unverified_layers(image("a"), config("a"), broken) == 0, "a finding says so"
    assert consistency.unverified_layers(image("a"), BlobContent(config="no config"), contents) == 0


def test_invalid_config_is_a_mismatch() -> None:
    assert list(consistency.image_mismatches(image("a"), BlobContent(config="not JSON"), {}, deep=True)) == [("invalid-config", "not JSON")]
    assert list(consistency.image_mismatches(image("a"), BlobContent(), {}, deep=True)) == [], "what nobody wanted to know is not wrong"
