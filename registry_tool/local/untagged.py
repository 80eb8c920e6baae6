"""The manifests of a registry that runs here, tagged or not, by its storage: its interface lists none without a tag."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from registry_tool.engine import Engine
from registry_tool.local.registry.lookup import find_all
from registry_tool.local.storage_reader import StorageReader, locate
from registry_tool.oci.digest import Digest


def read_manifests(engine: Engine, host: str) -> Mapping[str, Mapping[Digest, timedelta]] | None:
    """Repository -> the manifests of the registry at ``host`` and how long ago each was pushed last; None of any other registry.

    Ages are by the clock of the engine's machine, which wrote the files' times: this machine's may be another. The registry's volume is
    listed read-only. Raises EngineError, UsageError where that cannot be done.
    """
    registry = next((each for each in find_all(engine) if each.address == host and each.running), None)
    container = engine.container(registry.container_id) if registry is not None else None
    if container is None:
        return None
    # Before the listing: what is pushed meanwhile is not taken for older than it is.
    now = engine.time()
    listed = StorageReader(engine, locate(engine, container)).read_revisions()
    return {
        repository: {digest: timedelta(seconds=now - modified) for digest, modified in revisions.items()}
        for repository, revisions in listed.items()
    }
