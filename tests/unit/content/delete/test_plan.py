"""Selections and plans of deletions, on the registry in this process."""

from __future__ import annotations

import json

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.content import delete
from registry_tool.content.delete import Selection
from registry_tool.oci.manifest import OCI_INDEX
from registry_tool.targets.registry import Repository
from tests.support.content import (
    layer,
    make_artifact,
    make_image,
    make_index,
)
from tests.support.deletions import NAME, applied, at, of, retag, there, write
from tests.support.faulty_proxy import FaultyProxy
from tests.support.registry_over_http import ask, tags

# --- what is wanted ---


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("app:v1", "here/app:v1"),
        ("app:v*", "here/app:v*"),
        ("localhost:5000/app:v[12]", "localhost:5000/app:v[12]"),
        (f"app@sha256:{'a' * 64}", f"here/app@sha256:{'a' * 64}"),
        (f"app:v1@sha256:{'a' * 64}", f"here/app:v1@sha256:{'a' * 64}"),
    ],
)
def test_selection_is_parsed(typed: str, meant: str) -> None:
    reference, selection = Selection.parse(typed, default_host="here")
    assert str(selection) == meant
    assert str(reference) == selection.repository


@pytest.mark.parametrize(
    "typed", ["app", "localhost:5000/app", "app*:v1", "john/*", "*", "app:v*@sha256:0", f"app:*@sha256:{'a' * 64}", "", "APP:v*"]
)
def test_ambiguous_selection_is_a_usage_error(typed: str) -> None:
    with pytest.raises(UsageError):
        Selection.parse(typed, default_host="here")


def test_repository_alone_is_refused_with_both_spellings() -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse("john/app", default_host="here")
    assert "john/app:latest" in str(caught.value.hint)
    assert "'john/app:*'" in str(caught.value.hint)


# --- what goes, and what stays ---


def test_a_plan_writes_nothing(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    delete.plan(repository, of(pattern="*"))
    assert write(proxy) == 0


def test_one_of_three_tags_on_a_digest_is_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2", "v3")
    plan = delete.plan(repository, of("v2"))
    (removal,) = plan.removals
    assert (removal.untag_only, removal.siblings, plan.bytes_freed) == (True, ("v1", "v3"), 0)
    assert applied(repository, plan) == [("untagged", ("v2",))]
    assert sorted(tags(proxy.target, NAME) or ()) == ["v1", "v3"]
    assert at(proxy, "v1") == at(proxy, "v3") == made.digest


def test_all_tags_of_a_digest_delete_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    make_image(proxy.target, NAME, "other")
    plan = delete.plan(repository, of(pattern="v?"))
    assert plan.bytes_freed == made.size + len(made.raw)
    assert applied(repository, plan) == [("deleted", ("v1", "v2"))]
    assert not there(proxy, made.digest)


def test_layers_of_another_image_are_not_freed(repository: Repository, proxy: FaultyProxy) -> None:
    shared, unshared = layer(b"shared"), layer(b"unshared")
    made = make_image(proxy.target, NAME, "v1", shared, unshared)
    make_image(proxy.target, NAME, "v2", shared)
    assert delete.plan(repository, of("v1")).bytes_freed == made.size + len(made.raw) - len(shared)


def test_child_of_an_index_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    index = make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of("v1"))
    (removal,) = plan.removals
    assert removal.untag_only
    assert [(str(held.digest), held.tags) for held in removal.indexes] == [(index.digest, ("many",))]
    applied(repository, plan)
    assert not there(proxy, "v1")
    assert there(proxy, made.digest)


def test_child_of_a_type_that_is_not_read_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    entry = {**made.descriptor, "mediaType": "application/vnd.oci.artifact.manifest.v1+json"}
    make_index(proxy.target, NAME, "many", extra={"manifests": [entry]})
    applied(repository, delete.plan(repository, of("v1")))
    assert not there(proxy, "v1")
    assert there(proxy, made.digest)


def test_index_is_deleted_with_children_that_nothing_else_needs(repository: Repository, proxy: FaultyProxy) -> None:
    amd, arm, note = (make_image(proxy.target, NAME, platform=each) for each in ("linux/amd64", "linux/arm64", "linux/386"))
    index = make_index(proxy.target, NAME, "many", amd, arm, attestations=[note])
    retag(proxy, arm, "arm")
    plan = delete.plan(repository, of("many"))
    assert [str(removal.digest) for removal in plan.removals] == [index.digest, *sorted([amd.digest, note.digest])]
    assert {str(removal.part_of) for removal in plan.removals[1:]} == {index.digest}
    applied(repository, plan)
    assert not there(proxy, amd.digest)
    assert at(proxy, "arm") == arm.digest


def test_subject_of_a_referrer_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of("v1"))
    (removal,) = plan.removals
    assert removal.untag_only
    assert [str(held.digest) for held in removal.referrers] == [signature.digest]
    applied(repository, plan)
    assert there(proxy, made.digest)


def test_selected_digest_is_deleted_whatever_needs_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    signature = make_artifact(proxy.target, NAME, made)
    index = make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of(digest=made.digest))
    (removal,) = plan.removals
    assert (removal.tags, removal.untag_only) == (("v1", "v2"), False)
    assert [str(held.digest) for held in removal.indexes] == [index.digest]
    assert [str(held.digest) for held in removal.referrers] == [signature.digest]
    assert applied(repository, plan) == [("deleted", ("v1", "v2"))]
    assert not there(proxy, made.digest)
    assert there(proxy, signature.digest)


def test_digest_without_a_tag_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME)
    assert applied(repository, delete.plan(repository, of(digest=made.digest))) == [("deleted", ())]
    assert not there(proxy, made.digest)


def test_deleted_referrer_is_removed_from_its_subjects_list(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    first, second = (make_artifact(proxy.target, NAME, made, content=content) for content in (b"first", b"second"))
    plan = delete.plan(repository, of(digest=first.digest))
    (removal,) = plan.removals
    assert removal.subject is not None
    assert str(removal.subject.digest) == made.digest
    assert removal.indexes == ()
    applied(repository, plan)
    body = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/sha256-{made.digest[7:]}", headers={"Accept": OCI_INDEX})[2]
    assert [each["digest"] for each in json.loads(body)["manifests"]] == [second.digest]
    assert at(proxy, "v1") == made.digest


def test_glob_over_all_tags_deletes_everything(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of(pattern="*"))
    applied(repository, plan, allow_empty=True)
    assert tags(proxy.target, NAME) == []
    assert not there(proxy, made.digest)
    assert not there(proxy, signature.digest)
