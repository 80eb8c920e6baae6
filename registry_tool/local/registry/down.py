"""``down``: the container goes, the content stays unless it is asked for."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local.registry import registry, spec
from registry_tool.local.registry.up import lock, remove
from registry_tool.local.registry.volume_state import remove_probes


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """What went and what stays. Nothing went where no registry of that name was there."""

    name: str
    removed: tuple[str, ...] = ()
    """Names of containers."""
    volume_removed: str | None = None
    volume_kept: str | None = None


def down(
    engine: Engine,
    name: str = spec.DEFAULT_NAME,
    *,
    volumes: bool = False,
    state: Path | None = None,
    observer: Observer = SILENT,
) -> Down:
    """Stop and remove the registry ``name``, whoever started it, and with ``volumes`` everything it holds.

    Nothing to remove is no failure for the default registry; any other name that is unknown raises NotFound.
    Raises Conflict where something else uses the volume. ``state`` is the folder for the lock that ``up`` takes, too.
    """
    spec.check_name(name)
    with lock(engine, name, state, observer) if state is not None else nullcontext():
        found = registry.of_name(engine, name)
        for one in found:
            remove(engine, one)
        volume = engine.volume(spec.thing_name(name))
        ours = volume is not None and spec.thing_labels(name).items() <= volume.labels.items()
        if not found and not ours and name != spec.DEFAULT_NAME:
            raise registry.no_such(engine, name)
        if volume is not None and ours and volumes:
            remove_probes(engine, name)
            engine.remove_volume(volume.name)
        return Down(
            name=name,
            removed=tuple(one.container_name for one in found),
            volume_removed=volume.name if volume is not None and ours and volumes else None,
            volume_kept=volume.name if volume is not None and ours and not volumes else None,
        )
