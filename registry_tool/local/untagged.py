"""The manifests of a registry that runs here, tagged or not, by its storage: its interface lists none without a tag."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from registry_tool.engine import Engine
from registry_tool.local.registry.lookup import find_all
from registry_tool.local.storage_reader import StorageReader, locate
from registry_tool.oci.digest import Digest


def read_manifests(engine: Engine, host: str) -> Mapping[str, Mapping[Digest, datetime]] | None:
    """Repository -> the manifests of the registry at ``host`` and when each was pushed last; None of any other registry.

    Its volume is listed read-only. Raises EngineError, UsageError where that cannot be done.
    """
    registry = next((each for each in find_all(engine) if each.address == host and each.running), None)
    container = engine.container(registry.container_id) if registry is not None else None
    if container is None:
        return None
    listed = StorageReader(engine, locate(engine, container)).read_revisions()
    return {
        repository: {digest: datetime.fromtimestamp(modified, timezone.utc) for digest, modified in revisions.items()}
        for repository, revisions in listed.items()
    }
