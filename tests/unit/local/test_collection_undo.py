from __future__ import annotations

from pathlib import Path
from typing import cast

from registry_tool.engine import Engine
from registry_tool.local.collection import CollectionSource, undo
from registry_tool.local.collection.undo import CollectionUndo
from registry_tool.local.collection.worker import Worker


class RecordedWorker:
    """Answers as a volume with these records would; empty: a folder without one."""

    def __init__(self, records: dict[str, str]) -> None:
        self._records = records

    def run(self, script: str, *arguments: str) -> str:
        return self._records[arguments[0].rpartition("/")[2]] if arguments else "\n".join(self._records)


def record(id: str, until: int) -> str:
    return CollectionUndo(id=id, created=0, until=until, blobs={}, revisions=(), layers=()).to_record().decode()


def test_record_of_a_newer_version_or_that_is_damaged_does_not_expire() -> None:
    newer = record("b", 10).replace('"version": 1', '"version": 2')
    records = {"a": record("a", 10), "b": newer, "c": "{", "d": "", "e": record("e", 99), "f": record("other", 10)}
    worker = cast("Worker", RecordedWorker(records))
    assert undo.expired(worker, now=50) == ("a", "d")


def test_entries_of_no_registries_ask_the_engine_for_nothing(tmp_path: Path) -> None:
    no_engine = cast("Engine", None)
    assert CollectionSource(no_engine, (), state=tmp_path).entries() == ()
