"""Tags that list what is attached to an image: the destination's entries stay, and nothing is written where it has all."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.concurrency import map_ordered
from registry_tool.base.errors import Conflict
from registry_tool.content.copy import CopyOptions, copy
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.manifest import EMPTY, Manifest
from registry_tool.targets.layout import Layout
from registry_tool.targets.registry import Repository
from tests.support.content import PushedManifest, make_artifact, make_blob, make_image, make_index, put_manifest, sha256
from tests.unit.content.copy.conftest import Side

CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


def tag_of(image: PushedManifest, end: str = "") -> str:
    return image.digest.replace(":", "-") + end


def listed(side: Side, subject: PushedManifest) -> set[str]:
    """The digests on the list under the referrers tag."""
    return {str(child.digest) for child in side.repository("app").manifest(tag_of(subject)).children}


def make_signatures(port: int, image: PushedManifest, *keys: str, end: str = ".sig", payload: bytes = b"payload") -> None:
    """Push an image as cosign does: a layer for each signature, whose value is an annotation."""
    config = json.dumps({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [sha256(payload) for _ in keys]}}).encode()
    for blob in (payload, config):
        make_blob(port, "app", blob)
    layers = [
        {
            "mediaType": SIMPLE_SIGNING,
            "digest": sha256(payload),
            "size": len(payload),
            "annotations": {"dev.cosignproject.cosign/signature": key},
        }
        for key in keys
    ]
    described = {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": IMAGE, "config": described, "layers": layers}
    put_manifest(port, "app", tag_of(image, end), json.dumps(document).encode(), IMAGE)


def signatures(repository: Repository, image: PushedManifest, end: str = ".sig") -> set[str]:
    made = repository.manifest(tag_of(image, end))
    assert made.config is not None
    with repository.fetch(made.config) as stream:
        diff_ids = json.loads(stream.read())["rootfs"]["diff_ids"]
    assert diff_ids == [str(layer.digest) for layer in made.layers]
    return {layer.annotations["dev.cosignproject.cosign/signature"] for layer in made.layers}


def both(source: Side, destination: Side) -> tuple[PushedManifest, set[str]]:
    """An image in two registries, of which each has another referrer of it; both referrers' digests."""
    made = make_image(source.port, "app", "1")
    assert make_image(destination.port, "app", "1").digest == made.digest
    artifacts = [make_artifact(side.port, "app", made, content=name) for side, name in ((source, b"mine"), (destination, b"theirs"))]
    return made, {artifact.digest for artifact in artifacts}


@pytest.mark.parametrize("references", ["all tags", "referrers"])
def test_referrers_of_the_destination_stay_on_the_list(source: Side, destination: Side, references: str) -> None:
    made, expected = both(source, destination)
    there = destination.repository("app")
    if references == "all tags":
        result = copy(source.repository("app"), there, source.repository("app").tags())
        row = next(image for image in result.images if image.reference == tag_of(made))
        assert row.stored_digest == there.resolve(tag_of(made)).digest != row.digest
    else:
        copy(source.repository("app"), there, ["1"], options=CopyOptions(referrers=True))
    assert listed(destination, made) == expected
    assert {str(each.digest) for each in there.referrers(there.resolve("1"))} == expected


def test_second_copy_of_a_list_is_unchanged_and_writes_nothing(source: Side, destination: Side) -> None:
    both(source, destination)
    tags = source.repository("app").tags()
    copy(source.repository("app"), destination.repository("app"), tags)
    for options in (CopyOptions(), CopyOptions(skip_unchanged=True)):
        destination.server.forget()
        result = copy(source.repository("app"), destination.repository("app"), tags, options=options)
        assert [image.status for image in result.images] == ["unchanged", "unchanged"]
        assert result.images[-1].stored_digest == destination.repository("app").resolve(result.images[-1].reference).digest
        assert destination.server.counts["PUT"] == destination.server.counts["POST"] == 0


def test_list_of_which_the_destination_has_a_part_keeps_its_digest(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    for name in (b"a", b"b", b"c"):
        make_artifact(source.port, "app", made, content=name)
    make_image(destination.port, "app", "1")
    make_artifact(destination.port, "app", made, content=b"b")
    copy(source.repository("app"), destination.repository("app"), source.repository("app").tags())
    assert destination.repository("app").raw_manifest(tag_of(made)) == source.repository("app").raw_manifest(tag_of(made))


@pytest.mark.parametrize("end", [".sig", ".att"])
@pytest.mark.parametrize("references", ["all tags", "referrers"])
def test_signatures_of_the_destination_stay_under_cosign_s_tag(source: Side, destination: Side, end: str, references: str) -> None:
    made = make_image(source.port, "app", "1")
    make_image(destination.port, "app", "1")
    make_signatures(source.port, made, "one", "two", end=end)
    make_signatures(destination.port, made, "two", "three", end=end)
    options = CopyOptions(referrers=references == "referrers")
    tags = source.repository("app").tags() if references == "all tags" else ["1"]
    copy(source.repository("app"), destination.repository("app"), tags, options=options)
    assert signatures(destination.repository("app"), made, end) == {"one", "two", "three"}
    destination.server.forget()
    copy(source.repository("app"), destination.repository("app"), tags, options=options)
    assert destination.server.times("PUT", tag_of(made)) == 0


def test_sbom_of_cosign_takes_the_place_of_another(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    for side, name in ((source, b"new"), (destination, b"old")):
        make_artifact(side.port, "app", tag=tag_of(made, ".sbom"), content=name)
    copy(source.repository("app"), destination.repository("app"), [tag_of(made, ".sbom")])
    there = destination.repository("app")
    assert there.raw_manifest(tag_of(made, ".sbom")) == source.repository("app").raw_manifest(tag_of(made, ".sbom"))


def test_image_under_a_referrers_tag_is_replaced(source: Side, destination: Side) -> None:
    made, _ = both(source, destination)
    make_image(destination.port, "app", tag_of(made))
    copy(source.repository("app"), destination.repository("app"), [tag_of(made)])
    assert destination.repository("app").raw_manifest(tag_of(made)) == source.repository("app").raw_manifest(tag_of(made))


def test_index_under_another_tag_is_not_merged(source: Side, destination: Side) -> None:
    made = make_index(source.port, "app", "all", make_image(source.port, "app", "1"))
    make_index(destination.port, "app", "all", make_image(destination.port, "app", "2", platform="linux/arm64"))
    copy(source.repository("app"), destination.repository("app"), ["all"])
    assert destination.repository("app").raw_manifest("all") == made.raw


def test_list_in_a_layout_is_merged(source: Side, destination: Side, tmp_path: Path) -> None:
    made, expected = both(source, destination)
    with Layout.open(tmp_path / "layout", write=True) as layout:
        name = f"localhost:5000/app:{tag_of(made)}"
        for side in (destination, source):
            copy(side.repository("app"), layout, {tag_of(made): [name]})
        assert {str(child.digest) for child in layout.manifest(name).children} == expected


def overwritten(there: Repository, tag: str, lists: Iterator[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes one of ``lists`` after each time that we write ``tag``."""
    push = there.push_manifest

    def push_and_be_overwritten(manifest: Manifest, to: str | None) -> Descriptor:
        pushed = push(manifest, to)
        if to == tag and (other := next(lists, None)) is not None:
            push(other, tag)
        return pushed

    monkeypatch.setattr(there, "push_manifest", push_and_be_overwritten)


@pytest.mark.parametrize("references", ["all tags", "referrers"])
def test_list_that_others_write_meanwhile_is_merged_again(
    source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch, references: str
) -> None:
    made, _ = both(source, destination)
    there = destination.repository("app")
    entries = [make_artifact(destination.port, "app", content=b"%d" % number) for number in range(2)]
    described = [there.resolve(entry.digest) for entry in entries]
    lists = iter([manifests.index(described[:1]), manifests.index(described)])
    overwritten(there, tag_of(made), lists, monkeypatch)
    if references == "all tags":
        copy(source.repository("app"), there, [tag_of(made)])
    else:
        copy(source.repository("app"), there, ["1"], options=CopyOptions(referrers=True))
    assert {entry.digest for entry in entries} < listed(destination, made)
    mine = {str(child.digest) for child in source.repository("app").manifest(tag_of(made)).children}
    assert mine < listed(destination, made)


def test_list_that_others_write_all_the_time_is_a_failure(source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = both(source, destination)
    there = destination.repository("app")
    overwritten(there, tag_of(made), itertools.cycle([manifests.index([])]), monkeypatch)
    with pytest.raises(Conflict, match="was changed by others 5 times meanwhile"):
        copy(source.repository("app"), there, [tag_of(made)])


def test_referrers_of_one_image_pushed_at_the_same_time_are_all_listed(destination: Side) -> None:
    made = make_image(destination.port, "app", "1")
    make_blob(destination.port, "app", b"{}")
    there = destination.repository("app")
    subject = there.resolve("1")
    artifacts = [manifests.image(EMPTY, [EMPTY], artifact_type="a/b", subject=subject, annotations={"n": str(n)}) for n in range(12)]
    assert len(list(map_ordered(lambda artifact: there.push_manifest(artifact, None), artifacts, threads=6))) == 12
    assert listed(destination, made) == {str(artifact.digest) for artifact in artifacts}


def test_referrer_that_is_listed_already_writes_no_list(destination: Side) -> None:
    made = make_image(destination.port, "app", "1")
    make_blob(destination.port, "app", b"{}")
    there = destination.repository("app")
    artifact = manifests.image(EMPTY, [EMPTY], artifact_type="a/b", subject=there.resolve("1"))
    for _ in range(2):
        there.push_manifest(artifact, None)
    assert destination.server.times("PUT", tag_of(made)) == 1
