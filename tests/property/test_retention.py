"""Whatever a repository holds, whatever the rules: no kept tag loses anything it needs, and nothing goes that the plan did not name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry_tool import server
from registry_tool.base.errors import NotFound, RegistryError
from registry_tool.content import delete
from registry_tool.content.delete import Deletable, PartlyDeleted
from registry_tool.content.protection import add_protection
from registry_tool.content.retention import planner
from registry_tool.content.retention.plan import RepositoryPlan
from registry_tool.content.retention.planner import PlanContext, plan_repository, replan_repository
from registry_tool.content.retention.rules import (
    KeepLast,
    KeepSemver,
    KeepTags,
    KeepWithin,
    RepositoryRules,
    TagFilter,
)
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.registry import Repository
from registry_tool.transport import Transport
from tests.property.test_deletion import NAME, Recipe, content, fill, recipes, tags_of
from tests.support.fake_repository import FakeRepository, Killed

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
DATES = ["", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2026-01-30T00:00:00Z", "2026-01-01T00:00:00Z"]

filters = st.sampled_from([(), ("^v",), ("a", "v1"), ("nothing",)]).map(lambda patterns: TagFilter(patterns=patterns))
rules = st.lists(
    st.one_of(
        filters.map(lambda only: KeepTags(only=only)),
        st.builds(KeepLast, count=st.integers(1, 3), by=st.sampled_from(["date", "version"]), only=filters),
        st.builds(KeepSemver, count=st.integers(1, 2), per=st.sampled_from(["major", "minor"]), only=filters),
        st.integers(1, 60).map(lambda days: KeepWithin(seconds=days * 86400, span=f"{days}d")),
    ),
    min_size=1,
    max_size=2,
)
dates = st.lists(st.sampled_from(DATES), min_size=7, max_size=7)


def search_here(patterns: Collection[str], texts: Collection[str], *, seconds: int) -> dict[str, frozenset[str]]:
    """Without a process for each of a thousand examples."""
    return {pattern: frozenset(text for text in texts if re.search(pattern, text)) for pattern in patterns}


def planned(repository: Deletable, chosen: list[object]) -> RepositoryPlan:
    stored = dict.fromkeys(repository.manifests, timedelta(days=1)) if isinstance(repository, FakeRepository) else {}
    with mock.patch.object(planner, "search_all", search_here):
        rules_of = RepositoryRules(rules=tuple(chosen), untagged=True)  # type: ignore[arg-type]
        return plan_repository(repository, NAME, rules_of, PlanContext(now=NOW, untagged=lambda path: stored))


def dated(moments: list[str]) -> Callable[[int], bytes]:
    return lambda number: json.dumps({"n": number, **({"created": moments[number]} if moments[number] else {})}).encode()


def whole(repository: Deletable, digest: Digest) -> set[Digest]:
    """A manifest with all it contains, and what refers to any of it, and what that contains."""
    seen: set[Digest] = set()
    waiting = [digest]
    while waiting:
        inside = set(content(repository, waiting.pop(), without=frozenset())) - seen
        seen |= inside
        for each in inside:
            try:
                manifest = repository.manifest(each)
            except (NotFound, RegistryError):
                # A config or a layer; registry:2 has a 500 for them.
                continue
            waiting += [referrer.digest for referrer in repository.referrers(manifest.descriptor) if referrer.digest not in seen]
    return seen


def kept(repository: Deletable, plan: RepositoryPlan) -> dict[str, tuple[Digest, set[Digest]]]:
    return {tag.tag: (tag.digest, whole(repository, tag.digest)) for tag in plan.tags if tag.action == "keep" and tag.digest is not None}


@given(recipe=recipes, moments=dates, chosen=rules, lists_referrers=st.booleans(), untags=st.booleans())
def test_kept_tags_stay_whole_and_only_what_the_plan_names_goes(
    recipe: Recipe, moments: list[str], chosen: list[object], lists_referrers: bool, untags: bool
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    fill(repository, recipe, list_by_tag=not lists_referrers, config_of=dated(moments))
    plan = planned(repository, chosen)
    assert plan.deletion is not None
    before, manifests, tags = kept(repository, plan), set(repository.manifests), dict(repository.digests)
    list(delete.apply(plan.deletion, repository, allow_empty=True))
    assert {tag: (repository.digests[tag], whole(repository, repository.digests[tag])) for tag in before} == before
    assert manifests - repository.manifests.keys() - {tags[tag] for tag in plan.unfinished} == {each.digest for each in plan.deleted}
    named = {tag for each in plan.manifests for tag in each.tags} | {*plan.unfinished}
    assert tags.keys() - repository.digests.keys() == named
    assert {tag.tag for tag in plan.going} <= named
    assert not [tag for tag in plan.tags if tag.action == "go" and tag.tag in repository.digests]


@given(recipe=recipes, chosen=rules, untags=st.booleans())
def test_bytes_freed_are_those_that_a_collection_frees(recipe: Recipe, chosen: list[object], untags: bool) -> None:
    repository = FakeRepository(lists_referrers=True, untags=untags)
    fill(repository, recipe, list_by_tag=False)
    plan = planned(repository, chosen)
    assert plan.deletion is not None
    unseen = repository.manifests.keys() - {manifest.digest for manifest in plan.deletion.manifests}
    before = marked(repository)
    list(delete.apply(plan.deletion, repository, allow_empty=True))
    freed = sum(size for digest, size in before.items() if digest not in marked(repository))
    assert freed == plan.bytes_freed or (unseen and freed < plan.bytes_freed)


def marked(repository: FakeRepository) -> dict[Digest, int]:
    sizes = {}
    for manifest in repository.manifests.values():
        for descriptor in (manifest.descriptor, *([manifest.config] if manifest.config else []), *manifest.layers):
            sizes[descriptor.digest] = descriptor.size
    return sizes


class Meddled(FakeRepository):
    """Before its first deletion somebody else points ``tag`` at ``manifest``."""

    meddling: tuple[str, Manifest] | None = None

    def can_delete(self) -> bool:
        # The first question of a deletion that is applied: the plan is made, and nothing is written.
        if self.meddling is not None:
            tag, manifest = self.meddling
            self.digests[tag] = manifest.digest
            self.meddling = None
        return super().can_delete()


@given(
    recipe=recipes,
    moments=dates,
    chosen=rules,
    lists_referrers=st.booleans(),
    untags=st.booleans(),
    tag=st.sampled_from(["a", "b", "v1", "v2", "new"]),
    data=st.data(),
)
def test_what_moved_meanwhile_stays_whole(
    recipe: Recipe, moments: list[str], chosen: list[object], lists_referrers: bool, untags: bool, tag: str, data: st.DataObject
) -> None:
    repository = Meddled(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers, config_of=dated(moments))
    plan = planned(repository, chosen)
    assert plan.deletion is not None
    live = [manifest for manifest in made if not manifest.is_tombstone]
    if not live or plan.is_empty:
        return
    target = data.draw(st.sampled_from(live))
    is_same = repository.digests.get(tag) == target.digest
    before = kept(repository, plan) | {tag: (target.digest, whole(repository, target.digest))}
    repository.meddling = (tag, target)
    with suppress(PartlyDeleted):
        list(delete.apply(plan.deletion, repository, allow_empty=True))
    if is_same and tag in {each.tag for each in plan.going}:
        del before[tag]
    for name, (digest, inside) in before.items():
        assert repository.digests[name] == (target.digest if name == tag else digest)
        if name != tag:
            assert whole(repository, digest) >= inside
    if tag in before:
        assert whole(repository, target.digest) >= before[tag][1]


@given(recipe=recipes, chosen=rules, lists_referrers=st.booleans(), untags=st.booleans(), lives=st.integers(0, 8))
def test_killed_at_any_write_kept_tags_are_whole_and_the_next_run_finishes(
    recipe: Recipe, chosen: list[object], lists_referrers: bool, untags: bool, lives: int
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    fill(repository, recipe, list_by_tag=not lists_referrers)
    plan = planned(repository, chosen)
    assert plan.deletion is not None
    before = kept(repository, plan)
    repository.writes_left = lives
    with suppress(Killed):
        list(delete.apply(plan.deletion, repository, allow_empty=True))
    repository.writes_left = None
    assert {tag: (repository.digests[tag], whole(repository, repository.digests[tag])) for tag in before} == before
    again = planned(repository, [KeepTags(only=TagFilter(patterns=tuple(f"^{re.escape(tag)}$" for tag in before)))] if before else chosen)
    assert again.deletion is not None
    list(delete.apply(again.deletion, repository, allow_empty=True))
    assert {tag: (repository.digests[tag], whole(repository, repository.digests[tag])) for tag in before} == before


@given(recipe=recipes, chosen=rules, protected=st.sampled_from(["a", "v1", "v2"]))
def test_protected_tags_are_kept_whole(recipe: Recipe, chosen: list[object], protected: str) -> None:
    repository = FakeRepository(lists_referrers=True, untags=False)
    fill(repository, recipe, list_by_tag=False)
    add_protection(repository, protected)
    plan = planned(repository, chosen)
    assert plan.deletion is not None
    digest = repository.digests.get(protected)
    before = whole(repository, digest) if digest is not None else set()
    list(delete.apply(plan.deletion, repository, allow_empty=True))
    assert repository.digests.get(protected) == digest
    assert digest is None or whole(repository, digest) == before


@contextmanager
def over_http() -> Iterator[Repository]:
    with server.run_registry() as running, Transport(running.host) as transport:
        yield Repository(transport, "a")
        assert running.errors == []


@given(recipe=recipes, moments=dates, chosen=rules)
@settings(max_examples=25)
def test_kept_tags_stay_whole_over_http(recipe: Recipe, moments: list[str], chosen: list[object]) -> None:
    with over_http() as repository:
        fill(repository, recipe, list_by_tag=False, config_of=dated(moments))
        if not tags_of(repository):
            return
        plan = planned(repository, chosen)
        assert plan.deletion is not None
        before = kept(repository, plan)
        list(delete.apply(plan.deletion, repository, allow_empty=True))
        assert kept(repository, plan) == before
        assert {tag: repository.resolve(tag).digest for tag in before} == {tag: digest for tag, (digest, _) in before.items()}
        assert not {tag.tag for tag in plan.going} & set(tags_of(repository))


_CHILD_OF_A_SUBJECT: Recipe = [("image", [0], 0, ["a", "b"]), ("index", [0], 0, []), ("artifact", [0], 1, ["a"])]


@example(recipe=_CHILD_OF_A_SUBJECT, chosen=[KeepTags(only=TagFilter(patterns=("a",)))], lists_referrers=False)
@given(recipe=recipes, chosen=rules, lists_referrers=st.booleans())
def test_plan_that_is_made_anew_is_the_same(recipe: Recipe, chosen: list[object], lists_referrers: bool) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=False)
    fill(repository, recipe, list_by_tag=not lists_referrers)
    plan = planned(repository, chosen)
    again = replan_repository(repository, plan, PlanContext(now=NOW))
    assert again.tags == plan.tags
    assert {(each.digest, each.tags, each.alone) for each in again.manifests} == {
        (each.digest, each.tags, each.alone) for each in plan.manifests
    }


def test_image_inside_the_subject_of_a_kept_referrer_stays_though_nothing_lists_that_subject() -> None:
    repository = FakeRepository(lists_referrers=False, untags=True)
    fill(repository, _CHILD_OF_A_SUBJECT, list_by_tag=True)
    rules_of = RepositoryRules(rules=(KeepTags(only=TagFilter(patterns=("a",))),), untagged=False)
    plan = plan_repository(repository, NAME, rules_of, PlanContext(now=NOW))
    assert [(tag.tag, tag.action) for tag in plan.tags] == [("a", "keep"), ("b", "go")]
    assert not plan.deleted
