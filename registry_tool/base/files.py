"""Atomic writes (temporary file, fsync, rename), and locks (``flock``) that the kernel drops when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry_tool.base.deadline import Deadline, poll

_TEMPORARY = "registry-tool-"
"""What the names of temporary folders begin with; the user's id follows."""
_LOCK = ".lock"
"""The file in a temporary folder that is locked while its process lives."""


def atomic_write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``, atomically; a missing folder is made. Raises OSError.

    Of a symbolic link the target is replaced (people link their docker configuration). A device or a pipe
    (``/dev/stdout``) is written to: replacing it would break the machine for everybody.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(path: Path, *, shared: bool = False, wait: bool = True, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock at ``path`` for the block, as many may if ``shared``; ``waiting`` is called once where another process has it.

    Raises BlockingIOError then, unless it may ``wait``.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _try(handle, shared=shared):
                if not wait:
                    raise BlockingIOError(f"another process has the lock {path}")
                if waiting is not None:
                    waiting()
                    waiting = None
                # Polling instead of a blocking flock: a signal's exception must get through in between.
                poll(lambda: _try(handle, shared=shared), Deadline(math.inf))  # noqa: B023 - it is called in this round only
            # Who had it may have removed the file: another process could lock the next one of this name.
            if _is_same(handle, path):
                yield
                return
        finally:
            os.close(handle)


def remove_folder(lock: Path) -> None:
    """Remove the folder of a ``lock`` that is held, as far as that is possible, and the lock last.

    So one that is killed meanwhile leaves what the next one finds, and one that waits for the lock finds nothing being removed.
    """
    folder = lock.parent
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path != lock:
                path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        folder.rmdir()


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock at ``path``."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(handle)
    finally:
        os.close(handle)


def _try(handle: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(handle: int, path: Path) -> bool:
    """Whether ``path`` is the open file, which may have been removed."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


# --- temporary folders ---


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder in ``TMPDIR`` for the block. Those that killed processes of this user left are removed. Raises OSError."""
    _remove_leftovers()
    folder, handle = _make_temporary()
    try:
        yield folder
    finally:
        try:
            remove_folder(folder / _LOCK)
        finally:
            os.close(handle)


def _make_temporary() -> tuple[Path, int]:
    """A folder, and the handle that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getuid()}-"))
        # Another process may take it for a leftover until it is locked, and remove it.
        with suppress(FileNotFoundError):
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                is_held = _try(handle) and _is_same(handle, folder / _LOCK)
            except BaseException:
                os.close(handle)
                raise
            if is_held:
                return folder, handle
            os.close(handle)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}{os.getuid()}-*"):
        # One that cannot be removed is in nobody's way.
        with suppress(OSError):
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            try:
                handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                # Empty where its process was killed before it made the lock.
                folder.rmdir()
                continue
            try:
                if _try(handle):
                    remove_folder(folder / _LOCK)
            finally:
                os.close(handle)
