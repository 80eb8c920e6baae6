"""Deletions that were not finished."""

from __future__ import annotations

import json
import time

import pytest

from registry_tool.base.errors import Conflict, RegistryError
from registry_tool.content import delete
from registry_tool.content.delete import Selection
from registry_tool.oci.manifest import OCI_INDEX
from registry_tool.targets.registry import Repository
from tests.support.content import (
    make_artifact,
    make_image,
    make_index,
)
from tests.support.deletions import NAME, applied, at, of, push_tombstone, there
from tests.support.faulty_proxy import FaultyProxy, respond_with
from tests.support.registry_over_http import ask, tags


def test_next_deletion_finishes_an_unfinished_one(repository: Repository, proxy: FaultyProxy) -> None:
    replacement = push_tombstone(proxy, "old")
    make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2")
    plan = delete.plan(repository, of("v1"))
    assert [dead.tag for dead in plan.unfinished] == ["old"]
    assert applied(repository, plan) == [("finished", ("old",)), ("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == ["v2"]
    assert not there(proxy, replacement)


@pytest.mark.parametrize("selection", [of("old"), of(pattern="o*")])
def test_tag_of_an_unfinished_deletion_is_deleted(repository: Repository, proxy: FaultyProxy, selection: Selection) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, selection)
    assert not plan.absent
    assert plan.tags_left == 0
    assert applied(repository, plan) == [("finished", ("old",))]
    assert tags(proxy.target, NAME) == []


def test_tag_pushed_over_its_tombstone_stays(repository: Repository, proxy: FaultyProxy) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, of("old"))
    made = make_image(proxy.target, NAME, "old")
    applied(repository, plan)
    assert at(proxy, "old") == made.digest


def test_plan_needs_two_requests_for_each_tag(repository: Repository, proxy: FaultyProxy) -> None:
    for number in range(40):
        make_image(proxy.target, NAME, f"v{number}")
    proxy.reset()
    delete.plan(repository, of("v7"))
    # A tag list, a HEAD for each tag, a GET for each manifest, and one for the list of referrers, requested from the interface first.
    assert proxy.count() <= 1 + 40 + 40 + 2


def test_interrupted_deletion_leaves_no_dead_entry_in_a_list_of_referrers(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of(digest=signature.digest))
    proxy.inject(respond_with(500), method="DELETE", path=signature.digest)
    with pytest.raises(RegistryError):
        applied(repository, plan)
    proxy.reset()
    body = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/sha256-{made.digest[7:]}", headers={"Accept": OCI_INDEX})[2]
    assert json.loads(body)["manifests"] == []
    applied(repository, delete.plan(repository, of(digest=signature.digest)))
    assert not there(proxy, signature.digest)


def test_index_with_a_missing_child_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    here, gone = make_image(proxy.target, NAME, platform="linux/arm64"), make_image(proxy.target, NAME)
    index = make_index(proxy.target, NAME, "many", here, gone)
    assert ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{gone.digest}")[0] == 202
    plan = delete.plan(repository, of("many"))
    assert [str(removal.digest) for removal in plan.removals] == [index.digest, here.digest]
    applied(repository, plan)
    assert not there(proxy, here.digest)


def test_index_pushed_during_apply_is_a_conflict(repository: Repository, proxy: FaultyProxy) -> None:
    second = [make_image(proxy.target, NAME, name) for name in ("v1", "v2", "v3")][1]
    began = time.monotonic()
    plan = delete.plan(repository, of(pattern="v[12]"))
    going = delete.apply(plan, repository)
    assert next(going).tags == ("v1",)
    took = time.monotonic() - began
    make_index(proxy.target, NAME, "many", second)
    time.sleep(took)  # a snapshot is used for as long as it took, which is less than all of this
    with pytest.raises(Conflict, match="the indexes that contain it"):
        list(going)
    assert there(proxy, "v2")
