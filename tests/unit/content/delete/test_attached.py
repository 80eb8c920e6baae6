"""What cosign's tags attach to a deleted image."""

from __future__ import annotations

import json

import pytest

from registry_tool.base.errors import RegistryError
from registry_tool.content import delete
from registry_tool.oci import manifest as manifests
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, OCI_IMAGE
from registry_tool.targets.registry import Repository
from tests.support.content import (
    ACCEPT,
    PushedManifest,
    make_image,
    make_index,
    put_manifest,
)
from tests.support.deletions import NAME, applied, at, of, retag, there
from tests.support.fake_repository import FakeRepository
from tests.support.fake_server import Reply
from tests.support.faulty_proxy import FaultyProxy, respond_with
from tests.support.registry_over_http import ask, tags


def attach(proxy: FaultyProxy, made: PushedManifest, *ends: str) -> list[str]:
    """Push images under cosign's tags of ``made``; the tags."""
    names = [f"{made.digest.replace(':', '-')}.{end}" for end in ends]
    for name in names:
        make_image(proxy.target, NAME, name)
    return names


def test_what_is_attached_to_an_image_is_deleted_with_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    other = make_image(proxy.target, NAME, "v2")
    names = sorted(attach(proxy, made, "sig", "att", "sbom"))
    of_other = attach(proxy, other, "sig")
    plan = delete.plan(repository, of("v1"))
    assert [removal.tags for removal in plan.removals] == [(name,) for name in names] + [("v1",)]
    assert {str(removal.attached_to) for removal in plan.removals[:-1]} == {made.digest}
    assert plan.tags_left == 1, "a signature is no tag to a person"
    applied(repository, plan)
    assert sorted(tags(proxy.target, NAME) or ()) == [*of_other, "v2"]


def test_image_whose_signature_cannot_be_deleted_is_kept(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    (name,) = attach(proxy, made, "sig")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(405), method="DELETE", path=at(proxy, name))
    with pytest.raises(RegistryError, match="405"):
        applied(repository, plan)
    assert sorted(tags(proxy.target, NAME) or ()) == [name, "v1"]


def test_what_is_attached_is_kept_on_request(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    names = attach(proxy, made, "sig")
    plan = delete.plan(repository, of("v1"), keep_attached=True)
    assert applied(repository, plan) == [("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == names


def test_what_is_attached_to_an_image_that_stays_is_kept(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    names = attach(proxy, made, "sig", "att")
    applied(repository, delete.plan(repository, of("v1")))
    assert sorted(tags(proxy.target, NAME) or ()) == [*sorted(names), "v2"]


def test_what_is_attached_to_a_deleted_child_and_to_signatures_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    child = make_image(proxy.target, NAME)
    make_index(proxy.target, NAME, "many", child)
    (name,) = attach(proxy, child, "sig")
    signature = at(proxy, name)
    make_image(proxy.target, NAME, f"{signature.replace(':', '-')}.att")
    applied(repository, delete.plan(repository, of("many")))
    assert tags(proxy.target, NAME) == []


def test_attached_image_with_another_tag_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    (name,) = attach(proxy, made, "sbom")
    retag_of = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/{name}", headers={"Accept": ACCEPT})
    put_manifest(proxy.target, NAME, "kept", retag_of[2], OCI_IMAGE)
    assert applied(repository, delete.plan(repository, of("v1"))) == [("untagged", (name,)), ("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == ["kept"]


def test_image_is_kept_with_its_signature_where_something_unknown_may_need_that(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    made = at(proxy, "v1")
    make_image(proxy.target, NAME, name := f"{made.replace(':', '-')}.sig")
    odd = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.example+json", "of": at(proxy, name)}).encode()
    make_image(proxy.target, NAME, "odd")
    headers = {"Content-Type": "application/vnd.example+json"}
    proxy.inject(lambda received, forward: Reply(body=odd, headers=headers), path=f"/manifests/(odd|{Digest.of(odd)})$")
    plan = delete.plan(repository, of("v1"))
    assert [(removal.tags, removal.untag_only) for removal in plan.removals] == [(("v1",), True)]
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert set(tags(proxy.target, NAME) or ()) == {name, "odd"}
    assert there(proxy, made)


def test_image_whose_signature_has_a_referrer_is_deleted() -> None:
    repository = FakeRepository(lists_referrers=True, untags=True)
    image, signature = (manifests.image(EMPTY, [EMPTY], artifact_type="application/x", annotations={"a": name}) for name in "is")
    repository.push_manifest(image, "v1")
    repository.push_manifest(signature, f"sha256-{image.digest.hex}.sig")
    repository.push_manifest(manifests.image(EMPTY, [EMPTY], artifact_type="application/x", subject=signature.descriptor), None)
    plan = delete.plan(repository, of("v1"))
    assert [(removal.untag_only, len(removal.referrers)) for removal in plan.removals] == [(True, 1), (False, 0)]
    list(delete.apply(plan, repository))
    assert image.digest not in repository.manifests
    assert signature.digest in repository.manifests
