"""Archives of images: those of engines and tools, ours, and what is damaged or means harm."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_tool.base import compression
from registry_tool.base.errors import Conflict, InvalidArchive, InvalidManifest, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, Manifest
from registry_tool.targets.archive import Archive, ArchiveWriter, archive, open_archive
from registry_tool.targets.archive import writer as archive_writer
from registry_tool.targets.layout import Layout
from registry_tool.targets.layout.layout import PARTIAL
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
from tests.support.paths import ROOT

LAYER = "application/vnd.oci.image.layer.v1.tar"
BASE, APP, OTHER = plain_layer(b"base"), plain_layer(b"app"), plain_layer(b"other")
IMAGE = SavedImage(names=("localhost:5000/app:1",), layers=(BASE, APP))
SECOND = SavedImage(names=("localhost:5000/other:1", "localhost:5000/other:latest"), layers=(BASE, OTHER, OTHER), label="second")


def read_all(archive: Archive) -> dict[str, tuple[str, list[bytes]]]:
    """Name -> (image id, layers as they were before compression)."""
    images = {}
    for image in archive.images:
        manifest = archive.manifest(image.descriptor.digest)
        layers = []
        for layer in manifest.layers:
            with archive.fetch(layer) as content:
                raw = b""
            while piece := content.read(1000):
                raw += piece
            layers.append(gzip.decompress(raw) if layer.media_type.endswith("+gzip") else raw)
        assert manifest.config is not None
        with archive.fetch(manifest.config) as content:
            content.read()
        images[image.name or ""] = str(manifest.config.digest), layers
    return images


EXPECTED = {name: (image.id, list(image.layers)) for image in (IMAGE, SECOND) for name in image.names}


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


# --- ours ---


def put(layout: Layout, name: str | None, *layers: bytes, config: bytes | None = None) -> Manifest:
    """Push an image as copying does: what is there is not pushed."""
    blobs = [
        (config if config is not None else SavedImage(names=(), layers=layers).config, OCI_CONFIG),
        *((layer, LAYER) for layer in layers),
    ]
    descriptors = [Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content)) for content, media_type in blobs]
    for descriptor, (content, _) in zip(descriptors, blobs, strict=True):
        if not layout.exists(descriptor):
            layout.push(descriptor, io.BytesIO(content))
    manifest = manifests.image(descriptors[0], descriptors[1:])
    layout.push_manifest(manifest, name)
    return manifest


def write(path: Path, **images: tuple[bytes, ...]) -> bytes:
    with ArchiveWriter(path) as writer:
        for name, layers in images.items():
            put(writer, f"localhost:5000/{name}:1", *layers)
        writer.commit()
    return path.read_bytes()


def documents(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as made:
        return {member.name: made.extractfile(member).read() for member in made}  # type: ignore[union-attr]


def test_same_images_in_any_order_make_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one.tar", a=(BASE, APP), b=(BASE, OTHER))
    assert write(tmp_path / "other.tar", b=(BASE, OTHER), a=(BASE, APP)) == one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tar", "other.tar"]
    with tarfile.open(fileobj=io.BytesIO(one)) as made:
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in made} == {(0, 0, 0, "", 0o644)}


def test_archive_is_docker_s_and_a_layout(tmp_path: Path) -> None:
    files = documents(write(tmp_path / "images.tar", a=(BASE, APP)))
    assert list(files)[:4] == ["oci-layout", "index.json", "manifest.json", "SHA256SUMS"]
    (image,) = json.loads(files["manifest.json"])
    assert image["RepoTags"] == ["localhost:5000/a:1"]
    assert files[image["Config"]] == IMAGE.config
    assert [files[path] for path in image["Layers"]] == [BASE, APP]
    for line in files["SHA256SUMS"].decode().splitlines():
        expected, name = line.split("  ")
        assert Digest.of(files[name]).hex == expected


def test_docker_reads_one_image_of_an_index(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "images.tar") as writer:
        arm, amd = put(writer, None, BASE), put(writer, None, APP)
        platforms = {arm.digest: Platform(os="linux", architecture="arm64"), amd.digest: Platform(os="linux", architecture="amd64")}
        children = [
            Descriptor(media_type=each.descriptor.media_type, digest=each.digest, size=len(each.raw), platform=platforms[each.digest])
            for each in (arm, amd)
        ]
        writer.push_manifest(manifests.index(children), "localhost:5000/a:1")
        writer.commit()
    (image,) = json.loads(documents((tmp_path / "images.tar").read_bytes())["manifest.json"])
    assert amd.config is not None
    assert (image["Config"], image["RepoTags"]) == (f"blobs/sha256/{amd.config.digest.hex}", ["localhost:5000/a:1"])


def test_name_that_docker_does_not_know_is_left_to_the_layout(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "images.tar") as writer:
        put(writer, "1.0", BASE)
        writer.commit()
    assert json.loads(documents((tmp_path / "images.tar").read_bytes())["manifest.json"])[0]["RepoTags"] is None
    with open_archive(tmp_path / "images.tar") as opened:
        assert opened.tags() == ("1.0",)


def test_known_layers_are_left_out_and_named(tmp_path: Path) -> None:
    full = write(tmp_path / "one.tar", a=(BASE, APP))
    with open_archive(tmp_path / "one.tar") as first, ArchiveWriter(tmp_path / "delta.tar", known=first.digests) as writer:
        put(writer, "localhost:5000/a:2", BASE, OTHER)
        assert writer.commit() == {Digest.of(BASE)}
    files = documents((tmp_path / "delta.tar").read_bytes())
    assert f"blobs/sha256/{Digest.of(BASE).hex}" not in files
    assert f"blobs/sha256/{Digest.of(OTHER).hex}" in files
    assert "manifest.json" not in files, "docker could not load it"
    with open_archive(tmp_path / "delta.tar") as opened:
        assert opened.needs == {Digest.of(BASE)}
        assert opened.digests & {Digest.of(BASE), Digest.of(OTHER)} == {Digest.of(OTHER)}
    assert len(full) > 0


def test_without_a_commit_there_is_no_archive_and_the_next_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(b"an earlier one")
    with ArchiveWriter(path) as writer:
        put(writer, "localhost:5000/gone:1", BASE)
    assert path.read_bytes() == b"an earlier one"
    with ArchiveWriter(path) as writer:
        assert writer.exists(Descriptor(media_type=LAYER, digest=Digest.of(BASE), size=len(BASE)))
        put(writer, "localhost:5000/a:1", BASE, APP)
        with pytest.raises(Conflict, match=r"another process writes to .*images\.tar"):
            ArchiveWriter(path)
        writer.commit()
    assert path.read_bytes() == write(tmp_path / "fresh.tar", a=(BASE, APP))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh.tar", "images.tar"]


def test_writer_that_has_ended_takes_nothing_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with ArchiveWriter(path) as first:
        put(first, "localhost:5000/a:1", APP)
        first.commit()
        second = ArchiveWriter(path)
    with second:
        put(second, "localhost:5000/a:1", BASE)
        second.commit()
    assert path.read_bytes() == write(tmp_path / "fresh.tar", a=(BASE,))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh.tar", "images.tar"]


def test_blob_that_an_interrupted_command_left_damaged_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with ArchiveWriter(path) as writer:
        put(writer, "localhost:5000/a:1", BASE)
    (tmp_path / ".images.tar.part" / "blobs" / "sha256" / Digest.of(BASE).hex).write_bytes(bytes(len(BASE)))
    for expected in (pytest.raises(Mismatch), None):
        with ArchiveWriter(path) as writer:
            put(writer, "localhost:5000/a:1", BASE)
            if expected is not None:
                with expected:
                    writer.commit()
                assert not path.exists()
            else:
                writer.commit()
    assert path.read_bytes() == write(tmp_path / "fresh.tar", a=(BASE,))


def test_disk_that_is_full_while_the_archive_is_written_keeps_what_was_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "images.tar"
    with ArchiveWriter(path) as writer:
        put(writer, "localhost:5000/a:1", BASE)
        monkeypatch.setattr(archive_writer, "_add", full)
        with pytest.raises(RegistryToolError, match="cannot be written: No space left") as caught:
            writer.commit()
        monkeypatch.undo()
        assert caught.value.hint == "What was read is kept: run it again to go on."
        assert list((writer.folder / PARTIAL).iterdir()) == []
        writer.commit()
    assert path.exists()


def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.tar").symlink_to(tmp_path / "target.tar")
    write(tmp_path / "link.tar", a=(BASE,))
    assert (tmp_path / "link.tar").is_symlink()
    assert (tmp_path / "target.tar").read_bytes() == write(tmp_path / "fresh.tar", a=(BASE,))


def test_missing_content_makes_no_archive(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "images.tar") as writer:
        made = put(writer, "localhost:5000/a:1", BASE)
        (writer.folder / "blobs" / "sha256" / Digest.of(BASE).hex).unlink()
        with pytest.raises(InvalidArchive, match=f"{Digest.of(BASE)} is missing, which {made.digest} names"):
            writer.commit()
    assert not (tmp_path / "images.tar").exists()


def test_pipe_gets_the_same_bytes_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    stream = io.BytesIO()
    with ArchiveWriter(stream) as writer:
        put(writer, "localhost:5000/a:1", BASE)
        temporary = writer.folder.parent
        assert temporary.parent == tmp_path / "tmp"
        assert temporary.name.startswith(f"registry-tool-{os.getuid()}-"), "where the next one finds it"
        writer.commit()
    assert stream.getvalue() == write(tmp_path / "images.tar", a=(BASE,))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_folder_is_no_archive_to_write(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is a folder"):
        ArchiveWriter(tmp_path)


def test_full_disk_is_named() -> None:
    """/dev/full refuses every write."""
    with ArchiveWriter(Path("/dev/full")) as writer:
        put(writer, "localhost:5000/a:1", BASE)
        with pytest.raises(RegistryToolError, match="cannot be written: No space left"):
            writer.commit()


# --- a flipped byte, and a cut, anywhere ---


def is_as_written(raw: bytes) -> bool:
    """Whether all that can be read of an archive is what was written; raises where damage is noticed."""
    with open_archive(io.BytesIO(raw)) as opened:
        return read_all(opened) == EXPECTED


def ours() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_images(Path(folder) / "images.tar")


def write_images(path: Path) -> bytes:
    with ArchiveWriter(path) as writer:
        for image in (IMAGE, SECOND):
            for name in image.names:
                put(writer, name, *image.layers, config=image.config)
        writer.commit()
    return path.read_bytes()


OURS = ours()


@settings(max_examples=300)
@given(at=st.integers(0, len(OURS) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_is_noticed_or_harmless(at: int, flipped: int) -> None:
    damaged = bytearray(OURS)
    damaged[at] ^= flipped
    try:
        assert is_as_written(bytes(damaged))
    except (InvalidArchive, InvalidManifest, Mismatch, NotFound):
        return


@settings(max_examples=100)
@given(end=st.integers(0, len(OURS) - 1))
def test_archive_that_is_cut_anywhere_is_refused(end: int) -> None:
    # The very last block of zeros says nothing.
    with pytest.raises(InvalidArchive):
        open_archive(io.BytesIO(OURS[:end]))


DOCKERS = tar_of(docker_save(IMAGE, SECOND))


@settings(max_examples=100)
@given(at=st.integers(0, len(DOCKERS) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_of_docker_save_changes_no_content(at: int, flipped: int) -> None:
    """Its ``manifest.json`` has no checksum, so names may change unnoticed; configs and layers may not."""
    damaged = bytearray(DOCKERS)
    damaged[at] ^= flipped
    try:
        with open_archive(io.BytesIO(bytes(damaged))) as opened:
            read = read_all(opened)
    except (RegistryToolError, ValueError):
        return
    assert all(image in EXPECTED.values() for image in read.values())


CRANES = tar_of(crane_pull(IMAGE))


@settings(max_examples=150)
@given(at=st.integers(0, len(CRANES) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_of_a_compressed_layer_without_a_digest_is_noticed(at: int, flipped: int) -> None:
    damaged = bytearray(CRANES)
    damaged[at] ^= flipped
    try:
        with open_archive(io.BytesIO(bytes(damaged))) as opened:
            read = read_all(opened)
    except (RegistryToolError, ValueError):
        return
    assert all(image in EXPECTED.values() for image in read.values())


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


# --- killed ---

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from registry_tool.targets.archive import writer
from tests.unit.targets.test_archive import BASE, APP, put
made = writer.ArchiveWriter(Path(sys.argv[1]))
put(made, "localhost:5000/a:1", BASE, APP)
left = int(sys.argv[2])
add = writer._add
def killed(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    add(*args)
writer._add = killed
made.commit()
"""


@pytest.mark.parametrize("members", [0, 3, 6])
def test_kill_while_the_archive_is_written_leaves_none_and_the_next_run_succeeds(tmp_path: Path, members: int) -> None:
    path = tmp_path / "images.tar"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(members), str(ROOT)], capture_output=True, cwd=ROOT)
    assert done.returncode == -9, done.stderr
    assert not path.exists()
    raw = write(path, a=(BASE, APP))
    assert raw == write(tmp_path / "fresh.tar", a=(BASE, APP))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh.tar", "images.tar"]
