"""Caches of manifests and configs by digest. Whatever is wrong with the one on disk costs requests and one note to a person, no more."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from registry_tool.base import files
from registry_tool.base.progress import SILENT, Observer
from registry_tool.oci.digest import Digest

VERSION = 1
"""Of the tables. A file of another version is left alone."""
MAX_ENTRY = 1 << 20
"""Bytes of one entry; larger content is rare, and not worth its room."""
MAX_TOTAL = 256 << 20
"""Bytes of the file, about. Beyond that the oldest third is deleted."""

_BATCH = 256
_BUSY = 2.0
"""Seconds to wait for another process that writes; that takes milliseconds."""
_SETUP = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS content (digest TEXT NOT NULL UNIQUE, bytes BLOB NOT NULL);
    PRAGMA user_version = {VERSION};
    COMMIT;
"""


class Cache(Protocol):
    """Small content of an earlier run, by its digest. Threads may share it."""

    def get(self, digest: Digest) -> bytes | None:
        """The content of ``digest``, None where it is not cached."""

    def put(self, digest: Digest, content: bytes) -> None:
        """Cache ``content``, whose digest is ``digest``."""


class NoCache:
    """Cache that stores nothing."""

    def get(self, digest: Digest) -> bytes | None:
        """None."""
        return None

    def put(self, digest: Digest, content: bytes) -> None:
        """Discard ``content``."""


class MemoryCache:
    """Cache in memory, on top of ``below``."""

    def __init__(self, below: Cache | None = None) -> None:
        self._below = below or NoCache()
        self._contents: dict[Digest, bytes] = {}

    def get(self, digest: Digest) -> bytes | None:
        """The content of ``digest``, None where neither has it."""
        return self._contents.get(digest) or self._below.get(digest)

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep ``content`` in both."""
        self._contents[digest] = content
        self._below.put(digest, content)


class ContentCache:
    """Cache in the file at ``path``, for many threads and processes, written in batches. Never raises; ``observer`` gets one note."""

    def __init__(self, path: Path, observer: Observer = SILENT) -> None:
        self._path = path
        self._lock_file = path.with_name(f"{path.name}.lock")
        self._observer = observer
        self._lock = threading.Lock()
        self._pending: dict[Digest, bytes] = {}
        self._writable = True
        self._noted = False
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        with self._lock:
            self._open()

    def __enter__(self) -> ContentCache:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def get(self, digest: Digest) -> bytes | None:
        """The content of ``digest``, None where it is not cached."""
        with self._lock:
            content = self._pending.get(digest)
            if content is None and (row := self._execute("SELECT bytes FROM content WHERE digest = ?", (str(digest),))):
                content = row[0] if isinstance(row[0], bytes) else None
        if content is None or Digest.of(content, digest.algorithm) == digest:
            return content
        with self._lock:
            self._execute("DELETE FROM content WHERE digest = ?", (str(digest),))
        return None

    def put(self, digest: Digest, content: bytes) -> None:
        """Cache ``content``, whose digest is ``digest``."""
        if len(content) > MAX_ENTRY:
            return
        with self._lock:
            if self._db is None or not self._writable:
                return
            self._pending[digest] = content
            if len(self._pending) >= _BATCH:
                self._write()

    def close(self) -> None:
        """Write what is pending, and close the file."""
        with self._lock:
            self._write()
            self._trim()
            self._close_db()

    # --- inside, with the lock ---

    def _open(self, *, recreated: bool = False) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Whoever reads it reads what private registries hold.
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._inode = os.fstat(handle).st_ino
            os.close(handle)
            self._db = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            version = self._version(self._db)
            if version == 0:
                # Processes that switch to WAL at once do not wait for each other as those that write do.
                with nullcontext() if recreated else files.lock(self._lock_file):
                    version = self._set_up(self._db)
            if version != VERSION:
                return self._disable(f"it is of another version ({version})")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            self._disable(str(error))
        except sqlite3.DatabaseError as error:
            if recreated:
                self._disable(str(error))
            else:
                self._recreate(str(error))
        except OSError as error:
            self._disable(error.strerror or str(error))

    def _set_up(self, db: sqlite3.Connection) -> int:
        version = self._version(db)
        if version == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SETUP)
        return version or VERSION

    @staticmethod
    def _version(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA user_version").fetchone()[0])

    def _recreate(self, why: str) -> None:
        """Replace a damaged file by an empty one, unless another process has done so already."""
        self._close_db()
        try:
            with files.lock(self._lock_file):
                if self._path.stat().st_ino == self._inode:
                    for suffix in ("", "-wal", "-shm"):
                        self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._open(recreated=True)
        except OSError as error:
            self._disable(error.strerror or str(error))
        if self._db is not None:
            self._note(f"the cache {self._path} was damaged ({why}): it is recreated")

    def _execute(self, statement: str, values: tuple[str, ...]) -> tuple[object, ...] | None:
        if self._db is None:
            return None
        try:
            row: tuple[object, ...] | None = self._db.execute(statement, values).fetchone()
        except sqlite3.OperationalError as error:
            self._disable(str(error))
        except sqlite3.DatabaseError as error:
            self._recreate(str(error))
        else:
            return row
        return None

    def _write(self) -> None:
        pending, self._pending = self._pending, {}
        if self._db is None or not pending:
            return
        rows = [(str(digest), content) for digest, content in pending.items()]
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR IGNORE INTO content VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:
            # Busy, full or read-only: what is in it can still be read.
            self._writable = False
            self._note(f"the cache {self._path} cannot be written, nothing more is kept: {error}")
        except sqlite3.DatabaseError as error:
            self._recreate(str(error))

    def _trim(self) -> None:
        if self._db is None or not self._writable:
            return
        try:
            pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
            if (pages - free) * size > MAX_TOTAL:
                self._db.execute("DELETE FROM content WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 3 FROM content)")
        except sqlite3.DatabaseError as error:
            self._note(f"the cache {self._path} cannot be made smaller: {error}")

    def _disable(self, why: str) -> None:
        self._close_db()
        self._note(f"the cache {self._path} is not used: {why}")

    def _close_db(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _note(self, text: str) -> None:
        if not self._noted:
            self._noted = True
            self._observer.note(text)
