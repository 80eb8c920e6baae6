"""Deletions whose effect is looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry_tool.base.errors import RegistryError
from registry_tool.content import delete
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Repository
from tests.support.content import (
    make_artifact,
    make_image,
    make_index,
)
from tests.support.deletions import NAME, applied, at, of, push_tombstone, retag, there
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, respond_with
from tests.support.registry_over_http import tags


@pytest.mark.parametrize("status", [202, 200, 204, 404])
@pytest.mark.parametrize("shared", [False, True])
def test_deletion_without_effect_is_an_error_that_names_what_is_left(
    repository: Repository, proxy: FaultyProxy, impatient: None, status: int, shared: bool
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    if shared:
        retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(404), method="DELETE", path="sha256:", times=1)  # whether deletion is on
    proxy.inject(respond_with(status), method="DELETE", path="sha256:")
    with pytest.raises(RegistryError, match=f"not deleted: .*localhost/{NAME}:v1 (is|are) still there") as caught:
        applied(repository, plan)
    assert caught.value.hint
    assert shared == ("the tag is at its image again" in caught.value.message)
    assert at(proxy, "v1") == made.digest


def test_replacement_without_effect_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(
        lambda received, forward: Reply(status=201, headers={"Docker-Content-Digest": str(Digest.of(received.body))}),
        method="PUT",
        path="v1",
    )
    with pytest.raises(RegistryError, match="not deleted"):
        applied(repository, plan)
    assert at(proxy, "v1") == at(proxy, "v2") == made.digest


def test_tag_that_stays_where_its_digest_goes_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(404), method="HEAD|GET", path="sha256:")
    proxy.inject(respond_with(404), method="DELETE")
    with pytest.raises(RegistryError, match=f"not deleted: localhost/{NAME}:v1 is still there"):
        applied(repository, plan)


def test_deletion_that_cannot_be_looked_at_is_not_claimed(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(403), method="HEAD|GET", path=made.digest)
    with pytest.raises(RegistryError, match=f"whether localhost/{NAME}@{made.digest} was deleted is not known: .*403"):
        applied(repository, plan)


def test_deletion_that_takes_effect_later_is_waited_for(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))

    asked: list[ReceivedRequest] = []

    def later(received: ReceivedRequest, forward: Forward) -> Reply:
        asked.append(received)
        return Reply(status=202)

    def look(received: ReceivedRequest, forward: Forward) -> Reply:
        seen = forward(received)
        for deletion in asked:
            forward(deletion)
        return seen

    proxy.inject(later, method="DELETE", path=made.digest)
    proxy.inject(look, method="HEAD|GET", path=made.digest)
    assert applied(repository, plan) == [("deleted", ("v1",))]
    assert asked
    assert not there(proxy, made.digest)


def test_unfinished_deletion_that_cannot_be_finished_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, of("old"))
    proxy.inject(respond_with(202), method="DELETE")
    with pytest.raises(RegistryError, match="not deleted"):
        applied(repository, plan)


def test_unfinished_deletion_that_is_refused_ends_no_other(repository: Repository, proxy: FaultyProxy) -> None:
    locked = push_tombstone(proxy, "old")
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(403), method="DELETE", path=locked)
    with pytest.raises(RegistryError, match="403"):
        applied(repository, plan)
    assert tags(proxy.target, NAME) == ["old"]


def test_registry_that_deletes_all_tags_with_one_is_an_error(repository: Repository, proxy: FaultyProxy) -> None:
    """Some registries delete the manifest where a tag is to be removed."""
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2", "v3")
    plan = delete.plan(repository, of("v1"))
    whole = ReceivedRequest(method="DELETE", path=f"/v2/{NAME}/manifests/{made.digest}", headers={}, body=b"")
    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(lambda received, forward: forward(whole), method="DELETE", path="/v1$")
    with pytest.raises(RegistryError, match="and with it v2, v3"):
        applied(repository, plan)


@pytest.mark.parametrize("need", [make_index, make_artifact])
def test_registry_that_deletes_with_a_tag_what_others_need_is_an_error(
    repository: Repository, proxy: FaultyProxy, need: Callable[..., object]
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    if need is make_index:
        make_index(proxy.target, NAME, "many", made)
    else:
        make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    whole = ReceivedRequest(method="DELETE", path=f"/v2/{NAME}/manifests/{made.digest}", headers={}, body=b"")
    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(lambda received, forward: forward(whole), method="DELETE", path="/v1$")
    with pytest.raises(RegistryError, match=f"has deleted localhost/{NAME}@{made.digest}, which others need"):
        applied(repository, plan)
