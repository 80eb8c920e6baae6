"""Protections: kept in the repository itself, read in few requests, and safe where they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO

import pytest

from registry_tool import server
from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import NotFound, RegistryError
from registry_tool.content.protection import (
    PROTECTION,
    Protection,
    Protections,
    add_protection,
    is_pattern,
    is_protection_tag,
    read_protections,
    refusal,
    tag_of,
)
from registry_tool.oci import manifest as manifests
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT
from registry_tool.targets.registry import Registry, Repository
from registry_tool.transport import Transport
from tests.support.content import make_image, put_manifest
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, faulty_proxy, respond_with
from tests.support.registry_over_http import ask

NAME = "john/app"


@pytest.fixture
def proxy(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def repository(proxy: FaultyProxy) -> Iterator[Repository]:
    with Registry(Transport(proxy.host)) as opened:
        yield opened.repository(NAME)


def patterns(protections: Protections) -> list[str | None]:
    return [entry.pattern for entry in protections.entries]


# --- adding and reading ---


def test_added_protection_is_read_again_from_another_client(repository: Repository, registry: server.RunningRegistry) -> None:
    added, is_new = add_protection(repository, "v1.*")
    assert is_new
    with Registry(Transport(registry.host)) as other:
        assert read_protections(other.repository(NAME)).entries == (added,)
    assert added.tag == tag_of("v1.*")
    assert is_protection_tag(added.tag)
    assert repository.manifest(added.tag).artifact_type == PROTECTION


def test_protection_that_is_there_already_is_not_written_again(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")
    before = proxy.count("PUT|POST|PATCH|DELETE")
    assert add_protection(repository, "v1") == (added, False)
    assert proxy.count("PUT|POST|PATCH|DELETE") == before


def test_two_who_protect_at_once_write_the_same(repository: Repository) -> None:
    results = [result for _, (result, _) in map_unordered(lambda _: add_protection(repository, "v*"), range(4))]
    assert len({result.digest for result in results}) == 1
    assert patterns(read_protections(repository)) == ["v*"]


def test_two_who_protect_different_patterns_at_once_keep_both(repository: Repository) -> None:
    list(map_unordered(lambda pattern: add_protection(repository, pattern), ["v1", "v2", "v3", "release-*"]))
    assert sorted(filter(None, patterns(read_protections(repository)))) == ["release-*", "v1", "v2", "v3"]


def test_repository_without_protections_costs_the_list_of_tags_alone(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    before = proxy.count(".*")
    assert read_protections(repository) == Protections()
    assert proxy.count(".*") == before + 1
    assert read_protections(repository, ["v1"]) == Protections()
    assert proxy.count(".*") == before + 1


def test_repository_that_is_not_there_has_no_protections(repository: Repository) -> None:
    assert read_protections(repository) == Protections()


@pytest.mark.parametrize("refused", [1, 2])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 415, 422])
def test_registry_that_refuses_artifacts_gets_an_image(repository: Repository, proxy: FaultyProxy, status: int, refused: int) -> None:
    types = ["artifactType", "application/vnd.oci.image.manifest.v1+json"][:refused]

    def by_type(received: ReceivedRequest, forward: Forward) -> Reply:
        if any(each in received.body.decode() for each in types):
            return respond_with(status)(received, forward)
        return forward(received)

    proxy.inject(by_type, method="PUT", path="manifests/")
    added, _ = add_protection(repository, "v1")
    assert read_protections(repository).entries == (added,)
    assert repository.manifest(added.tag).artifact_type is None


def test_registry_that_refuses_every_manifest_is_an_error_of_the_first(repository: Repository, proxy: FaultyProxy) -> None:
    proxy.inject(respond_with(405), method="PUT", path="manifests/")
    with pytest.raises(RegistryError, match="405"):
        add_protection(repository, "v1")
    assert read_protections(repository) == Protections()


# --- what is damaged, and what is something else ---


def test_protection_without_a_pattern_protects_every_tag(repository: Repository) -> None:
    repository.push(EMPTY, BytesIO(EMPTY_CONTENT))
    repository.push_manifest(manifests.image(EMPTY, [EMPTY], artifact_type=PROTECTION), tag_of("v1"))
    (found,) = read_protections(repository).entries
    assert found.problem == "it has no pattern of tags"
    assert found.matches("anything")


@pytest.mark.parametrize("pattern", ["", "a b", "v1\n", "\x1b[31m", "x" * 129, "é"])
def test_protection_with_an_impossible_pattern_protects_every_tag(repository: Repository, pattern: str) -> None:
    repository.push(EMPTY, BytesIO(EMPTY_CONTENT))
    annotations = {"io.registry-tool.protection.pattern": pattern}
    repository.push_manifest(manifests.image(EMPTY, [EMPTY], artifact_type=PROTECTION, annotations=annotations), tag_of("v1"))
    (found,) = read_protections(repository).entries
    assert found.pattern is None


@pytest.mark.parametrize("status", [403, 500])
def test_protection_that_the_registry_refuses_to_show_protects_every_tag(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    added, _ = add_protection(repository, "v1")
    proxy.inject(respond_with(status), path=f"manifests/{added.tag}")
    protections = read_protections(repository)
    assert patterns(protections) == [None]
    assert protections.of("other") is not None


def test_damaged_protection_protects_every_tag(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")

    def cut(received: ReceivedRequest, forward: Forward) -> Reply:
        reply = forward(received)
        return Reply(status=reply.status, headers=reply.headers, body=reply.body[:-1] + b" ")

    proxy.inject(cut, method="GET", path=f"manifests/{added.tag}")
    assert patterns(read_protections(repository)) == [None]


def test_protection_whose_manifest_is_missing_protects_every_tag(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")
    proxy.inject(respond_with(404), path=f"manifests/{added.tag}")
    assert patterns(read_protections(repository)) == [None]


def test_protection_removed_while_it_is_read_protects_nothing(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")

    def removed(received: ReceivedRequest, forward: Forward) -> Reply:
        ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{added.digest}")
        return forward(received)

    proxy.inject(removed, method="GET", path=f"manifests/{added.tag}")
    assert read_protections(repository) == Protections()


def test_image_under_a_tag_of_that_form_is_no_protection(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, tag_of("v1"))
    assert read_protections(repository) == Protections()
    with pytest.raises(RegistryError, match="is an image"):
        add_protection(repository, "v1")
    assert str(repository.resolve(tag_of("v1")).digest) == made.digest


def test_content_of_an_unknown_type_under_a_tag_of_that_form_is_no_protection(repository: Repository, proxy: FaultyProxy) -> None:
    document = {"schemaVersion": 2, "mediaType": "application/vnd.example+json", "artifactType": PROTECTION}
    make_image(proxy.target, NAME, "v1")

    def unknown(received: ReceivedRequest, forward: Forward) -> Reply:
        body = json.dumps(document).encode()
        return Reply(headers={"Content-Type": "application/vnd.example+json"}, body=body)

    add_protection(repository, "v1")
    proxy.inject(unknown, method="GET", path=f"manifests/{tag_of('v1')}")
    assert read_protections(repository) == Protections()


def test_protection_copied_to_another_tag_of_that_form_protects_its_pattern(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")
    raw = repository.raw_manifest(added.tag)
    put_manifest(proxy.target, NAME, "protected-000000000000", raw, "application/vnd.oci.image.manifest.v1+json")
    assert patterns(read_protections(repository)) == ["v1", "v1"]
    assert len(read_protections(repository).named("v1")) == 2


def test_damaged_protection_is_written_again_by_whoever_protects_the_same(repository: Repository) -> None:
    repository.push(EMPTY, BytesIO(EMPTY_CONTENT))
    repository.push_manifest(manifests.image(EMPTY, [EMPTY], artifact_type=PROTECTION), tag_of("v1"))
    assert add_protection(repository, "v1")[1]
    assert patterns(read_protections(repository)) == ["v1"]


# --- values ---


def test_of_prefers_a_protection_that_can_be_read() -> None:
    damaged = Protection(tag="protected-000000000000", pattern=None, problem="x")
    whole = Protection(tag=tag_of("v*"), pattern="v*")
    protections = Protections(entries=(damaged, whole))
    assert protections.of("v1") == whole
    assert protections.of("latest") == damaged
    assert protections.of(whole.tag) == whole
    assert Protections(entries=(whole,)).protected(["v1", "latest", "V1"]) == {"v1": whole}


@pytest.mark.parametrize("text", ["v1", "v1.*", "[ab]?", "*", "[!x]", "x" * 128])
def test_tag_or_glob_is_a_pattern(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize("text", ["", "a/b", "a:b", "v1\n", "x" * 129, "a b", "é*"])
def test_anything_else_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


def test_refusal_names_each_tag_its_protection_and_the_way_out() -> None:
    protections = {f"v{number}": Protection(tag=tag_of("v*"), pattern="v*") for number in range(7)}
    error = refusal("localhost:5000/app", protections)
    assert error.message.startswith("localhost:5000/app: v0 is protected by 'v*', v1 by 'v*'")
    assert error.message.endswith("and 2 more; nothing was removed")
    assert error.hint == "If that should go: regctl unprotect 'localhost:5000/app:v*'"
    assert (error.code, error.exit_code) == ("protected", 1)


def test_not_found_is_no_problem_of_a_protection_that_is_not_listed(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    with pytest.raises(NotFound):
        repository.manifest(tag_of("v1"))
    assert read_protections(repository, ["v1", tag_of("v1")]) == Protections()
