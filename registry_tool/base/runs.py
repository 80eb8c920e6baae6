"""Who is still running: every demo holds a lock for as long as it lives, so that nobody cleans up behind a living one.

``STATE/runs/ID.lock`` is held by the run (the kernel drops it when the process ends, however it ends); ``ID.kept``
says that a run ended well and was asked to leave its containers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import files, labels
from registry_tool.base.dirs import owner_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One living run."""

    id: str
    state: Path

    @property
    def labels(self) -> dict[str, str]:
        """What marks the containers and networks of this run; its image has the second alone."""
        return {labels.ROLE: labels.ROLE_DEMO, labels.DEMO: self.id}

    def keep(self) -> None:
        """Say that what this run leaves is meant to stay."""
        files.atomic_write(_kept(self.state, self.id), b"")


@contextmanager
def begin(state: Path) -> Iterator[Run]:
    """A new run, alive for the block. Nothing of it may exist before, so that a dead one is told from an unborn one."""
    run = Run(id=owner_id(state) + uuid.uuid4().hex[:8], state=state)
    path = _lock(state, run.id)
    with files.lock(path):
        try:
            yield run
        finally:
            path.unlink(missing_ok=True)


def is_alive(state: Path, run_id: str) -> bool:
    """Whether the process of that run still lives."""
    return files.is_locked(_lock(state, run_id))


def is_kept(state: Path, run_id: str) -> bool:
    """Whether that run's containers were meant to stay."""
    return _kept(state, run_id).exists()


def forget(state: Path, run_id: str) -> None:
    """Nothing of that run is left."""
    _kept(state, run_id).unlink(missing_ok=True)
    _lock(state, run_id).unlink(missing_ok=True)


def is_owned(state: Path, marks: Mapping[str, str]) -> bool:
    """Whether a thing with these labels comes from one of this owner's runs."""
    return is_own_id(state, marks.get(labels.DEMO, ""))


def is_own_id(state: Path, run_id: str) -> bool:
    """Whether that run is one of this owner's."""
    return run_id.startswith(owner_id(state))


def _lock(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{_checked(run_id)}.lock"


def _kept(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{_checked(run_id)}.kept"


def _checked(run_id: str) -> str:
    # It comes from a label, which anybody may have written.
    if not run_id.isalnum():
        raise ValueError(f"not a run's id: {run_id!r}")
    return run_id
