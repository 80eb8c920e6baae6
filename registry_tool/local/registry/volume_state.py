"""What a registry's volume keeps of the registry itself, beside its content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from registry_tool.base import dirs, labels
from registry_tool.base.errors import Conflict, RegistryError
from registry_tool.engine import Engine
from registry_tool.engine.values import Container, ContainerSpec
from registry_tool.local.registry.spec import (
    COMPOSE_PROJECT,
    COMPOSE_SIGNS_WITH,
    FOLDER,
    HTPASSWD,
    SETTINGS,
    STORAGE,
    RegistrySettings,
    thing_labels,
    thing_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeState:
    """The settings, and the ``htpasswd`` file where there is a password."""

    settings: RegistrySettings
    htpasswd: bytes | None = None


def read(engine: Engine, container: Container) -> VolumeState:
    """What the volume in ``container`` keeps, whether that runs or not; without any, what the container itself says.

    Raises RegistryError where the settings are damaged: going on without them might let in whoever comes.
    """
    content = engine.get_file(container.id, SETTINGS)
    if content is None:
        secret = dict(entry.partition("=")[::2] for entry in container.environment).get("REGISTRY_HTTP_SECRET")
        settings = RegistrySettings(port=None, secret=secret) if secret else RegistrySettings.fresh()
        # One that an `up` created and no more: it wants a password which was never written, so it lets nobody in, and stays so.
        return VolumeState(settings=replace(settings, user=container.labels.get(labels.USER)))
    try:
        settings = RegistrySettings.parse(content)
    except ValueError as error:
        raise RegistryError(
            f"the registry's settings in its volume are damaged: {error}",
            hint=f"Repair {SETTINGS} in the volume {container.mounts.get(STORAGE, '')}, or remove the file to begin with new settings.",
        ) from error
    return VolumeState(settings=settings, htpasswd=engine.get_file(container.id, HTPASSWD))


def read_volume(engine: Engine, name: str, image: str, *, state: Path) -> VolumeState | None:
    """What the volume of the registry ``name`` keeps, read in a throw-away container that never starts; None without a volume.

    Who calls it holds the lock in ``state``: what a killed one left there is removed. Raises Conflict where a volume of
    that name is not ours, NotFound where somebody else removed what we looked at.
    """
    volume = engine.volume(thing_name(name))
    if volume is None:
        return None
    if volume.labels.get(labels.REGISTRY) != name or volume.labels.get(labels.ROLE) != labels.ROLE_REGISTRY:
        raise Conflict(
            f"the volume {volume.name} is somebody else's: it does not carry this tool's labels, and was not touched",
            hint="Take another name for the registry: regctl up --name NAME",
        )
    probe = f"{thing_name(name)}-probe-{dirs.owner_id(state)}"
    spec = ContainerSpec(
        image=image,
        name=probe,
        # Of a volume without settings: what compose signed with, or a secret of its own.
        environment={"REGISTRY_HTTP_SECRET": COMPOSE_SIGNS_WITH} if COMPOSE_PROJECT in volume.labels else {},
        labels=_probe_labels(name),
        volumes={volume.name: STORAGE},
        read_only_volumes=True,
    )
    engine.remove(probe, force=True, missing_ok=True)
    container = engine.create(spec)
    try:
        return read(engine, container)
    finally:
        engine.remove(container.id, force=True)


def remove_probes(engine: Engine, name: str) -> None:
    """Remove what looks into the volume of the registry ``name``, or did when it was killed: while it is there, the volume stays."""
    for probe in engine.containers(all=True, labels=_probe_labels(name)):
        engine.remove(probe.id, force=True, missing_ok=True)


def _probe_labels(name: str) -> dict[str, str]:
    return {labels.ROLE: labels.ROLE_PROBE, labels.REGISTRY: name}


def write(engine: Engine, container_id: str, kept: VolumeState) -> None:
    """Put it into the volume, through a container that was created and need not run."""
    files = {f"{FOLDER}/settings.json": (kept.settings.to_json(), 0o600)}
    if kept.htpasswd is not None:
        files[f"{FOLDER}/htpasswd"] = (kept.htpasswd, 0o600)
    engine.put_files(container_id, STORAGE, files)


def make_volume(engine: Engine, name: str) -> bool:
    """Make the volume, with its labels, where it is not there. Whether it was made."""
    if engine.volume(thing_name(name)) is not None:
        return False
    engine.create_volume(thing_name(name), labels=thing_labels(name))
    return True
