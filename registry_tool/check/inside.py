"""What is inside a layer: its digest before it was packed, found out while the packed bytes go by."""

from __future__ import annotations

import hashlib
import zlib
from typing import Literal

from registry_tool.digest import Digest

Packing = Literal["gzip", "zstd", "plain", "broken"]
"""``broken``: it begins as gzip does, and does not go on so."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 18
"""Bytes that are unpacked at a time: a layer may be a thousand times larger inside, and is never held."""


class Inside:
    """Takes a layer's bytes piece by piece. What is packed with zstd is not looked into: Python has nothing for it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._head: bytes | None = b""
        self._packing: Packing = "plain"
        self._unzip = zlib.decompressobj(wbits=31)
        self._between = False

    def update(self, piece: bytes) -> None:
        """The next bytes."""
        if self._head is not None:
            self._head += piece
            if len(self._head) < len(_ZSTD):
                return
            piece = self._begin()
        self._go_on(piece)

    def finish(self) -> tuple[Packing, Digest | None]:
        """How it is packed, and the digest of what is inside; None where that is not known."""
        if self._head is not None:
            self._go_on(self._begin())
        if self._packing == "gzip" and not self._between:
            self._packing = "broken"
        known = self._packing in ("gzip", "plain")
        return self._packing, Digest("sha256", self._hash.hexdigest()) if known else None

    def _begin(self) -> bytes:
        head, self._head = self._head or b"", None
        if head.startswith(_GZIP):
            self._packing = "gzip"
        elif head.startswith(_ZSTD):
            self._packing = "zstd"
        return head

    def _go_on(self, piece: bytes) -> None:
        if self._packing == "plain":
            self._hash.update(piece)
        elif self._packing == "gzip":
            try:
                self._unpack(piece)
            except zlib.error:
                self._packing = "broken"

    def _unpack(self, piece: bytes) -> None:
        """Gzip may be several parts one after the other (RFC 1952, 2.2), with zeros to fill a block behind the last."""
        while piece:
            if self._between:
                piece = piece.lstrip(b"\0")
                if not piece:
                    return
                self._unzip = zlib.decompressobj(wbits=31)
                self._between = False
            self._hash.update(self._unzip.decompress(piece, _PIECE))
            if self._unzip.eof:
                self._between = True
                piece = self._unzip.unused_data
            else:
                piece = self._unzip.unconsumed_tail
