from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from registry_tool.base.progress import Silent
from registry_tool.oci.digest import Digest
from registry_tool.targets import layer_cache
from registry_tool.targets.layer_cache import CompressedLayer, LayerCache

LAYER = CompressedLayer(digest=Digest.of(b"compressed"), size=10, plain_size=20)
PLAIN = str(Digest.of(b"plain"))
NAME = "localhost:5000/john/app"


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_layers_are_known_by_repository_and_diff_id_at_once_and_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "layers.sqlite"
    with LayerCache(path) as first:
        first.put(NAME, PLAIN, LAYER)
        with LayerCache(path) as second:
            assert second.find(NAME, [PLAIN, str(Digest.of(b"other"))]) == {PLAIN: LAYER}
            assert second.find(f"{NAME}2", [PLAIN]) == {}
    assert path.stat().st_mode & 0o077 == 0
    other = CompressedLayer(digest=Digest.of(b"other"), size=1)
    with LayerCache(path) as third:
        third.put(NAME, PLAIN, other)
        assert third.find(NAME, [PLAIN]) == {PLAIN: other}
        assert third.find_elsewhere("localhost:5000", [PLAIN]) == {PLAIN: ("john/app", other)}
        assert third.find_elsewhere("localhost:500", [PLAIN]) == {}
        assert third.has([PLAIN, PLAIN])
        assert not third.has([PLAIN, str(Digest.of(b"other"))])


def test_layers_are_known_whatever_repository_they_were_pushed_to() -> None:
    with LayerCache() as nothing:
        assert not nothing.has([PLAIN])


def test_without_a_path_nothing_is_kept() -> None:
    with LayerCache() as cache:
        cache.put(NAME, PLAIN, LAYER)
        assert cache.find(NAME, [PLAIN]) == {}


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_file_is_noted_and_replaced_by_the_next_run(tmp_path: Path, content: bytes) -> None:
    path, notes = tmp_path / "layers.sqlite", Notes()
    path.write_bytes(content)
    with LayerCache(path, notes) as cache:
        cache.put(NAME, PLAIN, LAYER)
        assert cache.find(NAME, [PLAIN]) == {}
    assert len(notes.notes) == 1
    with LayerCache(path, notes) as cache:
        cache.put(NAME, PLAIN, LAYER)
        assert cache.find(NAME, [PLAIN]) == {PLAIN: LAYER}
    assert len(notes.notes) == 1


def test_a_folder_that_cannot_be_made_and_another_version_are_noted(tmp_path: Path) -> None:
    notes = Notes()
    (tmp_path / "file").write_bytes(b"")
    with LayerCache(tmp_path / "file" / "layers.sqlite", notes) as cache:
        cache.put(NAME, PLAIN, LAYER)
        assert cache.find(NAME, [PLAIN]) == {}
    path = tmp_path / "layers.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with LayerCache(path, notes) as cache:
        assert cache.find(NAME, [PLAIN]) == {}
    assert len(notes.notes) == 2
    assert path.exists()


def test_rows_that_are_none_are_as_if_absent(tmp_path: Path) -> None:
    path = tmp_path / "layers.sqlite"
    with LayerCache(path) as cache:
        cache.put(NAME, PLAIN, LAYER)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE layer SET digest = 'sha256:1'")
    db.close()
    with LayerCache(path) as cache:
        assert cache.find(NAME, [PLAIN]) == {}


def test_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_cache, "MAX_ROWS", 10)
    path = tmp_path / "layers.sqlite"
    names = [str(Digest.of(bytes([number]))) for number in range(12)]
    with LayerCache(path) as cache:
        for name in names:
            cache.put(NAME, name, LAYER)
    with LayerCache(path) as cache:
        assert list(cache.find(NAME, names)) == names[4:]
