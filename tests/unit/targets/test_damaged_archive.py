"""A byte flipped, and a cut, anywhere in an archive."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_tool.base.errors import InvalidArchive, InvalidManifest, Mismatch, NotFound, RegistryToolError
from registry_tool.targets.archive import open_archive
from tests.support.archives import (
    crane_pull,
    docker_save,
    tar_of,
)
from tests.support.sample_archives import EXPECTED, IMAGE, SECOND, read_all, write_images


def is_as_written(raw: bytes) -> bool:
    """Whether all that can be read of an archive is what was written; raises where damage is noticed."""
    with open_archive(io.BytesIO(raw)) as opened:
        return read_all(opened) == EXPECTED


def ours() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_images(Path(folder) / "images.tar")


OURS = ours()


@settings(max_examples=300)
@given(at=st.integers(0, len(OURS) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_is_noticed_or_harmless(at: int, flipped: int) -> None:
    damaged = bytearray(OURS)
    damaged[at] ^= flipped
    try:
        assert is_as_written(bytes(damaged))
    except (InvalidArchive, InvalidManifest, Mismatch, NotFound):
        return


@settings(max_examples=100)
@given(end=st.integers(0, len(OURS) - 1))
def test_archive_that_is_cut_anywhere_is_refused(end: int) -> None:
    # The very last block of zeros says nothing.
    with pytest.raises(InvalidArchive):
        open_archive(io.BytesIO(OURS[:end]))


DOCKERS = tar_of(docker_save(IMAGE, SECOND))


@settings(max_examples=100)
@given(at=st.integers(0, len(DOCKERS) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_of_docker_save_changes_no_content(at: int, flipped: int) -> None:
    """Its ``manifest.json`` has no checksum, so names may change unnoticed; configs and layers may not."""
    damaged = bytearray(DOCKERS)
    damaged[at] ^= flipped
    try:
        with open_archive(io.BytesIO(bytes(damaged))) as opened:
            read = read_all(opened)
    except (RegistryToolError, ValueError):
        return
    assert all(image in EXPECTED.values() for image in read.values())


CRANES = tar_of(crane_pull(IMAGE))


@settings(max_examples=150)
@given(at=st.integers(0, len(CRANES) - 1), flipped=st.integers(1, 255))
def test_flipped_byte_of_a_compressed_layer_without_a_digest_is_noticed(at: int, flipped: int) -> None:
    damaged = bytearray(CRANES)
    damaged[at] ^= flipped
    try:
        with open_archive(io.BytesIO(bytes(damaged))) as opened:
            read = read_all(opened)
    except (RegistryToolError, ValueError):
        return
    assert all(image in EXPECTED.values() for image in read.values())
