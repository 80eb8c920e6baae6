"""Uploads under way, kept on the disk: the next run goes on with one that a killed program left, or cancels it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry_tool.oci.digest import Digest

_MAX_SIZE = 1 << 14


class UploadRecord:
    """The file of one upload, locked as long as its program lives. ``location`` is where the upload goes on, None for a new one.

    What cannot be written is not kept: an upload does not fail for it.
    """

    def __init__(self, path: Path, handle: int, upload: tuple[str, str, str]) -> None:
        self._path = path
        self._handle: int | None = handle
        self._upload = upload
        self.location = _read_location(handle, upload)

    def save(self, location: str) -> None:
        """Keep where the upload goes on."""
        self.location = location
        if self._handle is not None:
            content = json.dumps([*self._upload, location]).encode()
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, content, 0)

    def remove(self) -> None:
        """Forget the upload, which is finished or cancelled."""
        if self._handle is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the upload to the next program."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


class UploadRecords:
    """The records in a folder, which is made when it is needed. Threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, host: str, repository: str, digest: Digest) -> UploadRecord | None:
        """The record of an upload, an earlier program's or a new one; None where another program is on it, or none can be written."""
        upload = host, repository, str(digest)
        path = self._folder / f"{_key(host, repository)}-{digest.hex[:32]}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = _lock(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            return None
        return None if handle is None else UploadRecord(path, handle, upload)

    def leftovers(self, host: str, repository: str) -> Iterator[UploadRecord]:
        """The records of uploads to a repository that programs left which live no more."""
        for path in sorted(self._folder.glob(f"{_key(host, repository)}-*.json")):
            with suppress(OSError):
                handle = _lock(path, os.O_RDWR)
                if handle is not None:
                    yield UploadRecord(path, handle, (host, repository, ""))


def _key(host: str, repository: str) -> str:
    return hashlib.sha256(f"{host}\n{repository}".encode()).hexdigest()[:32]


def _lock(path: Path, flags: int) -> int | None:
    """Open and lock a file; None where another program has the lock. The location in it may hold a secret of the registry's."""
    handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _read_location(handle: int, upload: tuple[str, str, str]) -> str | None:
    """The location of ``upload``, of any digest where that is empty. A program that was killed may have written half of it."""
    try:
        host, repository, digest, location = json.loads(os.pread(handle, _MAX_SIZE, 0))
    except (OSError, ValueError, TypeError):
        return None
    is_same = (host, repository) == upload[:2] and upload[2] in ("", digest)
    return location if is_same and isinstance(location, str) else None
