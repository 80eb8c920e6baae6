"""Uploads that a killed program left: gone on with, begun again or cancelled by the next one."""

from __future__ import annotations

import io
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.errors import ConnectionLost
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Repository, open_registry, uploads
from registry_tool.targets.registry.upload_records import UploadRecords
from tests.support import faulty_proxy
from tests.support.faulty_proxy import FaultyProxy

CONTENT = random.Random(1).randbytes(155)
BLOB = Descriptor(media_type="application/octet-stream", digest=Digest.of(CONTENT), size=len(CONTENT))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 10 bytes for more than 100."""
    monkeypatch.setattr(uploads, "CHUNK", 10)
    monkeypatch.setattr(uploads, "WHOLE", 100)
    monkeypatch.setattr(uploads, "_DELAY", 0.0)


@pytest.fixture
def records(tmp_path: Path) -> UploadRecords:
    return UploadRecords(tmp_path / "uploads")


@pytest.fixture
def recorded(proxy: FaultyProxy, unique: str, records: UploadRecords) -> Iterator[Repository]:
    """A repository whose uploads are recorded."""
    with open_registry(proxy.host) as registry:
        registry.upload_records = records
        yield registry.repository(f"{unique}/app")


class Killed(BaseException):
    """Ends a push as the end of its process would: nothing is cancelled."""


def killed_after(repository: Repository, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push, and end after so many chunks as a killed process does: what it had locked is unlocked, and that is all."""

    class Ending(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 10 * chunks:
                raise Killed
            return super().read(size)

    def end(upload: uploads.Upload, *details: object) -> None:
        assert upload._record is not None
        upload._record.close()

    with monkeypatch.context() as patch:
        patch.setattr(uploads.Upload, "__exit__", end)
        with pytest.raises(Killed):
            repository.push(BLOB, Ending(CONTENT))


def stored(repository: Repository) -> bytes:
    with repository.fetch(BLOB) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


def test_upload_of_a_killed_program_goes_on_after_its_last_chunk(
    recorded: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed_after(recorded, 4, monkeypatch)
    (file,) = (tmp_path / "uploads").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    proxy.reset()
    recorded.push(BLOB, io.BytesIO(CONTENT))
    assert [request.method for request in proxy.requests] == ["GET", *["PATCH"] * 12, "PUT"]
    assert stored(recorded) == CONTENT
    assert list((tmp_path / "uploads").iterdir()) == []


def test_upload_that_the_registry_does_not_know_any_more_is_begun_again(
    recorded: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after(recorded, 4, monkeypatch)
    proxy.reset()
    proxy.inject(faulty_proxy.respond_with(404), method="GET", times=1)
    recorded.push(BLOB, io.BytesIO(CONTENT))
    assert proxy.count("PATCH") == 16
    assert stored(recorded) == CONTENT


@pytest.mark.parametrize("damage", [b"", b"{", b'["a", "b"]', b'["other:1", "x", "y", "/v2/x"]', b"\xff"])
def test_damaged_record_is_none(
    recorded: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: bytes
) -> None:
    killed_after(recorded, 4, monkeypatch)
    next((tmp_path / "uploads").iterdir()).write_bytes(damage)
    recorded.push(BLOB, io.BytesIO(CONTENT))
    assert stored(recorded) == CONTENT


def test_connection_lost_after_a_chunk_leaves_the_upload_to_the_next_attempt(recorded: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(faulty_proxy.close_connection, method="PATCH", after=3)
    with pytest.raises(ConnectionLost):
        recorded.push(BLOB, io.BytesIO(CONTENT))
    assert proxy.count("DELETE") == 0
    proxy.reset()
    recorded.push(BLOB, io.BytesIO(CONTENT))
    assert proxy.count("POST") == 0
    assert proxy.count("PATCH") == 13
    assert stored(recorded) == CONTENT


def test_refused_begin_leaves_the_record_to_the_next_attempt(
    recorded: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after(recorded, 4, monkeypatch)
    proxy.inject(faulty_proxy.close_connection, method="GET")
    with pytest.raises(ConnectionLost):
        recorded.push(BLOB, io.BytesIO(CONTENT))
    proxy.reset()
    recorded.push(BLOB, io.BytesIO(CONTENT))
    assert proxy.count("PATCH") == 12


def test_upload_of_a_living_program_is_left_alone(recorded: Repository, proxy: FaultyProxy, records: UploadRecords) -> None:
    other = records.open(recorded.host, recorded.path, BLOB.digest)
    assert other is not None
    other.save("/v2/x")
    recorded.push(BLOB, io.BytesIO(CONTENT))
    recorded.cancel_leftovers()
    assert proxy.count("DELETE") == 0
    assert other.location == "/v2/x"
    other.close()


def test_leftovers_are_cancelled(recorded: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killed_after(recorded, 4, monkeypatch)
    proxy.reset()
    recorded.cancel_leftovers()
    recorded.cancel_leftovers()
    assert [request.method for request in proxy.requests] == ["DELETE"]
    assert list((tmp_path / "uploads").iterdir()) == []


def test_folder_that_cannot_be_made_keeps_nothing_and_fails_nothing(proxy: FaultyProxy, unique: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open_registry(proxy.host) as registry:
        registry.upload_records = UploadRecords(tmp_path / "file" / "uploads")
        repository = registry.repository(unique)
        repository.push(BLOB, io.BytesIO(CONTENT))
        repository.cancel_leftovers()
        assert stored(repository) == CONTENT
