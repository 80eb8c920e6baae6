"""An image layout in a folder: names, locks, what killed writers leave, damage, and what other tools write."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry_tool.base.errors import Conflict, InvalidManifest, Mismatch, NotFound, RegistryToolError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, Manifest
from registry_tool.targets.layout import Layout

LAYER = "application/vnd.oci.image.layer.v1.tar"


def described(content: bytes, media_type: str = LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def push(layout: Layout, content: bytes, media_type: str = LAYER) -> Descriptor:
    descriptor = described(content, media_type)
    layout.push(descriptor, io.BytesIO(content))
    return descriptor


def image(layout: Layout, tag: str | None, *layers: bytes, config: bytes = b"{}", subject: Descriptor | None = None) -> Manifest:
    made = manifests.image(push(layout, config, OCI_CONFIG), [push(layout, layer) for layer in layers], subject=subject)
    layout.push_manifest(made, tag)
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def entries(folder: Path) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return listed


# --- what is in the folder ---


def test_folder_is_an_image_layout(tmp_path: Path) -> None:
    with Layout.open(tmp_path / "new" / "layout", write=True) as layout:
        made = image(layout, "localhost:5000/john/app:1", b"layer")
    folder = tmp_path / "new" / "layout"
    assert sorted(tree(folder)) == sorted(
        ["oci-layout", "index.json", *(f"blobs/sha256/{Digest.of(content).hex}" for content in (b"{}", b"layer", made.raw))]
    )
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert entries(folder) == [
        {
            "mediaType": OCI_IMAGE,
            "digest": str(made.digest),
            "size": len(made.raw),
            "annotations": {
                "org.opencontainers.image.ref.name": "localhost:5000/john/app:1",
                "io.containerd.image.name": "localhost:5000/john/app:1",
            },
        }
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o644}


def test_order_of_writing_does_not_show(tmp_path: Path) -> None:
    for name, tags in (("one", "abc"), ("other", "cab")):
        with Layout.open(tmp_path / name, write=True) as layout:
            for tag in tags:
                image(layout, tag, tag.encode())
                image(layout, None, tag.encode(), config=b'{"untagged": "yes"}')
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_bare_tag_is_no_whole_name(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        image(layout, "1.0")
    assert entries(tmp_path)[0]["annotations"] == {"org.opencontainers.image.ref.name": "1.0"}


def test_images_of_an_index_have_no_entries_of_their_own(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        children = [image(layout, None, content).descriptor for content in (b"one", b"other")]
        kept = image(layout, "kept", b"one")
        index = manifests.index(children)
        layout.push_manifest(index, "v1")
        image(layout, None, b"other")
        assert [(image.name, image.descriptor.digest) for image in layout.images] == [("kept", kept.digest), ("v1", index.digest)]


def test_referrers_are_no_images(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        subject = image(layout, None, b"image")
        referrer = image(layout, None, b"signature", subject=subject.descriptor)
        assert [image.descriptor.digest for image in layout.images] == [subject.digest]
        assert layout.only().descriptor == subject.descriptor
        assert layout.referrers(subject.descriptor) == (referrer.referrer,)


def test_the_only_image_needs_no_name(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        with pytest.raises(NotFound, match="no image"):
            layout.only()
        made = image(layout, "a")
        layout.push_manifest(made, "b")
        assert layout.only().descriptor == made.descriptor
        image(layout, "c", b"other")
        with pytest.raises(Conflict, match="2 images") as caught:
            layout.only()
        assert caught.value.hint == "Name one of them: b, c"


# --- what other tools write ---


def foreign(folder: Path, *entries: dict[str, object], **members: object) -> None:
    (folder / "oci-layout").write_text('{ "imageLayoutVersion": "1.0.0" }\n')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries, **members}, indent=3))
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)


def stored(folder: Path, content: bytes) -> dict[str, object]:
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / "sha256" / Digest.of(content).hex).write_bytes(content)
    return {"mediaType": OCI_IMAGE, "digest": str(Digest.of(content)), "size": len(content)}


RAW = manifests.image(described(b"{}", OCI_CONFIG), []).raw
OTHER = manifests.image(described(b"{}", OCI_CONFIG), [described(b"x")]).raw
DOCKER_NAMES = {"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"}


def test_names_of_docker_podman_skopeo_and_crane_are_found(tmp_path: Path) -> None:
    annotated = {"annotations": {"org.opencontainers.image.ref.name": "localhost/app:latest", "org.example": "kept"}}
    foreign(tmp_path, stored(tmp_path, RAW) | {"annotations": DOCKER_NAMES}, stored(tmp_path, OTHER) | annotated)
    layout = Layout.open(tmp_path)
    assert layout.tags() == ("docker.io/library/app:1", "localhost/app:latest")
    for name in ("docker.io/library/app:1", "1"):
        assert layout.manifest(name).raw == RAW
    assert layout.manifest("localhost/app:latest").raw == OTHER
    with Layout.open(tmp_path, write=True) as writing:
        image(writing, "new")
    kept = [entry for entry in entries(tmp_path) if entry["digest"] == str(Digest.of(OTHER))]
    assert kept == [stored(tmp_path, OTHER) | annotated]


def test_name_of_several_images_is_refused(tmp_path: Path) -> None:
    other = {"io.containerd.image.name": "docker.io/library/other:1", "org.opencontainers.image.ref.name": "1"}
    foreign(tmp_path, stored(tmp_path, RAW) | {"annotations": DOCKER_NAMES}, stored(tmp_path, OTHER) | {"annotations": other})
    with pytest.raises(Conflict, match="2 images have the name 1") as caught:
        Layout.open(tmp_path).resolve("1")
    assert caught.value.hint == "Name one of them: docker.io/library/app:1, docker.io/library/other:1"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("index.json", b""),
        ("index.json", b"[]"),
        ("index.json", b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","mediaType":"a","size":1}]}'),
        ("index.json", b'{"schemaVersion":2,"manifests":[{"mediaType":"a","size":1}]}'),
        ("index.json", b" " * (5 << 20)),
        ("index.json", None),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'),
        ("oci-layout", b"{}"),
        ("oci-layout", b"\xff"),
        ("oci-layout", None),
    ],
)
def test_what_is_no_layout_is_named(tmp_path: Path, file: str, content: bytes | None) -> None:
    foreign(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidManifest) as caught:
        Layout.open(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Conflict, match="not an image layout"):
        Layout.open(tmp_path, write=True)
    with pytest.raises(Conflict, match="is a file"):
        Layout.open(tmp_path / "letter.txt", write=True)
    assert tree(tmp_path) == {"letter.txt": b"dear"}
    with pytest.raises(NotFound):
        Layout.open(tmp_path / "nowhere")


def test_layout_open_to_be_read_is_not_written_to(tmp_path: Path) -> None:
    foreign(tmp_path)
    layout = Layout.open(tmp_path)
    with pytest.raises(ValueError, match="read only"):
        push(layout, b"x")


# --- damage ---


def damage(folder: Path, digest: Digest, content: bytes) -> None:
    (folder / "blobs" / "sha256" / digest.hex).write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"laye", b"layeR", b"layer and more"])
def test_damaged_blob_is_noticed_while_it_is_read(tmp_path: Path, content: bytes) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        image(layout, "v1", b"layer")
        damage(tmp_path, Digest.of(b"layer"), content)
        assert layout.exists(described(b"layer")) is (len(content) == 5)
        with pytest.raises(Mismatch), layout.fetch(described(b"layer")) as stream:
            while stream.read(2):
                pass
        push(layout, b"layer")
        with layout.fetch(described(b"layer")) as stream:
            assert stream.read() == b"layer"


def test_damaged_manifest_is_a_mismatch_and_no_obstacle_to_others(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        damaged, whole = image(layout, "damaged", b"layer"), image(layout, "whole")
    damage(tmp_path, damaged.digest, b"{}")
    layout = Layout.open(tmp_path)
    with pytest.raises(Mismatch, match="other bytes"):
        layout.manifest("damaged")
    assert layout.manifest("whole").raw == whole.raw
    assert layout.referrers(whole.descriptor) == ()
    (tmp_path / "blobs" / "sha256" / damaged.digest.hex).unlink()
    with pytest.raises(NotFound, match="is not in"):
        layout.resolve("damaged")


def test_wrong_media_type_in_the_index_is_an_invalid_manifest(tmp_path: Path) -> None:
    foreign(tmp_path, stored(tmp_path, RAW) | {"mediaType": OCI_INDEX, "annotations": DOCKER_NAMES})
    with pytest.raises(InvalidManifest):
        Layout.open(tmp_path).manifest("1")


def test_blob_that_is_a_pipe_or_a_folder_is_not_there(tmp_path: Path) -> None:
    foreign(tmp_path)
    os.mkfifo(tmp_path / "blobs" / "sha256" / Digest.of(b"pipe").hex)
    (tmp_path / "blobs" / "sha256" / Digest.of(b"folder").hex).mkdir()
    for content in (b"pipe", b"folder"):
        layout = Layout.open(tmp_path)
        assert not layout.exists(described(content))
        with pytest.raises(NotFound), layout.fetch(described(content)):
            pass


# --- deletion ---


def test_deletion_takes_what_no_other_image_has(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        image(layout, "kept", b"base", config=b'{"kept": "yes"}')
        before = tree(tmp_path)
        children = [image(layout, None, b"base", own).descriptor for own in (b"one", b"other")]
        index = manifests.index(children)
        layout.push_manifest(index, "v1")
        layout.push_manifest(index, "v2")
        layout.delete(index.descriptor)
    assert tree(tmp_path) == before


def test_deletion_beside_a_damaged_manifest_takes_no_blobs(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        damaged, gone = image(layout, "damaged", b"base"), image(layout, "gone", b"base", b"more")
    damage(tmp_path, damaged.digest, b"?")
    with Layout.open(tmp_path, write=True) as layout:
        layout.delete(gone.descriptor)
        assert layout.tags() == ("damaged",)
        assert layout.exists(described(b"base"))


@pytest.mark.parametrize("hidden", ["deep", "unknown"])
def test_deletion_beside_what_cannot_be_looked_into_takes_no_blobs(tmp_path: Path, hidden: str) -> None:
    """An image of the folder has a blob of the deleted one, below more indexes than are read or in a child of another media type."""
    with Layout.open(tmp_path, write=True) as layout:
        made = manifests.image(push(layout, b'{"kept": "yes"}', OCI_CONFIG), [push(layout, b"base")])
        top = push(layout, made.raw, OCI_IMAGE if hidden == "deep" else "application/vnd.docker.distribution.manifest.v3+json")
        for _ in range(16 if hidden == "deep" else 0):
            top = push(layout, manifests.index([top]).raw, OCI_INDEX)
        layout.push_manifest(manifests.index([top]), "kept")
        gone = image(layout, "gone", b"base", b"more")
    with Layout.open(tmp_path, write=True) as layout:
        layout.delete(gone.descriptor)
        assert layout.tags() == ("kept",)
        assert layout.exists(described(b"base"))


def test_deletion_beside_an_index_of_layers_takes_what_no_other_image_has(tmp_path: Path) -> None:
    """As caches of builds are."""
    with Layout.open(tmp_path, write=True) as layout:
        layout.push_manifest(manifests.index([push(layout, b"cached")]), "cache")
        gone = image(layout, "gone", b"cached", b"more")
        layout.delete(gone.descriptor)
        assert layout.exists(described(b"cached"))
        assert not layout.exists(described(b"more"))


# --- two at a time, and the end of one ---


def test_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        reader = Layout.open(tmp_path)
        assert reader.tags() == ()
        with pytest.raises(Conflict, match="another process writes"):
            Layout.open(tmp_path, write=True)
        image(layout, "v1")
        assert reader.tags() == ("v1",)
    with Layout.open(tmp_path, write=True) as layout:
        assert layout.tags() == ("v1",)


def test_threads_share_a_layout(tmp_path: Path) -> None:
    with Layout.open(tmp_path, write=True) as layout:
        threads = [threading.Thread(target=image, args=(layout, f"v{number}", b"base", bytes([number]))) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(layout.tags()) == sorted(f"v{number}" for number in range(16))
        assert all(layout.exists(layer) for tag in layout.tags() for layer in layout.manifest(tag).layers)


WRITER = """
import io, sys
from pathlib import Path
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.layout import Layout

class Stuck:
    def read(self, size=-1):
        print("writing", flush=True)
        return b"x" if not sys.stdin.read(1) else b""

layout = Layout.open(Path(sys.argv[1]), write=True)
layout.push(Descriptor(media_type="a", digest=Digest.of(b"whole"), size=5), io.BytesIO(b"whole"))
layout.push(Descriptor(media_type="a", digest=Digest.of(b"never"), size=99), Stuck())
"""


def test_after_a_kill_the_next_writer_finds_whole_blobs_and_removes_the_others(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        with pytest.raises(Conflict):
            Layout.open(tmp_path, write=True)
        (tmp_path / ".index.json.abc.part").write_bytes(b"half")
        process.kill()
    assert list((tmp_path / ".registry-tool.part").iterdir())
    with Layout.open(tmp_path, write=True) as layout:
        assert layout.exists(described(b"whole"))
    assert sorted(tree(tmp_path)) == [f"blobs/sha256/{Digest.of(b'whole').hex}", "index.json", "oci-layout"]


@pytest.mark.parametrize("beginning", [b"", b'{"imageLay'])
def test_writer_killed_at_its_first_write_does_no_harm(tmp_path: Path, beginning: bytes) -> None:
    (tmp_path / "oci-layout").write_bytes(beginning)
    with Layout.open(tmp_path, write=True) as layout:
        image(layout, "v1")
    assert Layout.open(tmp_path).tags() == ("v1",)


@pytest.mark.parametrize("call", ["fsync", "fchmod", "replace"])
def test_full_disk_at_any_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Layout.open(tmp_path, write=True) as layout:
        image(layout, "v1", b"one")
        before = tree(tmp_path)
        monkeypatch.setattr(Path if call == "replace" else os, call, full)
        with pytest.raises(RegistryToolError, match="cannot be written: No space left on device"):
            image(layout, "v2", b"other")
        monkeypatch.undo()
        assert tree(tmp_path) == before
        image(layout, "v2", b"other")


def test_source_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionError("gone")

    with Layout.open(tmp_path, write=True) as layout:
        with pytest.raises(ConnectionError):
            layout.push(described(b"abc"), Broken())
        assert not list((tmp_path / ".registry-tool.part").iterdir())
