"""Registries that delete otherwise."""

from __future__ import annotations

import json

import pytest

from registry_tool import server
from registry_tool.base.errors import AuthenticationFailed, RegistryError
from registry_tool.content import delete
from registry_tool.content.delete import Selection, advice
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_IMAGE, OCI_INDEX, tombstone
from registry_tool.targets.registry import Repository
from tests.support.content import (
    ACCEPT,
    DOCKER_IMAGE,
    DOCKER_LIST,
    make_artifact,
    make_image,
    make_index,
)
from tests.support.deletions import NAME, applied, at, of, retag, there
from tests.support.fake_repository import FakeRepository
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, respond_with
from tests.support.registry_over_http import tags


def only_of_the_same_types(received: ReceivedRequest, forward: Forward) -> Reply:
    """A registry with a list of allowed types: here those of what is under the tag already."""
    document = json.loads(received.body)
    known = forward(ReceivedRequest(method="GET", path=received.path, headers={"accept": ACCEPT}, body=b""))
    before = json.loads(known.body)
    types = [
        (
            each["mediaType"],
            each.get("artifactType"),
            each.get("config", {}).get("mediaType"),
            [one["mediaType"] for one in each.get("layers", [])][:1],
        )
        for each in (document, before)
    ]
    return (
        forward(received)
        if types[0] == types[1] == (received.headers["content-type"], *types[1][1:])
        else respond_with(403)(received, forward)
    )


@pytest.mark.parametrize("kind", ["image", "docker image", "index", "docker list", "artifact"])
def test_tombstone_has_the_types_of_what_it_replaces(repository: Repository, proxy: FaultyProxy, kind: str) -> None:
    image = make_image(proxy.target, NAME, media_type=DOCKER_IMAGE if "docker" in kind else OCI_IMAGE)
    if kind in ("index", "docker list"):
        made = make_index(proxy.target, NAME, "v1", image, media_type=DOCKER_LIST if kind == "docker list" else OCI_INDEX)
    else:
        made = make_artifact(proxy.target, NAME, tag="v1") if kind == "artifact" else image
    retag(proxy, made, "v1", "v2")
    proxy.inject(only_of_the_same_types, method="PUT", path="manifests/")
    proxy.inject(respond_with(403), method="POST")
    assert applied(repository, delete.plan(repository, of("v1"))) == [("untagged", ("v1",))]
    assert tags(proxy.target, NAME) == ["v2"]
    assert at(proxy, "v2") == made.digest


@pytest.mark.parametrize("status", [400, 404, 415, 422])
def test_tombstone_of_its_own_type_where_that_of_the_image_is_refused(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(status), method="PUT", path="manifests/", times=1)
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert at(proxy, "v2") == made.digest


@pytest.mark.parametrize("status", [400, 405, 409, 412])
def test_digest_that_is_refused_while_tags_are_on_it_is_untagged_first(
    repository: Repository, registry: server.RunningRegistry, proxy: FaultyProxy, status: int
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    storage = registry.application.storage

    def delete_digest(received: ReceivedRequest, forward: Forward) -> Reply:
        return (
            respond_with(status)(received, forward)
            if Digest.parse(made.digest) in (storage.tags(NAME) or {}).values()
            else forward(received)
        )

    def delete_tag(received: ReceivedRequest, forward: Forward) -> Reply:
        storage.untag(NAME, received.path.rpartition("/")[2])
        return Reply(status=202)

    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(delete_digest, method="DELETE", path=made.digest)
    proxy.inject(delete_tag, method="DELETE", path="/v[12]$")
    plan = delete.plan(repository, of(pattern="v*"))
    assert applied(repository, plan, allow_empty=True) == [("untagged", ("v1",)), ("untagged", ("v2",)), ("deleted", ())]
    assert not there(proxy, made.digest)
    assert proxy.count("PUT|POST") == 0


@pytest.mark.parametrize("status", [403, 405, 500])
def test_manifest_that_is_locked_ends_no_other_deletion(repository: Repository, proxy: FaultyProxy, impatient: None, status: int) -> None:
    child = make_image(proxy.target, NAME)
    for tag in ("v1", "v3"):
        make_image(proxy.target, NAME, tag)
    locked = make_index(proxy.target, NAME, "v2", child)
    plan = delete.plan(repository, of(pattern="v*"))
    proxy.inject(respond_with(status), method="DELETE", path=locked.digest)
    steps = delete.apply(plan, repository, allow_empty=True)
    assert {next(steps).tags, next(steps).tags} == {("v1",), ("v3",)}
    with pytest.raises(RegistryError, match=str(status)):
        next(steps)
    assert tags(proxy.target, NAME) == ["v2"]
    assert there(proxy, child.digest), "what it needs stays"


def test_refused_digest_is_an_error_with_what_was_untagged_before(
    repository: Repository, registry: server.RunningRegistry, proxy: FaultyProxy
) -> None:
    made = make_image(proxy.target, NAME, "v1")

    def delete_tag(received: ReceivedRequest, forward: Forward) -> Reply:
        registry.application.storage.untag(NAME, "v1")
        return Reply(status=202)

    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(respond_with(400), method="DELETE", path=made.digest)
    proxy.inject(delete_tag, method="DELETE", path="/v1$")
    steps = delete.apply(delete.plan(repository, of("v1")), repository)
    assert next(steps).what == "untagged"
    with pytest.raises(RegistryError, match="400"):
        next(steps)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ghcr.io/john/app", "gh api"),
        ("docker.io/john/app", "https://hub.docker.com/r/john/app/tags"),
        ("some.azurecr.io/app", "az acr repository delete --name REGISTRY --image app:TAG"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/app", "aws ecr batch-delete-image --repository-name app"),
        ("eu.gcr.io/project/app", "eu.gcr.io/project/app@DIGEST"),
        ("europe-docker.pkg.dev/project/repo/app", "gcloud artifacts"),
        ("registry.gitlab.com/group/app", "GitLab"),
        ("quay.io/john/app", "https://quay.io/repository/john/app"),
    ],
)
def test_advice_is_that_registrys_own_way(name: str, word: str) -> None:
    for hint in (advice.turned_off(name), advice.ineffective(name)):
        assert word in hint
        assert "REGISTRY_STORAGE" not in hint
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in advice.turned_off("registry.example.com/app")
    assert "REGISTRY_STORAGE" not in advice.ineffective("registry.example.com/app")


@pytest.mark.parametrize(("name", "hint"), [("docker.io/john/app", "hub.docker.com"), ("registry.example.com/app", "Log in")])
def test_forbidden_deletion_gives_that_registrys_own_way(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = FakeRepository(lists_referrers=True, untags=True)
    repository.push_manifest(tombstone("x", unique="x"), "v1")

    def refuse() -> bool:
        raise AuthenticationFailed("403 DENIED", hint="Log in with a user that may do this.")

    monkeypatch.setattr(repository, "can_delete", refuse)
    plan = delete.plan(repository, Selection(repository=name, tag="v1"))
    with pytest.raises(AuthenticationFailed, match="403 DENIED") as caught:
        delete.check_deletable(plan, repository)
    assert hint in str(caught.value.hint)
