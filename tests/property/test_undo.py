"""Whatever is deleted, whole or killed at any write: undo restores the same digests and tags. What is protected is never broken."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from registry_tool import server
from registry_tool.base.errors import Protected
from registry_tool.content import delete, undo
from registry_tool.content.delete import Deletable
from registry_tool.content.protection import add_protection, is_protection_tag
from registry_tool.content.undo import Journal, JournalSource
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Repository
from registry_tool.transport import Transport
from tests.property.test_deletion import Recipe, content, fill, recipes, selections, tags_of
from tests.support.fake_repository import FakeRepository, Killed


def state(repository: Deletable) -> dict[str, tuple[Digest, set[Digest]]]:
    """Each tag but those of unfinished deletions, which go, with its digest and all that is there of it."""
    tags = {tag: repository.resolve(tag).digest for tag in tags_of(repository) if not tag.startswith("dead")}
    return {tag: (digest, set(content(repository, digest, without=frozenset()))) for tag, digest in tags.items()}


@given(recipe=recipes, lists_referrers=st.booleans(), untags=st.booleans(), lives=st.none() | st.integers(0, 8), data=st.data())
def test_undo_restores_the_same_digests_and_tags(
    recipe: Recipe, lists_referrers: bool, untags: bool, lives: int | None, data: st.DataObject
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    plan = delete.plan(repository, data.draw(selections(made)))
    tags = state(repository)
    manifests = {digest for digest, manifest in repository.manifests.items() if not manifest.is_tombstone}
    repository.writes_left = lives
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        with suppress(Killed):
            list(undo.apply(plan, repository, journal, command="delete", allow_empty=True))
        repository.writes_left = None
        source = JournalSource(journal, lambda name: repository)
        for entry in source.entries():
            list(source.restore(source.plan(entry.id), overwrite=False))
        assert source.entries() == ()
    assert state(repository) == tags
    assert {digest for digest, manifest in repository.manifests.items() if not manifest.is_tombstone} == manifests


@given(recipe=recipes, lists_referrers=st.booleans(), kept=st.sampled_from([("a",), ("v1", "b"), ()]))
def test_undo_restores_what_a_rule_removed_with_its_referrers(recipe: Recipe, lists_referrers: bool, kept: tuple[str, ...]) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=False)
    fill(repository, recipe, list_by_tag=not lists_referrers)
    tags = state(repository)
    going = frozenset(tag for tag in tags if tag not in kept and not tag.startswith("sha256-"))
    plan = delete.plan(repository, delete.Selection(repository="localhost:5000/a", group=delete.Group(tags=going)))
    manifests = {digest for digest, manifest in repository.manifests.items() if not manifest.is_tombstone}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        list(undo.apply(plan, repository, journal, command="prune", allow_empty=True))
        source = JournalSource(journal, lambda name: repository)
        for entry in source.entries():
            list(source.restore(source.plan(entry.id), overwrite=False))
    assert state(repository) == tags
    assert {digest for digest, manifest in repository.manifests.items() if not manifest.is_tombstone} == manifests


@given(recipe=recipes, lives=st.integers(0, 6), data=st.data())
def test_restoration_killed_at_any_write_is_finished_by_the_next(recipe: Recipe, lives: int, data: st.DataObject) -> None:
    repository = FakeRepository(lists_referrers=True, untags=False)
    made = fill(repository, recipe, list_by_tag=False)
    plan = delete.plan(repository, data.draw(selections(made)))
    tags = state(repository)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        list(undo.apply(plan, repository, journal, command="delete", allow_empty=True))
        source = JournalSource(journal, lambda name: repository)
        for writes_left in (lives, None):
            repository.writes_left = writes_left
            with suppress(Killed):
                for entry in source.entries():
                    list(source.restore(source.plan(entry.id), overwrite=False))
    assert state(repository) == tags


@given(recipe=recipes, data=st.data())
@settings(max_examples=25)
def test_undo_restores_the_same_digests_and_tags_over_http(recipe: Recipe, data: st.DataObject) -> None:
    with server.run_registry() as running, Transport(running.host) as transport, tempfile.TemporaryDirectory() as folder:
        repository = Repository(transport, "a")
        made = fill(repository, recipe, list_by_tag=False)
        selection = data.draw(selections(made))
        if selection.digest is None and not tags_of(repository):
            return
        tags = state(repository)
        journal = Journal(Path(folder))
        list(undo.apply(delete.plan(repository, selection), repository, journal, command="delete", allow_empty=True))
        source = JournalSource(journal, lambda name: repository)
        for entry in source.entries():
            list(source.restore(source.plan(entry.id), overwrite=False))
        assert {tag: value for tag, value in state(repository).items() if tag in tags} == tags
        assert running.errors == []


@given(
    recipe=recipes,
    lists_referrers=st.booleans(),
    untags=st.booleans(),
    patterns=st.lists(st.sampled_from(["a", "b", "v*", "v1", "[ab]", "none"]), min_size=1, max_size=2, unique=True),
    data=st.data(),
)
def test_protected_tags_are_never_broken(
    recipe: Recipe, lists_referrers: bool, untags: bool, patterns: list[str], data: st.DataObject
) -> None:
    repository = FakeRepository(lists_referrers=lists_referrers, untags=untags)
    made = fill(repository, recipe, list_by_tag=not lists_referrers)
    protections = [add_protection(repository, pattern)[0] for pattern in patterns]
    protected = {
        tag: value
        for tag, value in state(repository).items()
        if is_protection_tag(tag) or any(protection.matches(tag) for protection in protections)
    }
    selection = data.draw(selections(made))
    before = dict(repository.digests)
    try:
        list(delete.apply(delete.plan(repository, selection), repository, allow_empty=True))
    except Protected:
        assert repository.digests == before
    assert {tag: value for tag, value in state(repository).items() if tag in protected} == protected
