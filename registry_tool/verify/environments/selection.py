"""The engines that a proof can be made on, by what they are asked for as: ``docker``, ``podman``, ``context:NAME``, ``here``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from registry_tool.base import labels, runs
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine, connect
from registry_tool.local import orphans
from registry_tool.local.base_images import BaseImageResolver
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments import current
from registry_tool.verify.environments.clean import open_clean
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.environments.inner_engine import INNER

HERE = "here"
CONTEXT = "context:"


@contextmanager
def open_environment(
    engine: Engine,
    asked: str,
    *,
    image: Reference,
    dirs: AppDirs,
    registry_as: str | None = None,
    bases: BaseImageResolver | None = None,
    observer: Observer = SILENT,
) -> Iterator[Environment]:
    """The place ``asked`` for, as long as the block lasts. ``image`` has its registry in its name.

    ``engine`` is the present one; ``registry_as`` is the registry's HOST:PORT as another context sees it. What dead proofs left
    there is removed first, and what this one made in the end. Raises NoPlace (exit 3) where the place cannot be had, UsageError
    for what is no place, Conflict (``here`` and contexts: see :mod:`registry_tool.verify.environments.current`), Unreachable.
    """
    check(asked)
    if asked in INNER:
        with open_clean(engine, asked, image=image, dirs=dirs, bases=bases, observer=observer) as clean:
            yield clean
        return
    name = asked.removeprefix(CONTEXT)
    if asked == HERE:
        orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY)
    else:
        with connect(context=name) as other:
            orphans.sweep(other, dirs.state, labels.ROLE_VERIFY)
    with runs.begin(dirs.state) as run:
        marks, registry = run.labels(labels.ROLE_VERIFY), open_registry(image.host)
        opened: AbstractContextManager[Environment] = (
            current.here(engine, image, registry, labels=marks)
            if asked == HERE
            else current.context(name, image, registry, registry_as=registry_as, labels=marks)
        )
        with opened as place:
            try:
                yield place
            finally:
                with defer_signals():
                    orphans.clear(place.engine, marks)


def check(asked: str) -> None:
    """Raises UsageError where ``asked`` is no place."""
    if asked not in (*INNER, HERE) and not (asked.startswith(CONTEXT) and len(asked) > len(CONTEXT)):
        raise UsageError(f"{asked[:80]!r} is not a place for a proof", hint=f"One of: {', '.join(INNER)}, {HERE}, {CONTEXT}NAME.")
