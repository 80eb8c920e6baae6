"""What every Target promises, whatever stores it: the registry in this process and the real one, a layout, an archive."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry_tool.base.errors import InvalidReference, Mismatch, NotFound, RegistryError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, OCI_IMAGE, Manifest
from registry_tool.targets.archive import ArchiveWriter, open_archive
from registry_tool.targets.layout import Layout
from registry_tool.targets.registry import open_registry
from registry_tool.targets.target import Target

OCTETS = "application/octet-stream"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'

Reopen = Callable[[], Target]


class Place:
    """``target`` to write to, and :meth:`reopened` to read what was written as somebody else does."""

    def __init__(self, target: Target, reopen: Reopen) -> None:
        self.target = target
        self.reopened = reopen


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as ending:
        yield ending


def registry_place(port: int, unique: str, ending: ExitStack) -> Place:
    def open_repository() -> Target:
        return ending.enter_context(open_registry(f"127.0.0.1:{port}")).repository(f"{unique}/app")

    return Place(open_repository(), open_repository)


def layout_place(folder: Path, ending: ExitStack) -> Place:
    layout = ending.enter_context(Layout.open(folder / "layout", write=True))
    return Place(layout, lambda: ending.enter_context(Layout.open(folder / "layout")))


def archive_place(folder: Path, ending: ExitStack) -> Place:
    writer = ending.enter_context(ArchiveWriter(folder / "images.tar"))

    def committed() -> Target:
        writer.commit()
        return ending.enter_context(open_archive(folder / "images.tar"))

    return Place(writer, committed)


CHANGEABLE = ["registry", pytest.param("local", marks=pytest.mark.engine), "layout"]


def place_of(request: pytest.FixtureRequest) -> Place:
    ending = request.getfixturevalue("ending")
    if request.param in ("layout", "archive"):
        folder: Path = request.getfixturevalue("tmp_path")
        return layout_place(folder, ending) if request.param == "layout" else archive_place(folder, ending)
    return registry_place(request.getfixturevalue(request.param).port, request.getfixturevalue("unique"), ending)


@pytest.fixture(params=[*CHANGEABLE, "archive"])
def place(request: pytest.FixtureRequest) -> Place:
    """Every place that is written to and read."""
    return place_of(request)


@pytest.fixture(params=CHANGEABLE)
def changeable(request: pytest.FixtureRequest) -> Target:
    """Every place whose content can be replaced and deleted."""
    return place_of(request).target


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def described(content: bytes, media_type: str = OCTETS) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def push(target: Target, content: bytes, media_type: str = OCTETS) -> Descriptor:
    descriptor = described(content, media_type)
    target.push(descriptor, io.BytesIO(content))
    return descriptor


def image(target: Target, *layers: bytes, subject: Descriptor | None = None, **annotations: str) -> Manifest:
    """An image, pushed all but its manifest."""
    config = push(target, CONFIG, OCI_CONFIG)
    return manifests.image(config, [push(target, layer, LAYER) for layer in layers], annotations=annotations or None, subject=subject)


def read(target: Target, descriptor: Descriptor, *, piece: int = 1000) -> bytes:
    with target.fetch(descriptor) as content:
        return b"".join(iter(lambda: content.read(piece), b""))


# --- reading what was written ---


def test_manifest_is_read_byte_for_byte(place: Place) -> None:
    pushed = image(place.target, some(100))
    assert place.target.push_manifest(pushed, "v1") == pushed.descriptor
    target = place.reopened()
    for reference in ("v1", str(pushed.digest), pushed.digest):
        manifest = target.manifest(reference)
        assert (manifest.raw, manifest.descriptor) == (pushed.raw, pushed.descriptor)
    for known in ("v1", str(pushed.digest)):
        assert target.resolve(known) == pushed.descriptor
    assert target.exists(pushed.descriptor)
    assert read(target, pushed.descriptor) == pushed.raw
    assert target.tags() == ("v1",)


def test_manifest_without_a_tag_is_read_by_digest(place: Place) -> None:
    tagged, untagged = image(place.target), image(place.target, some(7))
    place.target.push_manifest(tagged, "v1")
    place.target.push_manifest(untagged, None)
    target = place.reopened()
    assert target.manifest(untagged.digest).raw == untagged.raw
    assert target.tags() == ("v1",)


def test_one_manifest_may_have_many_tags(place: Place) -> None:
    pushed = image(place.target)
    for tag in ("b", "a", "latest", "a"):
        place.target.push_manifest(pushed, tag)
    assert sorted(place.reopened().tags()) == ["a", "b", "latest"]


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20, (1 << 20) + 1])
def test_blob_is_read(place: Place, size: int) -> None:
    content = some(size)
    pushed = image(place.target, content)
    place.target.push_manifest(pushed, "v1")
    target = place.reopened()
    descriptor = described(content)
    assert target.exists(descriptor)
    assert read(target, descriptor, piece=70_000) == content
    assert not target.exists(described(content + b"more"))


def test_index_and_its_images_are_read(place: Place) -> None:
    one, other = image(place.target, some(1)), image(place.target, some(2))
    for child in (one, other):
        place.target.push_manifest(child, None)
    index = manifests.index([one.descriptor, other.descriptor])
    place.target.push_manifest(index, "v1")
    target = place.reopened()
    assert target.manifest("v1").raw == index.raw
    assert [target.manifest(child.digest).raw for child in target.manifest("v1").children] == [one.raw, other.raw]
    assert target.tags() == ("v1",)


def test_what_is_not_there_is_not_found(place: Place) -> None:
    place.target.push_manifest(image(place.target), "v1")
    target = place.reopened()
    nothing = described(b"nothing")
    for ask in (
        lambda: target.resolve("v2"),
        lambda: target.resolve(str(nothing.digest)),
        lambda: target.manifest("v2"),
        lambda: target.manifest(nothing.digest),
        lambda: read(target, nothing),
    ):
        with pytest.raises(NotFound):
            ask()
    assert target.referrers(nothing) == ()
    assert not target.exists(nothing)


def test_blob_is_not_a_manifest(place: Place) -> None:
    blob = some(50)
    place.target.push_manifest(image(place.target, blob), "v1")
    target = place.reopened()
    # registry:2 answers with 500.
    with pytest.raises((NotFound, RegistryError)):
        target.resolve(str(Digest.of(blob)))


@pytest.mark.parametrize("reference", ["", "sha256:", "sha256:xyz"])
def test_reference_that_cannot_be_one_is_an_error(place: Place, reference: str) -> None:
    place.target.push_manifest(image(place.target), "v1")
    with pytest.raises(InvalidReference):
        place.reopened().resolve(reference)


def test_referrers_are_found_with_types_and_annotations(place: Place) -> None:
    subject = image(place.target, some(3))
    place.target.push_manifest(subject, "v1")
    plain = Descriptor(media_type=OCI_IMAGE, digest=subject.digest, size=subject.descriptor.size)
    referrer = image(place.target, subject=plain, kind="signature")
    place.target.push_manifest(referrer, None)
    target = place.reopened()
    assert target.referrers(subject.descriptor) == (referrer.referrer,)
    assert target.referrers(referrer.descriptor) == ()
    assert target.manifest(referrer.digest).raw == referrer.raw


# --- writing ---


@pytest.mark.parametrize(
    ("content", "size", "of"),
    [(b"abc", 4, b"abc"), (b"abc", 2, b"abc"), (b"abd", 3, b"abc"), (b"", 1, b"a"), (b"a", 0, b""), (some(70_000), 70_000, b"other")],
)
def test_blob_that_is_not_what_it_should_be_is_not_stored(changeable: Target, content: bytes, size: int, of: bytes) -> None:
    wrong = Descriptor(media_type=OCTETS, digest=Digest.of(of), size=size)
    with pytest.raises(Mismatch):
        changeable.push(wrong, io.BytesIO(content))
    assert not changeable.exists(wrong)
    assert not changeable.exists(described(of))


def test_blob_is_stored_again_without_harm(changeable: Target) -> None:
    descriptor = push(changeable, some(1000))
    assert push(changeable, some(1000)) == descriptor
    assert read(changeable, descriptor) == some(1000)


def test_tag_moves(changeable: Target) -> None:
    one, other = image(changeable, one="1"), image(changeable, other="1")
    changeable.push_manifest(one, "v1")
    changeable.push_manifest(other, "v1")
    assert changeable.resolve("v1") == other.descriptor
    assert changeable.tags() == ("v1",)


@pytest.mark.parametrize("tag", ["", "a b", "sha256:" + "0" * 64, "a\nb", "x" * 600])
def test_tag_that_cannot_be_one_is_refused(changeable: Target, tag: str) -> None:
    pushed = image(changeable)
    with pytest.raises(InvalidReference):
        changeable.push_manifest(pushed, tag)


def test_deletion_takes_all_tags_of_the_manifest_and_nothing_of_others(changeable: Target) -> None:
    one, other = image(changeable, some(10), some(11), one="1"), image(changeable, some(10), other="1")
    for tag in ("a", "b"):
        changeable.push_manifest(one, tag)
    changeable.push_manifest(other, "c")
    changeable.delete(one.descriptor)
    assert changeable.tags() == ("c",)
    with pytest.raises(NotFound):
        changeable.manifest(one.digest)
    with pytest.raises(NotFound):
        changeable.delete(one.descriptor)
    assert changeable.manifest("c").raw == other.raw
    assert read(changeable, described(some(10))) == some(10)
    changeable.delete(other.descriptor)
    assert changeable.tags() == ()
