"""The digest of a layer's uncompressed content, computed as the compressed bytes go by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from registry_tool.base.compression import Compression, InvalidCompression, Unpacker, UnsupportedCompression
from registry_tool.oci.digest import Digest

MAX_BYTES = 16 << 30
"""Bytes, or :data:`MAX_RATIO` for each compressed one: what unpacks to more is not unpacked any further."""
MAX_RATIO = 1032
"""The most that gzip can reach. zstd reaches thirty times that: a few megabytes would take days."""


class Unpacked(NamedTuple):
    """A layer's uncompressed content. With neither ``digest`` nor ``is_broken`` it was not unpacked, or not to its end."""

    compression: Compression = "plain"
    digest: Digest | None = None
    is_broken: bool = False


UNKNOWN = Unpacked()
"""Not read."""


class Decompressor:
    """Unpacks a layer piece by piece, and keeps its digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._unpacker = Unpacker()
        self._compressed = 0
        self._uncompressed = 0
        self._result: Unpacked | None = None

    def update(self, piece: bytes) -> None:
        """Unpack the next bytes."""
        self._compressed += len(piece)
        self._take(self._unpacker.unpack(piece))

    def finish(self) -> Unpacked:
        """Return the result, when there are no more bytes."""
        self._take(self._unpacker.finish())
        return self._result or Unpacked(self._unpacker.compression, Digest("sha256", self._hash.hexdigest()))

    def _take(self, pieces: Iterator[bytes]) -> None:
        if self._result is not None:
            return
        try:
            for unpacked in pieces:
                self._hash.update(unpacked)
                self._uncompressed += len(unpacked)
                if self._unpacker.compression != "plain" and self._uncompressed > max(MAX_BYTES, MAX_RATIO * self._compressed):
                    self._result = Unpacked(self._unpacker.compression)
                    return
        except (InvalidCompression, UnsupportedCompression) as error:
            self._result = Unpacked(self._unpacker.compression, is_broken=isinstance(error, InvalidCompression))
