"""gzip in blocks that threads compress on their own (RFC 1951, RFC 1952): the same bytes, however many threads there are.

What comes out is one gzip member without name and time stamp. Another library, or another level, gives other bytes of the same
content: with ISA-L that is level 2, otherwise zlib's level 1, which takes five times as long.
"""

from __future__ import annotations

import os
import struct
import zlib as _standard
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

from registry_tool.base.errors import RegistryToolError

MAX_THREADS = 4
"""Threads that compress. More are faster than any engine gives out its layers."""
BLOCK = 1 << 20
"""Bytes that are compressed at a time. Smaller blocks would find less to repeat, larger ones take more memory."""
HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Of a member without name, time stamp and system."""

_zlib: ModuleType
try:
    from isal import isal_zlib
except ImportError:  # there is no wheel for this platform
    _zlib, _LEVEL = _standard, 1
else:
    _zlib, _LEVEL = isal_zlib, 2
_TRAILER = struct.Struct("<LL")


def deflate(block: bytes, *, is_last: bool) -> bytes:
    """Compress one block; without the interpreter's lock, so that several threads do it at once."""
    compressor = _zlib.compressobj(_LEVEL, _zlib.DEFLATED, -15)
    compressed: bytes = compressor.compress(block)
    ending: bytes = compressor.flush(_zlib.Z_FINISH if is_last else _zlib.Z_SYNC_FLUSH)
    return compressed + ending


class Checksum:
    """The end of a member: CRC-32 and length of what is in it."""

    def __init__(self) -> None:
        self._crc = 0
        self._size = 0

    def update(self, block: bytes) -> None:
        """Take the next block, in order."""
        self._crc = _zlib.crc32(block, self._crc)
        self._size += len(block)

    def trailer(self) -> bytes:
        """The member's last eight bytes."""
        return _TRAILER.pack(self._crc, self._size & 0xFFFFFFFF)


def threads() -> int:
    """Threads that compress at a time."""
    return min(os.cpu_count() or 1, MAX_THREADS)


def read_blocks(read: Callable[[int], bytes], size: int, *, before: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Read ``size`` bytes as blocks, however they come; of no bytes one empty block. ``before`` is called before each.

    Raises RegistryToolError where there are fewer.
    """
    for start in range(0, size or 1, BLOCK):
        before()
        pieces, left = [], min(BLOCK, size - start)
        while left:
            piece = read(left)
            if not piece:
                raise RegistryToolError("a layer ended before it should", hint="Try again.")
            pieces.append(piece)
            left -= len(piece)
        yield pieces[0] if len(pieces) == 1 else b"".join(pieces)


def compress(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Compress ``size`` bytes by several threads; yields the member in pieces. Raises RegistryToolError where there are fewer."""
    checksum, done = Checksum(), 0
    under_way: deque[Future[bytes]] = deque()
    yield HEADER
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for block in read_blocks(read, size):
            done += len(block)
            checksum.update(block)
            under_way.append(pool.submit(deflate, block, is_last=done == size))
            if len(under_way) > 2 * threads():
                yield under_way.popleft().result()
        for future in under_way:
            yield future.result()
    yield checksum.trailer()
