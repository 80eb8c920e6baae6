"""What is inside a layer: its digest before it was packed, found out while the packed bytes go by.

RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from typing import Literal, NamedTuple, Protocol

from registry_tool.oci.digest import Digest

# What Python 3.14 has itself is there for older ones as a library of the same interface.
try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:  # pragma: no cover - a Python that was built without it
    CAN_ZSTD = False
else:
    CAN_ZSTD = True

Packing = Literal["gzip", "zstd", "plain"]

MOST = 16 << 30
"""Bytes, or :data:`PER_BYTE` for each that is packed: what unpacks to more is not unpacked any further."""
PER_BYTE = 1032
"""As much as gzip can make of one. zstd makes thirty times that: a few megabytes would keep us for days."""
_WINDOW = 27
"""As a power of two, the memory that unpacking zstd may take: 128 MiB. What wants more is made only with ``zstd --long``."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPED = b"\x2a\x4d\x18"
"""Behind a byte from 0x50 to 0x5f: the beginning of what others keep in a zstd file beside its content."""
_PIECE = 1 << 18
"""Bytes that are unpacked at a time: a layer may be a thousand times larger inside, and is never held."""


class Content(NamedTuple):
    """What is inside. Where there is neither a ``digest`` nor ``is_broken``, it was not looked into, or not to its end."""

    packing: Packing = "plain"
    digest: Digest | None = None
    is_broken: bool = False


UNKNOWN = Content()
"""Nobody looked."""


class Inside:
    """Takes a layer's bytes piece by piece."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._head: bytes | None = b""
        self._packing: Packing = "plain"
        self._part: _Part | None = None
        self._taken = 0
        self._came = 0
        self._end: Content | None = None

    def update(self, piece: bytes) -> None:
        """The next bytes."""
        if self._head is not None:
            self._head += piece
            if len(self._head) < len(_ZSTD):
                return
            piece = self._begin()
        self._go_on(piece)

    def finish(self) -> Content:
        """What was found, when there are no more."""
        if self._head is not None:
            self._go_on(self._begin())
        if self._end is None and self._part is not None:
            self._end = Content(self._packing, is_broken=True)
        return self._end or Content(self._packing, Digest("sha256", self._hash.hexdigest()))

    def _begin(self) -> bytes:
        head, self._head = self._head or b"", None
        if head.startswith(_GZIP):
            self._packing = "gzip"
        elif head.startswith(_ZSTD) or (head[1:4] == _SKIPPED and head[0] >> 4 == 5):
            self._packing = "zstd"
            if not CAN_ZSTD:
                self._end = Content("zstd")
        return head

    def _go_on(self, piece: bytes) -> None:
        if self._end is not None:
            return
        if self._packing == "plain":
            self._hash.update(piece)
            return
        self._taken += len(piece)
        try:
            self._unpack(piece)
        except zlib.error:
            self._end = Content("gzip", is_broken=True)
        except zstd.ZstdError as error:
            # What a window needs is said in the first bytes, and that is all that is wrong with them.
            self._end = Content("zstd", is_broken="too much memory" not in str(error))

    def _unpack(self, piece: bytes) -> None:
        """Both may be several parts one after the other; behind the last of gzip there may be zeros, to fill a block."""
        while piece:
            if self._part is None:
                piece = piece.lstrip(b"\0") if self._packing == "gzip" else piece
                if not piece:
                    return
                self._part = _part(self._packing)
            self._take(self._part.decompress(piece, _PIECE))
            while not (self._part.eof or self._part.needs_input or self._end):
                self._take(self._part.decompress(b"", _PIECE))
            if not self._part.eof:
                return
            piece, self._part = self._part.unused_data, None

    def _take(self, unpacked: bytes) -> None:
        self._hash.update(unpacked)
        self._came += len(unpacked)
        if self._came > max(MOST, PER_BYTE * self._taken):
            self._end = Content(self._packing)


class _Part(Protocol):
    """As zstd's decompressor is: one part, which keeps what it was given and did not get to."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """The same of zlib's, which hands back what it did not get to."""

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


def _part(packing: Packing) -> _Part:
    if packing == "gzip":
        return _Gzip()
    part: _Part = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW})
    return part
