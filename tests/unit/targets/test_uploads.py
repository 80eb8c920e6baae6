"""Content on its way into a registry, on good lines and bad ones."""

from __future__ import annotations

import io
import random

import pytest

from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, RegistryError, RegistryToolError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Presence, Registry, Repository, open_registry, uploads
from tests.support import faulty_proxy
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.faulty_proxy import FaultyProxy

OCTETS = "application/octet-stream"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that make three ways of a few bytes: in one piece up to 10, as a stream up to 100, and in chunks of 10."""
    monkeypatch.setattr(uploads, "CHUNK", 10)
    monkeypatch.setattr(uploads, "WHOLE", 100)
    monkeypatch.setattr(uploads, "_PIECE", 7)
    monkeypatch.setattr(uploads, "_DELAY", 0.0)


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def described(content: bytes) -> Descriptor:
    return Descriptor(media_type=OCTETS, digest=Digest.of(content), size=len(content))


def push(repository: Repository, content: bytes) -> Descriptor:
    descriptor = described(content)
    repository.push(descriptor, io.BytesIO(content))
    return descriptor


def upload_to(repository: Repository) -> uploads.Upload:
    return uploads.Upload(repository._transport, repository.path)


def methods(proxy: FaultyProxy) -> list[str]:
    return [asked.method for asked in proxy.requests]


# --- what is not what it should be ---


@pytest.mark.parametrize("size", [5, 50, 155])
@pytest.mark.parametrize("wrong", ["byte", "short", "long"])
def test_content_unlike_its_descriptor_is_not_stored(
    repository: Repository, proxy: FaultyProxy, small: None, size: int, wrong: str
) -> None:
    content = some(size)
    descriptor = described(content)
    other = {"byte": b"x" + content[1:], "short": content[:-1], "long": content + b"x"}[wrong]
    with pytest.raises(Mismatch):
        repository.push(descriptor, io.BytesIO(other))
    assert not repository.exists(descriptor)
    assert not repository.exists(described(other))


class Failing(io.BytesIO):
    """A file on a disk that fails in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 20:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("size", [50, 155])
def test_failing_disk_is_no_registry_error(repository: Repository, small: None, size: int) -> None:
    descriptor = described(some(size))
    with pytest.raises(RegistryToolError, match="what is to be pushed cannot be read: Input/output error") as caught:
        repository.push(descriptor, Failing(some(size)))
    assert type(caught.value) is RegistryToolError
    assert not repository.exists(descriptor)


def test_reported_digest_that_differs_is_a_mismatch(repository: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(faulty_proxy.wrong_digest, method="PUT")
    with pytest.raises(Mismatch, match="stored"):
        push(repository, some(5))


@pytest.mark.parametrize("location", ["", "file:///etc/passwd"])
def test_missing_or_foreign_location_raises(repository: Repository, proxy: FaultyProxy, location: str) -> None:
    proxy.inject(faulty_proxy.with_header("Location", location), method="POST")
    with pytest.raises(RegistryError):
        push(repository, some(5))
    assert methods(proxy) == ["POST"]


# --- three ways ---


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (0, ["POST", "PUT"]),
        (10, ["POST", "PUT"]),
        (11, ["POST", "PUT"]),
        (100, ["POST", "PUT"]),
        (101, ["POST", *["PATCH"] * 11, "PUT"]),
        (120, ["POST", *["PATCH"] * 12, "PUT"]),
    ],
)
def test_large_content_is_sent_in_chunks(repository: Repository, proxy: FaultyProxy, small: None, size: int, asked: list[str]) -> None:
    content = some(size)
    descriptor = push(repository, content)
    assert methods(proxy) == asked
    assert repository.last_byte(descriptor) is Presence.WHOLE
    with repository.fetch(descriptor) as stream:
        assert stream.read() == content


def test_chunks_have_the_registrys_minimum_size(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    proxy.inject(faulty_proxy.with_header("OCI-Chunk-Min-Length", "60"), method="POST")
    push(repository, some(150))
    assert [asked.headers["content-range"] for asked in proxy.requests if asked.method == "PATCH"] == ["0-59", "60-119", "120-149"]


@pytest.mark.parametrize("minimum", ["67108865", "999999999", "1000000000", "9" * 100])
def test_minimum_size_of_chunks_too_large_to_be_held_is_refused(
    repository: Repository, proxy: FaultyProxy, small: None, minimum: str
) -> None:
    proxy.inject(faulty_proxy.with_header("OCI-Chunk-Min-Length", minimum), method="POST")
    with pytest.raises(RegistryError, match=r"wants chunks of .*: at most 67\.1MB are sent"):
        push(repository, some(150))
    assert methods(proxy) == ["POST", "DELETE"]
    # What goes in one request needs no chunks.
    push(repository, some(50))


def test_upload_of_content_known_only_at_its_end_is_stored(repository: Repository) -> None:
    content = some(1000)
    with upload_to(repository) as upload:
        upload.write(content[:600])
        upload.write(content[600:])
        upload.finish(Digest.of(content))
    with repository.fetch(described(content)) as stream:
        assert stream.read() == content


def test_upload_finished_with_a_wrong_digest_fails(repository: Repository) -> None:
    with pytest.raises(RegistryError, match="DIGEST_INVALID"), upload_to(repository) as upload:
        upload.write(some(100))
        upload.finish(Digest.of(b"other"))


def test_upload_left_unfinished_is_cancelled(repository: Repository, proxy: FaultyProxy) -> None:
    with pytest.raises(ZeroDivisionError), upload_to(repository) as upload:
        upload.write(some(100))
        raise ZeroDivisionError
    assert methods(proxy) == ["POST", "PATCH", "DELETE"]
    upload.cancel()
    with pytest.raises(ValueError, match="has ended"):
        upload.write(b"x")


@pytest.mark.parametrize("status", [400, 404, 405, 500])
def test_failing_cancellation_hides_no_exception(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    proxy.inject(faulty_proxy.respond_with(status), method="DELETE")
    with pytest.raises(ZeroDivisionError), upload_to(repository):
        raise ZeroDivisionError


# --- lost connections ---


def test_chunk_whose_response_is_lost_is_not_sent_twice(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    """registry:2 knows an upload by its last location only, which was lost with the answer."""
    proxy.inject(faulty_proxy.lose_response, method="PATCH", after=2, times=1)
    with pytest.raises(ConnectionLost):
        push(repository, some(155))
    assert methods(proxy) == ["POST", "PATCH", "PATCH", "PATCH", "GET", "DELETE"]
    assert not repository.exists(described(some(155)))


@pytest.mark.parametrize(("arrived", "second"), [(0, "0-9"), (4, "4-9"), (10, "10-19")])
def test_upload_resumes_at_the_reported_range(small: None, arrived: int, second: str) -> None:
    got = bytearray()

    def answer(asked: ReceivedRequest) -> Reply:
        headers = {"Location": "/v2/a/blobs/uploads/x", "Range": f"0-{max(0, len(got) - 1)}"}
        if asked.method == "PATCH" and not got and len(server.requests) == 2:
            got.extend(asked.body[:arrived])
            return Reply(hang_up=True)
        if asked.method == "PATCH":
            got.extend(asked.body)
        return Reply(status=204 if asked.method == "GET" else 202, body=b"", headers=headers)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        push(registry.repository("a"), some(120))
    assert got == some(120)
    ranges = [asked.headers["content-range"] for asked in server.requests if asked.method == "PATCH"]
    assert ranges[:2] == ["0-9", second]


@pytest.mark.parametrize("said", ["0-200", "rubbish", ""])
def test_upload_with_an_impossible_range_fails(small: None, said: str) -> None:
    def answer(asked: ReceivedRequest) -> Reply:
        hang_up = asked.method == "PATCH" and len(server.requests) == 4
        return Reply(status=202, headers={"Location": "/v2/a/blobs/uploads/x", "Range": said}, hang_up=hang_up)

    with fake_server(answer) as server, open_registry(server.host) as registry, pytest.raises(ConnectionLost):
        push(registry.repository("a"), some(120))
    assert [asked.method for asked in server.requests] == ["POST", "PATCH", "PATCH", "PATCH", "GET", "DELETE"]


def test_chunk_that_never_arrived_is_sent_again(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    for after in (0, 3):
        proxy.inject(faulty_proxy.close_connection, method="PATCH", after=after, times=1)
    content = some(155)
    with repository.fetch(push(repository, content)) as stream:
        assert stream.read() == content


def test_connection_lost_within_a_chunk_fails_the_upload(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    proxy.inject(faulty_proxy.cut_request_after(proxy, 5), method="PATCH", after=2, times=1)
    descriptor = described(some(155))
    with pytest.raises(ConnectionLost):
        push(repository, some(155))
    assert not repository.exists(descriptor)


def test_connection_lost_at_every_try_fails_the_upload(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    proxy.inject(faulty_proxy.close_connection, method="PATCH")
    with pytest.raises(ConnectionLost):
        push(repository, some(155))
    assert proxy.count("PATCH") == 3


def test_upload_in_one_request_is_not_sent_twice(repository: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(faulty_proxy.lose_response, method="PUT")
    with pytest.raises(ConnectionLost):
        push(repository, some(5))
    assert proxy.count("PUT") == 1


def test_upload_to_another_host_gets_no_password() -> None:
    content = some(5)

    def answer(asked: ReceivedRequest) -> Reply:
        return Reply(status=202, headers={"Location": f"http://{storage.host}/there?sig=x"})

    with fake_server(lambda asked: Reply(status=201)) as storage, fake_server(answer) as server, open_registry(server.host) as registry:
        push(registry.repository("a"), content)
    (asked,) = storage.requests
    assert (asked.method, asked.body, asked.path) == ("PUT", content, f"/there?sig=x&digest=sha256%3A{Digest.of(content).hex}")
    assert "authorization" not in asked.headers


def test_push_to_an_unknown_repository_raises_not_found() -> None:
    with fake_server(lambda asked: reply({}, 404)) as server, open_registry(server.host) as registry, pytest.raises(NotFound):
        push(registry.repository("a"), b"x")


# --- acknowledged in part, refused for a while ---


@pytest.mark.parametrize("kept", [0, 4, 9])
def test_acknowledgement_of_less_than_was_sent_has_the_rest_sent_again(small: None, kept: int) -> None:
    stored = bytearray()

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.method == "PATCH":
            first = int(asked.headers["content-range"].partition("-")[0])
            assert first == len(stored)
            stored.extend(asked.body[:kept] if len(server.requests) == 3 else asked.body)
        headers = {"Location": f"/v2/a/blobs/uploads/x?at={len(stored)}", "Range": f"0-{max(0, len(stored) - 1)}"}
        return Reply(status=204 if asked.method == "GET" else 202, body=b"", headers=headers)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        push(registry.repository("a"), some(120))
    assert stored == some(120)


def test_registry_that_stores_nothing_of_any_chunk_fails_the_upload(small: None) -> None:
    def answer(asked: ReceivedRequest) -> Reply:
        return Reply(status=202, body=b"", headers={"Location": "/v2/a/blobs/uploads/x", "Range": "0-0"})

    with fake_server(answer) as server, open_registry(server.host) as registry, pytest.raises(RegistryError, match="stores nothing"):
        push(registry.repository("a"), some(120))


def test_range_of_the_chunk_alone_is_not_believed_against_the_sessions_status(small: None) -> None:
    stored = bytearray()

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.method == "PATCH":
            stored.extend(asked.body)
        end = max(0, len(stored) - 1) if asked.method == "GET" else 9
        return Reply(
            status=204 if asked.method == "GET" else 202, body=b"", headers={"Location": "/v2/a/blobs/uploads/x", "Range": f"0-{end}"}
        )

    with fake_server(answer) as server, open_registry(server.host) as registry:
        push(registry.repository("a"), some(120))
    assert stored == some(120)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_chunk_that_is_refused_for_a_while_is_sent_again(repository: Repository, proxy: FaultyProxy, small: None, status: int) -> None:
    proxy.inject(faulty_proxy.respond_with(status), method="PATCH", after=2, times=1)
    content = some(155)
    with repository.fetch(push(repository, content)) as stream:
        assert stream.read() == content


# --- mounts ---


def test_blob_is_mounted_from_another_repository(opened: Registry, proxy: FaultyProxy, unique: str) -> None:
    descriptor = push(opened.repository(f"{unique}/a"), some(50))
    there = opened.repository(f"{unique}/b")
    proxy.reset()
    assert there.mount(descriptor, opened.repository(f"{unique}/a"))
    assert methods(proxy) == ["POST"]
    assert there.last_byte(descriptor) is Presence.WHOLE


def test_blob_that_cannot_be_mounted_leaves_no_session(opened: Registry, proxy: FaultyProxy, unique: str) -> None:
    push(opened.repository(f"{unique}/a"), some(50))
    proxy.reset()
    assert not opened.repository(f"{unique}/b").mount(described(some(60)), opened.repository(f"{unique}/a"))
    assert methods(proxy) == ["POST", "DELETE"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_refused_mount_is_no_failure(opened: Registry, proxy: FaultyProxy, unique: str, status: int) -> None:
    proxy.inject(faulty_proxy.respond_with(status), method="POST")
    assert not opened.repository(f"{unique}/b").mount(described(some(5)), opened.repository(f"{unique}/a"))


def test_blob_is_mounted_from_no_other_registry_and_not_from_itself(opened: Registry, proxy: FaultyProxy, unique: str) -> None:
    repository = opened.repository(unique)
    with open_registry("127.0.0.1:1") as other:
        assert not repository.mount(described(some(5)), other.repository("a"))
    assert not repository.mount(described(some(5)), opened.repository(unique))
    assert methods(proxy) == []


# --- interrupted ---


def test_uploads_under_way_are_cancelled(repository: Repository, proxy: FaultyProxy, small: None) -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 40:
                repository.cancel_uploads()
                assert methods(proxy)[-1] == "DELETE"
            return super().read(size)

    with pytest.raises(ValueError, match="has ended"):
        repository.push(described(some(155)), Interrupted(some(155)))
    repository.cancel_uploads()
    assert methods(proxy).count("DELETE") == 1


# --- mounts ---


@pytest.mark.parametrize("status", [None, 403, 404, 503])
def test_mount_that_fails_is_none(repository: Repository, proxy: FaultyProxy, status: int | None) -> None:
    descriptor = push(repository.sibling("other"), some(50))
    proxy.inject(faulty_proxy.lose_response if status is None else faulty_proxy.respond_with(status), method="POST", times=1)
    assert not repository.mount(descriptor, repository.sibling("other"))
    assert repository.mount(descriptor, repository.sibling("other"))
