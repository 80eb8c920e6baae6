"""Runs on an engine: their ids, leases (``STATE/runs/ID.lock``, held while alive), and ``ID.kept``: ended well, and things are to stay."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import files, labels
from registry_tool.base.dirs import owner_id

ID_LABELS = {labels.ROLE_DEMO: labels.DEMO, labels.ROLE_VERIFY: labels.VERIFY, labels.ROLE_COLLECTION: labels.COLLECTION}
"""Role -> the label that carries the run's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One living run."""

    id: str
    state: Path

    def labels(self, role: str) -> dict[str, str]:
        """The labels of its containers, networks and volumes; ``role`` is a key of :data:`ID_LABELS`."""
        return {labels.ROLE: role, ID_LABELS[role]: self.id}

    def keep(self) -> None:
        """Mark what this run leaves as meant to stay."""
        files.atomic_write(_file(self.state, self.id, "kept"), b"")


@contextmanager
def begin(state: Path) -> Iterator[Run]:
    """Begin a run whose lease is held for the block. Nothing may carry its id before that, or it would be swept as dead."""
    run = Run(id=owner_id(state) + uuid.uuid4().hex[:8], state=state)
    path = _file(state, run.id, "lock")
    with files.lock(path):
        try:
            yield run
        finally:
            path.unlink(missing_ok=True)


def is_owned(state: Path, run_id: str) -> bool:
    """Whether that run is one of this owner's: for others' runs only they know which are over."""
    return run_id.startswith(owner_id(state))


def is_over(state: Path, run_id: str, *, kept: bool = False) -> bool:
    """Whether that run is this owner's and its process has ended; with ``kept`` also one whose things are meant to stay."""
    # The id comes from a label, which anybody may have written: it must not lead out of the folder.
    if not run_id.isalnum() or not is_owned(state, run_id) or files.is_locked(_file(state, run_id, "lock")):
        return False
    return kept or not _file(state, run_id, "kept").exists()


def forget(state: Path, run_id: str) -> None:
    """Remove the files of a run of which nothing is left."""
    _file(state, run_id, "kept").unlink(missing_ok=True)
    _file(state, run_id, "lock").unlink(missing_ok=True)


def _file(state: Path, run_id: str, suffix: str) -> Path:
    return state / "runs" / f"{run_id}.{suffix}"
