"""Archives in volumes: written, read as one file, and refused where a volume is missing or is not what it should be."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry_tool.base.errors import InvalidArchive, Mismatch, NotFound, RegistryToolError
from registry_tool.targets.archive import ArchiveWriter, open_archive, volumes
from registry_tool.targets.archive.volumes import VolumeReader, VolumeWriter
from registry_tool.targets.layout.layout import PARTIAL
from tests.support.paths import ROOT
from tests.support.sample_archives import APP, BASE, IMAGE, OTHER, put, read_all, write

NAME = "localhost:5000/a:1"
SIZE = 5000


def write_volumes(path: Path, *layers: bytes, size: int = SIZE) -> list[Path]:
    """Write an image of these layers; returns the volumes."""
    with ArchiveWriter(path, volume_size=size) as writer:
        put(writer, NAME, *layers)
        writer.commit()
    assert list(writer.files) == sorted(path.parent.glob(f"{path.name}.*"))
    return list(writer.files)


def content_of(path: Path) -> dict[str, tuple[str, list[bytes]]]:
    with open_archive(path) as opened:
        return read_all(opened)


@pytest.mark.parametrize("size", [700, 1024, SIZE, 1 << 20])
def test_volumes_in_a_row_are_the_archive(tmp_path: Path, size: int) -> None:
    whole = write(tmp_path / "whole.tar", a=(BASE, APP))
    (tmp_path / "images.tar.900").write_bytes(b"of an earlier one")
    (tmp_path / "images.tar").write_bytes(b"an earlier one")
    written = write_volumes(tmp_path / "images.tar", BASE, APP, size=size)
    assert [path.name for path in written] == [f"images.tar.{number:03}" for number in range(1, -(-len(whole) // size) + 1)]
    assert b"".join(path.read_bytes() for path in written) == whole
    for path in (tmp_path / "images.tar", written[0]):
        assert content_of(path) == {NAME: (IMAGE.id, [BASE, APP])}
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(path.name for path in written), "whole.tar"]


def test_volumes_of_an_archive_that_is_compressed_are_read(tmp_path: Path) -> None:
    raw = write(tmp_path / "images.tar", a=(BASE, APP))
    packed = subprocess.run(["gzip", "-nc"], input=raw, capture_output=True, check=True).stdout
    for number, at in enumerate(range(0, len(packed), 100), 1):
        (tmp_path / f"images.tgz.{number:03}").write_bytes(packed[at : at + 100])
    assert content_of(tmp_path / "images.tgz.001") == {NAME: (IMAGE.id, [BASE, APP])}


@pytest.mark.parametrize("number", [1, 2, -1])
def test_volume_that_is_missing_is_named(tmp_path: Path, number: int) -> None:
    written = write_volumes(tmp_path / "images.tar", BASE, APP)
    assert len(written) > 3
    missing = written[number - 1 if number > 0 else number]
    missing.unlink()
    # That the last one is missing shows in the tar alone.
    message = rf"{missing.name} is missing: {written[-1].name} is there" if number > 0 else "is cut"
    for path in (tmp_path / "images.tar", written[0]):
        with pytest.raises(InvalidArchive, match=message) as caught:
            open_archive(path)
        assert caught.value.hint in ("Copy the volumes again.", "Are its volumes complete, in their order, and of one export?")


def test_no_volume_at_all_is_no_file(tmp_path: Path) -> None:
    for name in ("images.tar", "images.tar.001", "images.tar.002"):
        with pytest.raises(NotFound, match=f"there is no file .*{name}"):
            open_archive(tmp_path / name)


def test_later_volume_is_not_the_archive(tmp_path: Path) -> None:
    written = write_volumes(tmp_path / "images.tar", BASE, APP)
    with pytest.raises(InvalidArchive, match=r"images\.tar\.002 is a volume of an archive") as caught:
        open_archive(written[1])
    assert caught.value.hint == f"Name {written[0]}."


@pytest.mark.parametrize("first", range(3))
def test_volumes_in_another_order_are_refused(tmp_path: Path, first: int) -> None:
    written = write_volumes(tmp_path / "images.tar", BASE, APP)
    one, other = written[first], written[first + 1]
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    with pytest.raises((InvalidArchive, Mismatch, NotFound)):
        content_of(written[0])


def test_volume_of_another_export_is_refused(tmp_path: Path) -> None:
    written = write_volumes(tmp_path / "images.tar", BASE, APP)
    others = write_volumes(tmp_path / "others.tar", BASE, OTHER)
    for mine, other in zip(written, others, strict=True):
        raw = mine.read_bytes()
        if other.read_bytes() == raw:
            continue
        mine.write_bytes(other.read_bytes())
        with pytest.raises((InvalidArchive, Mismatch, NotFound)):
            content_of(written[0])
        mine.write_bytes(raw)
    assert content_of(written[0]) == {NAME: (IMAGE.id, [BASE, APP])}


@pytest.mark.parametrize(("number", "change"), [(1, -1), (2, -1), (2, 1), (-1, SIZE)])
def test_volume_of_another_size_is_named(tmp_path: Path, number: int, change: int) -> None:
    written = write_volumes(tmp_path / "images.tar", BASE, APP)
    changed = written[number - 1 if number > 0 else number]
    raw = changed.read_bytes()
    changed.write_bytes(raw[:change] if change < 0 else raw + bytes(change))
    with pytest.raises(InvalidArchive, match=r"bytes, and images\.tar\.001 .*: one of them is cut, or of another archive"):
        open_archive(written[0])


def test_full_disk_keeps_the_earlier_volumes_and_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "images.tar"
    earlier = {file: file.read_bytes() for file in write_volumes(path, BASE)}
    with ArchiveWriter(path, volume_size=SIZE) as writer:
        put(writer, NAME, BASE, APP)
        monkeypatch.setattr(VolumeWriter, "write", full)
        with pytest.raises(RegistryToolError, match="cannot be written: No space left") as caught:
            writer.commit()
        monkeypatch.undo()
        assert caught.value.hint == "What was read is kept: run it again to go on."
        assert writer.files == ()
        assert list((writer.folder / PARTIAL).iterdir()) == []
        assert {file: file.read_bytes() for file in tmp_path.glob("images.tar.*")} == earlier
        writer.commit()
    assert content_of(path) == {NAME: (IMAGE.id, [BASE, APP])}


def test_more_volumes_than_there_are_numbers_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "MAX_VOLUMES", 3)
    with ArchiveWriter(tmp_path / "images.tar", volume_size=1000) as writer:
        put(writer, NAME, BASE, APP)
        with pytest.raises(RegistryToolError, match="it would have more than 3 volumes of 1,000 bytes"):
            writer.commit()
    assert list(tmp_path.glob("images.tar*")) == []


def test_volumes_can_be_read_from_any_position(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"012", b"", b"3456"), strict=True):
        path.write_bytes(content)
    with VolumeReader(paths) as reader:
        assert [reader.read_at(size, at) for size, at in ((7, 0), (9, 2), (1, 3), (5, 7), (0, 0))] == [b"0123456", b"23456", b"3", b"", b""]
        assert (reader.seek(-2, io.SEEK_END), reader.read(), reader.tell()) == (5, b"56", 7)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from registry_tool.targets.archive import writer
from tests.support.sample_archives import BASE, APP, put
left = int(sys.argv[2])
def counted(function):
    def killed(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return killed
made = writer.ArchiveWriter(Path(sys.argv[1]), volume_size=5000)
put(made, "localhost:5000/a:1", BASE, APP)
for name in ("unlink", "replace"):
    setattr(Path, name, counted(getattr(Path, name)))
writer._add = counted(writer._add)
made.commit()
print(left)
"""


def killed_commit(path: Path, moment: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", KILLED, str(path), str(moment), str(ROOT)]
    return subprocess.run(command, capture_output=True, cwd=ROOT, timeout=600)


def test_kill_at_any_moment_leaves_a_whole_archive_or_none_and_the_next_run_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    steps = 1000 - int(killed_commit(tmp_path / "whole.tar", 1000).stdout)
    assert steps > 10
    for moment in (0, 3, steps // 2, steps // 2 + 2, steps - 3, steps - 1):
        write_volumes(path, OTHER)
        done = killed_commit(path, moment)
        assert done.returncode == -9, done.stderr
        if not list(tmp_path.glob("images.tar.001")):
            with pytest.raises((NotFound, InvalidArchive), match="there is no file|is missing"):
                open_archive(path)
        else:
            assert [BASE, APP] in [layers for _, layers in content_of(path).values()] or content_of(path)[NAME][1] == [OTHER]
        written = write_volumes(path, BASE, APP)
        assert content_of(path) == {NAME: (IMAGE.id, [BASE, APP])}
        assert sorted(tmp_path.glob("*images*")) + sorted(tmp_path.glob(".images*")) == written
