"""Small content kept from one run to the next: manifests and configs, by their digests.

A cache, not a record. What is found is compared with its digest before anybody sees it, and a shelf that is damaged,
read-only, full, busy or of another version is one with less on it: that costs requests, and one word to a person.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from types import TracebackType

from registry_tool.base import files
from registry_tool.base.progress import SILENT, Observer
from registry_tool.oci.digest import Digest

VERSION = 1
"""Of the tables. A file of another one is left to the tool that made it."""
MAX_ENTRY = 1 << 20
"""Bytes of what is kept; what is larger is rare, and not worth its room."""
MAX_TOTAL = 256 << 20
"""Bytes of the file, about. Beyond that the oldest third goes."""

_BATCH = 256
_BUSY = 2.0
"""Seconds to wait for another process that writes; it is done in milliseconds."""
_SETUP = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS content (digest TEXT NOT NULL UNIQUE, bytes BLOB NOT NULL);
    PRAGMA user_version = {VERSION};
    COMMIT;
"""


class ContentCache:
    """The shelf in the file at ``path``, for many threads and many processes. Nothing here raises.

    ``observer`` gets the one word where something is wrong with it. What was put there is written in batches, and
    when the shelf is closed.
    """

    def __init__(self, path: Path, observer: Observer = SILENT) -> None:
        self._path = path
        self._lock_file = path.with_name(f"{path.name}.lock")
        self._observer = observer
        self._lock = threading.Lock()
        self._waiting: dict[Digest, bytes] = {}
        self._writable = True
        self._said = False
        self._line: sqlite3.Connection | None = None
        self._inode = 0
        with self._lock:
            self._open()

    def __enter__(self) -> ContentCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def get(self, digest: Digest) -> bytes | None:
        """The content of ``digest``, None where it is not at hand."""
        with self._lock:
            found = self._waiting.get(digest) or self._select(digest)
        if found is None or Digest.of(found, digest.algorithm) == digest:
            return found
        with self._lock:
            self._execute("DELETE FROM content WHERE digest = ?", (str(digest),))
        return None

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep ``content``, which is ``digest``'s: what is not is kept in vain."""
        if len(content) > MAX_ENTRY:
            return
        with self._lock:
            if self._line is None or not self._writable:
                return
            self._waiting[digest] = content
            if len(self._waiting) >= _BATCH:
                self._write()

    def close(self) -> None:
        """Write what waits, and be done."""
        with self._lock:
            self._write()
            self._trim()
            line, self._line = self._line, None
            if line is not None:
                line.close()

    # --- inside, with the lock ---

    def _open(self, *, again: bool = False) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Whoever can read it can read what private registries hold.
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._inode = os.fstat(handle).st_ino
            os.close(handle)
            self._line = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            version = self._version(self._line)
            if version == 0 and not again:
                # Two who switch to WAL at once do not wait for each other as two who write do.
                with files.lock(self._lock_file):
                    version = self._set_up(self._line)
            elif version == 0:
                version = self._set_up(self._line)
            if version != VERSION:
                return self._do_without(f"it is of another version ({version})")
            self._line.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            self._do_without(str(error))
        except sqlite3.DatabaseError as error:
            if again:
                self._do_without(str(error))
            else:
                self._begin_anew(str(error))
        except OSError as error:
            self._do_without(error.strerror or str(error))

    def _set_up(self, line: sqlite3.Connection) -> int:
        version = self._version(line)
        if version == 0:
            line.execute("PRAGMA journal_mode = WAL")
            line.executescript(_SETUP)
        return version or VERSION

    @staticmethod
    def _version(line: sqlite3.Connection) -> int:
        return int(line.execute("PRAGMA user_version").fetchone()[0])

    def _begin_anew(self, why: str) -> None:
        """Put an empty one in the place of a damaged file, unless another process has done so already."""
        self._drop_line()
        try:
            with files.lock(self._lock_file):
                if self._path.stat().st_ino == self._inode:
                    for suffix in ("", "-wal", "-shm"):
                        self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._open(again=True)
        except OSError as error:
            self._do_without(error.strerror or str(error))
        if self._line is not None:
            self._say(f"the cache {self._path} was damaged ({why}): it is begun anew")

    def _select(self, digest: Digest) -> bytes | None:
        row = self._execute("SELECT bytes FROM content WHERE digest = ?", (str(digest),))
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def _execute(self, statement: str, values: tuple[str, ...]) -> tuple[object, ...] | None:
        if self._line is None:
            return None
        try:
            row: tuple[object, ...] | None = self._line.execute(statement, values).fetchone()
        except sqlite3.OperationalError as error:
            self._do_without(str(error))
        except sqlite3.DatabaseError as error:
            self._begin_anew(str(error))
        else:
            return row
        return None

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if self._line is None or not waiting:
            return
        rows = [(str(digest), content) for digest, content in waiting.items()]
        try:
            with self._line:
                self._line.execute("BEGIN IMMEDIATE")
                self._line.executemany("INSERT OR IGNORE INTO content VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:
            # Busy, full or read-only: what is on it can still be read.
            self._writable = False
            self._say(f"the cache {self._path} cannot be written, nothing more is kept: {error}")
        except sqlite3.DatabaseError as error:
            self._begin_anew(str(error))

    def _trim(self) -> None:
        if self._line is None or not self._writable:
            return
        try:
            pages, free, size = (
                self._line.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
            if (pages - free) * size > MAX_TOTAL:
                self._line.execute("DELETE FROM content WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 3 FROM content)")
        except sqlite3.DatabaseError as error:
            self._say(f"the cache {self._path} cannot be made smaller: {error}")

    def _do_without(self, why: str) -> None:
        self._drop_line()
        self._say(f"the cache {self._path} is not used: {why}")

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _say(self, word: str) -> None:
        if not self._said:
            self._said = True
            self._observer.note(word)
