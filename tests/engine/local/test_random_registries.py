"""Random registries, pruned by random rules, collected and undone: nothing that is kept breaks, and what is freed is what was planned."""

from __future__ import annotations

import io
import random
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import pytest

from registry_tool.base.errors import Conflict, NotFound
from registry_tool.content import undo
from registry_tool.content.retention import planner
from registry_tool.content.retention.planner import PlanContext, plan_repository
from registry_tool.content.retention.rules import KeepLast, KeepSemver, KeepTags, KeepWithin, RepositoryRules, Rule, TagFilter
from registry_tool.content.undo import Journal, JournalSource
from registry_tool.content.usage.storage import RegistryStorage, blob_path
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.collection import CollectionOptions, CollectionPlan, find_subject
from registry_tool.local.collection import undo as collection_undo
from registry_tool.local.collection.collect import CollectionJournal, apply
from registry_tool.local.collection.plan import contents, make_plan
from registry_tool.local.collection.session import session
from registry_tool.local.collection.worker import Worker
from registry_tool.local.registry.spec import STORAGE
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Registry, open_registry
from tests.property.test_retention import search_here
from tests.support.engine_snapshot import unique_name
from tests.support.requirements import free_port, wait_for_registry
from tests.support.stored_registry import NOW, TAGS, StoredRegistry, random_registry

pytestmark = pytest.mark.engine

_LINK = len(Digest.of(b"").hex) + len("sha256:")
"""Bytes of a link that was emptied, and is mended."""


@dataclass(frozen=True)
class Bench:
    """A registry that remembers nothing, so that its volume can be filled anew under it, and a worker on that volume."""

    registry: Registry
    worker: Worker
    id: str

    def fill(self, stored: StoredRegistry) -> None:
        """Replace the volume's content."""
        self.worker.run("rm -rf docker registry-tool")
        buffer, now = io.BytesIO(), time.time()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, content in stored.files.items():
                member = tarfile.TarInfo(path)
                member.size, member.mtime = len(content), now - (NOW - stored.modified.get(path, NOW))
                tar.addfile(member, io.BytesIO(content))
        self.worker.engine.put_archive(self.worker.id, STORAGE, buffer.getvalue())

    def storage(self) -> RegistryStorage:
        return self.worker.read()[0]


@pytest.fixture(scope="module")
def bench(session_engine: Engine, registry_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    engine, name, port = session_engine, unique_name(), free_port()
    spec = ContainerSpec(
        image=registry_image,
        name=name,
        environment={"REGISTRY_STORAGE_CACHE": "{}", "REGISTRY_STORAGE_DELETE_ENABLED": "true"},
        ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),),
        volumes={f"{name}-data": STORAGE},
    )
    container = engine.run(spec)
    try:
        wait_for_registry(port)
        state = tmp_path_factory.mktemp("state")
        subject = find_subject(engine, container=container.id)
        with session(engine, subject, state=state) as (worker, run), open_registry(f"127.0.0.1:{port}") as registry:
            yield Bench(registry, worker, run.id)
    finally:
        engine.remove(name, force=True, missing_ok=True)
        engine.remove_volume(f"{name}-data", missing_ok=True)


@pytest.mark.parametrize(("first", "count"), [pytest.param(0, 5, id="5"), pytest.param(1000, 200, id="200", marks=pytest.mark.soak)])
def test_nothing_kept_breaks_and_what_is_freed_is_what_was_planned(bench: Bench, tmp_path: Path, first: int, count: int) -> None:
    outcomes = [_prune_collect_and_undo(bench, seed, tmp_path / str(seed)) for seed in range(first, first + count)]
    # Most are collected: what cannot be is damaged.
    assert outcomes.count(True) > count // 2


def _prune_collect_and_undo(bench: Bench, seed: int, state: Path) -> bool:
    """Whether the registry of ``seed`` could be collected; one in five is damaged, and not pruned."""
    chance = random.Random(seed)
    damaged, grace = chance.random() < 0.2, chance.choice((0, 3600))
    stored = random_registry(seed, damaged=damaged)
    bench.fill(stored)
    first, journal = bench.storage(), Journal(state)
    kept = {(name, tag): digest for name, repository in first.repositories.items() for tag, digest in repository.tags.items()}
    if not damaged:
        for gone in _prune(bench, first, journal, chance):
            del kept[gone]
    needed = {path: len(stored.files[path]) or _LINK for (name, _), digest in kept.items() for path in stored.closure(name, digest)}
    before, manifests = bench.worker.read()
    deleted = bench.worker.reader.read_deleted(before)
    options = CollectionOptions(grace=grace)
    now = bench.worker.time()
    try:
        plan = make_plan(before, manifests, now=now, grace=grace, deleted=deleted)
        plan.check_young()
    except Conflict:
        assert damaged or grace, seed
        return False
    steps = CollectionJournal(bench.worker, f"{bench.id}{seed}")
    result = apply(bench.worker, plan, options, steps, check_unused=lambda: None)
    after = bench.storage()
    assert (set(_planned(result.plan)), result.bytes_removed) == (set(_planned(plan)), plan.bytes_freed), seed
    assert _registry_bytes(before) - _registry_bytes(after) == plan.bytes_freed - plan.bytes_written, seed
    assert contents(before).keys() - contents(after).keys() == set(_planned(plan)), seed
    assert {(name, tag): repository.tags[tag] for name, repository in after.repositories.items() for tag in repository.tags} == kept, seed
    assert needed.items() <= contents(after).items(), seed
    assert not list(after.damaged_links()), seed
    _undo(bench, result.undo.id if result.undo is not None else None, journal)
    last = bench.storage()
    assert {name: each.tags for name, each in last.repositories.items() if each.tags} == {
        name: each.tags for name, each in first.repositories.items() if each.tags
    }, seed
    if not damaged:
        assert {(name, digest) for name, each in first.repositories.items() for digest in each.revisions} <= {
            (name, digest) for name, each in last.repositories.items() for digest in each.revisions
        }, seed
        assert first.blobs.items() <= last.blobs.items(), seed
    return True


def _prune(bench: Bench, storage: RegistryStorage, journal: Journal, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Prune each repository by rules of its own; the (repository, tag) that go."""
    context = PlanContext(now=datetime(2026, 1, 31, tzinfo=timezone.utc))
    for name in storage.repositories:
        repository, rules = bench.registry.repository(name), RepositoryRules(rules=_rules(chance))
        try:
            with mock.patch.object(planner, "search_all", search_here):  # without a process for each
                plan = plan_repository(repository, f"{bench.registry.host}/{name}", rules, context)
        except NotFound:
            continue  # it has no tag
        assert plan.deletion is not None
        list(undo.apply(plan.deletion, repository, journal, command="prune", allow_empty=True))
        yield from ((name, tag) for each in plan.manifests for tag in each.tags)


def _rules(chance: random.Random) -> tuple[Rule, ...]:
    days = chance.randint(1, 30)
    rules: list[Rule] = [
        KeepTags(only=TagFilter(patterns=(f"^{chance.choice(TAGS)}$",))),
        KeepLast(count=chance.randint(1, 3)),
        KeepSemver(count=1, per="major"),
        KeepWithin(seconds=days * 86400, span=f"{days}d"),
    ]
    return tuple(chance.sample(rules, chance.randint(1, 2)))


def _undo(bench: Bench, collection: str | None, journal: Journal) -> None:
    """Undo the collection, then the prunings."""
    if collection is not None:
        collection_undo.restore(bench.worker, collection, bench.storage())
    host = bench.registry.host
    source = JournalSource(journal, lambda name: bench.registry.repository(name.removeprefix(f"{host}/")))
    for entry in source.entries():
        list(source.restore(source.plan(entry.id), overwrite=False))


def _registry_bytes(storage: RegistryStorage) -> int:
    return storage.total - storage.own - storage.undo


def _planned(plan: CollectionPlan) -> Iterator[str]:
    yield from map(blob_path, plan.blobs)
    yield from plan.link_paths()
    yield from plan.upload_paths()
