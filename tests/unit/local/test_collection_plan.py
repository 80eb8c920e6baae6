"""What a collection removes, by a model of a registry's storage."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import Conflict
from registry_tool.content.usage.storage import blob_path, layer_path, revision_path, tag_history_path, tag_path
from registry_tool.local.collection.plan import CollectionPlan, after, contents, make_plan
from registry_tool.oci.digest import Digest
from tests.support.stored_registry import NOW, StoredRegistry


@pytest.fixture
def stored() -> StoredRegistry:
    return StoredRegistry()


def _plan(stored: StoredRegistry, *, grace: float = 3600) -> CollectionPlan:
    return make_plan(stored.storage(), stored.manifests(), now=NOW, grace=grace, deleted=stored.deleted())


def _digests(plan: CollectionPlan) -> set[Digest]:
    return {each.digest for each in plan.manifests}


def test_empty_registry_has_nothing_to_remove(stored: StoredRegistry) -> None:
    assert _plan(stored).is_empty


def test_tagged_image_stays_and_an_untagged_one_goes_with_its_own_layers(stored: StoredRegistry) -> None:
    stored.image("app", "1", layers=(b"shared", b"first"))
    gone = stored.image("app", layers=(b"shared", b"second"), config=b"{ }")
    plan = _plan(stored)
    assert _digests(plan) == {gone}
    assert plan.blobs.keys() == {gone, Digest.of(b"second"), Digest.of(b"{ }")}
    assert set(plan.layer_links) == {("app", Digest.of(b"second")), ("app", Digest.of(b"{ }"))}


def test_blob_that_another_repository_needs_stays_with_its_links(stored: StoredRegistry) -> None:
    stored.image("app", layers=(b"shared",))
    stored.image("app", "1", layers=(b"kept",))
    stored.image("other", "1", layers=(b"shared",), config=b"{ }")
    plan = _plan(stored)
    assert Digest.of(b"shared") not in plan.blobs
    assert ("app", Digest.of(b"shared")) not in plan.layer_links


@pytest.mark.parametrize("nested", [False, True])
def test_untagged_children_of_a_tagged_index_stay(stored: StoredRegistry, nested: bool) -> None:
    child = stored.image("app", layers=(b"child",))
    stored.index("app", "1", children=(stored.index("app", children=(child,)) if nested else child,))
    assert _plan(stored).is_empty


def test_untagged_index_goes_with_its_children_unless_a_tag_needs_one(stored: StoredRegistry) -> None:
    kept, gone = stored.image("app", "1", layers=(b"kept",)), stored.image("app", layers=(b"gone",))
    index = stored.index("app", children=(kept, gone))
    assert _digests(_plan(stored)) == {gone, index}


def test_referrer_stays_and_goes_with_its_subject(stored: StoredRegistry) -> None:
    kept, gone = stored.image("app", "1", layers=(b"kept",)), stored.image("app", layers=(b"gone",))
    stored.image("app", layers=(b"signature",), **stored.subject(kept))
    unneeded = stored.image("app", layers=(b"signature of what goes",), **stored.subject(gone))
    assert _digests(_plan(stored)) == {gone, unneeded}


def test_referrer_of_a_referrer_stays(stored: StoredRegistry) -> None:
    signature = stored.image("app", layers=(b"s",), **stored.subject(stored.image("app", "1")))
    stored.image("app", layers=(b"t",), **stored.subject(signature))
    assert not _plan(stored).manifests


def test_subject_of_a_tagged_referrer_stays(stored: StoredRegistry) -> None:
    stored.image("app", "signature", layers=(b"s",), **stored.subject(stored.image("app", layers=(b"subject",))))
    assert not _plan(stored).manifests


def test_digest_in_an_annotation_keeps_nothing(stored: StoredRegistry) -> None:
    base = stored.image("app", layers=(b"base",))
    stored.image("app", "1", layers=(b"app",), annotations={"org.opencontainers.image.base.digest": str(base)})
    assert _digests(_plan(stored)) == {base}


def test_subject_that_was_deleted_is_not_kept_as_a_blob(stored: StoredRegistry) -> None:
    subject = stored.image("app", layers=(b"subject",))
    stored.image("app", "signature", layers=(b"s",), **stored.subject(subject))
    stored.remove(revision_path("app", subject))
    # Distribution's garbage-collect does not follow a subject either.
    assert subject in _plan(stored).blobs


def test_manifest_of_schema_1_keeps_its_layers(stored: StoredRegistry) -> None:
    blob = stored.blob("app", b"a blob")
    stored.manifest("app", {"schemaVersion": 1, "fsLayers": [{"blobSum": str(blob)}]}, "1")
    assert _plan(stored).is_empty


def test_manifest_of_an_unknown_type_stops_the_collection(stored: StoredRegistry) -> None:
    stored.manifest("app", {"schemaVersion": 2, "mediaType": "application/x", "more": {}}, "1")
    with pytest.raises(Conflict, match="its manifest is missing or damaged"):
        _plan(stored)


def test_history_of_a_moved_tag_goes_with_the_manifest(stored: StoredRegistry) -> None:
    before, now = stored.image("app", "1", layers=(b"before",)), stored.image("app", layers=(b"now",))
    stored.tag("app", "1", now)
    plan = _plan(stored)
    assert plan.history_links == (("app", "1", before),)
    assert _digests(plan) == {before}


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_manifest_without_a_tag_goes(stored: StoredRegistry, damage: str) -> None:
    stored.image("app", "1")
    damaged = stored.image("app", layers=(b"damaged",))
    _damage(stored, damaged, damage)
    assert [(each.digest, each.size) for each in _plan(stored).manifests] == [(damaged, None)]


@pytest.mark.parametrize("damage", ["missing", "cut"])
@pytest.mark.parametrize("which", ["tagged", "child"])
def test_damaged_manifest_that_a_tag_needs_stops_the_collection(stored: StoredRegistry, damage: str, which: str) -> None:
    child = stored.image("app", layers=(b"child",))
    index = stored.index("app", "1", children=(child,))
    _damage(stored, child if which == "child" else index, damage)
    with pytest.raises(Conflict, match="its manifest is missing or damaged"):
        _plan(stored)


def test_child_that_was_never_pushed_stops_nothing(stored: StoredRegistry) -> None:
    stored.index("app", "1", children=(Digest.of(b"never pushed"),))
    assert not _plan(stored).manifests


@pytest.mark.parametrize("link", [b"", b"rubbish"])
def test_tag_whose_link_cannot_be_read_stops_the_collection(stored: StoredRegistry, link: bytes) -> None:
    stored.image("app", "1")
    stored.files[tag_path("app", "1")] = link
    with pytest.raises(Conflict, match="app:1: its link cannot be read"):
        _plan(stored)


def test_tag_whose_manifest_was_never_there_stops_the_collection(stored: StoredRegistry) -> None:
    image = stored.image("app", "1")
    stored.remove(revision_path("app", image))
    with pytest.raises(Conflict, match="app:1: its manifest is missing"):
        _plan(stored)


def test_manifest_of_another_repository_keeps_nothing_here(stored: StoredRegistry) -> None:
    image = stored.image("app", layers=(b"x",))
    stored.index("other", "1", children=(image,))
    plan = _plan(stored)
    assert [(each.repository, each.digest) for each in plan.manifests] == [("app", image)]
    # As distribution: the index names it, so its manifest stays as a blob, and its layers do not.
    assert image not in plan.blobs
    assert Digest.of(b"x") in plan.blobs


@pytest.mark.parametrize(
    ("age", "grace", "goes"), [(3599, 3600, False), (3600, 3600, True), (0, 0, True), (-60, 3600, False), (-60, 0, True)]
)
def test_uploads_go_by_age(stored: StoredRegistry, age: int, grace: int, goes: bool) -> None:
    stored.image("app", "1")
    stored.upload("app", "1d1e7ac5-0000-4000-8000-000000000000", age=age)
    plan = _plan(stored, grace=grace)
    assert (len(plan.uploads), len(plan.young)) == ((1, 0) if goes else (0, 1))
    if not goes:
        with pytest.raises(Conflict, match="an upload to app may be under way"):
            plan.check_young()


def test_layer_link_without_content_goes(stored: StoredRegistry) -> None:
    stored.image("app", "1")
    lost = stored.blob("app", b"lost")
    stored.remove(blob_path(lost))
    assert _plan(stored).layer_links == (("app", lost),)


def test_repository_without_content_is_empty_and_a_nested_one_is_not(stored: StoredRegistry) -> None:
    stored.image("app", layers=(b"gone",))
    stored.image("app/nested", "1", layers=(b"kept",), config=b"{ }")
    assert _plan(stored).empty == ("app",)


def test_repository_whose_layers_others_need_is_empty_all_the_same(stored: StoredRegistry) -> None:
    stored.image("app", layers=(b"layer",))
    stored.image("other", "1", layers=(b"layer",))
    plan = _plan(stored)
    assert plan.empty == ("app",)
    assert set(plan.layer_links) == {("app", Digest.of(b"{}")), ("app", Digest.of(b"layer"))}
    assert Digest.of(b"layer") not in plan.blobs


@pytest.mark.parametrize("what", ["a young upload", "a file that is not the registry's"])
def test_repository_is_not_empty_with(stored: StoredRegistry, what: str) -> None:
    stored.image("app", layers=(b"layer",))
    if what == "a young upload":
        stored.upload("app", "1d1e7ac5-0000-4000-8000-000000000000")
    else:
        stored.files["docker/registry/v2/repositories/app/_layers/notes.txt"] = b"mine"
    assert _plan(stored).empty == ()


def test_plan_frees_what_it_says(stored: StoredRegistry) -> None:
    stored.image("app", "1", layers=(b"shared", b"first"))
    stored.tag("app", "1", stored.image("app", layers=(b"shared", b"second")))
    stored.upload("app", "1d1e7ac5-0000-4000-8000-000000000000", age=9999)
    stored.image("old", layers=(b"old" * 100,))
    storage, plan, before = stored.storage(), _plan(stored), stored.size
    stored.remove(*map(blob_path, plan.blobs), *plan.link_paths(), *plan.upload_paths())
    assert before - stored.size == plan.bytes_freed
    assert after(storage, plan) == contents(stored.storage())
    assert layer_path("old", Digest.of(b"old" * 100)) not in stored.files
    assert _plan(stored).is_empty


def _damage(stored: StoredRegistry, digest: Digest, how: str) -> None:
    if how == "missing":
        stored.remove(blob_path(digest))
    else:
        stored.files[blob_path(digest)] = stored.files[blob_path(digest)][:-1]


def test_live_plan_skips_tags_that_are_newer_than_the_listing(stored: StoredRegistry) -> None:
    pushed = stored.image("app", "1")
    del stored.files[revision_path("app", pushed)]
    with pytest.raises(Conflict, match="app:1: its manifest is missing"):
        _plan(stored)
    assert make_plan(stored.storage(), stored.manifests(), now=NOW, grace=3600, live=True).manifests == ()


# --- a push that is under way ---


def _young(stored: StoredRegistry, before: set[str]) -> None:
    """Let what was written since ``before`` be young."""
    stored.modified |= dict.fromkeys(stored.files.keys() - before, NOW - 60)


@pytest.mark.parametrize(("age", "grace", "stays"), [(3599, 3600, True), (3600, 3600, False), (0, 0, False), (-60, 3600, True)])
def test_layers_of_a_push_without_a_manifest_stay_by_age(stored: StoredRegistry, age: int, grace: int, stays: bool) -> None:
    stored.image("other", "1")
    layer = stored.blob("app", b"pushed")
    stored.modified[layer_path("app", layer)] = NOW - age
    plan = _plan(stored, grace=grace)
    assert (plan.waiting, plan.blobs) == (({layer: 6}, {}) if stays else ({}, {layer: 6}))
    assert (plan.layer_links, plan.empty) == (((), ()) if stays else ((("app", layer),), ("app",)))
    assert after(stored.storage(), plan).keys() >= ({blob_path(layer), layer_path("app", layer)} if stays else set())


def test_layer_that_was_mounted_a_moment_ago_stays_in_the_repository_that_waits_for_its_manifest(stored: StoredRegistry) -> None:
    stored.image("base", "1", layers=(b"shared",))
    before = set(stored.files)
    shared = stored.blob("app", b"shared")
    _young(stored, before)
    plan = _plan(stored)
    assert plan.is_empty
    assert (plan.waiting, plan.waiting_links) == ({}, (("app", shared),))


def test_layer_of_a_manifest_that_lost_its_tag_does_not_wait_for_another(stored: StoredRegistry) -> None:
    stored.image("app", "1", layers=(b"before",))
    stored.image("app", "1", layers=(b"after",))
    _young(stored, set())
    assert Digest.of(b"before") in _plan(stored).blobs


def test_layer_of_a_manifest_that_was_deleted_does_not_wait_for_another(stored: StoredRegistry) -> None:
    stored.image("other", "1", config=b"{ }")
    image = stored.image("app", layers=(b"deleted",))
    _young(stored, set())
    stored.remove(revision_path("app", image))
    plan = _plan(stored)
    assert plan.blobs.keys() == {image, Digest.of(b"{}"), Digest.of(b"deleted")}
    assert plan.empty == ("app",)


@pytest.mark.parametrize("came", ["one layer", "all but the config", "signature", "child"])
def test_push_of_what_another_repository_lost_a_moment_ago_waits_for_its_manifest(stored: StoredRegistry, came: str) -> None:
    stored.image("other", "1", config=b"{ }")
    child = stored.image("app", layers=(b"first", b"second"))
    index = stored.index("app", "1", children=(child,))
    stored.image("app", "1", layers=(b"after",), config=b"{  }")
    before = set(stored.files)
    if came == "signature":
        stored.image("new", layers=(b"signature",), config=b"{   }", **stored.subject(child))
    elif came == "child":
        stored.image("new", layers=(b"part",), config=b"{   }")
        child_of_new = stored.image("new", layers=(b"part", b"more"), config=b"{   }")
        lost = stored.index("app", children=(index, child_of_new))
        stored.remove(revision_path("app", lost))
    else:
        for layer in (b"first", b"second")[: 1 if came == "one layer" else 2]:
            stored.blob("new", layer)
    _young(stored, before)
    stored.remove(revision_path("app", child), revision_path("app", index))
    plan = _plan(stored)
    waiting = {"one layer": {b"first"}, "all but the config": {b"first", b"second"}}.get(came, set())
    assert set(plan.waiting) == {Digest.of(layer) for layer in waiting}
    assert plan.waiting_manifests == {"signature": 1, "child": 2}.get(came, 0)
    assert not any(each.repository == "new" for each in plan.manifests)
    # It is complete where it was deleted: there nothing waits.
    assert child in plan.blobs
    assert Digest.of(b"{}") in plan.blobs


@pytest.mark.parametrize("nested", [False, True])
def test_index_that_was_deleted_with_its_children_waits_for_nothing(stored: StoredRegistry, nested: bool) -> None:
    stored.image("other", "1", config=b"{ }")
    child = stored.image("app", layers=(b"child",))
    index = stored.index("app", children=(child,))
    outer = stored.index("app", children=(index, child)) if nested else index
    _young(stored, set())
    stored.remove(*(revision_path("app", each) for each in (child, index, outer)))
    plan = _plan(stored)
    assert plan.blobs.keys() == {child, index, outer, Digest.of(b"child"), Digest.of(b"{}")}
    assert plan.empty == ("app",)


def test_layer_that_another_repository_waits_for_stays_though_its_manifest_goes(stored: StoredRegistry) -> None:
    stored.image("app", "1", layers=(b"layer",))
    stored.image("app", "1", layers=(b"after",))
    before = set(stored.files)
    layer = stored.blob("new", b"layer")
    _young(stored, before)
    plan = _plan(stored)
    assert plan.waiting == {layer: 5}
    assert [each.repository for each in plan.manifests] == ["app"]


def test_children_of_an_index_that_is_yet_to_come_stay_with_their_layers(stored: StoredRegistry) -> None:
    stored.image("app", "1")
    before = set(stored.files)
    children = tuple(stored.image("app", layers=(name,)) for name in (b"amd64", b"arm64"))
    stored.image("app", layers=(b"signature",), **stored.subject(children[0]))
    _young(stored, before)
    plan = _plan(stored)
    assert plan.is_empty
    assert plan.waiting_manifests == 3
    assert _digests(_plan(stored, grace=0)) >= set(children)


@pytest.mark.parametrize("end", ["moved", "deleted"])
def test_young_children_of_an_index_that_was_complete_go_with_it(stored: StoredRegistry, end: str) -> None:
    child = stored.image("app", layers=(b"child",))
    signature = stored.image("app", layers=(b"signature",), **stored.subject(child))
    index = stored.index("app", "1", children=(child,))
    stored.image("app", "1", layers=(b"after",))
    _young(stored, set())
    if end == "deleted":
        stored.remove(revision_path("app", index))
    assert _digests(_plan(stored)) == {child, signature} | ({index} if end == "moved" else set())


def test_young_signature_goes_with_its_subject(stored: StoredRegistry) -> None:
    image = stored.image("app", "1", layers=(b"before",))
    signature = stored.image("app", layers=(b"signature",), **stored.subject(image))
    stored.image("app", "1", layers=(b"after",))
    _young(stored, set())
    assert _digests(_plan(stored)) == {image, signature}


# --- links that a stop left empty or cut short ---


@pytest.mark.parametrize("left", [b"", b"sha256:44136f"])
@pytest.mark.parametrize("link", ["layer", "manifest", "tag"])
def test_link_that_is_damaged_gets_its_content_again(stored: StoredRegistry, link: str, left: bytes) -> None:
    image, layer = stored.image("app", "1", layers=(b"layer",)), Digest.of(b"layer")
    digest = layer if link == "layer" else image
    path = {"layer": layer_path("app", layer), "manifest": revision_path("app", image), "tag": tag_history_path("app", "1", image)}[link]
    whole = dict(stored.files)
    stored.files[path] = left
    storage, plan = stored.storage(), _plan(stored)
    assert [(each.repository, each.link, each.digest) for each in plan.damaged_links] == [("app", link, digest)]
    assert (plan.is_empty, plan.bytes_freed, plan.bytes_written) == (False, 0, len(str(digest)) - len(left))
    stored.files |= {each.path: each.content for each in plan.damaged_links}
    assert stored.files == whole
    assert after(storage, plan) == contents(stored.storage())
    assert _plan(stored).is_empty


def test_damaged_link_that_goes_is_not_mended(stored: StoredRegistry) -> None:
    stored.image("app", "1")
    gone = stored.image("app", layers=(b"gone",))
    for path in (revision_path("app", gone), layer_path("app", Digest.of(b"gone"))):
        stored.files[path] = b""
    plan = _plan(stored)
    assert _digests(plan) == {gone}
    assert plan.damaged_links == ()
