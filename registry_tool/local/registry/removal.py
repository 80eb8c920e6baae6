"""``down``: remove a registry's container, and its content only on request."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local.registry import lookup, recovery, spec, upstream
from registry_tool.local.registry.locks import lock
from registry_tool.local.registry.startup import remove
from registry_tool.local.registry.volume_state import remove_probes


@dataclass(frozen=True, slots=True, kw_only=True)
class DownResult:
    """What was removed and what was kept; neither where there was no registry of that name."""

    name: str
    removed: tuple[str, ...] = ()
    """Names of containers."""
    volume_removed: str | None = None
    volume_kept: str | None = None


def down(
    engine: Engine, name: str = spec.DEFAULT_NAME, *, volumes: bool = False, state: Path | None = None, observer: Observer = SILENT
) -> DownResult:
    """Stop and remove the registry ``name``, whoever started it, and with ``volumes`` its content.

    ``state`` is the folder of the lock that ``up`` takes, too; None: no lock. Raises UsageError for an invalid name; NotFound where there
    is no registry of that name, unless it is the default one; Conflict where something else uses the volume, or its garbage is being
    collected.
    """
    spec.check_name(name)
    with lock(engine, name, state, observer) if state is not None else nullcontext():
        recovery.check_not_collected(engine, name, state=state, observer=observer)
        registries = lookup.find_containers(engine, name)
        for registry in registries:
            remove(engine, registry)
        upstream.leave(engine, name)
        volume = engine.volume(spec.resource_name(name))
        if volume is not None and not spec.resource_labels(name).items() <= volume.labels.items():
            volume = None  # another owner's
        if not registries and volume is None and name != spec.DEFAULT_NAME:
            raise lookup.not_found(engine, name)
        if volume is not None and volumes:
            remove_probes(engine, name)
            engine.remove_volume(volume.name)
        return DownResult(
            name=name,
            removed=tuple(registry.container_name for registry in registries),
            volume_removed=volume.name if volume is not None and volumes else None,
            volume_kept=volume.name if volume is not None and not volumes else None,
        )
