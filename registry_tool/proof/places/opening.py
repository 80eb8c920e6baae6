"""The engines that a proof can be made on, by what they are asked for as: ``docker``, ``podman``, ``context:NAME``, ``here``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from registry_tool import remote
from registry_tool.engine import Engine, connect
from registry_tool.errors import UsageError
from registry_tool.lifecycle import running
from registry_tool.places import Places
from registry_tool.progress import SILENT, Observer
from registry_tool.proof.places import leftovers, present
from registry_tool.proof.places.clean import open_clean
from registry_tool.proof.places.inner import INNER
from registry_tool.proof.places.place import Place
from registry_tool.provision import Provisioner
from registry_tool.reference import Reference
from registry_tool.shield import uninterrupted

HERE = "here"
CONTEXT = "context:"


@contextmanager
def open_place(
    engine: Engine,
    asked: str,
    *,
    image: Reference,
    places: Places,
    registry_as: str | None = None,
    ladder: Provisioner | None = None,
    observer: Observer = SILENT,
) -> Iterator[Place]:
    """The place ``asked`` for, as long as the block lasts. ``image`` has its registry in its name.

    ``engine`` is the present one; ``registry_as`` is the registry's HOST:PORT as another context sees it. What dead proofs left
    there is removed first, and what this one made in the end. Raises NoPlace (exit 3) where the place cannot be had, UsageError
    for what is no place, Conflict (``here`` and contexts: see :mod:`registry_tool.proof.places.present`), Unreachable.
    """
    check(asked)
    if asked in INNER:
        with open_clean(engine, asked, image=image, places=places, ladder=ladder, observer=observer) as clean:
            yield clean
        return
    name = asked.removeprefix(CONTEXT)
    if asked == HERE:
        leftovers.sweep(engine, places.state)
    else:
        with connect(context=name) as other:
            leftovers.sweep(other, places.state)
    with running.begin(places.state) as run:
        marks, registry = leftovers.marks(run), remote.open(image.host)
        opened: AbstractContextManager[Place] = (
            present.here(engine, image, registry, labels=marks)
            if asked == HERE
            else present.context(name, image, registry, registry_as=registry_as, labels=marks)
        )
        with opened as place:
            try:
                yield place
            finally:
                with uninterrupted():
                    leftovers.clear(place.engine, run.id)


def check(asked: str) -> None:
    """Raises UsageError where ``asked`` is no place."""
    if asked not in (*INNER, HERE) and not (asked.startswith(CONTEXT) and len(asked) > len(CONTEXT)):
        raise UsageError(f"{asked[:80]!r} is not a place for a proof", hint=f"One of: {', '.join(INNER)}, {HERE}, {CONTEXT}NAME.")
