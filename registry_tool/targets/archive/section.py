"""The content of one member of an archive, where it lies in the file."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO


class Section:
    """A member's content: ``size`` bytes of the file from ``offset``."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size

    def __len__(self) -> int:
        return self._size

    def open(self) -> io.RawIOBase:
        """Open it; threads may read it at the same time."""
        return _SectionReader(self._file.fileno(), self._offset, self._size)


class _SectionReader(io.RawIOBase):
    def __init__(self, handle: int, offset: int, size: int) -> None:
        self._handle = handle
        self._offset = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = os.pread(self._handle, min(len(buffer), self._end - self._offset), self._offset)
        buffer[: len(piece)] = piece
        self._offset += len(piece)
        return len(piece)
