"""Networks and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_tool.base.errors import Conflict, EngineError, NotFound
from registry_tool.engine.images import label_filter
from registry_tool.engine.values import Network, Volume

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient


class Networks:
    """The engine's networks and volumes. A part of :class:`~registry_tool.engine.engine.Engine`."""

    _client: EngineClient

    def network(self, name: str) -> Network | None:
        """The network of that name or id with its containers; None where there is none."""
        try:
            with self._client.call(f"looking at the network {name}") as api:
                return _network(api.inspect_network(name))
        except NotFound:
            return None

    def networks(self, *, labels: Mapping[str, str] = {}) -> tuple[Network, ...]:
        """The networks with these labels; a listing has no containers."""
        with self._client.call("listing the networks") as api:
            entries: Any = api.networks(filters=label_filter(labels))
        return tuple(_network(entry) for entry in entries)

    def create_network(self, name: str, *, labels: Mapping[str, str], internal: bool = False) -> Network:
        """Create a network; an ``internal`` one has no route to the outside. Raises Conflict where the name is taken."""
        with self._client.call(f"creating the network {name}") as api:
            created: Any = api.create_network(name, labels=dict(labels), internal=internal, check_duplicate=True)
        return Network(id=created["Id"], name=name, labels=dict(labels))

    def connect_network(self, network: str, container: str, *, aliases: Sequence[str] = ()) -> None:
        """Attach a container under additional names. Raises NotFound."""
        with self._client.call(f"connecting {container} to the network {network}") as api:
            api.connect_container_to_network(container, network, aliases=list(aliases))

    def disconnect_network(self, network: str, container: str) -> None:
        """Detach a container, if it is attached; one whose removal has begun is detached by that."""
        try:
            with self._client.call(f"disconnecting {container} from the network {network}", missing_ok=True) as api:
                api.disconnect_container_from_network(container, network, force=True)
        except EngineError as error:
            if not any(reason in error.message for reason in ("is not connected", "marked for removal")):
                raise

    def remove_network(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a network. Raises NotFound unless ``missing_ok``; Conflict while a container is attached."""
        try:
            with self._client.call(f"removing the network {name}", missing_ok=missing_ok) as api:
                api.remove_network(name)
        except EngineError as error:
            # docker's message, and podman's
            if "active endpoints" in error.message or "being used" in error.message:
                raise Conflict(error.message, hint="Remove what is attached to it first.") from error
            raise

    def volume(self, name: str) -> Volume | None:
        """The volume of that name; None where there is none."""
        try:
            with self._client.call(f"looking at the volume {name}") as api:
                return _volume(api.inspect_volume(name))
        except NotFound:
            return None

    def volumes(self, *, labels: Mapping[str, str] = {}) -> tuple[Volume, ...]:
        """The volumes with these labels."""
        with self._client.call("listing the volumes") as api:
            listing: Any = api.volumes(filters=label_filter(labels))
        return tuple(_volume(entry) for entry in listing.get("Volumes") or ())

    def create_volume(self, name: str, *, labels: Mapping[str, str]) -> Volume:
        """Create a volume; an existing one of that name is returned unchanged, with its labels."""
        with self._client.call(f"creating the volume {name}") as api:
            return _volume(api.create_volume(name, labels=dict(labels)))

    def remove_volume(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a volume. Raises NotFound unless ``missing_ok``; Conflict while a container has it."""
        with self._client.call(f"removing the volume {name}", missing_ok=missing_ok) as api:
            api.remove_volume(name)


def _network(entry: Mapping[str, Any]) -> Network:
    return Network(
        id=entry.get("Id") or "",
        name=entry.get("Name") or "",
        labels=entry.get("Labels") or {},
        containers=tuple(entry.get("Containers") or ()),
    )


def _volume(entry: Mapping[str, Any]) -> Volume:
    return Volume(name=entry["Name"], labels=entry.get("Labels") or {}, options=entry.get("Options") or {})
