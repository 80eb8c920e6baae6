"""Archives that the program writes: their bytes, what interrupts the writing, and what is in the way."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from registry_tool.base.errors import Conflict, InvalidArchive, Mismatch, RegistryToolError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.targets.archive import ArchiveWriter, open_archive
from registry_tool.targets.archive import writer as archive_writer
from registry_tool.targets.layout.layout import PARTIAL
from tests.support.paths import ROOT
from tests.support.sample_archives import APP, BASE, IMAGE, LAYER, OTHER, put, write


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


# --- killed ---

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from registry_tool.targets.archive import writer
from tests.support.sample_archives import BASE, APP, put
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
