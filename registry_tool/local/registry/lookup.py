"""This tool's registries on an engine, found by their labels and never by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from registry_tool.base import labels
from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine
from registry_tool.engine.values import Container
from registry_tool.local.registry.spec import (
    COMPOSE_PROJECT,
    CONTAINER_PORT,
    DEFAULT_NAME,
    EVERY_ADDRESS,
    LOOPBACK,
    STORAGE,
    is_loopback_ip,
    name_option,
    resource_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRegistry:
    """A registry in a container of this engine."""

    JSON_MEMBERS: ClassVar = "name address state image container=container_id volume user started_by proxy listen tls"
    name: str
    port: int
    """On this machine's loopback; 0 where its container publishes none."""
    container_id: str
    container_name: str
    image: str
    volume: str
    """Where its content is: a volume's name, or a folder of the engine's machine where a compose file was changed so."""
    state: str
    """As in :class:`~registry_tool.engine.values.Container`."""
    user: str | None = None
    """Who may use it, where it requires a password."""
    started_by: str = "registry-tool"
    """``registry-tool`` or ``compose``."""
    proxy: str | None = None
    """The URL of its upstream, where it is a pull-through proxy."""
    host: str = "localhost"
    image_id: str = ""
    """The engine's ``Id`` of its container's image."""
    listen: str = LOOPBACK
    """The address at which it is published on the engine's machine, on its loopback in any case."""
    tls: bool = False

    @property
    def address(self) -> str:
        """``localhost:5000``: the host of its images' names."""
        return f"{self.host}:{self.port}"

    @property
    def listens_beyond_loopback(self) -> bool:
        """Whether other machines may reach it."""
        return not is_loopback_ip(self.listen)

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        return self.state == "running"


def find(engine: Engine, name: str = DEFAULT_NAME) -> LocalRegistry | None:
    """The registry ``name``, running or not; None without a container. Of compose's and ``up``'s it is the running one, then ``up``'s."""
    return next(iter(find_containers(engine, name)), None)


def find_all(engine: Engine) -> tuple[LocalRegistry, ...]:
    """Every registry of this tool on the engine, by name, the default one first; at most one for each name."""
    by_name: dict[str, LocalRegistry] = {}
    for registry in find_containers(engine):
        by_name.setdefault(registry.name, registry)
    return tuple(sorted(by_name.values(), key=lambda registry: (registry.name != DEFAULT_NAME, registry.name)))


def not_found(engine: Engine, name: str) -> NotFound:
    """The error for a registry without a container; its message mentions a volume that holds its content."""
    others = ", ".join(repr(registry.name) for registry in find_all(engine))
    hint = f"There are: {others}." if others else f"Start it: regctl up{name_option(name)}"
    kept = f" (its content is in the volume {resource_name(name)})" if engine.volume(resource_name(name)) else ""
    return NotFound(f"no registry {name!r} runs on this engine{kept}", hint=hint)


def find_containers(engine: Engine, name: str | None = None) -> tuple[LocalRegistry, ...]:
    """Every container of the registry ``name`` (None: of all), the one that is used first."""
    if name == "":
        return ()  # no registry has this name, and in the engine's filter it would match any
    wanted = {labels.ROLE: labels.ROLE_REGISTRY} | ({labels.REGISTRY: name} if name is not None else {})
    registries = []
    for listed in engine.containers(all=True, labels=wanted):
        # A listing has no ports of containers that do not run, and docker 23 and newer list one as running for a moment after its stop.
        container = engine.container(listed.id)
        if container is not None:
            registries.append((listed.created, _of(container)))
    registries.sort(key=lambda pair: (not pair[1].running, pair[1].started_by == "compose", pair[0]))
    return tuple(registry for _, registry in registries)


def _of(container: Container) -> LocalRegistry:
    return LocalRegistry(
        name=container.labels.get(labels.REGISTRY, DEFAULT_NAME),
        port=_port(container),
        container_id=container.id,
        container_name=container.name,
        image=container.image,
        image_id=container.image_id,
        volume=container.mounts.get(STORAGE, ""),
        state=container.state,
        user=container.labels.get(labels.USER),
        proxy=container.labels.get(labels.PROXY),
        tls=labels.TLS in container.labels,
        listen=next((ip for ip in _published_at(container) if not is_loopback_ip(ip)), LOOPBACK),
        started_by="compose" if COMPOSE_PROJECT in container.labels else "registry-tool",
    )


def _port(container: Container) -> int:
    return next((binding.host_port for binding in container.ports if binding.container_port == CONTAINER_PORT), 0)


def _published_at(container: Container) -> tuple[str, ...]:
    return tuple(binding.host_ip or EVERY_ADDRESS for binding in container.ports if binding.container_port == CONTAINER_PORT)
