"""An archive in several files, ``NAME.001``, ``NAME.002`` and so on: read as one file, and written so."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from registry_tool.base.errors import InvalidArchive

_SUFFIX = re.compile(r"\.[0-9]{3}")
MAX_VOLUMES = 999
"""Files that an archive may be split into."""


def volume(path: Path, number: int) -> Path:
    """The path of a volume of ``path``."""
    return path.with_name(f"{path.name}.{number:03}")


def volumes_of(path: Path) -> list[Path]:
    """The volumes of an archive that is named by its first one, or without a number where there is no such file; none of any other.

    Raises InvalidArchive where one of them is missing or has another size than the first, and of a ``path`` that is a later one.
    """
    if path.suffix == ".001":
        path = path.with_suffix("")
    elif _SUFFIX.fullmatch(path.suffix) and volume(path.with_suffix(""), 1).is_file():
        raise InvalidArchive(f"{path} is a volume of an archive, and not its first", hint=f"Name {volume(path.with_suffix(''), 1)}.")
    elif path.exists():
        return []
    paths = volumes_at(path)
    for number, file in enumerate(paths, 1):
        if file != volume(path, number):
            raise InvalidArchive(f"{volume(path, number)} is missing: {paths[-1].name} is there", hint="Copy the volumes again.")
    _check_sizes(paths)
    return paths


def files_of(path: Path) -> list[Path]:
    """The files that an archive at ``path`` is read from, whether they are whole or not."""
    if path.suffix == ".001":
        path = path.with_suffix("")
    elif path.exists():
        return [path]
    return volumes_at(path)


def move_volumes(paths: Sequence[Path], path: Path) -> tuple[Path, ...]:
    """Rename files to the volumes of ``path``, in place of an earlier archive there. Raises OSError.

    The first volume makes an archive of them. An earlier one goes first, and the new one comes last: one that is killed meanwhile
    leaves none.
    """
    for earlier in volumes_at(path):
        earlier.unlink()
    path.unlink(missing_ok=True)
    named = [(written, volume(path, number)) for number, written in enumerate(paths, 1)]
    for written, final in reversed(named):
        written.replace(final)
    return tuple(final for _, final in named)


def volumes_at(path: Path) -> list[Path]:
    """The files that have the name of a volume of ``path``."""
    return [volume(path, number) for number in range(1, MAX_VOLUMES + 1) if volume(path, number).is_file()]


def _check_sizes(paths: Sequence[Path]) -> None:
    """Raise InvalidArchive where one but the last is of another size, or the last larger."""
    sizes = [path.stat().st_size for path in paths]
    first = sizes[0] if sizes else 0
    for path, size in zip(paths, sizes, strict=True):
        if size > first or (size < first and path != paths[-1]):
            message = f"{path} has {size:,} bytes, and {paths[0].name} {first:,}: one of them is cut, or of another archive"
            raise InvalidArchive(message, hint="Copy the volumes again.")


class VolumeReader(io.RawIOBase):
    """Volumes one after the other as one file, which can seek; threads may read by position at the same time. Raises OSError."""

    def __init__(self, paths: list[Path]) -> None:
        self._stack = ExitStack()
        self._position = 0
        self._parts: list[tuple[int, int, int]] = []
        """(begin, end, file descriptor) of each."""
        try:
            begin = 0
            for path in paths:
                file = self._stack.enter_context(path.open("rb"))
                end = begin + os.fstat(file.fileno()).st_size
                self._parts.append((begin, end, file.fileno()))
                begin = end
        except BaseException:
            self._stack.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._parts[-1][1] if self._parts else 0}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        piece = self.read_at(len(buffer), self._position)
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def read_at(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset``, less at the end only."""
        pieces = []
        for begin, end, handle in self._parts:
            if begin <= offset < end and size:
                piece = os.pread(handle, min(size, end - offset), offset - begin)
                pieces.append(piece)
                offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._stack.close()
        super().close()


class VolumeWriter(io.RawIOBase):
    """A file that is written as volumes of ``size`` bytes in ``folder``; each is on the disk when it is closed. Raises OSError."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths: list[Path] = []
        self._folder = folder
        self._size = size
        self._file: io.BufferedWriter | None = None
        self._left = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            if self._file is None or not self._left:
                self._next()
            assert self._file is not None  # noqa: S101 - for mypy
            piece = view[written : written + self._left]
            self._file.write(piece)
            self._left -= len(piece)
            written += len(piece)
        return written

    def close(self) -> None:
        self._end()
        super().close()

    def _next(self) -> None:
        self._end()
        if len(self.paths) == MAX_VOLUMES:
            raise OSError(f"it would have more than {MAX_VOLUMES} volumes of {self._size:,} bytes")
        self.paths.append(self._folder / f"{len(self.paths) + 1:03}")
        self._file, self._left = self.paths[-1].open("wb"), self._size

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with file:
                file.flush()
                os.fsync(file.fileno())
