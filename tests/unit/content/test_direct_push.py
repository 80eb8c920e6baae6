"""Images pushed straight from an engine's archive: what arrives, what is not sent again, and what goes wrong on the way."""

from __future__ import annotations

import gzip
import io
import random
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base import gzip_blocks
from registry_tool.base.errors import ConnectionLost, EngineError, NotFound, RegistryError, Unreachable
from registry_tool.base.progress import Silent
from registry_tool.content.direct import DirectPush, push_image
from registry_tool.content.direct import uploads as direct_uploads
from registry_tool.engine.layer_store import LayerStore
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.layer_cache import CompressedLayer, LayerCache
from registry_tool.targets.registry import Repository, open_registry
from registry_tool.transport import retry
from tests.support import layer_files
from tests.support.content import sha256
from tests.support.damage import in_this_process
from tests.support.fake_server import Reply
from tests.support.faulty_proxy import FaultyProxy, close_connection, faulty_proxy, lose_response, respond_with
from tests.support.saved_images import FORMATS, Format, SavedImage


def some(size: int, seed: int = 0) -> bytes:
    """Bytes of which half can be compressed."""
    random_ = random.Random(size + seed)
    return b"".join(random_.randbytes(50) + b"x" * 50 for _ in range(size // 100 + 1))[:size]


BASE, APP = some(30_000), some(5_000, 1)
LAYERS = (BASE, some(10_000), APP)
EXISTS = "Layer already exists"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and chunks that a few kilobytes are many of, and time enough to cancel uploads on a busy machine."""
    monkeypatch.setattr(direct_uploads, "_LEAVE_TIMEOUT", 100)
    monkeypatch.setattr(gzip_blocks, "BLOCK", 1024)
    monkeypatch.setattr(direct_uploads, "CHUNK", 2000)


@pytest.fixture
def proxy(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def repository(proxy: FaultyProxy) -> Iterator[Repository]:
    with open_registry(proxy.host) as opened:
        yield opened.repository("john/app")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[LayerCache]:
    with LayerCache(tmp_path / "layers.sqlite") as cache:
        yield cache


def pushed(
    repository: Repository, saved: SavedImage, tag: str = "1", cache: LayerCache | None = None, threads: int | None = None
) -> DirectPush:
    return push_image(saved.image, saved.archive, repository, tag, cache=cache, threads=threads)


def stored(repository: Repository, tag: str = "1") -> tuple[bytes, list[bytes]]:
    """The config and the plain layers of a tag."""
    manifest = repository.manifest(tag)
    assert manifest.config is not None
    return content(repository, manifest.config), [gzip.decompress(content(repository, each)) for each in manifest.layers]


def content(repository: Repository, descriptor: Descriptor) -> bytes:
    with repository.fetch(descriptor) as stream:
        return b"".join(iter(lambda: stream.read(65536), b""))


def count_uploads(proxy: FaultyProxy) -> int:
    return proxy.count("POST", "/blobs/uploads/")


# --- what arrives ---


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "layers",
    [LAYERS, (), (b"",), (BASE, APP, BASE), (some(1024),), (some(2048),)],
    ids=["three", "none", "empty", "one twice", "one block", "two blocks"],
)
def test_config_keeps_its_bytes_and_layers_their_content(repository: Repository, format: Format, layers: tuple[bytes, ...]) -> None:
    saved = SavedImage(layers, format)
    result = pushed(repository, saved)
    assert stored(repository) == (saved.config, list(layers))
    assert result.descriptor.digest == repository.resolve("1").digest
    assert result.layers == {sha256(layer): "Pushed" for layer in layers}
    assert result.bytes_sent == sum({layer.digest: layer.size for layer in repository.manifest("1").layers}.values())
    assert saved.reads == 1


def test_media_types_are_those_of_docker_push(repository: Repository) -> None:
    pushed(repository, SavedImage(LAYERS))
    manifest = repository.manifest("1")
    assert manifest.descriptor.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.config is not None
    assert manifest.config.media_type == "application/vnd.docker.container.image.v1+json"
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}


def test_digest_depends_neither_on_threads_nor_on_chunks_nor_on_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for threads, chunk, format in ((1, 700, "old"), (2, 5000, "oci"), (7, 100_000, "podman")):
        monkeypatch.setattr(direct_uploads, "CHUNK", chunk)
        with server.run_registry() as registry, open_registry(f"127.0.0.1:{registry.port}") as opened:
            saved = SavedImage(LAYERS, format, chunk=chunk)  # type: ignore[arg-type]
            digests.add(pushed(opened.repository("john/app"), saved, threads=threads).descriptor.digest)
    assert len(digests) == 1


class Rows(Silent):
    """What each row was last."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self.rows[key] = label

    def finish(self, key: str, label: str) -> None:
        self.rows[key] = label


@pytest.mark.parametrize("format", FORMATS)
def test_each_layer_has_one_row_which_ends(repository: Repository, cache: LayerCache, format: Format) -> None:
    first, second = Rows(), Rows()
    saved = SavedImage(LAYERS, format)
    push_image(saved.image, saved.archive, repository, "1", cache=cache, observer=first)
    assert list(first.rows.values()) == ["Pushed"] * 3
    changed = SavedImage((*LAYERS[:2], some(4_000)), format)
    push_image(changed.image, changed.archive, repository, "1", cache=cache, observer=second)
    assert sorted(second.rows.values()) == [EXISTS, EXISTS, "Pushed"]


# --- what is not sent again ---


@pytest.mark.parametrize("format", FORMATS)
def test_same_image_again_reads_and_sends_nothing(repository: Repository, proxy: FaultyProxy, cache: LayerCache, format: Format) -> None:
    saved = SavedImage(LAYERS, format)
    first = pushed(repository, saved, cache=cache)
    proxy.reset()
    again = pushed(repository, saved, cache=cache)
    assert (saved.reads, proxy.count("POST|PUT|PATCH")) == (1, 0)
    assert (first.unchanged, again.unchanged) == (False, True)
    assert len(proxy.requests) == 2 + len(LAYERS), "the manifest, and the last byte of each part"
    assert again.descriptor.digest == first.descriptor.digest
    assert set(again.layers.values()) == {"Layer already exists"}
    assert again.bytes_sent == 0


def test_same_image_as_others_compressed_it_is_left_as_it_is_while_it_is_whole(cache: LayerCache) -> None:
    saved = SavedImage(LAYERS)
    with in_this_process() as registry, open_registry(f"127.0.0.1:{registry.port}") as opened:
        repository = opened.repository("john/app")
        first = pushed(repository, saved, cache=cache)
        others = [gzip.compress(layer, 9, mtime=0) for layer in LAYERS]
        layers = [Descriptor(media_type=manifests.DOCKER_LAYER, digest=Digest.of(blob), size=len(blob)) for blob in others]
        for descriptor, blob in zip(layers, others, strict=True):
            repository.push(descriptor, io.BytesIO(blob))
        config = repository.manifest("1").config
        assert config is not None
        manifest = manifests.image(config, layers, media_type=manifests.DOCKER_IMAGE)
        repository.push_manifest(manifest, "1")
        verified = replace(saved.image, digests=(f"{repository.name}@{manifest.digest}",))
        again = push_image(verified, saved.archive, repository, "1", cache=cache)
        assert (again.descriptor.digest, again.unchanged, saved.reads) == (manifest.digest, True, 1)
        registry.remove(others[0])
        mended = pushed(repository, saved, cache=cache)
        assert not mended.unchanged
        assert stored(repository) == (saved.config, list(LAYERS))
        assert first.descriptor.digest != manifest.digest


def test_another_tag_takes_only_its_manifest(repository: Repository, proxy: FaultyProxy, cache: LayerCache) -> None:
    saved = SavedImage(LAYERS)
    first = pushed(repository, saved, cache=cache)
    proxy.reset()
    second = pushed(repository, saved, "2", cache)
    assert (saved.reads, proxy.count("POST|PATCH"), proxy.count("PUT")) == (1, 0, 1)
    assert second.descriptor.digest == first.descriptor.digest == repository.resolve("2").digest


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [4_000, 5_000, 10_000], ids=["another size", "size of the old one", "size of a known layer"])
def test_changed_layer_alone_is_sent(repository: Repository, proxy: FaultyProxy, cache: LayerCache, format: Format, size: int) -> None:
    pushed(repository, SavedImage(LAYERS, format), cache=cache)
    proxy.reset()
    changed = SavedImage((*LAYERS[:2], some(size, 2)), format)
    result = pushed(repository, changed, "2", cache)
    assert count_uploads(proxy) == 2, "a layer and a config"
    assert list(result.layers.values()) == ["Layer already exists", "Layer already exists", "Pushed"]
    assert stored(repository, "2") == (changed.config, list(changed.layers))


def test_layers_of_another_repository_are_mounted(repository: Repository, proxy: FaultyProxy, cache: LayerCache) -> None:
    first = pushed(repository, SavedImage(LAYERS), cache=cache)
    proxy.reset()
    saved = SavedImage(LAYERS)
    other = repository.sibling("mary/app")
    result = pushed(other, saved, cache=cache)
    assert set(result.layers.values()) == {"Mounted from john/app"}
    assert result.descriptor.digest == first.descriptor.digest
    assert stored(other) == (saved.config, list(LAYERS))
    assert proxy.count("PATCH") == 0
    assert result.bytes_sent == 0


def test_layer_that_cannot_be_mounted_is_sent(repository: Repository, proxy: FaultyProxy, cache: LayerCache) -> None:
    for layer in LAYERS:
        cache.put(f"{repository.host}/gone", sha256(layer), CompressedLayer(digest=Digest.of(b"x"), size=1, plain_size=len(layer)))
    saved = SavedImage(LAYERS)
    assert set(pushed(repository, saved, cache=cache).layers.values()) == {"Pushed"}
    assert stored(repository) == (saved.config, list(LAYERS))


def test_layers_that_others_paired_with_the_config_are_not_believed(repository: Repository) -> None:
    saved = SavedImage(LAYERS)
    pushed(repository, saved)
    config = repository.manifest("1").config
    assert config is not None
    wrong = gzip.compress(b"something else", mtime=0)
    descriptor = Descriptor(media_type=manifests.DOCKER_LAYER, digest=Digest.of(wrong), size=len(wrong))
    repository.push(descriptor, io.BytesIO(wrong))
    repository.push_manifest(manifests.image(config, [descriptor] * len(LAYERS), media_type=manifests.DOCKER_IMAGE), "1")
    assert not pushed(repository, saved).unchanged
    assert stored(repository) == (saved.config, list(LAYERS))


def test_layer_that_the_registry_lost_is_sent_again(cache: LayerCache) -> None:
    saved = SavedImage(LAYERS)
    with in_this_process() as registry, open_registry(f"127.0.0.1:{registry.port}") as opened:
        repository = opened.repository("john/app")
        first = pushed(repository, saved, cache=cache)
        for how in (None, lambda whole: whole[:-1]):
            registry.change(str(repository.manifest("1").layers[1].digest), how)
            assert list(pushed(repository, saved, cache=cache).layers.values()) == [
                "Layer already exists",
                "Pushed",
                "Layer already exists",
            ]
            assert stored(repository) == (saved.config, list(LAYERS))
            assert repository.resolve("1").digest == first.descriptor.digest


def test_config_that_the_registry_lost_and_still_tells_of_is_sent_again(proxy: FaultyProxy, repository: Repository) -> None:
    """As registry:2 does after a garbage collection: a HEAD is answered from memory."""
    saved = SavedImage(LAYERS)
    lie = Reply(status=200, headers={"Content-Length": str(len(saved.config))})
    proxy.inject(lambda request, forward: lie, method="HEAD", path=f"/blobs/{saved.image.id}")
    pushed(repository, saved)
    assert stored(repository) == (saved.config, list(LAYERS))


def test_cache_that_lies_is_not_believed(repository: Repository, cache: LayerCache) -> None:
    saved = SavedImage(LAYERS)
    for layer in LAYERS:
        cache.put(repository.name, sha256(layer), CompressedLayer(digest=Digest.of(b"x"), size=1, plain_size=len(layer)))
    pushed(repository, saved, cache=cache)
    assert stored(repository) == (saved.config, list(LAYERS))


def test_tag_of_an_artifact_or_of_an_index_is_replaced(repository: Repository) -> None:
    repository.push_manifest(manifests.index(()), "1")
    saved = SavedImage(LAYERS)
    pushed(repository, saved)
    assert stored(repository) == (saved.config, list(LAYERS))


# --- from the files of the engine's store ---


@pytest.mark.parametrize(
    "layers",
    [LAYERS, (), (b"",), (BASE, APP, BASE), (some(1024),)],
    ids=["three", "none", "empty", "one twice", "one block"],
)
def test_store_that_can_be_read_gives_the_digest_of_the_archive(repository: Repository, tmp_path: Path, layers: tuple[bytes, ...]) -> None:
    saved = SavedImage(layers)
    expected = pushed(repository.sibling("john/archive"), saved)
    image, rows = layer_files.store(tmp_path / "docker", saved), Rows()
    result = push_image(image, saved.archive, repository, "1", store=LayerStore.of(image), observer=rows)
    assert result == expected
    assert saved.reads == 1, "by the first push"
    assert stored(repository) == (saved.config, list(layers))
    assert set(rows.rows.values()) <= {"Pushed"}


def test_of_a_store_only_what_is_missing_is_read(repository: Repository, cache: LayerCache, tmp_path: Path) -> None:
    pushed(repository, SavedImage(LAYERS), cache=cache)
    changed = SavedImage((*LAYERS[:2], some(4_000)))
    image = layer_files.store(tmp_path / "docker", changed)
    for path in (tmp_path / "docker" / "overlay2").iterdir():
        if path != Path(image.layer_folder).parent:
            shutil.rmtree(path)
    result = push_image(image, changed.archive, repository, "2", store=LayerStore.of(image), cache=cache)
    assert list(result.layers.values()) == [EXISTS, EXISTS, "Pushed"]
    assert changed.reads == 0
    assert stored(repository, "2") == (changed.config, list(changed.layers))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["flipped", "gone"])
@pytest.mark.parametrize("what", ["layer", "config"])
def test_store_that_is_damaged_is_left_for_the_archive_and_nothing_of_it_is_kept(
    repository: Repository, proxy: FaultyProxy, tmp_path: Path, what: str, damage: Callable[[Path], None]
) -> None:
    saved = SavedImage(LAYERS)
    expected = pushed(repository.sibling("john/archive"), saved)
    image = layer_files.store(tmp_path / "docker", saved)
    (config,) = (tmp_path / "docker" / "image" / "overlay2" / "imagedb" / "content" / "sha256").iterdir()
    store = LayerStore.of(image)
    damage(Path(image.layer_folder) / "first" if what == "layer" else config)
    proxy.reset()
    result = push_image(image, saved.archive, repository, "1", store=store)
    assert (result.descriptor, saved.reads) == (expected.descriptor, 2)
    assert stored(repository) == (saved.config, list(LAYERS))
    finished = proxy.count("PUT", "/blobs/uploads/")
    assert finished == len(LAYERS) + 1, "each layer once, and the config"
    assert proxy.count("DELETE", "/blobs/uploads/") == count_uploads(proxy) - finished


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_connection_lost_once_under_a_store_is_no_failure(repository: Repository, proxy: FaultyProxy, tmp_path: Path, method: str) -> None:
    saved = SavedImage(LAYERS)
    image = layer_files.store(tmp_path / "docker", saved)
    proxy.inject(close_connection, method=method, path="/blobs/uploads/", after=1, times=1)
    push_image(image, saved.archive, repository, "1", store=LayerStore.of(image))
    assert stored(repository) == (saved.config, list(LAYERS))
    assert saved.reads == 0


# --- what goes wrong ---


@pytest.mark.parametrize("format", FORMATS)
def test_engine_that_dies_leaves_no_tag_and_no_upload_and_completed_layers_are_not_sent_again(
    repository: Repository, proxy: FaultyProxy, cache: LayerCache, format: Format
) -> None:
    saved = SavedImage(LAYERS, format)
    saved.cut, saved.fault = len(saved.tar()) * 2 // 3, Unreachable("the engine stopped answering")
    with pytest.raises(Unreachable, match="stopped answering"):
        pushed(repository, saved, cache=cache)
    assert proxy.count("PUT", "/manifests/") == 0
    finished = proxy.count("PUT", "/blobs/uploads/")
    assert proxy.count("DELETE", "/blobs/uploads/") == count_uploads(proxy) - finished
    saved.cut = saved.fault = None
    proxy.reset()
    pushed(repository, saved, cache=cache)
    assert count_uploads(proxy) == len(LAYERS) + 1 - finished
    assert stored(repository) == (saved.config, list(LAYERS))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_archive_that_is_cut_is_an_error_of_the_engine(repository: Repository, proxy: FaultyProxy, part: float) -> None:
    saved = SavedImage(LAYERS)
    saved.cut = int(len(saved.tar().rstrip(b"\0")) * part)
    with pytest.raises(EngineError, match="is cut"):
        pushed(repository, saved)
    assert proxy.count("PUT", "/manifests/") == 0


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", ["layer", "config"])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_archive_of_something_else_is_an_error_of_the_engine(
    repository: Repository, proxy: FaultyProxy, format: Format, kind: str, how: str
) -> None:
    saved = SavedImage(LAYERS, format)
    replaced = APP if kind == "layer" else saved.config
    saved.replaced = {replaced: None if how == "missing" else replaced[:-1] + b"?"}
    with pytest.raises(EngineError, match=re.compile("lacks|other content")):
        pushed(repository, saved)
    assert proxy.count("PUT", "/manifests/") == 0


def chunks(content: bytes) -> Generator[bytes, None, None]:
    yield content


@pytest.mark.parametrize("format", FORMATS)
def test_a_flipped_byte_anywhere_is_an_error_or_does_not_matter(repository: Repository, format: Format) -> None:
    saved = SavedImage((some(3_000), some(700), some(3_000)), format)
    raw = saved.tar()
    failures = 0
    for number, at in enumerate(range(0, len(raw), 431)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        try:
            push_image(saved.image, partial(chunks, bytes(flipped)), repository, str(number))
        except EngineError:
            failures += 1
            with pytest.raises(NotFound):
                repository.resolve(str(number))
        else:
            assert stored(repository, str(number)) == (saved.config, list(saved.layers))
    assert failures > 10


def test_config_of_other_layers_than_the_engine_lists_is_an_error(repository: Repository) -> None:
    other = SavedImage((BASE,)).config
    with pytest.raises(EngineError, match="other layers"):
        pushed(repository, SavedImage(LAYERS, config=other))


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_registry_that_refuses_ends_the_push(repository: Repository, proxy: FaultyProxy, method: str) -> None:
    proxy.inject(respond_with(400), method=method, path="/blobs/uploads/", after=1)
    with pytest.raises(RegistryError, match="a made-up 400"):
        pushed(repository, SavedImage((*LAYERS, *(some(3_000, seed) for seed in range(20)))))
    assert proxy.count("PUT", "/manifests/") == 0


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("fault", [close_connection, lose_response])
def test_connection_lost_once_is_no_failure_and_completed_layers_are_not_sent_again(
    repository: Repository, proxy: FaultyProxy, cache: LayerCache, method: str, fault: object
) -> None:
    proxy.inject(fault, method=method, path="/blobs/uploads/", after=1, times=1)  # type: ignore[arg-type]
    saved = SavedImage(LAYERS)
    pushed(repository, saved, cache=cache)
    assert stored(repository) == (saved.config, list(LAYERS))


def test_connection_that_is_always_lost_is_a_failure(repository: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(close_connection, method="PATCH")
    saved = SavedImage(LAYERS)
    with pytest.raises(ConnectionLost):
        pushed(repository, saved)
    assert saved.reads == len(retry.REPEAT_DELAYS) + 1


def test_layer_whose_end_was_not_confirmed_is_known_all_the_same(repository: Repository, proxy: FaultyProxy, cache: LayerCache) -> None:
    """The cache has it before the registry does: who is killed in between sends nothing twice."""
    proxy.inject(lose_response, method="PUT", path="/blobs/uploads/", times=1)
    pushed(repository, SavedImage((BASE,)), cache=cache)
    assert count_uploads(proxy) == 2, "a layer and a config"
