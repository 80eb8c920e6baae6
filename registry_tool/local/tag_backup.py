"""Tags that a demo borrows, and the backup tags, named after them, by which the next run restores them, also after ``kill -9``."""

from __future__ import annotations

import re

from registry_tool.base import labels
from registry_tool.engine import Engine, Image
from registry_tool.oci.reference import DOCKER_HUB, Reference

_RUN = re.compile(r"[0-9a-f]{16}", re.ASCII)  # a run's id; an image's label may hold anything
_BACKUPS = "localhost/registry-tool/kept/"


def borrow(engine: Engine, run_id: str, tag: str, image_id: str) -> Image | None:
    """Point ``tag`` at ``image_id`` and back up the image that had it; another demo's image is returned instead."""
    before = engine.image(tag)
    is_demos = before is not None and labels.DEMO in before.labels
    if before is not None and not is_demos:
        engine.tag(before.id, _backup(run_id, tag))
    engine.tag(image_id, tag)
    return before if is_demos else None


def give_back(engine: Engine, run_id: str, tag: str) -> None:
    """Undo :func:`borrow`. A tag that was pointed elsewhere meanwhile stays; where another demo did that, it gets the backup."""
    backup = _backup(run_id, tag)
    before, now = engine.image(backup), engine.image(tag)
    holder = now.labels.get(labels.DEMO) if now is not None else run_id
    if before is None:
        if now is not None and holder == run_id:
            engine.remove_image(tag, missing_ok=True)
        return
    if holder == run_id:
        engine.tag(before.id, tag)
    elif holder is not None and _RUN.fullmatch(holder):
        engine.tag(before.id, _backup(holder, tag))
    engine.remove_image(backup, missing_ok=True)


def drop(engine: Engine, run_id: str, tag: str) -> None:
    """Keep ``tag`` where it points now, for good."""
    engine.remove_image(_backup(run_id, tag), missing_ok=True)


def backups_of(image: Image) -> list[tuple[str, str]]:
    """(run id, borrowed tag) for every backup tag that ``image`` has."""
    return [_parse(name) for name in image.names if name.startswith(_BACKUPS)]


def _backup(run_id: str, tag: str) -> str:
    reference = Reference.parse(tag, default_host=DOCKER_HUB).or_latest()
    return f"{_BACKUPS}{run_id}/{reference.host.replace(':', '__')}/{reference.path}:{reference.tag}"


def _parse(backup: str) -> tuple[str, str]:
    run_id, host, path = backup.removeprefix(_BACKUPS).split("/", 2)
    # A host has no underscore, so the two are a port's colon.
    return run_id, Reference.parse(f"{host.replace('__', ':')}/{path}", default_host=DOCKER_HUB).familiar
