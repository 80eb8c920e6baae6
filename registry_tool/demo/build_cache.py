"""The classic builder's cache for the sample app, held by a name of its own.

That builder keeps its cache as nameless images below the one it made, and removing that one takes them along. So the
image as it was before this run's labels gets a name: the next build is quick, and nothing nameless lies about.
"""

from __future__ import annotations

from contextlib import suppress

from registry_tool.base import labels
from registry_tool.base.errors import Conflict
from registry_tool.base.runs import Run
from registry_tool.engine import Engine, Image

NAME = "localhost/registry-tool/build-cache:sample-app"


def tag_cache(engine: Engine, run: Run, image_id: str) -> bool:
    """Name what lies below the image of this run; False where there is nothing to name, as with BuildKit."""
    below = _unlabelled_parent(engine, engine.image(image_id), run)
    if below is None:
        return False
    before = engine.image(NAME)
    if before is None or before.id != below.id:
        engine.tag(below.id, NAME)
        if before is not None:
            _drop(engine, before.id)
    return True


def remove_cache(engine: Engine) -> None:
    """Let the cache go, and with it every layer that nothing else holds."""
    _drop(engine, NAME)


def _unlabelled_parent(engine: Engine, image: Image | None, run: Run) -> Image | None:
    while image is not None and image.labels.get(labels.DEMO) == run.id:
        image = engine.image(image.parent) if image.parent else None
    return image


def _drop(engine: Engine, name: str) -> None:
    with suppress(Conflict):  # another build stands on it: then it is in use
        engine.remove_image(name, missing_ok=True)
