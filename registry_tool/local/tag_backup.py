"""Names that a demo points at its own image for a while, and that point where they did before when it is over.

What a name pointed at is kept under a name of ours that spells the old one, so that also after ``kill -9`` the next
run finds everything it needs to give it back in the engine itself.
"""

from __future__ import annotations

import re

from registry_tool.base import labels
from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine, Image
from registry_tool.oci.reference import DOCKER_HUB, Reference

_RUN = re.compile(r"[0-9a-f]{16}", re.ASCII)
"""A run's id; what an image's label says may be anything."""
_KEEPER = "localhost/registry-tool/kept"


def borrow(engine: Engine, run_id: str, name: str, image_id: str) -> Image | None:
    """Point ``name`` at ``image_id``; what it pointed at is kept, unless that is another demo's image, which is returned."""
    before = engine.image(name)
    kept = before is not None and labels.DEMO not in before.labels
    if before is not None and kept:
        engine.tag(before.id, _keeper(run_id, name))
    engine.tag(image_id, name)
    return None if kept else before


def give_back(engine: Engine, run_id: str, name: str) -> None:
    """Undo :func:`borrow`. A name that somebody pointed elsewhere meanwhile is theirs and stays.

    One that another demo has borrowed since is that one's to give back: it gets what was kept.
    """
    keeper = _keeper(run_id, name)
    before = engine.image(keeper)
    now = engine.image(name)
    holder = now.labels.get(labels.DEMO) if now is not None else run_id
    if before is None:
        if now is not None and holder == run_id:
            untag(engine, name)
        return
    if holder == run_id:
        engine.tag(before.id, name)
    elif holder is not None and _RUN.fullmatch(holder):
        engine.tag(before.id, _keeper(holder, name))
    untag(engine, keeper)


def drop(engine: Engine, run_id: str, name: str) -> None:
    """Keep ``name`` where it points now, for good."""
    untag(engine, _keeper(run_id, name))


def untag(engine: Engine, name: str) -> None:
    """Take ``name`` away; one that is gone already is fine."""
    try:
        engine.remove_image(name)
    except NotFound:
        return


def on_loan(image: Image) -> list[tuple[str, str]]:
    """(run id, borrowed name) for every keeper that ``image`` has."""
    return [_spelled(name) for name in image.names if name.startswith(f"{_KEEPER}/")]


def _keeper(run_id: str, name: str) -> str:
    reference = Reference.parse(name, default_host=DOCKER_HUB).or_latest()
    return f"{_KEEPER}/{run_id}/{reference.host.replace(':', '__')}/{reference.path}:{reference.tag}"


def _spelled(keeper: str) -> tuple[str, str]:
    run_id, host, rest = keeper.removeprefix(f"{_KEEPER}/").split("/", 2)
    # An underscore never stands in a host, so the two are a port's colon.
    return run_id, Reference.parse(f"{host.replace('__', ':')}/{rest}", default_host=DOCKER_HUB).familiar
