from __future__ import annotations

import gzip
import io
import random
import zlib
from types import ModuleType

import pytest

from registry_tool.base import gzip_blocks
from registry_tool.base.errors import RegistryToolError


def compressed(content: bytes, block: int) -> bytes:
    """``content`` in blocks of that size."""
    checksum = gzip_blocks.Checksum()
    blocks = [content[at : at + block] for at in range(0, len(content), block)] or [b""]
    pieces = [gzip_blocks.HEADER]
    for number, each in enumerate(blocks):
        checksum.update(each)
        pieces.append(gzip_blocks.deflate(each, is_last=number == len(blocks) - 1))
    return b"".join([*pieces, checksum.trailer()])


@pytest.mark.parametrize("library", [gzip_blocks._zlib, zlib], ids=["default", "zlib"])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_blocks_are_one_member_of_gzip(monkeypatch: pytest.MonkeyPatch, library: ModuleType, size: int) -> None:
    monkeypatch.setattr(gzip_blocks, "_zlib", library)
    monkeypatch.setattr(gzip_blocks, "_LEVEL", 1)
    content = random.Random(size).randbytes(size // 2).ljust(size, b"x")
    packed = compressed(content, 1000)
    assert gzip.decompress(packed) == content
    reader = zlib.decompressobj(wbits=31)
    reader.decompress(packed)
    assert reader.eof, "a reader that knows one member only has all of it"
    assert reader.unused_data == b""


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 50_000])
def test_a_stream_is_compressed_to_the_same_bytes_however_it_comes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(gzip_blocks, "BLOCK", 1000)
    content = random.Random(size).randbytes(size // 2).ljust(size, b"x")
    whole, slow = io.BytesIO(content), io.BytesIO(content)
    packed = b"".join(gzip_blocks.compress(whole.read, size))
    assert packed == compressed(content, 1000) == b"".join(gzip_blocks.compress(lambda wanted: slow.read(min(wanted, 7)), size))


def test_a_stream_that_ends_early_is_an_error() -> None:
    with pytest.raises(RegistryToolError, match="ended before"):
        list(gzip_blocks.compress(io.BytesIO(b"123").read, 4))


def test_header_has_neither_name_nor_time() -> None:
    assert compressed(b"x", 10)[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
