"""The content of one member of an archive, where it lies in the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

ReadAt = Callable[[int, int], bytes]
"""Reads up to so many bytes from an offset; threads may call it at the same time."""


class Section:
    """A member's content: ``size`` bytes from ``offset``."""

    def __init__(self, read_at: ReadAt, offset: int, size: int) -> None:
        self._read_at = read_at
        self._offset = offset
        self._size = size

    def __len__(self) -> int:
        return self._size

    def open(self) -> io.RawIOBase:
        """Open it; threads may read it at the same time."""
        return _SectionReader(self._read_at, self._offset, self._size)


class _SectionReader(io.RawIOBase):
    def __init__(self, read_at: ReadAt, offset: int, size: int) -> None:
        self._read_at = read_at
        self._offset = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._read_at(min(len(buffer), self._end - self._offset), self._offset)
        buffer[: len(piece)] = piece
        self._offset += len(piece)
        return len(piece)
