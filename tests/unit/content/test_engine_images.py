"""Images of an engine as places to copy from and to."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from registry_tool.base import gzip_blocks
from registry_tool.base.errors import EngineError, NotFound, RegistryToolError, Unreachable, UsageError
from registry_tool.content.copy import CopyOptions, copy, copy_all
from registry_tool.content.copy.jobs import TagSelection, make_jobs
from registry_tool.content.copy.location import Location
from registry_tool.content.copy.places import Places
from registry_tool.content.direct import push_image
from registry_tool.content.engine_images import EngineImages, EngineLoader
from registry_tool.engine import Engine, Image
from registry_tool.engine.content_store import ContentStore
from registry_tool.oci.digest import Digest
from registry_tool.targets.archive import open_archive
from registry_tool.targets.registry import Repository, open_registry
from tests.support import layer_files
from tests.support.content import layer, make_image, make_index, sha256
from tests.support.saved_images import FORMATS, FakeImageStore, Format, SavedImage

LAYERS = (b"base" * 1000, b"", b"app" * 100)
NAME = "localhost:5000/john/app:1"


@pytest.fixture
def repository(registry_host: str) -> Iterator[Repository]:
    with open_registry(registry_host) as opened:
        yield opened.repository("john/app")


@pytest.fixture
def registry_host(registry: object) -> str:
    return f"127.0.0.1:{registry.port}"  # type: ignore[attr-defined]


def images(saved: SavedImage) -> EngineImages:
    return EngineImages(cast(Engine, FakeImageStore(saved)))


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
    loader = FakeImageStore(saved)
    with EngineLoader(cast(Engine, loader)) as destination:
        copy(repository, destination, {"made": (NAME,)})
        destination.commit()
    archive.write(loader.archive)
    saved.archive = lambda: iter([archive.getvalue()])  # type: ignore[assignment,method-assign,return-value]
    with EngineImages(cast(Engine, FakeImageStore(saved, in_containerd_store=True))) as source:
        assert str(source.resolve(NAME).digest) == made.digest


def remove_file(root: Path) -> None:
    next(root.glob("overlay2/*/diff/first")).unlink()


def change_file(root: Path) -> None:
    path = next(root.glob("overlay2/*/diff/first"))
    path.write_bytes(b"?" + path.read_bytes()[1:])


@pytest.mark.parametrize(("damage", "reads"), [(None, 0), (remove_file, 1), (change_file, 1)], ids=["whole", "file gone", "file changed"])
def test_files_of_a_classic_store_are_read_and_the_archive_where_they_are_damaged(
    repository: Repository, tmp_path: Path, damage: Callable[[Path], None] | None, reads: int
) -> None:
    saved = SavedImage(LAYERS)
    pushed = push_image(saved.image, saved.archive, repository.sibling("john/pushed"), "1")
    saved.reads = 0
    image = layer_files.store(tmp_path / "docker", saved)
    if damage is not None:
        damage(tmp_path / "docker")
    with EngineImages(cast(Engine, FakeImageStore(saved, files=image))) as source:
        copy(source, repository, {NAME: ("copied",)})
    assert (repository.manifest("copied").digest, saved.reads) == (pushed.descriptor.digest, reads)


def remove_blob(path: Path) -> None:
    path.unlink()


def cut_blob(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("part", ["layer", "config", "manifest", "index"])
@pytest.mark.parametrize("damage", [None, remove_blob, cut_blob], ids=["whole", "gone", "cut"])
def test_files_of_a_containerd_store_are_read_and_the_archive_where_not_all_is_there(
    registry_host: str, repository: Repository, tmp_path: Path, part: str, damage: Callable[[Path], None] | None
) -> None:
    port = int(registry_host.partition(":")[2])
    made = make_index(port, "john/app", "made", make_image(port, "john/app", "image", layer(b"1")))
    loader = FakeImageStore(SavedImage((), "oci"))
    with EngineLoader(cast(Engine, loader)) as destination:
        copy(repository, destination, {"made": (NAME,)})
        destination.commit()
    (archive_path := tmp_path / "archive.tar").write_bytes(loader.archive)
    with tarfile.open(archive_path) as archive:
        archive.extractall(tmp_path / "io.containerd.content.v1.content", filter="data")
    manifest = repository.manifest("image")
    assert manifest.config is not None
    digests = {"layer": manifest.layers[0].digest, "config": manifest.config.digest, "manifest": manifest.digest, "index": made.digest}
    if damage is not None:
        damage(tmp_path / "io.containerd.content.v1.content" / "blobs" / str(digests[part]).replace(":", "/"))
    saved = SavedImage((), "oci")
    saves: list[str] = []

    def stream() -> Iterator[bytes]:
        saves.append("read")
        yield loader.archive

    saved.archive = stream  # type: ignore[assignment,method-assign]
    image = Image(id=str(made.digest), in_containerd_store=True)
    with EngineImages(cast(Engine, FakeImageStore(saved, files=image)), content=ContentStore((tmp_path / "none", tmp_path))) as source:
        copy(source, repository.sibling("john/copied"), {NAME: ("1",)})
    assert repository.sibling("john/copied").manifest("1").digest == Digest.parse(str(made.digest))
    assert len(saves) == (damage is not None)


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


def test_compressed_layers_are_where_the_next_one_finds_them_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with images(SavedImage(LAYERS)) as source:
        source.resolve(NAME)
        assert [folder.name.rpartition("-")[0] for folder in tmp_path.iterdir()] == [f"registry-tool-{os.getuid()}"]
    assert list(tmp_path.iterdir()) == []


def test_temporary_folder_without_room_for_compressed_layers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(read: object, size: int) -> Iterator[bytes]:
        yield b"the beginning"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with images(SavedImage(LAYERS)) as source:
        with monkeypatch.context() as patch:
            patch.setattr(gzip_blocks, "compress", full)
            with pytest.raises(RegistryToolError, match=f"{NAME} cannot be saved in {tmp_path}: No space left on device") as caught:
                source.resolve(NAME)
        assert caught.value.hint == "TMPDIR names another folder."
        assert [path.name for folder in tmp_path.iterdir() for path in folder.iterdir()] == [".lock"]
        manifest = source.manifest(source.resolve(NAME).digest)
        assert all(map(source.exists, manifest.layers))


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
    engine = FakeImageStore(SavedImage(()))
    with EngineLoader(cast(Engine, engine)) as destination:
        folder = Path(destination.folder).parent
        assert folder.name.startswith(f"registry-tool-{os.getuid()}-"), "where the next one finds it"
        copy(repository, destination, {"made": (name,)})
        assert engine.archive == b"", "nothing before the commit"
        destination.commit()
        assert destination.loaded == (NAME,)
    assert not folder.exists()
    with open_archive(io.BytesIO(engine.archive)) as archive:
        assert str(archive.resolve(name).digest) == made.digest
    assert json.dumps([loaded]).encode() in engine.archive
    assert sha256(made.config).removeprefix("sha256:").encode() in engine.archive


# --- as places of a copy ---


def copied(engine: FakeImageStore, *names: str, host: str) -> list[str]:
    """Copy the first ``names`` to the last; the names that came of it."""
    locations = [Location.parse(name, default_host=host) for name in names]
    with Places(open_registry, connect_engine=lambda: cast(Engine, engine)) as places:
        result = copy_all(make_jobs(places, locations[:-1], locations[-1], tags=TagSelection(), options=CopyOptions()))
        assert not result.failures
        places.commit()
    return [name for image in result.images for name in image.destinations]


@pytest.mark.parametrize(
    ("destination", "expected"), [("john/copy", "john/copy:1"), ("john/copy:2", "john/copy:2"), ("mirror/", "mirror/app:1")]
)
def test_the_engine_is_a_place_to_copy_from(registry_host: str, repository: Repository, destination: str, expected: str) -> None:
    saved = SavedImage(LAYERS)
    assert copied(FakeImageStore(saved), f"engine:{NAME}", destination, host=registry_host) == [f"{registry_host}/{expected}"]
    path, _, tag = expected.partition(":")
    manifest = repository.sibling(path).manifest(tag)
    assert manifest.config is not None
    assert str(manifest.config.digest) == saved.image.id


def test_a_short_name_in_the_engine_has_docker_s_tag(registry_host: str, repository: Repository) -> None:
    saved = SavedImage(LAYERS, name="friendlyhello")
    assert copied(FakeImageStore(saved), "engine:friendlyhello", "john/copy", host=registry_host) == [f"{registry_host}/john/copy:latest"]


def test_the_engine_is_a_place_to_copy_to(registry_host: str) -> None:
    made = make_image(int(registry_host.partition(":")[2]), "john/app", "made", layer(b"1"))
    engine = FakeImageStore(SavedImage(()))
    copied(engine, "john/app:made", "engine:friendlyhello:2", host=registry_host)
    with open_archive(io.BytesIO(engine.archive)) as archive:
        assert str(archive.resolve("friendlyhello:2").digest) == made.digest


def test_the_engine_alone_as_a_destination_keeps_the_whole_names(registry_host: str) -> None:
    port = int(registry_host.partition(":")[2])
    made = [make_image(port, "john/app", tag, layer(tag.encode())) for tag in ("1", "2")]
    engine = FakeImageStore(SavedImage(()))
    copied(engine, "john/app:1", "john/app:2", "engine:", host=registry_host)
    with open_archive(io.BytesIO(engine.archive)) as archive:
        assert [str(archive.resolve(f"{registry_host}/john/app:{tag}").digest) for tag in ("1", "2")] == [image.digest for image in made]


def test_image_without_a_name_of_a_repository_needs_one_in_the_engine(registry_host: str, tmp_path: Path) -> None:
    make_image(int(registry_host.partition(":")[2]), "john/app", "1", layer(b"1"))
    engine = FakeImageStore(SavedImage(()))
    copied(engine, "john/app:1", f"oci:{tmp_path}/layout:1", host=registry_host)
    with pytest.raises(UsageError, match="the image 1 of oci:.* has no name of a repository"):
        copied(engine, f"oci:{tmp_path}/layout:1", "engine:", host=registry_host)
    copied(engine, f"oci:{tmp_path}/layout:1", "engine:john/app:1", host=registry_host)
    assert engine.archive


def test_the_engine_alone_is_no_source(registry_host: str) -> None:
    with pytest.raises(UsageError, match="'engine:' names no image"):
        copied(FakeImageStore(SavedImage(LAYERS)), "engine:", "john/copy", host=registry_host)


def test_no_room_for_the_engine_s_archive_is_named_and_its_file_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with images(SavedImage(LAYERS)) as source:
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(RegistryToolError, match="cannot be saved in .*: No space left") as caught:
            source.resolve(NAME)
        assert caught.value.hint == "TMPDIR names another folder."
