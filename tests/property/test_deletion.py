"""Whatever a repository holds and whatever is deleted from it, what was not in the plan is there afterwards; killed anywhere, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_tool import server
from registry_tool.base.errors import NotFound, RegistryError
from registry_tool.content import delete
from registry_tool.content.delete import Deletable, DeletionPlan, Selection
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, Manifest
from registry_tool.targets.registry import Repository
from registry_tool.transport import Transport
from tests.support.fake_repository import FakeRepository, Killed

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NAME = "localhost:5000/a"

Recipe = list[tuple[str, list[int], int, list[str]]]
"""(kind, what it is made of, subject, tags) of each manifest, where what it is made of and its subject come before it."""

recipes = st.lists(
    st.tuples(
        st.sampled_from(["image", "image", "index", "artifact", "tombstone"]),
        st.lists(st.integers(0, 6), min_size=1, max_size=3),
        st.integers(0, 6),
        st.lists(st.sampled_from(["a", "b", "c", "v1", "v2", "v3"]), max_size=2, unique=True),
    ),
    min_size=1,
    max_size=7,
)


def blob(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def fill(
    repository: Deletable, recipe: Recipe, *, list_by_tag: bool, config_of: Callable[[int], bytes] = lambda number: b'{"n":%d}' % number
) -> list[Manifest]:
    made: list[Manifest] = []
    listed: dict[Digest, list[Descriptor]] = {}

    def pushed(content: bytes, media_type: str) -> Descriptor:
        descriptor = blob(content, media_type)
        repository.push(descriptor, BytesIO(content))
        return descriptor

    for number, (kind, parts, subject, tags) in enumerate(recipe):
        layers = [pushed(b"layer" * (part + 1), LAYER) for part in dict.fromkeys(parts)]
        before = [each for each in made if not each.is_tombstone]
        earlier = [before[part % len(before)] for part in parts] if before else []
        about = before[subject % len(before)].descriptor if before and kind == "artifact" else None
        if kind == "index" and earlier:
            manifest = manifests.index([each.descriptor for each in dict.fromkeys(earlier)], annotations={"n": str(number)})
        elif kind == "tombstone":
            pushed(b"{}", manifests.EMPTY.media_type)
            manifest = manifests.tombstone("x", unique=str(number))
        else:
            config = pushed(config_of(number), OCI_CONFIG)
            manifest = manifests.image(config, layers, subject=about, artifact_type="application/x" if about else None)
        repository.push_manifest(manifest, None)
        for tag in tags if kind != "tombstone" else [f"dead{number}"]:
            repository.push_manifest(manifest, tag)
        made.append(manifest)
        if about is not None and list_by_tag:
            listed.setdefault(about.digest, []).append(manifest.referrer)
            repository.push_manifest(manifests.index(listed[about.digest]), f"sha256-{about.digest.hex}")
    return made


def selections(made: list[Manifest]) -> st.SearchStrategy[Selection]:
    return st.one_of(
        st.sampled_from(["a", "b", "c", "v1", "v2", "v3"]).map(lambda tag: Selection(repository=NAME, tag=tag)),
        st.sampled_from(made).map(lambda manifest: Selection(repository=NAME, digest=manifest.digest)),
        st.sampled_from(["*", "v*", "[ab]", "s*"]).map(lambda pattern: Selection(repository=NAME, pattern=pattern)),
    )


def content(repository: Deletable, digest: Digest, *, without: frozenset[Digest]) -> Iterator[Digest]:
    """All that is there of a manifest, down to its layers."""
    if digest in without:
        return
    try:
        manifest = repository.manifest(digest)
    except NotFound:
        return
    yield digest
    for descriptor in (*([manifest.config] if manifest.config else []), *manifest.layers):
        if repository.exists(descriptor):
            yield descriptor.digest
    for child in manifest.children:
        yield from content(repository, child.digest, without=without)


def tags_of(repository: Deletable) -> tuple[str, ...]:
    try:
        return repository.tags()
    except NotFound:
        return ()


Snapshot = dict[str, tuple[Digest, set[Digest]]]


def snapshot(repository: Deletable, plan: DeletionPlan) -> Snapshot:
    """What each tag that is not in the plan stands for. A digest that was named goes out of whatever contains it."""
    named = frozenset(filter(None, [plan.selection.digest]))
    contents: Snapshot = {}
    for tag in tags_of(repository):
        # A list of referrers is written anew where one of them goes.
        if tag not in plan.tags and not tag.startswith(("dead", "sha256-")):
            digest = repository.resolve(tag).digest
            contents[tag] = (digest, set(content(repository, digest, without=named)))
    return contents


def check(repository: Deletable, before: Snapshot, plan: DeletionPlan) -> None:
    assert snapshot(repository, plan) == before


def check_done(repository: Deletable, plan: DeletionPlan) -> None:
    left = tags_of(repository)
    assert not plan.tags & set(left)
    assert not [tag for tag in left if repository.manifest(tag).is_tombstone]
    assert not [digest for digest in plan.deleted if repository.exists(Descriptor(media_type=manifests.OCI_IMAGE, digest=digest, size=0))]


@given(recipe=recipes, lists_referrers=st.booleans(), untags=st.booleans(), data=st.data())
def test_content_outside_the_plan_stays(recipe: Recipe, lists_referrers: bool, untags: bool, data: st.DataObject) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    plan = delete.plan(repository, data.draw(selections(made)))
    before = snapshot(repository, plan)
    subjects = {
        digest: {each.digest for each in repository.referrers(manifest.descriptor)} for digest, manifest in repository.manifests.items()
    }
    list(delete.apply(plan, repository, allow_empty=True))
    check(repository, before, plan)
    check_done(repository, plan)
    for digest, referrers in subjects.items():
        if referrers and digest not in repository.manifests and digest != plan.selection.digest:
            assert referrers <= plan.deleted, "only a subject that is named goes without its referrers"


@given(recipe=recipes, lists_referrers=st.booleans(), untags=st.booleans(), refused=st.sampled_from(["a", "b", "v1", "v2"]), data=st.data())
def test_what_an_unreadable_tag_stands_for_stays(
    recipe: Recipe, lists_referrers: bool, untags: bool, refused: str, data: st.DataObject
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    selection = data.draw(selections(made))
    digest = repository.digests.get(refused)
    if digest is None or selection.digest is not None or selection.matching([refused]):
        return
    before = set(content(repository, digest, without=frozenset()))
    repository.refused.add(refused)
    list(delete.apply(delete.plan(repository, selection), repository, allow_empty=True))
    assert repository.digests[refused] == digest
    assert set(content(repository, digest, without=frozenset())) == before


@given(recipe=recipes, lists_referrers=st.booleans(), untags=st.booleans(), data=st.data())
def test_what_is_locked_stays_whole_and_the_rest_of_the_plan_is_deleted(
    recipe: Recipe, lists_referrers: bool, untags: bool, data: st.DataObject
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    plan = delete.plan(repository, data.draw(selections(made)))
    repository.locked = {data.draw(st.sampled_from(made)).digest} - {each.descriptor.digest for each in plan.unfinished}
    named = frozenset(filter(None, [plan.selection.digest])) - repository.locked
    # Of an index that no tag leads to nobody knows.
    before = {digest: set(content(repository, digest, without=named)) for digest in repository.locked & plan.deleted}
    outside = snapshot(repository, plan)
    try:
        list(delete.apply(plan, repository, allow_empty=True))
    except RegistryError:
        assert repository.locked <= plan.deleted
    else:
        check_done(repository, plan)
    check(repository, outside, plan)
    for digest, whole in before.items():
        assert set(content(repository, digest, without=named)) == whole, "a digest that is named goes out of whatever contains it"
    independent = {
        each.digest for each in plan.removals if not each.untag_only and each.part_of is None and each.digest not in repository.locked
    }
    needed = {each for digest in repository.locked for each in _needed(made, digest)}
    assert not independent - needed & repository.manifests.keys()


def _needed(made: list[Manifest], digest: Digest) -> set[Digest]:
    manifest = next(each for each in made if each.digest == digest)
    below = [*manifest.children, *([manifest.subject] if manifest.subject else [])]
    return {digest}.union(*(_needed(made, each.digest) for each in below))


@given(recipe=recipes, untags=st.booleans(), data=st.data())
def test_bytes_freed_are_what_a_collection_frees(recipe: Recipe, untags: bool, data: st.DataObject) -> None:
    repository = FakeRepository(lists_referrers=True, untags=untags)
    made = fill(repository, recipe, list_by_tag=False)
    plan = delete.plan(repository, data.draw(selections(made)))
    unseen = repository.manifests.keys() - {manifest.digest for manifest in plan.manifests}
    before = _marked(repository)
    list(delete.apply(plan, repository, allow_empty=True))
    freed = sum(size for digest, size in before.items() if digest not in _marked(repository))
    assert freed == plan.bytes_freed or (unseen and freed < plan.bytes_freed)


def _marked(repository: FakeRepository) -> dict[Digest, int]:
    """What a collection keeps: every manifest, tagged or not, and its blobs."""
    sizes = {}
    for manifest in repository.manifests.values():
        for descriptor in (manifest.descriptor, *([manifest.config] if manifest.config else []), *manifest.layers):
            sizes[descriptor.digest] = descriptor.size
    return sizes


@given(recipe=recipes, lists_referrers=st.booleans(), untags=st.booleans(), lives=st.integers(0, 8), data=st.data())
def test_killed_at_any_write_nothing_is_lost_and_the_next_deletion_finishes(
    recipe: Recipe, lists_referrers: bool, untags: bool, lives: int, data: st.DataObject
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    selection = data.draw(selections(made))
    plan = delete.plan(repository, selection)
    before = snapshot(repository, plan)
    repository.writes_left = lives
    try:
        list(delete.apply(plan, repository, allow_empty=True))
    except Killed:
        check(repository, before, plan)
    repository.writes_left = None
    again = delete.plan(repository, selection)
    list(delete.apply(again, repository, allow_empty=True))
    check(repository, before, plan)
    left = tags_of(repository)
    assert not plan.tags & set(left)
    assert not [tag for tag in left if repository.manifest(tag).is_tombstone]


@given(recipe=recipes, data=st.data())
@settings(max_examples=25)
def test_content_outside_the_plan_stays_over_http(recipe: Recipe, data: st.DataObject) -> None:
    with server.run_registry() as running, Transport(running.host) as transport:
        repository = Repository(transport, "a")
        made = fill(repository, recipe, list_by_tag=False)
        selection = data.draw(selections(made))
        if selection.digest is None and not tags_of(repository):
            with pytest.raises(NotFound):
                delete.plan(repository, selection)
            return
        plan = delete.plan(repository, selection)
        before = snapshot(repository, plan)
        list(delete.apply(plan, repository, allow_empty=True))
        check(repository, before, plan)
        check_done(repository, plan)
        assert running.errors == []
