"""Garbage collection of a registry on this engine: a plan, and its application while a read-only stand-in serves the registry's content.

The order: worker on the volume, stand-in in the registry's place, everything read and planned again, undo data, links and uploads that
nothing needs, damaged links mended, blobs that a dry run of the registry's own ``garbage-collect`` calls unneeded, too, empty folders,
comparison with what was there before, and the registry back. Whatever ends it on the way: only content that nothing needs was removed, and
:func:`registry_tool.local.registry.recovery.recover` brings the registry back.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry_tool.base import units
from registry_tool.base.errors import Conflict, EngineError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, blob_path, repository_path
from registry_tool.engine import Engine
from registry_tool.local.collection import plan as plans
from registry_tool.local.collection import stand_in, undo
from registry_tool.local.collection.plan import CollectionPlan, make_plan
from registry_tool.local.collection.result import CollectionOptions, CollectionResult
from registry_tool.local.collection.session import CONFIGURATION, session
from registry_tool.local.collection.subject import CollectedRegistry, check_collectable, check_stopped
from registry_tool.local.collection.worker import Worker
from registry_tool.local.registry import recovery
from registry_tool.local.storage_reader import StorageReader
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE

JOURNAL = "registry-tool/collection.json"
"""In the volume, while a collection runs: its id and its steps; each is written before it is begun."""
_READINGS = 3
_ELIGIBLE = re.compile(r"^blob eligible for deletion: (\S+)$", re.MULTILINE)


def plan_collection(engine: Engine, registry: CollectedRegistry, options: CollectionOptions, *, state: Path) -> CollectionPlan:
    """Plan a collection while the registry goes on; writes nothing. Raises Conflict where one runs, or it cannot be collected."""
    check_collectable(engine, registry)
    if any(each.is_alive(state) for each in recovery.find_collections(engine, registry.name)):
        raise recovery.being_collected(registry.name)
    return _plan_live(StorageReader(engine, registry.location), now=int(engine.time()), grace=options.grace)


def collect(
    engine: Engine,
    registry: CollectedRegistry,
    planned: CollectionPlan,
    options: CollectionOptions,
    *,
    state: Path,
    observer: Observer = SILENT,
    on_step: Callable[[str], None] = lambda step: None,
) -> CollectionResult:
    """Apply ``planned``: what is not needed now is removed, if it is no more than that, or more is accepted.

    ``on_step`` is called before each step. The registry is brought back whatever is raised.

    Raises:
        Conflict: when uploads may be under way, or the registry changed since the plan was made: nothing was removed. When its own
            garbage-collect would remove more, or lists nothing: no blob was removed, but links and uploads that nothing needs may have
            been. When a container was started on the volume meanwhile: nothing more is removed.
        EngineError: when something failed.
    """
    check_collectable(engine, registry)
    pauses: list[float] = []
    with session(engine, registry, state=state, observer=observer, pauses=pauses) as (worker, run):
        journal = CollectionJournal(worker, run.id, on_step)
        _plan_live(worker.reader, now=worker.time(), grace=options.grace).check_young()
        if registry.running:
            journal.step("stand-in")
            clone = stand_in.create(engine, registry, run)
            pauses.append(stand_in.switch(engine, registry, clone))
        result = apply(worker, planned, options, journal, check_unused=lambda: check_stopped(engine, registry))
    return replace(result, pauses=tuple(pauses))


def apply(
    worker: Worker, planned: CollectionPlan, options: CollectionOptions, journal: CollectionJournal, *, check_unused: Callable[[], None]
) -> CollectionResult:
    """Apply ``planned`` on the worker's volume, to which nobody writes: ``check_unused`` raises Conflict before a step where that ends.

    Raises what :func:`collect` raises; nothing has to be brought back after it.
    """
    before = _read(worker, options)
    before.plan.check_young()
    if not options.accept_changes:
        _check_planned(before.plan, planned)
    return _Application(worker, journal, before, check_unused).apply(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What the volume has, the plan for it, and the time (Unix seconds) on the engine's machine."""

    storage: RegistryStorage
    manifests: StoredManifests
    plan: CollectionPlan
    now: int


def _plan_live(reader: StorageReader, *, now: int, grace: float) -> CollectionPlan:
    """Plan while the registry accepts pushes: a tag may be newer than the listing. Raises Conflict where the same thing stays missing."""
    problems: list[Conflict] = []
    while True:
        storage, manifests = reader.read()
        try:
            return _make_plan(reader, storage, manifests, now=now, grace=grace)
        except Conflict as error:
            problems.append(error)
        if len(problems) == _READINGS:
            if len({problem.message for problem in problems}) == 1:
                raise problems[0]
            # Each time another one: they are being pushed. What goes is planned again when nothing is.
            return _make_plan(reader, storage, manifests, now=now, grace=grace, live=True)


def _make_plan(
    reader: StorageReader, storage: RegistryStorage, manifests: StoredManifests, *, now: int, grace: float, live: bool = False
) -> CollectionPlan:
    """The plan of what was read, for which deleted manifests are read only where something waits for one that is yet to come."""
    plan = make_plan(storage, manifests, now=now, grace=grace, live=live)
    if plan.waiting_links or plan.waiting_manifests:
        plan = make_plan(storage, manifests, now=now, grace=grace, live=live, deleted=reader.read_deleted(storage))
    return plan


def _read(worker: Worker, options: CollectionOptions) -> _Reading:
    storage, manifests = worker.read()
    # Nothing writes now: what is listed and was not read is no manifest that went meanwhile, and nothing may be concluded from it.
    unread = sorted(digest for digest in storage.revisions if _is_unread(storage, manifests, digest))
    if unread:
        raise EngineError(f"{units.count(len(unread), 'manifest')} could not be read: {unread[0]}", hint="Nothing was removed. Try again.")
    now = worker.time()
    plan = _make_plan(worker.reader, storage, manifests, now=now, grace=options.grace)
    return _Reading(storage=storage, manifests=manifests, plan=plan, now=now)


def _is_unread(storage: RegistryStorage, manifests: StoredManifests, digest: Digest) -> bool:
    """Whether a manifest's content was listed and is not among what was read; content beyond the limit of manifests is not read at all."""
    is_listed = storage.blobs.get(digest, MAX_SIZE + 1) <= MAX_SIZE
    return is_listed and digest not in manifests and digest not in manifests.damaged


def _check_planned(plan: CollectionPlan, planned: CollectionPlan) -> None:
    """Raises Conflict where manifests or blobs are unneeded now that were not when the plan was shown."""
    more = {(each.repository, each.digest) for each in plan.manifests} - {(each.repository, each.digest) for each in planned.manifests}
    if more:
        raise Conflict(
            f"the registry changed: {units.count(len(more), 'more manifest')} would be removed than planned; nothing was removed",
            hint="Run it again to see what it would remove now.",
        )
    blobs = plan.blobs.keys() - planned.blobs.keys()
    if blobs:
        raise Conflict(
            f"{units.count(len(blobs), 'blob')} arrived since the plan was made that no manifest needs; nothing was removed",
            hint="A push may be under way: its layers come before its manifest. Wait until it has ended, and run it again.",
        )


class CollectionJournal:
    """The journal of the collection ``id``, in the volume; ``on_step`` is called for each step."""

    def __init__(self, worker: Worker, id: str, on_step: Callable[[str], None] = lambda step: None) -> None:
        self.id = id
        self._worker, self._on_step = worker, on_step
        self._steps: list[str] = []

    def step(self, name: str) -> None:
        """Write that the step ``name`` begins."""
        self._steps.append(name)
        # On a full disk there is none: recovery does not need it.
        with suppress(EngineError):
            self._worker.write({JOURNAL: json.dumps({"version": 1, "id": self.id, "steps": self._steps}).encode() + b"\n"})
        self._on_step(name)

    def close(self) -> None:
        """Remove the journal: everything is done."""
        self._worker.run('rm -f "$1"', JOURNAL)


class _Application:
    """One application of the plan for what was read ``before``."""

    def __init__(self, worker: Worker, journal: CollectionJournal, before: _Reading, check_unused: Callable[[], None]) -> None:
        self._worker, self._journal, self._check_unused = worker, journal, check_unused
        self._before, self._plan = before, before.plan
        self._undo: undo.CollectionUndo | None = None
        self._bytes_kept = 0
        """Bytes of what the registry's garbage-collect would keep, though nothing needs it: that stays."""

    def apply(self, options: CollectionOptions) -> CollectionResult:
        worker, plan = self._worker, self._plan
        if options.undo_for and (plan.blobs or plan.manifests):
            self._journal.step("undo")
            id, now = self._journal.id, self._before.now
            self._undo = undo.keep(worker, plan, self._before.manifests, id=id, created=now, seconds=options.undo_for)
        self._begin("manifests")
        # What frees space and needs none first: the volume may be full.
        worker.run_on(plan.link_paths(), "rm -f")
        worker.run_on(plan.upload_paths(), "rm -rf")
        if plan.damaged_links:
            self._begin("damaged-links")
            worker.overwrite({link.path: link.content for link in plan.damaged_links})
        if plan.blobs:
            self._begin("garbage-collect")
            unmarked = [blob_path(digest) for digest in self._unmarked()]
            # File by file: of a path that is cut short, nothing would be left of a folder.
            worker.run_on(unmarked, "rm -f")
            worker.run_on(map(posixpath.dirname, unmarked), "rmdir", tolerant=True)
        self._begin("links")
        self._remove_empty_folders()
        self._journal.step("check")
        self._check()
        own = self._undo.id if self._undo is not None else ""
        expired = tuple(id for id in undo.expired(worker, now=self._before.now) if id != own)
        undo.discard(worker, expired)
        self._journal.close()
        return CollectionResult(plan=plan, bytes_removed=plan.bytes_freed - self._bytes_kept, pauses=(), undo=self._undo, expired=expired)

    def _begin(self, step: str) -> None:
        self._journal.step(step)
        self._check_unused()

    def _unmarked(self) -> list[Digest]:
        """The blobs of the plan that the registry's own garbage-collect would remove, too. Raises Conflict where it would remove more.

        Those that both agree on are removed here, and it only marks: in one pass, and nothing that it alone calls unneeded goes.
        """
        # Through one stream: of two, a message may come in the middle of a line.
        output = self._worker.run(f"registry garbage-collect --dry-run {CONFIGURATION} 2>&1")
        eligible = {Digest.parse(digest) for digest in _ELIGIBLE.findall(output)}
        if not eligible:
            raise Conflict("the registry's garbage-collect lists no blob that it would remove; no blob was removed")
        unplanned = sorted(eligible - self._plan.blobs.keys() - self._plan.waiting.keys())
        if unplanned:
            raise Conflict(
                f"the registry's garbage-collect would remove {units.count(len(unplanned), 'blob')} that images need, "
                f"{unplanned[0]} for example; no blob was removed",
                hint="See: regctl check",
            )
        return sorted(eligible & self._plan.blobs.keys())

    def _remove_empty_folders(self) -> None:
        worker, plan = self._worker, self._plan
        # rmdir leaves what is not empty.
        folders = [path.rpartition("/")[0] for path in plan.link_paths()]
        worker.run_on(folders, "rmdir", tolerant=True)
        for name in plan.empty:
            worker.run(
                'for each in _layers _manifests _uploads; do find "$1/$each" -depth -type d -exec rmdir {} + ; done 2>/dev/null\n'
                'cd docker/registry/v2/repositories && rmdir -p "$2" 2>/dev/null\ntrue',
                repository_path(name),
                name,
            )

    def _check(self) -> None:
        """Raises EngineError where something else is gone than planned; what is kept for undo is restored then."""
        storage, _ = self._worker.read()
        there, expected = plans.contents(storage), plans.after(self._before.storage, self._plan)
        self._bytes_kept = sum(size for path, size in there.items() if path not in expected)
        damaged = [link for link in self._plan.damaged_links if there.get(link.path) != len(link.content)]
        if damaged:
            raise EngineError(f"{units.count(len(damaged), 'link')} could not be mended, {damaged[0].path} for example")
        lost = sorted(path for path, size in expected.items() if there.get(path) != size)
        if not lost:
            return
        restored = "nothing was kept to restore it"
        if self._undo is not None:
            undo.restore(self._worker, self._undo.id, storage)
            restored = "what was removed is restored"
        raise EngineError(
            f"the collection removed more than planned ({lost[0]} and {len(lost) - 1} more); {restored}",
            hint="See: regctl check",
        )
