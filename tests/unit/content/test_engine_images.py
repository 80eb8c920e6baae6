"""Images of an engine as places to copy from and to."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from registry_tool.base.errors import EngineError, NotFound, Unreachable, UsageError
from registry_tool.content.copy import copy
from registry_tool.content.direct import push_image
from registry_tool.content.engine_images import EngineImages, EngineLoader
from registry_tool.engine import Engine, Image
from registry_tool.targets.archive import open_archive
from registry_tool.targets.registry import Repository, open_registry
from tests.support.content import layer, make_image, sha256
from tests.support.saved_images import FORMATS, Format, SavedImage

LAYERS = (b"base" * 1000, b"", b"app" * 100)
NAME = "localhost:5000/john/app:1"


class FakeEngine:
    """An engine with ``saved``, that keeps what it is given to load."""

    def __init__(self, saved: SavedImage, *, in_containerd_store: bool = False) -> None:
        self.saved = saved
        self.in_containerd_store = in_containerd_store
        self.archive = b""

    def image(self, name: str) -> Image | None:
        if name != self.saved.name:
            return None
        return Image(id=self.saved.image.id, layers=self.saved.image.layers, in_containerd_store=self.in_containerd_store)

    def images(self) -> tuple[Image, ...]:
        return (Image(id=self.saved.image.id, names=(self.saved.name,)),)

    def save_image(self, names: Sequence[str], target: BinaryIO) -> None:
        assert names == [self.saved.name]
        target.writelines(self.saved.archive())

    def load_image(self, source: BinaryIO) -> tuple[str, ...]:
        self.archive = source.read()
        return (self.saved.name,)


@pytest.fixture
def repository(registry_host: str) -> Iterator[Repository]:
    with open_registry(registry_host) as opened:
        yield opened.repository("john/app")


@pytest.fixture
def registry_host(registry: object) -> str:
    return f"127.0.0.1:{registry.port}"  # type: ignore[attr-defined]


def images(saved: SavedImage) -> EngineImages:
    return EngineImages(cast(Engine, FakeEngine(saved)))


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_of_a_classic_store_is_copied_as_a_direct_push_does(repository: Repository, format: Format) -> None:
    saved = SavedImage(LAYERS, format)
    with images(saved) as source:
        copy(source, repository, {NAME: ("copied",)})
    pushed = push_image(saved.image, saved.archive, repository.sibling("john/pushed"), "1")
    manifest = repository.manifest("copied")
    assert manifest.digest == pushed.descriptor.digest
    assert manifest.config is not None
    assert str(manifest.config.digest) == saved.image.id
    assert saved.reads == 2


def test_an_image_of_a_containerd_store_keeps_its_digest(registry_host: str, repository: Repository) -> None:
    made = make_image(int(registry_host.partition(":")[2]), "john/app", "made", layer(b"1"))
    saved = SavedImage((), "oci")
    archive = io.BytesIO()
    loader = FakeEngine(saved)
    with EngineLoader(cast(Engine, loader)) as destination:
        copy(repository, destination, {"made": (NAME,)})
        destination.commit()
    archive.write(loader.archive)
    saved.archive = lambda: iter([archive.getvalue()])  # type: ignore[assignment,method-assign,return-value]
    with EngineImages(cast(Engine, FakeEngine(saved, in_containerd_store=True))) as source:
        assert str(source.resolve(NAME).digest) == made.digest


def test_images_are_saved_once_and_only_when_they_are_named() -> None:
    saved = SavedImage(LAYERS)
    with images(saved) as source:
        assert source.tags() == (NAME,)
        assert saved.reads == 0
        first = source.resolve(NAME)
        assert source.resolve(NAME) == first == source.resolve(str(first.digest))
        manifest = source.manifest(first.digest)
        with source.fetch(manifest.layers[0]) as stream:
            assert gzip.decompress(b"".join(iter(lambda: stream.read(100), b""))) == LAYERS[0]
        assert all(map(source.exists, manifest.layers))
        assert saved.reads == 1


def test_an_image_that_is_not_there_is_not_found() -> None:
    with images(SavedImage(LAYERS)) as source, pytest.raises(NotFound, match="no such image in the engine: mary"):
        source.resolve("mary")


def test_nothing_is_written_to_images_that_are_read() -> None:
    with images(SavedImage(LAYERS)) as source:
        descriptor = source.resolve(NAME)
        manifest = source.manifest(descriptor.digest)
        with pytest.raises(UsageError):
            source.push(descriptor, io.BytesIO())
        with pytest.raises(UsageError):
            source.push_manifest(manifest, None)
        with pytest.raises(UsageError):
            source.delete(descriptor)


def test_an_archive_that_is_cut_is_an_error_of_the_engine_and_a_dead_engine_is_not_reached() -> None:
    saved = SavedImage(LAYERS)
    saved.cut = 3000
    with images(saved) as source:
        with pytest.raises(EngineError, match="the engine's archive of .* is cut"):
            source.resolve(NAME)
        saved.fault = Unreachable("the engine stopped answering")
        with pytest.raises(Unreachable):
            source.resolve(NAME)


@pytest.mark.parametrize(("name", "loaded"), [(NAME, NAME), ("john/app:1", "john/app:1"), ("app", "app:latest")])
def test_loaded_images_are_an_archive_that_docker_reads(registry_host: str, repository: Repository, name: str, loaded: str) -> None:
    content = layer(b"1")
    made = make_image(int(registry_host.partition(":")[2]), "john/app", "made", content)
    engine = FakeEngine(SavedImage(()))
    with EngineLoader(cast(Engine, engine)) as destination:
        folder = Path(destination.folder).parent
        copy(repository, destination, {"made": (name,)})
        assert engine.archive == b"", "nothing before the commit"
        destination.commit()
        assert destination.loaded == (NAME,)
    assert not folder.exists()
    with open_archive(io.BytesIO(engine.archive)) as archive:
        assert str(archive.resolve(name).digest) == made.digest
    assert json.dumps([loaded]).encode() in engine.archive
    assert sha256(made.config).removeprefix("sha256:").encode() in engine.archive
