"""Tiny images of the plugin: what is asked for is in them, the same call makes the same bytes, and nonsense is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.errors import InvalidReference, NotFound
from registry_tool.oci.config import parse_config
from registry_tool.oci.descriptor import Platform
from registry_tool.pytest_plugin.images import CREATED, File, ImageFactory, PushedImage
from registry_tool.pytest_plugin.registries import Served, in_process


@pytest.fixture
def served() -> Iterator[Served]:
    with in_process() as there:
        yield there


@pytest.fixture
def factory(served: Served) -> ImageFactory:
    return ImageFactory(lambda: served, "pytest/here")


def tar(image: PushedImage, layer: int = 0) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(image.content[1 + layer]))


# What is refused.


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "a/../b", "."])
def test_path_outside_of_the_image_is_refused(factory: ImageFactory, served: Served, path: str) -> None:
    with pytest.raises(ValueError, match="not a file's path in an image"):
        factory({path: "x"}, name="john/app:1")
    with pytest.raises(NotFound):
        served.client.repository("john/app").tags()


@pytest.mark.parametrize("platform", ["linux", "linux/amd64/v1/more", ""])
def test_invalid_platform_is_refused(factory: ImageFactory, platform: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        factory({"a": "x"}, platform=platform)


def test_invalid_image_name_is_refused(factory: ImageFactory) -> None:
    with pytest.raises(InvalidReference):
        factory(name="John/App")
    with pytest.raises(ValueError, match=r"is not in the registry at 127\.0\.0\.1"):
        factory(name="elsewhere.example/john/app:1")
    with pytest.raises(ValueError, match="to a tag"):
        factory(name=f"john/app@sha256:{'0' * 64}")


def test_index_of_an_index_is_refused(factory: ImageFactory) -> None:
    with pytest.raises(ValueError, match="is an index itself"):
        factory.index(factory.index(factory()))


def test_invalid_tag_is_refused_before_anything_is_pushed(factory: ImageFactory, served: Served) -> None:
    with pytest.raises(ValueError, match="not a tag: 'no tag'"):
        factory(name="john/app:1", tags=["good", "no tag"])
    assert list(served.client.catalog()) == []


# What is made.


def test_image_in_the_registry_has_all_arguments(factory: ImageFactory, served: Served) -> None:
    image = factory(
        {"/app/run": File(content="#!/bin/sh\n", mode=0o755), "app/data/one": b"\x00\x01"},
        {"etc/motd": "grüezi"},
        name="john/app:1",
        tags=["latest", "1"],
        platform="linux/arm64/v8",
        entrypoint=["/app/run"],
        cmd=["--fast"],
        env={"B": "2", "A": "x=y"},
        labels={"z": "1", "a": "2"},
        exposed=[80, "53/udp"],
        user="1000:1000",
        workdir="/app",
    )
    repository = served.client.repository("john/app")
    assert sorted(repository.tags()) == ["1", "latest"]
    assert image.reference == str(image) == f"{served.host}/john/app:1"
    assert image.pinned == f"{served.host}/john/app@{image.digest}"
    manifest = repository.manifest("latest")
    assert str(manifest.digest) == image.digest
    assert manifest.config is not None
    with repository.fetch(manifest.config) as blob:
        config = parse_config(blob.read())
    assert config.platform == Platform(os="linux", architecture="arm64", variant="v8")
    assert (config.entrypoint, config.cmd, config.user) == (("/app/run",), ("--fast",), "1000:1000")
    assert config.env == ("B=2", "A=x=y")
    assert config.labels == {"a": "2", "z": "1"}
    assert config.exposed == ("53/udp", "80/tcp")
    assert config.diff_ids == tuple(layer.digest for layer in manifest.layers)
    for layer, expected in zip(manifest.layers, image.content[1:], strict=True):
        with repository.fetch(layer) as blob:
            assert blob.read() == expected


def test_layer_has_files_with_modes_and_parent_folders(factory: ImageFactory, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o750)
    image = factory({"/a/b/run": script, "a/text": "grüezi", "top": File(content=b"x", mode=0o600)})
    with tar(image) as archive:
        result = {entry.name: (entry.isdir(), oct(entry.mode), entry.size) for entry in archive}
        assert all((entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "") for entry in archive.getmembers())
    assert result == {
        "a": (True, "0o755", 0),
        "a/b": (True, "0o755", 0),
        "a/b/run": (False, "0o750", 10),
        "a/text": (False, "0o644", 7),
        "top": (False, "0o600", 1),
    }


def test_same_arguments_give_a_known_digest(served: Served) -> None:
    """The digest stands here, so that a change to it is one that somebody decided on: people may have it in their tests."""
    digests = {
        ImageFactory(lambda: served, "pytest/any")(
            files, name=f"john/app:{tag}", entrypoint=["/run"], env={"A": "1"}, labels={"k": "v"}, exposed=[80]
        ).digest
        for tag, files in (("1", {"run": "x", "etc/motd": "y"}), ("2", {"etc/motd": b"y", "/run": b"x"}))
    }
    assert digests == {"sha256:a968a0614f642095ab87e7db5680f82cdbb70d07b5ac411b043c9e2eafaf3f42"}


def test_image_without_layers_is_unique_and_reproducible(factory: ImageFactory, served: Served) -> None:
    with in_process() as other:
        there = ImageFactory(lambda: other, "pytest/here")(name="john/app:1")
    assert factory(name="john/app:1").digest == there.digest
    assert factory(name="john/app:2").digest != there.digest
    assert factory(name="jane/app:1").digest != there.digest


def test_images_without_names_get_different_names(factory: ImageFactory, served: Served) -> None:
    assert [factory().reference, factory().reference] == [f"{served.host}/pytest/here:1", f"{served.host}/pytest/here:2"]
    assert sorted(served.client.repository("pytest/here").tags()) == ["1", "2"]


def test_default_tag_is_latest(factory: ImageFactory, served: Served) -> None:
    assert factory(name="john/app").reference == f"{served.host}/john/app:latest"


def test_image_is_pushed_to_a_named_registry(factory: ImageFactory, served: Served) -> None:
    with in_process() as other:
        image = factory(name="john/app:1", to=other)
        assert image.reference == f"{other.host}/john/app:1"
        assert other.client.repository("john/app").tags() == ("1",)
        assert factory(name=f"{other.host}/john/app:2", to=other).reference == f"{other.host}/john/app:2"
    assert list(served.client.catalog()) == []


def test_index_has_an_image_for_each_platform(factory: ImageFactory, served: Served) -> None:
    images = [factory({"which": platform}, name="build/any", platform=platform) for platform in ("linux/amd64", "linux/arm/v7")]
    index = factory.index(*images, name="john/app:1", tags=["latest"])
    repository = served.client.repository("john/app")
    assert sorted(repository.tags()) == ["1", "latest"]
    manifest = repository.manifest("1")
    assert (str(manifest.digest), manifest.kind, index.platform) == (index.digest, "index", None)
    assert [(str(child.platform), str(child.digest)) for child in manifest.children] == [
        (platform, image.digest) for platform, image in zip(("linux/amd64", "linux/arm/v7"), images, strict=True)
    ]
    for child, image in zip(manifest.children, images, strict=True):
        for layer, content in zip(repository.manifest(child.digest).layers, image.content[1:], strict=True):
            with repository.fetch(layer) as blob:
                assert blob.read() == content


def test_created_is_the_time_of_the_argument(factory: ImageFactory) -> None:
    old = factory({"a": "x"}, created="2001-02-03T04:05:06Z")
    made = parse_config(old.content[0]).created
    assert made is not None
    assert made.year == 2001
    assert parse_config(factory({"a": "x"}).content[0]).created == parse_config(f'{{"created":"{CREATED}"}}'.encode()).created
