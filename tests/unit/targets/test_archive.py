"""Archives of engines and tools are read; those that are damaged or mean harm are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from registry_tool.base import compression
from registry_tool.base.errors import InvalidArchive, InvalidManifest, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.targets.archive import archive, open_archive
from tests.support.archives import (
    Members,
    SavedImage,
    crane_pull,
    docker_save,
    link,
    oci_save,
    plain_layer,
    podman_save,
    tar_of,
    write_tar,
)
from tests.support.content import zstd_packed
from tests.support.sample_archives import APP, BASE, EXPECTED, IMAGE, OTHER, SECOND, read_all

# --- what engines and tools write ---


@pytest.mark.parametrize(
    ("members", "count"),
    [
        (docker_save(IMAGE, SECOND), 2),
        (oci_save(IMAGE, SECOND), 2),
        (oci_save(IMAGE, SECOND, compressed="gzip"), 2),
        (crane_pull(IMAGE), 1),
        (podman_save(IMAGE), 1),
    ],
    ids=["docker 20.10", "docker 25", "containerd's store", "crane", "podman"],
)
@pytest.mark.parametrize("packed", ["plain", "gzip", "zstd"])
def test_archive_is_read_with_its_image_ids(tmp_path: Path, members: Members, count: int, packed: str) -> None:
    raw = tar_of(members, folders=["blobs/", "blobs/sha256/"])
    path = tmp_path / "images.tar"
    path.write_bytes({"plain": raw, "gzip": gzip.compress(raw), "zstd": zstd_packed(raw)}[packed])
    with open_archive(path) as opened:
        assert read_all(opened) == (EXPECTED if count == 2 else {IMAGE.names[0]: (IMAGE.id, [BASE, APP])})
    with path.open("rb") as stream, open_archive(io.BytesIO(stream.read())) as opened:
        assert len(opened.images) == (3 if count == 2 else 1)


def test_same_image_of_docker_save_has_the_same_manifest_each_time(tmp_path: Path) -> None:
    digests = []
    for images in ((IMAGE, SECOND), (SECOND, IMAGE)):
        with open_archive(write_tar(tmp_path / "images.tar", docker_save(*images))) as opened:
            digests.append({image.name: image.descriptor.digest for image in opened.images})
    assert digests[0] == digests[1]


def test_manifest_of_docker_save_is_what_docker_25_would_write(tmp_path: Path) -> None:
    old, new = (write_tar(tmp_path / name, members) for name, members in (("old.tar", docker_save(IMAGE)), ("new.tar", oci_save(IMAGE))))
    with open_archive(old) as first, open_archive(new) as second:
        assert first.only().descriptor.media_type == second.only().descriptor.media_type
        one, other = first.manifest(IMAGE.names[0]), second.manifest(IMAGE.names[0])
    assert (one.config, one.layers) == (other.config, other.layers)


def test_image_without_a_name_is_the_only_one(tmp_path: Path) -> None:
    with open_archive(write_tar(tmp_path / "images.tar", docker_save(SavedImage(names=(), layers=(BASE,))))) as opened:
        assert opened.only().name is None
        assert opened.tags() == ()


def test_names_are_found_as_docker_shortens_them(tmp_path: Path) -> None:
    image = SavedImage(names=("docker.io/library/app:latest",), layers=(BASE,))
    with open_archive(write_tar(tmp_path / "images.tar", oci_save(image))) as opened:
        for name in ("docker.io/library/app:latest", "app:latest", "app", "latest"):
            assert opened.resolve(name) == opened.only().descriptor
        with pytest.raises(NotFound) as caught:
            opened.resolve("app:2")
    assert caught.value.hint == "There are: docker.io/library/app:latest"


def test_tar_of_a_folder_with_dots_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_of(oci_save(IMAGE), folders=["", "blobs"], prefix="./"))
    with open_archive(path) as opened:
        assert list(read_all(opened)) == [IMAGE.names[0]]


def test_pipe_is_read(tmp_path: Path) -> None:
    raw = tar_of(docker_save(IMAGE))
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writing = threading.Thread(target=fifo.write_bytes, args=(raw,))
    writing.start()
    with open_archive(fifo) as opened:
        assert list(read_all(opened)) == [IMAGE.names[0]]
    writing.join()


def test_threads_read_at_the_same_time(tmp_path: Path) -> None:
    results = []
    with open_archive(write_tar(tmp_path / "images.tar", oci_save(IMAGE, SECOND))) as opened:
        with pytest.raises(UsageError, match="cannot be changed"):
            opened.delete(opened.images[0].descriptor)
        threads = [threading.Thread(target=lambda: results.append(read_all(opened))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [EXPECTED] * 8


# --- what means harm ---


@pytest.mark.parametrize(
    "evil",
    [
        {"../evil": b"x"},
        {"a/../../evil": b"x"},
        {"/etc/evil": b"x"},
        {"evil": link("/etc/passwd")},
        {"a/evil": link("../../etc/passwd")},
        {"evil": link("nowhere")},
        {"evil": link("blobs")},
        {"evil": link("evil")},
        {"evil": link("manifest.json"), "worse": link("evil")},
        {"evil": link("manifest.json", tarfile.CHRTYPE)},
        {"evil": link("", tarfile.FIFOTYPE)},
        {"evil": link("/etc/passwd", tarfile.LNKTYPE)},
        {"evil": link("../etc/passwd", tarfile.LNKTYPE)},
    ],
    ids=lambda evil: " ".join(
        f"{name}-{content.linkname if isinstance(content, tarfile.TarInfo) else ''}" for name, content in evil.items()
    ),
)
def test_paths_links_and_devices_that_lead_out_are_refused(tmp_path: Path, evil: Members) -> None:
    for members in (docker_save(IMAGE), oci_save(IMAGE)):
        with pytest.raises(InvalidArchive):
            open_archive(write_tar(tmp_path / "images.tar", members | evil))
    assert [path.name for path in tmp_path.iterdir()] == ["images.tar"]


def test_hard_link_to_a_file_is_followed(tmp_path: Path) -> None:
    members = docker_save(IMAGE, SECOND)
    hard = {
        path: link(os.path.normpath(f"{path}/../{content.linkname}"), tarfile.LNKTYPE)
        for path, content in members.items()
        if isinstance(content, tarfile.TarInfo)
    }
    assert hard
    with open_archive(write_tar(tmp_path / "images.tar", members | hard)) as opened:
        assert read_all(opened) == EXPECTED


def test_path_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as made:
        for content in (b"one", b"other"):
            entry = tarfile.TarInfo("index.json")
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    with pytest.raises(InvalidArchive, match="twice"):
        open_archive(io.BytesIO(raw.getvalue()))


@pytest.mark.parametrize("packed", [gzip.compress, zstd_packed])
def test_bomb_is_not_unpacked_to_its_end(monkeypatch: pytest.MonkeyPatch, packed: Callable[[bytes], bytes]) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(InvalidArchive, match="unpacks to more than"):
        open_archive(io.BytesIO(packed(bytes(64 << 20))))


@pytest.mark.parametrize("size", [100, 3_000_000], ids=["at the end", "at once"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["from a pipe", "compressed"])
def test_no_room_to_unpack_is_named_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: Callable[[bytes], bytes], size: int
) -> None:
    raw = packed(tar_of(oci_save(SavedImage(names=IMAGE.names, layers=(plain_layer(os.urandom(size)),)))))
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RegistryToolError, match=f"the archive cannot be unpacked in {tmp_path}: No space left") as caught:
        open_archive(io.BytesIO(raw))
    assert caught.value.hint == "TMPDIR names another folder."


@pytest.mark.parametrize("end", [-1, -30, 40])
@pytest.mark.parametrize("packed", [gzip.compress, zstd_packed])
def test_compressed_archive_that_is_cut_is_refused(packed: Callable[[bytes], bytes], end: int) -> None:
    with pytest.raises(InvalidArchive):
        open_archive(io.BytesIO(packed(tar_of(oci_save(IMAGE)))[:end]))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "manifest.json"),
        (b"[", "manifest.json"),
        (b'{"Config": "x"}', "manifest.json"),
        (b'[{"Layers": []}]', "Config: missing"),
        (b'[{"Config": "nowhere.json", "Layers": []}]', "not whole: 'nowhere.json' is not in it"),
        (b'[{"Config": "config.json", "Layers": []}]', "there are 0, and 2 in the config"),
        (b'[{"Config": "config.json", "Layers": ["a", "b"]}]', "'a' is not in it"),
        (b'[{"Config": "config.json", "Layers": ["../a", "b"]}]', "'../a' is not in it"),
        (b'[{"Config": 1}]', "a string is required"),
        (b'[], "more": []', "not supported"),
    ],
)
def test_manifest_json_that_is_wrong_is_named(tmp_path: Path, document: bytes, message: str) -> None:
    members: Members = {"config.json": IMAGE.config, "manifest.json": document}
    with pytest.raises(InvalidArchive) as caught:
        open_archive(write_tar(tmp_path / "images.tar", members))
    assert message in caught.value.message


def test_config_that_is_not_what_it_is_called_is_a_mismatch(tmp_path: Path) -> None:
    members = docker_save(IMAGE)
    members[f"{IMAGE.id[7:]}.json"] = SECOND.config
    with pytest.raises(Mismatch, match="another digest"):
        open_archive(write_tar(tmp_path / "images.tar", members))


def test_layer_that_is_not_its_diff_id_is_a_mismatch(tmp_path: Path) -> None:
    members = podman_save(IMAGE)
    members[next(iter(members))] = OTHER
    with open_archive(write_tar(tmp_path / "images.tar", members)) as opened, pytest.raises(Mismatch):
        read_all(opened)


@pytest.mark.parametrize("members", [{}, {"file": b"x"}, {"index.json": b"{}"}, {"oci-layout": b"{}", "blobs/sha256/x": b""}])
def test_tar_of_something_else_is_named(tmp_path: Path, members: Members) -> None:
    with pytest.raises(InvalidArchive, match="has no images"):
        open_archive(write_tar(tmp_path / "images.tar", members))


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear " * 1000)
    with pytest.raises(InvalidArchive):
        open_archive(tmp_path / "letter.txt")
    with pytest.raises(UsageError, match="is a folder"):
        open_archive(tmp_path)
    with pytest.raises(NotFound):
        open_archive(tmp_path / "nowhere.tar")
    with pytest.raises(InvalidManifest, match=r"index\.json"):
        open_archive(write_tar(tmp_path / "images.tar", {"oci-layout": b"{}", "index.json": b"[]"}))


def test_size_of_a_manifest_that_lies_is_a_mismatch(tmp_path: Path) -> None:
    members = oci_save(IMAGE)
    index = json.loads(members["index.json"])  # type: ignore[arg-type]
    index["manifests"][0]["size"] = 7
    with open_archive(write_tar(tmp_path / "images.tar", members | {"index.json": json.dumps(index).encode()})) as opened:
        for reference in (IMAGE.names[0], index["manifests"][0]["digest"]):
            with pytest.raises(Mismatch, match="bytes, not 7"):
                opened.resolve(reference)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lzma.compress(b"x"), "is compressed with xz, which is not read"),
        (bz2.compress(b"x"), "is compressed with bzip2, which is not read"),
        (b"<html>", "is no archive of images: it has 6 bytes"),
    ],
    ids=["xz", "bzip2", "page"],
)
def test_what_cannot_be_a_tar_is_named(content: bytes, message: str) -> None:
    with pytest.raises(InvalidArchive, match=message):
        open_archive(io.BytesIO(content))


def test_compressed_layer_that_cannot_be_unpacked_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = crane_pull(IMAGE)
    for name, layer in ((name, content) for name, content in members.items() if name.endswith(".tar.gz") and isinstance(content, bytes)):
        members[name] = zstd_packed(gzip.decompress(layer))
    path = write_tar(tmp_path / "images.tar", members)
    with open_archive(path) as opened:
        assert opened.images
    monkeypatch.setattr(compression, "CAN_ZSTD", False)
    with pytest.raises(InvalidArchive, match=r"cannot be verified \(zstd\): Python was built without zstd"):
        open_archive(path)


def test_compressed_layer_that_unpacks_to_another_is_a_mismatch(tmp_path: Path) -> None:
    members = crane_pull(IMAGE)
    name = next(name for name in members if name.endswith(".tar.gz"))
    for content, message in ((gzip.compress(OTHER), "unpacks to"), (gzip.compress(BASE)[:-3], "cannot be unpacked")):
        with pytest.raises(Mismatch, match=message):
            open_archive(write_tar(tmp_path / "images.tar", members | {name: content}))
