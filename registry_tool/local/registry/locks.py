"""The lock for one command at a time that changes a local registry's container."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine


def lock(engine: Engine, name: str, state: Path, observer: Observer = SILENT) -> AbstractContextManager[None]:
    """Lock for one ``up``, ``down`` or ``gc`` at a time, for one registry of one engine."""
    which = hashlib.sha256(engine.id.encode()).hexdigest()[:12]
    waiting = f"waiting for another command that is busy with the registry {name!r}"
    return files.lock(state / f"registry-{which}-{name}.lock", waiting=lambda: observer.note(waiting))
