"""The digest of a layer's uncompressed content, computed as the compressed bytes go by (RFC 1952, gzip; RFC 8878, zstd)."""

from __future__ import annotations

import hashlib
import sys
import zlib
from typing import Any, Literal, NamedTuple

from registry_tool.oci.digest import Digest

# A library gives older Pythons what 3.14 has itself.
try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:  # pragma: no cover - a Python that was built without it
    CAN_ZSTD = False
else:
    CAN_ZSTD = True

Compression = Literal["gzip", "zstd", "plain"]

MAX_BYTES = 16 << 30
"""Bytes, or :data:`MAX_RATIO` for each compressed one: what unpacks to more is not unpacked any further."""
MAX_RATIO = 1032
"""The most that gzip can reach. zstd reaches thirty times that: a few megabytes would take days."""
_WINDOW = 27
"""Memory for uncompression zstd, as a power of two: 128 MiB. Only ``zstd --long`` needs more."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPED = b"\x2a\x4d\x18"
"""Behind a byte from 0x50 to 0x5f: the beginning of a skippable frame."""
_PIECE = 1 << 18
"""Bytes that are unpacked at a time: a layer may become a thousand times larger, and is never held in memory."""


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
        self._head: bytes | None = b""
        self._compression: Compression = "plain"
        self._member: Any = None
        self._compressed = 0
        self._uncompressed = 0
        self._result: Unpacked | None = None

    def update(self, piece: bytes) -> None:
        """Unpack the next bytes."""
        if self._head is not None:
            self._head += piece
            if len(self._head) < len(_ZSTD):
                return
            piece = self._detect()
        self._feed(piece)

    def finish(self) -> Unpacked:
        """Return the result, when there are no more bytes."""
        if self._head is not None:
            self._feed(self._detect())
        if self._result is None and self._member is not None:
            self._result = Unpacked(self._compression, is_broken=True)
        return self._result or Unpacked(self._compression, Digest("sha256", self._hash.hexdigest()))

    def _detect(self) -> bytes:
        head, self._head = self._head or b"", None
        if head.startswith(_GZIP):
            self._compression = "gzip"
        elif head.startswith(_ZSTD) or (head[1:4] == _SKIPPED and head[0] >> 4 == 5):
            self._compression = "zstd"
            if not CAN_ZSTD:
                self._result = Unpacked("zstd")
        return head

    def _feed(self, piece: bytes) -> None:
        if self._result is not None:
            return
        if self._compression == "plain":
            self._hash.update(piece)
            return
        self._compressed += len(piece)
        try:
            self._unpack(piece)
        except zlib.error:
            self._result = Unpacked("gzip", is_broken=True)
        except zstd.ZstdError as error:
            # The first bytes say what memory is needed, and that is all that is wrong with them.
            self._result = Unpacked("zstd", is_broken="too much memory" not in str(error))

    def _unpack(self, piece: bytes) -> None:
        """Both may be several members one after the other; the last of gzip may be padded with zeros."""
        while piece:
            if self._member is None and self._compression == "gzip":
                piece = piece.lstrip(b"\0")
                if not piece:
                    return
                self._member = _Gzip()
            elif self._member is None:
                self._member = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW})
            self._take(self._member.decompress(piece, _PIECE))
            while not (self._member.eof or self._member.needs_input or self._result):
                self._take(self._member.decompress(b"", _PIECE))
            if not self._member.eof:
                return
            piece, self._member = self._member.unused_data, None

    def _take(self, unpacked: bytes) -> None:
        self._hash.update(unpacked)
        self._uncompressed += len(unpacked)
        if self._uncompressed > max(MAX_BYTES, MAX_RATIO * self._compressed):
            self._result = Unpacked(self._compression)


class _Gzip:
    """One member of gzip, with the interface of zstd's decompressor, which keeps input that it has not used."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
