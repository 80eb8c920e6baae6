"""Chunks of bytes as a file."""

from __future__ import annotations

from collections.abc import Generator


class ChunkReader:
    """The chunks of a stream as a file."""

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes of one chunk, none at the end."""
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk = memoryview(chunk)
        piece = self._chunk[:size] if size >= 0 else self._chunk
        self._chunk = self._chunk[len(piece) :]
        return bytes(piece)
