"""The read-only stand-in of a registry: a clone of its container that serves the same content at the same address while it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import EngineError
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.base.runs import Run
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine
from registry_tool.local.collection.subject import MAINTENANCE, READ_ONLY, CollectedRegistry
from registry_tool.local.registry import recovery
from registry_tool.local.registry.spec import LOOPBACK

STOP_TIMEOUT = 10
"""Seconds that the registry has to complete the requests under way."""
_STARTS = 60.0  # seconds until the stand-in, or the registry again, must respond
_LOG_LINES = 20


def create(engine: Engine, registry: CollectedRegistry, run: Run) -> str:
    """Create the stand-in without starting it; returns its id.

    Its volume is mounted read-only, too: registry:3 accepts layers in read-only mode (distribution#4670).
    """
    with defer_signals():
        return engine.create_clone(
            registry.configuration,
            f"{registry.container.name}-read-only-{run.id[-8:]}",
            environment=READ_ONLY,
            without=MAINTENANCE,
            labels=recovery.collection_labels(run, recovery.STAND_IN, registry.container, restart=True),
            read_only=registry.mounted_at,
        )


def switch(engine: Engine, registry: CollectedRegistry, stand_in: str) -> float:
    """Stop the registry and start its stand-in; returns the seconds in which nothing answered. Raises EngineError."""
    began = time.monotonic()
    engine.stop(registry.container.id, timeout=STOP_TIMEOUT)
    engine.start(stand_in)
    wait(engine, registry, stand_in)
    return time.monotonic() - began


def wait(engine: Engine, registry: CollectedRegistry, id: str) -> None:
    """Wait until the container ``id`` responds at the registry's port, if it has one. Raises EngineError where it ends or is silent."""

    def is_over() -> bool:
        return _responds(engine, registry) or not _runs(engine, id)

    poll(is_over, Deadline(_STARTS))
    if not _runs(engine, id) or not _responds(engine, registry):
        container = engine.container(id)
        raise EngineError(
            f"the container {container.name if container else id[:12]} does not respond",
            excerpt=engine.log_tail(id, _LOG_LINES),
        )


def measured(engine: Engine, registry: CollectedRegistry, bring_back: Callable[[], None]) -> float:
    """Call ``bring_back``, and wait until the registry responds; returns the seconds that took."""
    began = time.monotonic()
    bring_back()
    wait(engine, registry, registry.container.id)
    return time.monotonic() - began


def _runs(engine: Engine, id: str) -> bool:
    container = engine.container(id)
    return container is not None and container.running


def _responds(engine: Engine, registry: CollectedRegistry) -> bool:
    """Whether something speaks HTTP at its port; True where none is published, or the engine is on another machine."""
    if not registry.port or not engine.endpoint.is_local:
        return True
    for scheme in ("http", "https"):
        try:
            get_page(f"{scheme}://{LOOPBACK}:{registry.port}/v2/", timeout=2.0)
        except NoResponse:
            continue
        return True
    return False
