from __future__ import annotations

import gzip
import io
import shutil

import pytest

from registry_tool.base.errors import Mismatch
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.target import Readable, verified

CONTENT = bytes(range(256)) * 40


def of(content: bytes, *, size: int | None = None, algorithm: str = "sha256") -> Descriptor:
    return Descriptor(
        media_type="application/octet-stream", digest=Digest.of(content, algorithm), size=len(content) if size is None else size
    )


class Trickle:
    """Gives a few bytes at a time, as a network does, and counts how many were asked of it."""

    def __init__(self, content: bytes, *, endless: bool = False) -> None:
        self.inner = io.BytesIO(content)
        self.endless = endless
        self.given = 0
        self.closed = False

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.inner.read(7 if size < 0 else min(size, 7)) or (b"\0" * min(size, 7) if self.endless else b"")
        self.given += len(chunk)
        return chunk

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_verified_reads_right_content_to_its_end(content: bytes, algorithm: str) -> None:
    descriptor = of(content, algorithm=algorithm)
    assert verified(io.BytesIO(content), descriptor).read() == content
    assert verified(Trickle(content), descriptor).read() == content
    target = io.BytesIO()
    shutil.copyfileobj(verified(Trickle(content), descriptor), target, 13)
    assert target.getvalue() == content


def test_verified_is_a_file() -> None:
    packed = gzip.compress(CONTENT)
    with verified(Trickle(packed), of(packed)) as stream, gzip.open(stream) as unpacked:
        assert unpacked.read() == CONTENT


def given_before(stream: Readable, step: int = 16) -> bytes:
    """What a reader had in hand when the mismatch came."""
    had = b""
    with pytest.raises(Mismatch):
        while chunk := stream.read(step):
            had += chunk
    return had


def test_flipped_byte_is_a_mismatch_before_the_last_byte() -> None:
    flipped = CONTENT[:100] + bytes([CONTENT[100] ^ 1]) + CONTENT[101:]
    stream = verified(io.BytesIO(flipped), of(CONTENT))
    assert len(given_before(stream)) < len(CONTENT)
    with pytest.raises(Mismatch, match="its digest is sha256:"):
        stream.read(1)


def test_mismatch_is_raised_when_exactly_the_size_is_read() -> None:
    with pytest.raises(Mismatch):
        verified(io.BytesIO(b"abd"), of(b"abc")).read(3)
    with pytest.raises(Mismatch):
        verified(io.BytesIO(b"abcd"), of(b"abc")).read(3)


def test_truncated_content_is_a_mismatch() -> None:
    with pytest.raises(Mismatch, match=r"2 of 3 bytes are missing"):
        verified(io.BytesIO(b"a"), of(b"abc")).read()
    with pytest.raises(Mismatch, match="missing"):
        verified(io.BytesIO(b""), of(b"abc")).read()


@pytest.mark.parametrize("content", [b"", b"abc", CONTENT])
def test_endless_content_is_a_mismatch(content: bytes) -> None:
    source = Trickle(content, endless=True)
    with pytest.raises(Mismatch, match="more than"):
        verified(source, of(content)).read()
    assert source.given == len(content) + 1


def test_stream_that_returns_too_much_is_a_mismatch() -> None:
    class Generous:
        def read(self, size: int = -1, /) -> bytes:
            return b"abc" * 10

    with pytest.raises(Mismatch, match="more than 3 bytes"):
        verified(Generous(), of(b"abc")).read(3)


def test_wrong_size_is_a_mismatch() -> None:
    with pytest.raises(Mismatch):
        verified(io.BytesIO(b"abc"), of(b"abc", size=2)).read()
    with pytest.raises(Mismatch):
        verified(io.BytesIO(b"abc"), of(b"abc", size=4)).read()


def test_closing_early_closes_the_stream_and_raises_nothing() -> None:
    source = Trickle(CONTENT)
    with verified(source, of(CONTENT)) as stream:
        stream.read(1)
    assert source.closed
