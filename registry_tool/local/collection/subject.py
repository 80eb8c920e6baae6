"""The registry whose garbage is collected: its container, volume and configuration, and whether it may be collected at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry_tool.base import labels, yaml_reader
from registry_tool.base.errors import Conflict, NotFound, UsageError
from registry_tool.base.reader import Document
from registry_tool.engine import Container, Engine
from registry_tool.engine.container_configuration import ContainerConfiguration, check_cloneable
from registry_tool.local.registry import lookup
from registry_tool.local.registry.spec import DEFAULT_NAME, LOOPBACK, name_option
from registry_tool.local.storage_reader import StorageLocation, locate

READ_ONLY = {"REGISTRY_STORAGE_MAINTENANCE": '{"readonly":{"enabled":true}}'}
"""Environment of a registry that refuses uploads and deletions with 405."""
MAINTENANCE = "REGISTRY_STORAGE_MAINTENANCE"
_ACTIVE = ("running", "paused", "restarting")
_ON_LOOPBACK = ("", "0.0.0.0", "::", LOOPBACK)  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedRegistry:
    """A registry on the engine that stores its content in a volume."""

    name: str
    container: Container
    configuration: ContainerConfiguration
    location: StorageLocation
    mounted_at: str
    """Where its volume is in its container."""
    port: int
    """On loopback of the engine's machine; 0 where none is published."""

    @property
    def volume(self) -> str:
        """A volume's name, or a folder of the engine's machine."""
        return self.location.source

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        return self.container.running


def find_subject(engine: Engine, name: str = DEFAULT_NAME, *, container: str | None = None) -> CollectedRegistry:
    """The registry ``name`` of this tool or of compose started from its file, or that in ``container``.

    Raises NotFound; UsageError and Conflict where its content is not in a volume of its own.
    """
    if container is None:
        registry = lookup.find(engine, name)
        if registry is None:
            raise lookup.not_found(engine, name)
        container = registry.container_id
    if engine.container(container) is None:
        raise NotFound(f"there is no container {container}", hint="See: docker ps -a")
    configuration = engine.configuration(container)
    location = locate(engine, configuration.container)
    if location.folder:
        raise Conflict(f"the registry in {configuration.container.name} has only a folder of its volume: {location.folder}")
    check_durable(engine, location)
    mounted_at = next(path for path, source in configuration.container.mounts.items() if source == location.source)
    _check_configuration(engine, configuration)
    return CollectedRegistry(
        name=configuration.container.labels.get(labels.REGISTRY, configuration.container.name),
        container=configuration.container,
        configuration=configuration,
        location=location,
        mounted_at=mounted_at,
        port=loopback_port(configuration.container),
    )


def check_durable(engine: Engine, location: StorageLocation) -> None:
    """Raises Conflict where the content is in memory: it would be lost as soon as no container has it."""
    volume = None if location.is_folder else engine.volume(location.source)
    if volume is not None and volume.options.get("type") == "tmpfs":
        raise Conflict(f"the volume {volume.name} is in memory: when its container stops, and a collection stops it, all of it is lost")


def check_collectable(engine: Engine, registry: CollectedRegistry) -> None:
    """Raises Conflict where the registry's content cannot be collected: another container has it, or it cannot get a stand-in."""
    check_cloneable(registry.configuration)
    container = registry.container
    if container.state not in ("running", "exited", "created"):
        raise Conflict(f"the container {container.name} is {container.state}", hint="Start it, or stop it, and try again.")
    mount = next(mount for mount in registry.configuration.mounts if mount.destination == registry.mounted_at)
    if not mount.writable:
        raise Conflict(f"the volume {registry.volume} is read-only in the container {container.name}")
    for other in engine.containers():
        role = other.labels.get(labels.ROLE)
        if (
            other.id != container.id
            and registry.volume in other.mounts.values()
            and role not in (labels.ROLE_PROBE, labels.ROLE_COLLECTION)
        ):
            raise Conflict(
                f"two containers use the volume {registry.volume}: {container.name} and {other.name}",
                hint=f"Stop {other.name}, and try again: a push to it during the collection would be damaged.",
            )


def check_stopped(engine: Engine, registry: CollectedRegistry) -> None:
    """Raises Conflict where the registry's container, or another one on its volume, was started meanwhile."""
    current = engine.container(registry.container.id)
    if current is not None and current.state in _ACTIVE:
        raise Conflict(f"the container {current.name} was started during the collection", hint="Nothing more was removed.")
    check_collectable(engine, registry)


def gc_option(registry: CollectedRegistry) -> str:
    """What a suggested ``gc`` needs to mean this registry."""
    role = registry.container.labels.get(labels.ROLE)
    return name_option(registry.name) if role == labels.ROLE_REGISTRY else f" --container {registry.container.name}"


def loopback_port(container: Container) -> int:
    """The port on loopback that it publishes; 0 where there is none, or only on another address."""
    on_loopback = (binding for binding in container.ports if binding.host_ip in _ON_LOOPBACK)
    return next((binding.host_port for binding in on_loopback if binding.container_port.endswith("/tcp")), 0)


def undo_option(registry: CollectedRegistry) -> str:
    """What a suggested ``undo`` needs to find this registry."""
    return "" if registry.container.labels.get(labels.ROLE) == labels.ROLE_REGISTRY else f" --container {registry.container.name}"


def _check_configuration(engine: Engine, configuration: ContainerConfiguration) -> None:
    """Raises Conflict where the registry removes content by itself (a pull-through cache), or has its memory of blobs in Redis."""
    name = configuration.container.name
    environment = dict(entry.partition("=")[::2] for entry in configuration.container.environment)
    file = _configuration_file(configuration)
    content = engine.get_file(configuration.container.id, file) if file else None
    members = _parse(content, file).members if content is not None else {}
    proxy = members.get("proxy")
    if environment.get("REGISTRY_PROXY_REMOTEURL") or (isinstance(proxy, Mapping) and proxy.get("remoteurl")):
        if url := configuration.container.labels.get(labels.PROXY):
            raise Conflict(
                f"the registry in {name} is a proxy of {url}: it keeps what it fetched, and deletes nothing",
                hint=f"To begin again: regctl down{_option(configuration)} --volumes, then regctl up --proxy.",
            )
        raise Conflict(f"the registry in {name} is a pull-through cache: it removes content by itself")
    if is_cached_in_redis(environment, members):
        raise Conflict(
            f"the registry in {name} remembers its blobs in Redis: after a collection it would accept pushes without them",
            hint="Take the cache out of its configuration (storage.cache.blobdescriptor: inmemory), and try again.",
        )


def _option(configuration: ContainerConfiguration) -> str:
    return name_option(configuration.container.labels.get(labels.REGISTRY, DEFAULT_NAME))


def is_cached_in_redis(environment: Mapping[str, str], members: Mapping[str, Any]) -> bool:
    """Whether a registry's cache of blobs outlives its container: by its environment, else by ``members`` of its configuration file."""
    variables = [value for name, value in environment.items() if name.startswith("REGISTRY_STORAGE_CACHE")]
    storage = members.get("storage")
    cache = storage.get("cache") if isinstance(storage, Mapping) else None
    return any("redis" in value.lower() for value in variables or [str(cache)])


def _configuration_file(configuration: ContainerConfiguration) -> str:
    """The path of the registry's configuration in its container; empty where its command names none."""
    words = (*configuration.container.entrypoint, *configuration.container.command)
    return next((word for word in reversed(words) if word.endswith((".yml", ".yaml"))), "")


def _parse(content: bytes, file: str) -> Document:
    try:
        return yaml_reader.read(content, file=file)[0]
    except UsageError as error:
        raise Conflict(f"the registry's configuration could not be read: {error.message}") from error
