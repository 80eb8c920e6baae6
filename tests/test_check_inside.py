from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.check.inside import Inside
from registry_tool.digest import Digest

WHOLE = gzip.compress(b"whole")


def looked(content: bytes, *, step: int = 1 << 16) -> tuple[str, Digest | None]:
    inside = Inside()
    for at in range(0, len(content), step):
        inside.update(content[at : at + step])
    return inside.finish()


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=3), zeros=st.integers(0, 9), step=st.integers(1, 40))
def test_what_was_packed_is_found_however_it_comes(parts: list[bytes], zeros: int, step: int) -> None:
    packed = b"".join(map(gzip.compress, parts)) + bytes(zeros)
    assert looked(packed, step=step) == ("gzip", Digest.of(b"".join(parts)))


@given(content=st.binary(max_size=300), step=st.integers(1, 40))
def test_any_bytes_are_looked_at(content: bytes, step: int) -> None:
    packing, digest = looked(content, step=step)
    if packing == "plain":
        assert digest == Digest.of(content)


@pytest.mark.parametrize("content", [b"", b"a", b"\x1f", b"a tar, not packed"])
def test_what_is_not_packed_is_itself(content: bytes) -> None:
    assert looked(content) == ("plain", Digest.of(content))


@pytest.mark.parametrize(
    "broken",
    [
        WHOLE[:-1],
        b"\x1f\x8b",
        b"\x1f\x8brubbish",
        WHOLE + b"rubbish",
        WHOLE[:-8] + bytes(8),
    ],
    ids=["cut", "head", "rubbish", "rubbish behind", "sum"],
)
def test_what_is_packed_badly_is_broken(broken: bytes) -> None:
    assert looked(broken) == ("broken", None)


def test_zstd_is_not_looked_into() -> None:
    assert looked(b"\x28\xb5\x2f\xfd and so on") == ("zstd", None)


def test_a_layer_that_is_a_thousand_times_larger_inside_is_not_held() -> None:
    size = 64 << 20
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])
    tracemalloc.start()
    try:
        packing, digest = looked(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (packing, digest is None) == ("gzip", False)
    assert peak < 4 << 20
