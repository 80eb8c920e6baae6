from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base import compression
from registry_tool.base.compression import Compression
from registry_tool.content.check import decompress
from registry_tool.content.check.decompress import Decompressor, Unpacked
from registry_tool.oci.digest import Digest
from tests.support.content import zstd_packed

WHOLE = gzip.compress(b"whole", mtime=0)
Z_WHOLE = zstd_packed(b"whole")
SKIPPED = struct.pack("<II", 0x184D2A5E, 3) + b"abc"
"""As zstd:chunked keeps its table of contents."""


def unpack(content: bytes, *, step: int = 1 << 16) -> Unpacked:
    decompressor = Decompressor()
    for at in range(0, len(content), step):
        decompressor.update(content[at : at + step])
    return decompressor.finish()


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=3), zeros=st.integers(0, 9), step=st.integers(1, 40))
def test_gzip_members_in_pieces_of_any_size_are_unpacked(parts: list[bytes], zeros: int, step: int) -> None:
    packed = b"".join(map(gzip.compress, parts)) + bytes(zeros)
    assert unpack(packed, step=step) == Unpacked("gzip", Digest.of(b"".join(parts)))


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=3), beside=st.sets(st.integers(0, 3)), step=st.integers(1, 40))
def test_skippable_frames_of_zstd_are_not_content(parts: list[bytes], beside: set[int], step: int) -> None:
    packed = b"".join(SKIPPED * (number in beside) + part for number, part in enumerate([*map(zstd_packed, parts), b""]))
    assert unpack(packed, step=step) == Unpacked("zstd", Digest.of(b"".join(parts)))


@given(content=st.binary(max_size=300), step=st.integers(1, 40))
def test_any_bytes_are_accepted(content: bytes, step: int) -> None:
    unpacked = unpack(content, step=step)
    if unpacked.compression == "plain":
        assert unpacked.digest == Digest.of(content)


@pytest.mark.parametrize("content", [b"", b"a", b"\x1f", b"a tar, not packed"])
def test_plain_content_has_its_own_digest(content: bytes) -> None:
    assert unpack(content) == Unpacked("plain", Digest.of(content))


@pytest.mark.parametrize(
    ("compression", "broken"),
    [
        ("gzip", WHOLE[:-1]),
        ("gzip", b"\x1f\x8b"),
        ("gzip", b"\x1f\x8brubbish"),
        ("gzip", WHOLE + b"rubbish"),
        ("gzip", WHOLE[:-8] + bytes(8)),
        ("zstd", Z_WHOLE[:-1]),
        ("zstd", Z_WHOLE[:4]),
        ("zstd", Z_WHOLE[:4] + b"\xff rubbish"),
        ("zstd", Z_WHOLE + b"rubbish"),
        ("zstd", Z_WHOLE + bytes(8)),
        ("zstd", SKIPPED[:-1]),
    ],
)
def test_invalid_compressed_content_is_broken(compression: Compression, broken: bytes) -> None:
    assert unpack(broken) == Unpacked(compression, is_broken=True)
    assert unpack(broken, step=1) == Unpacked(compression, is_broken=True)


def test_zstd_that_needs_too_much_memory_is_not_unpacked() -> None:
    assert unpack(zstd_packed(b"whole", window=27)).digest == Digest.of(b"whole")
    assert unpack(zstd_packed(b"whole", window=28)) == Unpacked("zstd")
    assert unpack(zstd_packed(b"whole", window=28), step=1) == Unpacked("zstd")


def test_zstd_is_not_unpacked_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "CAN_ZSTD", False)
    monkeypatch.delattr(compression, "zstd")
    assert unpack(Z_WHOLE) == Unpacked("zstd")
    assert unpack(b"\x28\xb5\x2f\xfd rubbish", step=1) == Unpacked("zstd")
    assert unpack(WHOLE) == Unpacked("gzip", Digest.of(b"whole"))
    assert unpack(b"whole") == Unpacked("plain", Digest.of(b"whole"))


def zeros(compression: str, size: int) -> bytes:
    """So many, packed as small as can be."""
    if compression == "zstd":
        return zstd_packed(bytes(size))
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layer_that_unpacks_to_a_thousand_times_its_size_is_not_held_in_memory(compression: str) -> None:
    size = 64 << 20
    bomb = zeros(compression, size)
    tracemalloc.start()
    try:
        unpacked = unpack(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert unpacked == Unpacked(compression, Digest.of(bytes(size)))  # type: ignore[arg-type]
    assert peak < 4 << 20


def test_endless_zstd_is_not_unpacked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "MAX_BYTES", 1 << 20)
    assert unpack(zeros("zstd", 64 << 20)) == Unpacked("zstd")
    assert unpack(zeros("zstd", 1 << 20)).digest == Digest.of(bytes(1 << 20))
    assert unpack(zeros("gzip", 64 << 20)).digest == Digest.of(bytes(64 << 20)), "gzip can make no bombs of that kind"
