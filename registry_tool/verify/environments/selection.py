"""Opening an environment by its name: ``docker``, ``podman``, ``context:NAME`` or ``here``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from registry_tool.base import labels, runs
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine, connect
from registry_tool.local import orphans
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
    engine: Engine, name: str, *, image: Reference, dirs: AppDirs, registry_as: str | None = None, observer: Observer = SILENT
) -> Iterator[Environment]:
    """Open the environment ``name`` for ``image``, whose registry is in its name.

    ``engine`` is the current one; ``registry_as`` is the registry's HOST:PORT as seen by a context's engine. What dead runs left
    there is removed first, what this run made at the end. Raises EnvironmentUnavailable, UsageError (no such environment), Unreachable.
    """
    validate_name(name)
    if name in INNER:
        with open_clean(engine, name, image=image, dirs=dirs, observer=observer) as clean:
            yield clean
        return
    context = None if name == HERE else name.removeprefix(CONTEXT)
    if context is None:
        orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY)
        current.restore_interrupted(engine, dirs.state, observer)
    else:
        with connect(context=context) as other:
            orphans.sweep(other, dirs.state, labels.ROLE_VERIFY)
            current.restore_interrupted(other, dirs.state, observer)
    with runs.begin(dirs.state) as run:
        record = current.record_file(dirs.state, run.id)
        run_labels, registry = run.labels(labels.ROLE_VERIFY), open_registry(image.host)
        opened = (
            current.open_here(engine, image, registry, labels=run_labels, record=record)
            if context is None
            else current.open_context(context, image, registry, registry_as=registry_as, labels=run_labels, record=record)
        )
        with opened as environment:
            try:
                yield environment
            finally:
                with defer_signals():
                    orphans.clear(environment.engine, run_labels)


def validate_name(name: str) -> None:
    """Raises UsageError where ``name`` is no environment's."""
    if name not in (*INNER, HERE) and not (name.startswith(CONTEXT) and len(name) > len(CONTEXT)):
        raise UsageError(f"{name[:80]!r} is not an engine to verify on", hint=f"One of: {', '.join(INNER)}, {HERE}, {CONTEXT}NAME.")
