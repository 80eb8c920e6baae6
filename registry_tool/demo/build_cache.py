"""The classic builder's cache for the sample app, kept by a tag.

That builder caches its steps as untagged parents of the image, which are removed with it. The parent before this run's labels
gets a tag, so that the next build is quick.
"""

from __future__ import annotations

from registry_tool.base import labels
from registry_tool.base.runs import Run
from registry_tool.engine import Engine, Image
from registry_tool.local import orphans

NAME = "localhost/registry-tool/build-cache:sample-app"


def tag_cache(engine: Engine, run: Run, image_id: str) -> bool:
    """Tag the parent of this run's image; False where there is none, as with BuildKit."""
    parent = _unlabelled_parent(engine, engine.image(image_id), run)
    if parent is None:
        return False
    before = engine.image(NAME)
    if before is None or before.id != parent.id:
        engine.tag(parent.id, NAME)
        if before is not None:
            orphans.remove_image(engine, before.id)
    return True


def _unlabelled_parent(engine: Engine, image: Image | None, run: Run) -> Image | None:
    while image is not None and image.labels.get(labels.DEMO) == run.id:
        image = engine.image(image.parent) if image.parent else None
    return image
