"""All that a container was created with, and the request that creates its clone."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from registry_tool.base.errors import Conflict
from registry_tool.engine.values import Container

_COMPOSE = "com.docker.compose."
"""Compose removes or recreates what carries its labels."""
_WITHOUT_HOSTNAME = ("host", "container:")
"""Network modes in which a container cannot have a host name of its own."""
_DEFAULT_NETWORKS = ("bridge", "podman")
"""Networks without names for containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """A mount of a container. ``source`` is a volume's name, or a path on the engine's machine."""

    type: str
    source: str
    destination: str
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfiguration:
    """All that a container was created with, as the engine reports it."""

    container: Container
    raw: Mapping[str, Any]

    @property
    def is_removed_at_exit(self) -> bool:
        """Whether the engine removes it when it ends (``--rm``)."""
        return bool(self._host.get("AutoRemove"))

    @property
    def has_volumes_of_others(self) -> bool:
        """Whether it has another container's volumes (``--volumes-from``)."""
        return bool(self._host.get("VolumesFrom"))

    @property
    def has_chosen_ports(self) -> bool:
        """Whether the engine chooses ports that it publishes (``-P``, ``-p 5000``, a range), others at each start."""
        ports = [binding.get("HostPort") or "0" for each in (self._host.get("PortBindings") or {}).values() for binding in each or ()]
        return bool(self._host.get("PublishAllPorts")) or any(port == "0" or not port.isdigit() for port in ports)

    @property
    def mounts(self) -> tuple[MountPoint, ...]:
        """Its mounts."""
        return tuple(
            MountPoint(
                type=entry.get("Type") or "bind",
                source=entry.get("Name") or entry.get("Source") or "",
                destination=entry.get("Destination") or "",
                writable=bool(entry.get("RW")),
            )
            for entry in self.raw.get("Mounts") or ()
        )

    @property
    def _host(self) -> Mapping[str, Any]:
        return self.raw.get("HostConfig") or {}

    def clone(
        self, *, environment: Mapping[str, str], without: str, labels: Mapping[str, str], read_only: str, alias: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the body of ContainerCreate (Engine API) for a clone, and its networks beyond the first one.

        ``environment`` is added, variables whose names begin with ``without`` are left out; ``labels`` replace those of this tool's and
        compose's. The mount at ``read_only`` is read-only. In its networks the clone has the container's names, and the name ``alias``.
        """
        config, host = deepcopy(dict(self.raw.get("Config") or {})), deepcopy(dict(self._host))
        kept = [entry for entry in config.get("Env") or () if not entry.startswith(without)]
        config["Env"] = [*kept, *(f"{name}={value}" for name, value in environment.items())]
        kept_labels = {
            key: value for key, value in (config.get("Labels") or {}).items() if not key.startswith((_COMPOSE, "io.registry-tool."))
        }
        config["Labels"] = {**kept_labels, **labels}
        host["Binds"], host["Mounts"] = self._binds(read_only), self._other_mounts()
        # Podman reports them by names that it does not take.
        host["Ulimits"] = [{**each, "Name": str(each.get("Name")).removeprefix("RLIMIT_").lower()} for each in host.get("Ulimits") or ()]
        host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
        mode = str(host.get("NetworkMode") or "")
        if mode.startswith(_WITHOUT_HOSTNAME):
            config.pop("Hostname", None)
            config.pop("Domainname", None)
        networks = self._networks(mode, alias)
        first = next(iter(networks), None)
        body = {**config, "HostConfig": host}
        if first is not None:
            body["NetworkingConfig"] = {"EndpointsConfig": {first: networks.pop(first)}}
        return body, networks

    def _binds(self, read_only: str) -> list[str]:
        """The bind and volume mounts as ``Binds``; anonymous volumes by their names, or the clone would have empty ones."""
        return [
            f"{mount.source}:{mount.destination}:{'rw' if mount.writable and mount.destination != read_only else 'ro'}"
            for mount in self.mounts
            if mount.type in ("bind", "volume") and mount.source
        ]

    def _other_mounts(self) -> list[Any]:
        return [mount for mount in self._host.get("Mounts") or () if mount.get("Type") not in ("bind", "volume")]

    def _networks(self, mode: str, alias: str) -> dict[str, Any]:
        if mode == "none" or mode.startswith(_WITHOUT_HOSTNAME):
            return {}
        connected = (self.raw.get("NetworkSettings") or {}).get("Networks") or {}
        # The network of its mode comes first: the engine connects it at the creation.
        names = sorted(connected, key=lambda name: (name != mode, name))
        return {name: _endpoint(name, connected[name] or {}, self.raw["Id"], alias) for name in names}


def check_cloneable(configuration: ContainerConfiguration) -> None:
    """Raises Conflict where a container has what a clone cannot be given, or what ends with it."""
    name = configuration.container.name
    if configuration.is_removed_at_exit:
        raise Conflict(f"the container {name} is removed by the engine when it stops (--rm)", hint="Start it without --rm.")
    if configuration.has_volumes_of_others:
        raise Conflict(f"the container {name} has volumes of another container (--volumes-from)", hint="Name them with -v instead.")
    if configuration.has_chosen_ports and configuration.container.running:
        raise Conflict(
            f"the container {name} is published at a port that the engine chooses, and would have another one afterwards",
            hint="Publish it at a fixed port, with -p 5000:5000 for example, or stop it first.",
        )


def _endpoint(network: str, settings: Mapping[str, Any], id: str, alias: str) -> dict[str, Any]:
    """``EndpointSettings`` (Engine API) of a clone."""
    endpoint: dict[str, Any] = {}
    if network not in _DEFAULT_NETWORKS:
        aliases = [name for name in settings.get("Aliases") or () if not id.startswith(name)]
        endpoint["Aliases"] = list(dict.fromkeys([*aliases, alias]))
    for member in ("IPAMConfig", "Links", "DriverOpts"):
        if settings.get(member):
            endpoint[member] = settings[member]
    return endpoint
