"""Unpacking what may be compressed, piece by piece, in bounded memory (RFC 1952, gzip; RFC 8878, zstd)."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Literal

# A library gives older Pythons what 3.14 has itself.
try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:  # pragma: no cover - a Python that was built without it
    CAN_ZSTD = False
    _ZSTD_ERRORS: tuple[type[Exception], ...] = ()
else:
    CAN_ZSTD = True
    _ZSTD_ERRORS = (zstd.ZstdError,)

Compression = Literal["gzip", "zstd", "plain"]

HEAD = 4
"""Bytes at the beginning that tell the compression."""

_WINDOW = 27
"""Memory for uncompression zstd, as a power of two: 128 MiB. Only ``zstd --long`` needs more."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPED = b"\x2a\x4d\x18"
"""Behind a byte from 0x50 to 0x5f: the beginning of a skippable frame."""
_PIECE = 1 << 18
"""Bytes that are unpacked at a time: content may become a thousand times larger, and is never held in memory."""


class InvalidCompression(ValueError):
    """What should be compressed is damaged, or ends too early."""


class UnsupportedCompression(ValueError):
    """It cannot be unpacked here: Python was built without zstd, or it needs too much memory."""


def detect(head: bytes) -> Compression:
    """Return how content that begins with ``head`` is compressed."""
    if head.startswith(_GZIP):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD) or (head[1:4] == _SKIPPED and head[0] >> 4 == 5) else "plain"


class Unpacker:
    """Unpacks a stream whose compression shows in its first bytes; several members one after the other are one content."""

    def __init__(self) -> None:
        self.compression: Compression = "plain"
        """Of what was read until now; known after :data:`HEAD` bytes."""
        self._head: bytes | None = b""
        self._member: Any = None

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """Yield what the next bytes unpack to, in pieces. Raises InvalidCompression, UnsupportedCompression."""
        if self._head is not None:
            self._head += piece
            if len(self._head) < HEAD:
                return
            piece = self._begin()
        yield from self._unpack(piece)

    def finish(self) -> Iterator[bytes]:
        """Yield the rest, where there are no more bytes. Raises as :meth:`unpack` does, also where the end is missing."""
        if self._head is not None:
            yield from self._unpack(self._begin())
        if self._member is not None:
            raise InvalidCompression("it ends too early")

    def _begin(self) -> bytes:
        head, self._head = self._head or b"", None
        self.compression = detect(head)
        return head

    def _unpack(self, piece: bytes) -> Iterator[bytes]:
        if self.compression == "plain":
            if piece:
                yield piece
            return
        if self.compression == "zstd" and not CAN_ZSTD:
            raise UnsupportedCompression("Python was built without zstd")
        try:
            yield from self._members(piece)
        except zlib.error:
            raise InvalidCompression("it is damaged") from None
        except _ZSTD_ERRORS as error:
            # The first bytes say what memory is needed, and that is all that is wrong with them.
            if "too much memory" in str(error):
                raise UnsupportedCompression("it needs more than 128 MiB of memory") from None
            raise InvalidCompression("it is damaged") from None

    def _members(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._member is None and self.compression == "gzip":
                # The last member may be padded with zeros.
                piece = piece.lstrip(b"\0")
                if not piece:
                    return
                self._member = _GzipMember()
            elif self._member is None:
                self._member = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW})
            yield self._member.decompress(piece, _PIECE)
            while not (self._member.eof or self._member.needs_input):
                yield self._member.decompress(b"", _PIECE)
            if not self._member.eof:
                return
            piece, self._member = self._member.unused_data, None


class _GzipMember:
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
