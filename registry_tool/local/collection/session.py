"""The one session of a registry's collection at a time: its lock, its lease, its worker, and in the end the registry back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_tool.base import runs
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.runs import Run
from registry_tool.engine import Engine
from registry_tool.local.collection import stand_in
from registry_tool.local.collection.subject import CollectedRegistry
from registry_tool.local.collection.worker import Worker, running_worker
from registry_tool.local.registry import recovery
from registry_tool.local.registry.locks import lock
from registry_tool.local.registry.spec import STORAGE

CONFIGURATION = "/registry-tool-collection.yml"
"""In the worker: the configuration for its ``registry garbage-collect``."""


@contextmanager
def session(
    engine: Engine,
    registry: CollectedRegistry,
    *,
    state: Path,
    observer: Observer = SILENT,
    read_only: bool = False,
    pauses: list[float] | None = None,
) -> Iterator[tuple[Worker, Run]]:
    """The one collection of a registry at a time, with its worker; in the end the registry is back."""
    with lock(engine, registry.name, state, observer), runs.begin(state) as run:
        recovery.check_not_collected(engine, registry.name, state=state, observer=observer)
        try:
            with running_worker(engine, registry, run, read_only=read_only) as worker:
                if any(each.id != run.id for each in recovery.find_collections(engine, registry.name)):
                    # Of another user, whose lock is another file: it began at the same moment.
                    raise recovery.being_collected(registry.name)
                if not read_only:
                    engine.put_files(worker.id, "/", {CONFIGURATION[1:]: (_configuration(), 0o644)})
                yield worker, run
        finally:
            _bring_back(engine, registry, run, pauses)


def _bring_back(engine: Engine, registry: CollectedRegistry, run: Run, pauses: list[float] | None) -> None:
    for collection in recovery.find_collections(engine, registry.name):
        if collection.id != run.id:
            continue
        try:
            for worker in collection.workers:
                recovery.end(engine, worker.id)  # while the stand-in serves: that takes a moment
            if collection.stand_ins:
                seconds = stand_in.measured(engine, registry, lambda: recovery.bring_back(engine, collection))  # noqa: B023 - called at once
                if pauses is not None:
                    pauses.append(seconds)
            else:
                recovery.bring_back(engine, collection)
        except RegistryToolError as error:
            error.hint = f"The registry is not back: {error.hint or 'see its log'} Then: regctl status brings it back."
            raise


def _configuration() -> bytes:
    """The worker's configuration of the registry: its storage, and nothing else of the registry's own."""
    return f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {STORAGE}\n  delete:\n    enabled: true\n".encode()
