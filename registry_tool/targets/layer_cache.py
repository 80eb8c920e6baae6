"""Which compressed layer each plain one became in a repository: a cache, believed only where the registry still has the blob."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from registry_tool.base.progress import SILENT, Observer
from registry_tool.oci.digest import Digest

VERSION = 1
MAX_ROWS = 20_000
"""Of the file: a few megabytes. Beyond that the oldest third is deleted."""

_BUSY = 2.0
"""Seconds to wait for another process that writes."""
_TABLE = """
    CREATE TABLE IF NOT EXISTS layer (
        repository TEXT NOT NULL, diff_id TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, plain_size INTEGER NOT NULL,
        PRIMARY KEY (repository, diff_id)
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedLayer:
    """Digest and size of a layer as a registry stores it, and its bytes before compression (0 where they are not known)."""

    digest: Digest
    size: int
    plain_size: int = 0


class LayerCache:
    """The cache in the file at ``path``; None: one that stores nothing. Threads may share it. Never raises; ``observer`` gets one note."""

    def __init__(self, path: Path | None = None, observer: Observer = SILENT) -> None:
        self._path = path
        self._observer = observer
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        if path is not None:
            with self._lock:
                self._open(path)

    def __enter__(self) -> LayerCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._close()

    def find(self, repository: str, diff_ids: Iterable[str]) -> Mapping[str, CompressedLayer]:
        """Diff id -> the layer in ``repository`` (``HOST/PATH``), for those that are cached."""
        found: dict[str, CompressedLayer] = {}
        with self._lock:
            for diff_id in diff_ids:
                query = "SELECT digest, size, plain_size FROM layer WHERE repository = ? AND diff_id = ?"
                for row in self._execute(query, (repository, diff_id)):
                    layer = _layer(row)
                    if layer is not None:
                        found[diff_id] = layer
        return found

    def find_elsewhere(self, host: str, diff_ids: Iterable[str]) -> Mapping[str, tuple[str, CompressedLayer]]:
        """Diff id -> the last repository of ``host`` that it was pushed to (its path), and the layer there."""
        found: dict[str, tuple[str, CompressedLayer]] = {}
        prefix = f"{host}/"
        query = """
            SELECT digest, size, plain_size, repository FROM layer WHERE diff_id = ? AND substr(repository, 1, ?) = ?
            ORDER BY rowid DESC LIMIT 1
        """
        with self._lock:
            for diff_id in diff_ids:
                for *row, repository in self._execute(query, (diff_id, len(prefix), prefix)):
                    layer = _layer(tuple(row))
                    if layer is not None:
                        found[diff_id] = (str(repository).removeprefix(prefix), layer)
        return found

    def has(self, diff_ids: Iterable[str]) -> bool:
        """Whether all were pushed, to whatever repository."""
        with self._lock:
            return all(self._execute("SELECT 1 FROM layer WHERE diff_id = ? LIMIT 1", (diff_id,)) for diff_id in set(diff_ids))

    def put(self, repository: str, diff_id: str, layer: CompressedLayer) -> None:
        """Keep what ``diff_id`` is in ``repository``; at once, as the process may be killed."""
        values = (repository, diff_id, str(layer.digest), layer.size, layer.plain_size)
        with self._lock:
            self._execute("INSERT OR REPLACE INTO layer VALUES (?, ?, ?, ?, ?)", values)

    # --- inside, with the lock ---

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                self._disable(f"it is of another version ({version})")
                return
            if version == 0:
                self._db.execute(_TABLE)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("PRAGMA synchronous = OFF")
            (rows,) = self._db.execute("SELECT count(*) FROM layer").fetchone()
            if rows > MAX_ROWS:
                self._db.execute("DELETE FROM layer WHERE rowid IN (SELECT rowid FROM layer ORDER BY rowid LIMIT ?)", (rows // 3,))
        except sqlite3.DatabaseError as error:
            self._disable(str(error), damaged=not isinstance(error, sqlite3.OperationalError))
        except OSError as error:
            self._disable(error.strerror or str(error))

    def _execute(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        if self._db is None:
            return []
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._disable(str(error), damaged=not isinstance(error, sqlite3.OperationalError))
            return []

    def _disable(self, why: str, *, damaged: bool = False) -> None:
        self._close()
        if damaged and self._path is not None:
            # The next run makes a new one.
            self._path.unlink(missing_ok=True)
        self._observer.note(f"the cache {self._path} is not used: {why}")

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _layer(row: tuple[object, ...]) -> CompressedLayer | None:
    digest, size, plain_size = row
    try:
        parsed = Digest.parse(digest) if isinstance(digest, str) else None
    except ValueError:
        return None
    if parsed is None or not isinstance(size, int) or not isinstance(plain_size, int):
        return None
    return CompressedLayer(digest=parsed, size=size, plain_size=plain_size)
