"""One repository over HTTP, against the registry in this process and a real one, on good lines and bad ones."""

from __future__ import annotations

import io
import random

import pytest

from registry_tool.base.errors import (
    ConnectionLost,
    InvalidManifest,
    InvalidReference,
    Mismatch,
    NotFound,
    RegistryError,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, Manifest
from registry_tool.targets.registry import Presence, Repository, open_registry
from registry_tool.targets.target import Target
from tests.support import faulty_proxy
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.faulty_proxy import FaultyProxy

OCTETS = "application/octet-stream"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def described(content: bytes, media_type: str = OCTETS) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def push(repository: Repository, content: bytes, media_type: str = OCTETS) -> Descriptor:
    descriptor = described(content, media_type)
    repository.push(descriptor, io.BytesIO(content))
    return descriptor


def image(repository: Repository, *layers: bytes, **annotations: str) -> Manifest:
    """An image, pushed all but its manifest."""
    config = push(repository, CONFIG, OCI_CONFIG)
    return manifests.image(config, [push(repository, layer, LAYER) for layer in layers], annotations=annotations or None)


def read(repository: Repository, descriptor: Descriptor, *, piece: int = 1000) -> bytes:
    with repository.fetch(descriptor) as content:
        return b"".join(iter(lambda: content.read(piece), b""))


def test_repository_is_a_target(repository: Repository) -> None:
    target: Target = repository
    assert target is repository


# --- what is not there ---


def test_everything_of_an_unknown_repository_is_not_found(repository: Repository) -> None:
    nothing = described(b"nothing")
    for ask in (
        repository.tags,
        lambda: repository.resolve("v1"),
        lambda: repository.manifest("v1"),
        lambda: repository.manifest(nothing.digest),
        lambda: repository.delete(nothing),
        lambda: read(repository, nothing),
    ):
        with pytest.raises(NotFound):
            ask()
    assert repository.referrers(nothing) == ()
    assert not repository.exists(nothing)
    assert repository.last_byte(nothing) is Presence.MISSING


@pytest.mark.parametrize("tag", ["../../other/manifests/v1", "..", ".", "v1?x=y", "v1#x", "a/b", "v1\r\nEvil: x", "\x1b[2J", "ü", "%2e%2e"])
def test_request_for_any_listed_tag_stays_in_the_repository(tag: str) -> None:
    def answer(received: ReceivedRequest) -> Reply:
        return reply({}, 404)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        for ask in (registry.repository("a/b").resolve, registry.repository("a/b").manifest):
            with pytest.raises(NotFound):
                ask(tag)
    for received in server.requests:
        assert received.path.startswith("/v2/a/b/manifests/")
        assert received.path.count("/") == 5
        assert not {"?", "#"} & set(received.path)
        assert "evil" not in received.headers


@pytest.mark.parametrize(
    "path", ["", "/", "A", "../a", "a//b", "a/../b", "a?x", "a#x", "a b", "a\r\nEvil: x", "a" * 256, "a:v1", "ü", None, 7, b"a"]
)
def test_repository_that_cannot_be_one_is_an_error_before_any_request(path: str) -> None:
    with fake_server(lambda received: reply({})) as server, open_registry(server.host) as registry:
        for ask in (registry.repository, lambda path: registry.digest(path, "v1")):
            with pytest.raises(InvalidReference):
                ask(path)
        assert server.requests == []


@pytest.mark.parametrize("reference", ["", "sha256:", "sha256:xyz", "sha256:../../../x", "md5:" + "0" * 32, "v1:v2"])
def test_reference_that_cannot_be_one_is_an_error_before_any_request(reference: str) -> None:
    with fake_server(lambda received: reply({})) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        pushed = manifests.index(())
        for ask in (
            lambda: repository.resolve(reference),
            lambda: repository.manifest(reference),
            lambda: repository.untag(reference),
            lambda: repository.push_manifest(pushed, reference),
        ):
            with pytest.raises(InvalidReference):
                ask()
        assert server.requests == []


@pytest.mark.parametrize("tag", ["../../b/manifests/v1", "a b", "v1?x", ".v1", "a" * 129])
def test_pushed_and_deleted_tag_must_be_one(tag: str) -> None:
    with fake_server(lambda received: reply({})) as server, open_registry(server.host) as registry:
        for ask in (lambda: registry.repository("a").untag(tag), lambda: registry.repository("a").push_manifest(manifests.index(()), tag)):
            with pytest.raises(InvalidReference, match="is not a tag"):
                ask()
        assert server.requests == []


def test_digest_that_was_not_parsed_stays_in_the_repository() -> None:
    forged = Descriptor(media_type=OCTETS, digest=Digest("sha256", "../../../b/blobs/uploads?x=y#z"), size=1)
    with fake_server(lambda received: reply({}, 404)) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        assert not repository.exists(forged)
        assert repository.last_byte(forged) is Presence.MISSING
        repository.referrers(forged)
        with pytest.raises(NotFound):
            repository.delete(forged)
    for received in server.requests:
        assert received.path.startswith(("/v2/a/blobs/sha256:..%2F", "/v2/a/referrers/sha256:..%2F", "/v2/a/manifests/sha256"))
        assert not {"?", "#"} & set(received.path)


# --- manifests ---


def test_pushed_manifest_is_read_byte_for_byte(repository: Repository) -> None:
    pushed = image(repository, some(100))
    assert repository.push_manifest(pushed, "v1") == pushed.descriptor
    for reference in ("v1", str(pushed.digest), pushed.digest):
        manifest = repository.manifest(reference)
        assert (manifest.raw, manifest.descriptor) == (pushed.raw, pushed.descriptor)
    for known in ("v1", str(pushed.digest)):
        assert repository.resolve(known) == pushed.descriptor
    assert repository.exists(pushed.descriptor)
    assert read(repository, pushed.descriptor) == pushed.raw
    assert repository.tags() == ("v1",)


def test_manifest_pushed_without_a_tag_is_read_by_digest(repository: Repository) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, None)
    assert repository.manifest(pushed.digest).raw == pushed.raw


def test_resolve_sends_one_request(repository: Repository, proxy: FaultyProxy) -> None:
    repository.push_manifest(image(repository), "v1")
    proxy.reset()
    repository.resolve("v1")
    assert [(received.method, received.path) for received in proxy.requests] == [("HEAD", f"/v2/{repository.path}/manifests/v1")]


@pytest.mark.parametrize("name", ["Docker-Content-Digest", "Content-Type"])
def test_resolve_reads_the_manifest_where_headers_are_missing(repository: Repository, proxy: FaultyProxy, name: str) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, "v1")
    proxy.inject(faulty_proxy.with_header(name, ""))
    assert repository.resolve("v1") == pushed.descriptor
    assert repository.manifest("v1").raw == pushed.raw


@pytest.mark.parametrize("header", ["rubbish", "sha256:12", "md5:" + "0" * 32])
def test_invalid_digest_header_counts_as_missing(repository: Repository, proxy: FaultyProxy, header: str) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, "v1")
    proxy.inject(faulty_proxy.with_header("Docker-Content-Digest", header))
    assert repository.resolve("v1") == pushed.descriptor
    assert repository.manifest("v1").raw == pushed.raw


def test_wrong_digest_header_is_a_mismatch(repository: Repository, proxy: FaultyProxy) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, "v1")
    proxy.inject(faulty_proxy.wrong_digest)
    for ask in (
        lambda: repository.manifest("v1"),
        lambda: repository.manifest(pushed.digest),
        lambda: repository.resolve(str(pushed.digest)),
    ):
        with pytest.raises(Mismatch, match=rf"responds to (GET|HEAD) /v2/{repository.path}/manifests/"):
            ask()


@pytest.mark.parametrize("at", [0, 20, -1])
def test_flipped_byte_of_a_manifest_is_a_mismatch(repository: Repository, proxy: FaultyProxy, at: int) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, "v1")
    proxy.inject(faulty_proxy.flipped_byte(at))
    for reference in ("v1", pushed.digest):
        with pytest.raises(Mismatch, match="other bytes than those of sha256:"):
            repository.manifest(reference)


@pytest.mark.parametrize("media_type", [OCI_INDEX, "text/plain", "application/vnd.docker.distribution.manifest.v1+prettyjws"])
def test_wrong_content_type_is_an_invalid_manifest(repository: Repository, proxy: FaultyProxy, media_type: str) -> None:
    repository.push_manifest(image(repository), "v1")
    proxy.inject(faulty_proxy.with_header("Content-Type", media_type))
    with pytest.raises(InvalidManifest):
        repository.manifest("v1")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[" * 99_999, b"\xff\xfe", b'{"schemaVersion": 2}'])
def test_response_that_is_no_manifest_is_an_invalid_manifest(body: bytes) -> None:
    answer = Reply(body=body, headers={"Content-Type": OCI_IMAGE})
    with fake_server(lambda received: answer) as server, open_registry(server.host) as registry, pytest.raises(InvalidManifest):
        registry.repository("a").manifest("v1")


def test_manifest_of_100_megabytes_is_not_read() -> None:
    sent: list[int] = []

    def answer(received: ReceivedRequest) -> Reply:
        sent.append(1)
        return Reply(body=b" " * 100_000_000, headers={"Content-Type": OCI_IMAGE})

    with (
        fake_server(answer) as server,
        open_registry(server.host) as registry,
        pytest.raises(RegistryError, match=f"is larger than {manifests.MAX_SIZE} bytes: not read"),
    ):
        registry.repository("a").manifest("v1")
    assert len(sent) == 1


def test_push_reported_with_another_digest_is_a_mismatch(repository: Repository, proxy: FaultyProxy) -> None:
    pushed = image(repository)
    proxy.inject(faulty_proxy.wrong_digest, method="PUT")
    with pytest.raises(Mismatch, match="stored"):
        repository.push_manifest(pushed, "v1")


def test_sha512_digests_are_supported() -> None:
    raw = manifests.index([]).raw
    digest = Digest.of(raw, "sha512")
    answer = Reply(body=raw, headers={"Content-Type": OCI_INDEX, "Docker-Content-Digest": str(digest)})
    with fake_server(lambda received: answer) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        for reference in ("v1", str(digest)):
            assert repository.manifest(reference).digest == repository.resolve(reference).digest == digest


# --- tags and deletion ---


def test_deleting_a_digest_deletes_its_tags(repository: Repository) -> None:
    one, other = image(repository, one="1"), image(repository, other="1")
    for tag in ("a", "b"):
        repository.push_manifest(one, tag)
    repository.push_manifest(other, "c")
    assert repository.can_delete()
    repository.delete(one.descriptor)
    assert repository.tags() == ("c",)
    with pytest.raises(NotFound):
        repository.delete(one.descriptor)
    repository.delete(other.descriptor)
    assert repository.tags() == ()


def test_untag_at_registry_2_raises(repository: Repository, proxy: FaultyProxy) -> None:
    repository.push_manifest(image(repository), "v1")
    assert not repository.can_untag()
    proxy.reset()
    with pytest.raises(RegistryError, match="cannot delete a tag alone"):
        repository.untag("v1")
    assert proxy.requests == []
    assert repository.tags() == ("v1",)


def test_untag_deletes_the_tag_alone() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        return Reply(status=202) if received.path.endswith("/v1") else reply({}, 404)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        registry.repository("a").untag("v1")
        with pytest.raises(NotFound):
            registry.repository("a").untag("v2")
        with pytest.raises(InvalidReference, match="not a tag"):
            registry.repository("a").untag(str(Digest.of(b"")))
    probe, *others = server.requests
    assert probe.path.startswith("/v2/a/manifests/no-such-tag-")
    assert [received.path for received in others] == ["/v2/a/manifests/v1", "/v2/a/manifests/v2"]


# --- blobs ---


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
def test_pushed_blob_is_fetched(repository: Repository, size: int) -> None:
    content = some(size)
    descriptor = push(repository, content)
    assert repository.exists(descriptor)
    assert repository.last_byte(descriptor) is Presence.WHOLE
    assert read(repository, descriptor) == content
    push(repository, content)


def test_lost_connection_is_resumed_where_it_was_lost(repository: Repository, proxy: FaultyProxy) -> None:
    content = some(100_000)
    descriptor = push(repository, content)
    proxy.inject(faulty_proxy.cut_after(30_000), method="GET", path="/blobs/", times=3)
    before = len(proxy.requests)
    assert read(repository, descriptor) == content
    ranges = [received.headers.get("range") for received in proxy.requests[before:]]
    assert ranges == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]


def test_connection_lost_twice_at_one_byte_raises(repository: Repository, proxy: FaultyProxy) -> None:
    content = some(100_000)
    descriptor = push(repository, content)
    proxy.inject(faulty_proxy.cut_after(30_000), method="GET", path="/blobs/", times=1)
    proxy.inject(faulty_proxy.cut_after(0), method="GET", path="/blobs/")
    before = len(proxy.requests)
    with pytest.raises(ConnectionLost):
        read(repository, descriptor)
    assert [received.headers.get("range") for received in proxy.requests[before:]] == [None, "bytes=30000-"]


def test_resuming_without_ranges_skips_what_was_read(repository: Repository, proxy: FaultyProxy) -> None:
    content = some(100_000)
    descriptor = push(repository, content)

    def without_range(received: ReceivedRequest, ask: faulty_proxy.Forward) -> Reply:
        headers = {name: value for name, value in received.headers.items() if name != "range"}
        return ask(ReceivedRequest(method=received.method, path=received.path, headers=headers, body=received.body))

    proxy.inject(faulty_proxy.cut_after(30_000), method="GET", path="/blobs/", times=1)
    proxy.inject(without_range, method="GET", path="/blobs/")
    assert read(repository, descriptor) == content
    assert repository.last_byte(descriptor) is Presence.WHOLE


def test_resuming_with_another_range_raises(repository: Repository, proxy: FaultyProxy) -> None:
    descriptor = push(repository, some(1000))
    proxy.inject(faulty_proxy.cut_after(500), method="GET", path="/blobs/", times=1)
    proxy.inject(faulty_proxy.with_header("Content-Range", "bytes 0-999/1000"), method="GET", path="/blobs/")
    with pytest.raises(RegistryError, match="from byte 0, not 500"):
        read(repository, descriptor)


def test_flipped_byte_of_a_blob_is_a_mismatch_before_the_last_byte(repository: Repository, proxy: FaultyProxy) -> None:
    content = some(10_000)
    descriptor = push(repository, content)
    proxy.inject(faulty_proxy.flipped_byte(5), method="GET", path="/blobs/")
    got = b""
    with pytest.raises(Mismatch), repository.fetch(descriptor) as stream:
        while piece := stream.read(1000):
            got += piece
    assert len(got) < len(content)


@pytest.mark.parametrize(("by", "presence"), [(-1, Presence.LONG), (1, Presence.SHORT), (-999, Presence.LONG), (10**12, Presence.SHORT)])
def test_wrong_size_of_a_blob_is_a_mismatch(repository: Repository, by: int, presence: Presence) -> None:
    content = some(1000)
    push(repository, content)
    lying = Descriptor(media_type=OCTETS, digest=Digest.of(content), size=1000 + by)
    assert repository.last_byte(lying) is presence
    with pytest.raises(Mismatch, match="has 1000 bytes where"):
        read(repository, lying)


def test_wrong_size_of_zero_is_a_mismatch(repository: Repository) -> None:
    content = some(1000)
    push(repository, content)
    lying = Descriptor(media_type=OCTETS, digest=Digest.of(content), size=0)
    assert repository.last_byte(lying) is Presence.LONG
    with pytest.raises(Mismatch):
        read(repository, lying)


def test_endless_blob_ends() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        return Reply(body=b"x" * 1_000_000, headers={"Content-Length": "1000000000000"}, stall=1_000_000)

    descriptor = described(b"x" * 10)
    with fake_server(answer) as server, open_registry(server.host) as registry, pytest.raises(Mismatch, match="has 1000000000000 bytes"):
        read(registry.repository("a"), descriptor)


def test_redirected_blob_is_fetched_without_a_password() -> None:
    content = some(5000)

    def elsewhere(received: ReceivedRequest) -> Reply:
        first = int(received.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if not first:
            return Reply(body=content, cut=2000)
        return Reply(status=206, body=content[first:], headers={"Content-Range": f"bytes {first}-4999/5000"})

    def answer(received: ReceivedRequest) -> Reply:
        return Reply(status=307, headers={"Location": f"http://{storage.host}/blob?signature=x"})

    with fake_server(elsewhere) as storage, fake_server(answer) as server, open_registry(server.host) as registry:
        assert read(registry.repository("a"), described(content)) == content
        assert [received.headers.get("range") for received in storage.requests] == [None, "bytes=2000-"]
        assert [received.headers.get("range") for received in server.requests] == [None, "bytes=2000-"]
        assert all("authorization" not in received.headers for received in storage.requests)


# --- weather ---


@pytest.mark.parametrize("status", [429, 503])
def test_passing_failure_is_retried(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    pushed = image(repository)
    repository.push_manifest(pushed, "v1")
    proxy.inject(faulty_proxy.respond_with(status), times=2)
    assert repository.manifest("v1").raw == pushed.raw


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faulty_proxy.respond_with(429, retry_after="900"), TooManyRequests),
        (faulty_proxy.respond_with(500), RegistryError),
        (faulty_proxy.close_connection, RegistryUnreachable),
        (faulty_proxy.cut_after(3), RegistryUnreachable),
        (lambda received, ask: Reply(body=b"<html>", headers={"Content-Type": "text/html"}), RegistryError),
        (lambda received, ask: Reply(body=b""), RegistryError),
    ],
)
def test_lasting_failure_raises(repository: Repository, proxy: FaultyProxy, fault: faulty_proxy.Fault, kind: type[Exception]) -> None:
    repository.push_manifest(image(repository), "v1")
    proxy.inject(fault)
    with pytest.raises(kind) as caught:
        repository.tags()
    assert getattr(caught.value, "hint", None)


def test_endless_links_end(repository: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.transport.transport.MAX_PAGES", 10)
    repository.push_manifest(image(repository), "v1")
    proxy.inject(faulty_proxy.endless_link)
    with pytest.raises(RegistryError, match="no end of pages"):
        repository.tags()
