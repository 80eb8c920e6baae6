from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_tool.base import progress
from registry_tool.oci.digest import Digest
from registry_tool.targets import cache
from registry_tool.targets.cache import ContentCache
from tests.support.paths import ROOT


class Notes(progress.Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "content.sqlite"


@pytest.fixture
def notes() -> Notes:
    return Notes()


def content(number: int) -> bytes:
    return f"content {number} ".encode() * 20


def fill(path: Path, count: int = 3) -> None:
    with ContentCache(path) as kept:
        for number in range(count):
            kept.put(Digest.of(content(number)), content(number))


def cached(path: Path, notes: Notes, count: int = 3) -> list[bool]:
    """Which of the contents are cached; each must be right."""
    with ContentCache(path, notes) as kept:
        contents = [kept.get(Digest.of(content(number))) for number in range(count)]
    assert all(one in (None, content(number)) for number, one in enumerate(contents))
    return [one is not None for one in contents]


# --- what may be wrong with it ---


@pytest.mark.parametrize("rubbish", [b"rubbish" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_damaged_file_is_recreated_with_one_note(path: Path, notes: Notes, rubbish: bytes) -> None:
    fill(path)
    path.write_bytes(rubbish)
    assert cached(path, notes) == [False] * 3
    assert len(notes.texts) == 1
    assert f"the cache {path} was damaged" in notes.texts[0]
    fill(path)
    assert cached(path, Notes()) == [True] * 3


def test_damaged_page_is_noticed_while_reading(path: Path, notes: Notes) -> None:
    fill(path, 500)
    raw = bytearray(path.read_bytes())
    for page in range(2, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(raw)
    assert not all(cached(path, notes, 500))
    assert len(notes.texts) == 1


def test_content_with_another_digest_is_not_returned(path: Path, notes: Notes) -> None:
    fill(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE content SET bytes = ? WHERE digest = ?", (b"other", str(Digest.of(content(0)))))
        db.execute("UPDATE content SET bytes = 7 WHERE digest = ?", (str(Digest.of(content(1))),))
    db.close()
    assert cached(path, notes) == [False, False, True]
    assert notes.texts == []
    fill(path, 1)
    assert cached(path, notes) == [True, False, True]


def test_file_of_another_version_is_left_alone(path: Path, notes: Notes) -> None:
    fill(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    assert cached(path, notes) == [False] * 3
    assert notes.texts == [f"the cache {path} is not used: it is of another version (99)"]
    assert path.read_bytes() == before


def test_tables_of_another_program_are_not_used(path: Path, notes: Notes) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE content (something)")
    db.close()
    assert cached(path, notes) == [False] * 3
    assert len(notes.texts) == 1


@pytest.mark.parametrize("obstacle", ["a file", "a folder"])
def test_unusable_path_disables_the_cache(tmp_path: Path, notes: Notes, obstacle: str) -> None:
    path = tmp_path / "taken"
    if obstacle == "a file":
        path.write_text("")
        path = path / "content.sqlite"
    else:
        path.mkdir()
    with ContentCache(path, notes) as kept:
        kept.put(Digest.of(b"x"), b"x")
        assert kept.get(Digest.of(b"x")) is None
    assert len(notes.texts) == 1
    assert "is not used" in notes.texts[0]


def test_full_database_can_still_be_read(path: Path, notes: Notes) -> None:
    fill(path)
    with ContentCache(path, notes) as kept:
        assert kept._db is not None
        kept._db.execute(f"PRAGMA max_page_count = {kept._db.execute('PRAGMA page_count').fetchone()[0]}")
        for number in range(3, 1000):
            kept.put(Digest.of(content(number)), content(number))
        assert kept.get(Digest.of(content(0))) == content(0)
    assert len(notes.texts) == 1
    assert "cannot be written, nothing more is kept: database or disk is full" in notes.texts[0]


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("mount"), reason="needs root and mount")
def test_full_disk_and_read_only_file_cost_one_note(tmp_path: Path, notes: Notes) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        fill(disk / "content.sqlite", 2000)
        assert subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True).returncode == 0
        cached(disk / "content.sqlite", notes, 10)
        assert len(notes.texts) == 1
    finally:
        subprocess.run(["umount", disk], check=True)


# --- what it is for ---


def test_content_put_is_there_in_the_next_run(path: Path, notes: Notes) -> None:
    assert cached(path, notes) == [False] * 3
    fill(path)
    fill(path)
    assert cached(path, notes, 4) == [True, True, True, False]
    assert notes.texts == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pending_content_can_be_read(path: Path) -> None:
    with ContentCache(path) as kept:
        kept.put(Digest.of(b"x"), b"x")
        assert kept.get(Digest.of(b"x")) == b"x"
        kept.put(Digest.of(b"y"), b"not y")
        assert kept.get(Digest.of(b"y")) is None


def test_sha512_digests_are_cached(path: Path) -> None:
    digest = Digest.of(b"x", "sha512")
    with ContentCache(path) as kept:
        kept.put(digest, b"x")
    with ContentCache(path) as kept:
        assert kept.get(digest) == b"x"


def test_closed_cache_does_nothing(path: Path, notes: Notes) -> None:
    kept = ContentCache(path, notes)
    kept.close()
    kept.put(Digest.of(b"x"), b"x")
    assert kept.get(Digest.of(b"x")) is None
    kept.close()
    assert notes.texts == []


def test_large_content_is_not_cached_and_the_oldest_is_deleted(path: Path, monkeypatch: pytest.MonkeyPatch, notes: Notes) -> None:
    large = b"x" * (cache.MAX_ENTRY + 1)
    with ContentCache(path) as kept:
        kept.put(Digest.of(large), large)
        assert kept.get(Digest.of(large)) is None
    monkeypatch.setattr(cache, "MAX_TOTAL", 64 << 10)
    fill(path, 300)
    there = cached(path, notes, 300)
    assert not there[0]
    assert there[-1]
    assert 150 < sum(there) < 250


def test_threads_share_one_cache(path: Path) -> None:
    with ContentCache(path) as kept, ThreadPoolExecutor(8) as threads:

        def use(number: int) -> bool:
            kept.put(Digest.of(content(number)), content(number))
            return kept.get(Digest.of(content(number))) == content(number)

        assert all(threads.map(use, range(1000)))
    assert all(cached(path, Notes(), 1000))


PROCESS = """
import sys
from pathlib import Path
from registry_tool.oci.digest import Digest
from registry_tool.targets import cache
from registry_tool.targets.cache import ContentCache
from tests.unit.targets.test_cache import Notes, content

cache._BUSY = 600.0  # on a busy machine one of ten may wait for long, and would go on without the cache
notes = Notes()
number = int(sys.argv[2])
for round in range(5):
    with ContentCache(Path(sys.argv[1]), notes) as kept:
        for one in range(number * 100, number * 100 + 300):
            held = kept.get(Digest.of(content(one)))
            assert held in (None, content(one))
            kept.put(Digest.of(content(one)), content(one))
print(notes.texts)
"""


@pytest.fixture
def ten(path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Ten processes that use one cache at once."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(path), str(number)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(10)
    ]
    yield running
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_ten_processes_share_one_file(ten: list[subprocess.Popen[str]], path: Path, notes: Notes) -> None:
    for process in ten:
        output, errors = process.communicate(timeout=600)
        assert (process.returncode, errors) == (0, "")
        assert output == "[]\n"
    assert all(cached(path, notes, 1200))
    assert notes.texts == []
