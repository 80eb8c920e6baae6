"""Referrers by the registry's own list, and by the tag scheme where it has none."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from registry_tool.base.errors import InvalidManifest, RegistryError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT, OCI_INDEX, Manifest
from registry_tool.targets.registry import Repository, open_registry, referrers
from tests.support import faulty_proxy
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.faulty_proxy import FaultyProxy

SIGNATURE = "application/vnd.example.signature"


@pytest.fixture
def repository(proxy: FaultyProxy, unique: str) -> Iterator[Repository]:
    with open_registry(proxy.host) as registry:
        opened = registry.repository(unique)
        opened.push(EMPTY, io.BytesIO(EMPTY_CONTENT))
        yield opened


def artifact(label: str, subject: Manifest | None = None) -> Manifest:
    of = subject.descriptor if subject is not None else None
    return manifests.image(EMPTY, [EMPTY], artifact_type=SIGNATURE, subject=of, annotations={"label": label})


def labels(repository: Repository, subject: Manifest) -> list[str]:
    entries = repository.referrers(subject.descriptor)
    assert {entry.artifact_type for entry in entries} <= {SIGNATURE}
    return sorted(entry.annotations["label"] for entry in entries)


# --- by tag, as on registry:2 ---


def test_pushed_referrer_is_listed(repository: Repository, proxy: FaultyProxy) -> None:
    subject, other = artifact("subject"), artifact("other")
    for pushed in (subject, other):
        repository.push_manifest(pushed, "v1")
    assert labels(repository, subject) == []
    for label in ("a", "b", "a"):
        repository.push_manifest(artifact(label, subject), None)
    assert labels(repository, subject) == ["a", "b"]
    assert labels(repository, other) == []
    assert sorted(repository.tags()) == [referrers.tag_of(subject.digest), "v1"]


def test_missing_referrers_interface_is_probed_once(repository: Repository, proxy: FaultyProxy) -> None:
    subjects = [artifact(str(number)) for number in range(3)]
    for subject in subjects:
        repository.referrers(subject.descriptor)
    assert proxy.count("GET", "/referrers/") == 1
    assert proxy.count("GET", "/manifests/sha256-") == 3


def test_deleted_referrer_is_not_listed(repository: Repository) -> None:
    subject = artifact("subject")
    repository.push_manifest(subject, "v1")
    pushed = [artifact(label, subject) for label in ("a", "b")]
    for one in pushed:
        repository.push_manifest(one, None)
    repository.delete(pushed[0].descriptor, subject=subject.descriptor)
    assert labels(repository, subject) == ["b"]
    repository.delete(pushed[1].descriptor, subject=subject.descriptor)
    assert labels(repository, subject) == []


def test_image_under_a_referrers_tag_is_no_list(repository: Repository) -> None:
    subject = artifact("subject")
    repository.push_manifest(artifact("chance"), referrers.tag_of(subject.digest))
    assert labels(repository, subject) == []


def test_damaged_list_raises(repository: Repository, proxy: FaultyProxy) -> None:
    subject = artifact("subject")
    repository.push_manifest(artifact("a", subject), None)
    proxy.inject(lambda received, ask: Reply(body=b"{", headers={"Content-Type": OCI_INDEX}), path="/manifests/sha256-")
    with pytest.raises(InvalidManifest):
        repository.referrers(subject.descriptor)


def test_referrers_tag_of_a_long_digest_is_cut() -> None:
    assert referrers.tag_of(Digest.of(b"x")) == f"sha256-{Digest.of(b'x').hex}"
    assert len(referrers.tag_of(Digest.of(b"x", "sha512"))) == 128


# --- by the registry's own list ---


class Listing:
    """A registry that keeps lists, in pages of one."""

    def __init__(self, entries: list[Manifest]) -> None:
        self.entries = entries

    def __call__(self, received: ReceivedRequest) -> Reply:
        if received.method == "PUT":
            return Reply(status=201, headers={"OCI-Subject": str(Digest.of(b"subject"))})
        if received.method == "DELETE":
            return Reply(status=202)
        path, _, at = received.path.partition("?at=")
        number = int(at or 0)
        page = manifests.index([entry.referrer for entry in self.entries[number : number + 1]])
        headers = {"Content-Type": OCI_INDEX}
        if number + 1 < len(self.entries):
            headers["Link"] = f'<{path}?at={number + 1}>; rel="next"'
        return Reply(body=page.raw, headers=headers)


def test_referrers_of_all_pages_are_listed() -> None:
    subject = artifact("subject")
    with fake_server(Listing([artifact(label, subject) for label in "abc"])) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        assert labels(repository, subject) == ["a", "b", "c"]
        assert [received.path for received in server.requests] == [
            f"/v2/a/referrers/{subject.digest}",
            f"/v2/a/referrers/{subject.digest}?at=1",
            f"/v2/a/referrers/{subject.digest}?at=2",
        ]


def test_empty_list_has_no_referrers() -> None:
    with fake_server(Listing([])) as server, open_registry(server.host) as registry:
        assert registry.repository("a").referrers(artifact("x").descriptor) == ()
        assert len(server.requests) == 1


def test_no_tag_is_written_where_the_registry_lists_referrers() -> None:
    subject = artifact("subject")
    with fake_server(Listing([])) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        repository.push_manifest(artifact("a", subject), None)
        repository.delete(artifact("a", subject).descriptor, subject=subject.descriptor)
        assert not any("sha256-" in received.path for received in server.requests)
        assert [received.method for received in server.requests if received.method != "GET"] == ["PUT", "DELETE"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"schemaVersion": 2, "manifests": [{}]}'])
def test_response_that_is_no_list_raises(body: bytes) -> None:
    with fake_server(lambda received: Reply(body=body)) as server, open_registry(server.host) as registry, pytest.raises(InvalidManifest):
        registry.repository("a").referrers(artifact("x").descriptor)


@pytest.mark.parametrize(("status", "is_remembered"), [(500, False), (403, False), (400, True), (405, True), (406, True), (501, True)])
def test_refused_list_is_that_of_the_tag(repository: Repository, proxy: FaultyProxy, status: int, is_remembered: bool) -> None:
    subject = artifact("subject")
    repository.push_manifest(artifact("a", subject), None)
    proxy.inject(faulty_proxy.respond_with(status), path="/referrers/")
    assert labels(repository, subject) == ["a"]
    assert labels(repository, subject) == ["a"]
    assert proxy.count("GET", "/referrers/") == (1 if is_remembered else 2)


@pytest.mark.parametrize(("code", "requests"), [("MANIFEST_UNKNOWN", 2), ("NAME_UNKNOWN", 2), ("UNSUPPORTED", 1), ("", 1)])
def test_404_about_one_manifest_is_not_remembered_for_the_registry(code: str, requests: int) -> None:
    body = {"errors": [{"code": code, "message": "no"}]} if code else "404 page not found"
    with fake_server(lambda received: reply(body, 404)) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        for label in "xy":
            assert repository.referrers(artifact(label).descriptor) == ()
        assert sum("/referrers/" in received.path for received in server.requests) == requests


@pytest.mark.parametrize("status", [404, 405])
def test_registry_that_listed_referrers_is_asked_again_after_a_refusal(status: int) -> None:
    subject, other, third = (artifact(label) for label in ("subject", "other", "third"))
    listing = Listing([artifact("a", subject)])

    def answer(received: ReceivedRequest) -> Reply:
        if str(other.digest) in received.path:
            return Reply(status=status)
        return listing(received) if "/referrers/" in received.path else Reply(status=404)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        assert [labels(repository, each) for each in (subject, other, third)] == [["a"], [], ["a"]]
        assert sum("/referrers/" in received.path for received in server.requests) == 3


@pytest.mark.parametrize("status", [401, 429])
def test_list_that_needs_a_login_or_patience_raises(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    proxy.inject(faulty_proxy.respond_with(status, retry_after="3600"), path="/referrers/")
    with pytest.raises(RegistryError):
        repository.referrers(artifact("subject").descriptor)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/vnd.example+json"])
def test_answer_of_another_type_is_no_list(repository: Repository, proxy: FaultyProxy, status: int, content_type: str) -> None:
    subject = artifact("subject")
    repository.push_manifest(artifact("a", subject), None)
    page = Reply(status=status, body=b"<html></html>", headers={"Content-Type": content_type})
    proxy.inject(lambda received, forward: page, path="/referrers/")
    assert labels(repository, subject) == ["a"]


def test_subject_itself_is_no_list(repository: Repository, proxy: FaultyProxy) -> None:
    """Some registries take the digest for a manifest's, wherever it stands: an index's children were its referrers."""
    child = artifact("child")
    repository.push_manifest(child, None)
    subject = manifests.index([child.descriptor])
    repository.push_manifest(subject, "v1")
    proxy.inject(lambda received, forward: Reply(body=subject.raw, headers={"Content-Type": OCI_INDEX}), path="/referrers/")
    assert repository.referrers(subject.descriptor) == ()


def test_list_of_an_unspecific_type_is_one_by_its_own_word() -> None:
    subject = artifact("subject")
    page = manifests.index([artifact("a", subject).referrer])
    with fake_server(lambda received: Reply(body=page.raw)) as server, open_registry(server.host) as registry:
        assert labels(registry.repository("a"), subject) == ["a"]


def test_referrers_that_neither_way_shows_raise(repository: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(faulty_proxy.respond_with(403), path="/referrers/|/manifests/sha256-")
    with pytest.raises(RegistryError, match="403"):
        repository.referrers(artifact("subject").descriptor)


def test_missing_interface_is_not_requested_again() -> None:
    with fake_server(lambda received: reply({}, 404)) as server, open_registry(server.host) as registry:
        for _ in range(2):
            assert registry.repository("a").referrers(artifact("x").descriptor) == ()
        assert len(server.requests) == 3
