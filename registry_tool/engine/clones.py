"""Clones of containers: the same configuration under another name, with some of it changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry_tool.base.errors import RegistryToolError
from registry_tool.engine.containers import of_inspection
from registry_tool.engine.engine_errors import create_error

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient
    from registry_tool.engine.container_configuration import ContainerConfiguration


class Clones:
    """Clones of the engine's containers. A part of :class:`~registry_tool.engine.engine.Engine`."""

    _client: EngineClient

    def configuration(self, id: str) -> ContainerConfiguration:
        """All that the container ``id`` was created with. Raises NotFound."""
        from registry_tool.engine.container_configuration import ContainerConfiguration  # noqa: PLC0415 - few commands clone

        with self._client.call(f"looking at the container {id}") as api:
            raw: Any = api.inspect_container(id)
        return ContainerConfiguration(container=of_inspection(raw), raw=raw)

    def create_clone(
        self,
        configuration: ContainerConfiguration,
        name: str,
        *,
        environment: Mapping[str, str],
        without: str,
        labels: Mapping[str, str],
        read_only: str,
    ) -> str:
        """Create a clone called ``name``, without starting it; returns its id. Options as of :meth:`ContainerConfiguration.clone`.

        Raises Conflict (the name is taken); NotFound (its image is gone); EngineError.
        """
        body, networks = configuration.clone(
            environment=environment, without=without, labels=labels, read_only=read_only, alias=configuration.container.name
        )
        # By its id: the name may stand for another image today.
        body["Image"] = configuration.container.image_id or body.get("Image")
        try:
            with self._client.call(f"creating a clone of the container {configuration.container.name}") as api:
                created: Any = api.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
                id = str(created["Id"])
        except RegistryToolError as error:
            raise create_error(error, image=configuration.container.image, name=name) from error
        try:
            for network, endpoint in networks.items():
                with self._client.call(f"connecting {name} to the network {network}") as api:
                    api.connect_container_to_network(
                        id,
                        network,
                        aliases=endpoint.get("Aliases"),
                        links=endpoint.get("Links"),
                        ipv4_address=(endpoint.get("IPAMConfig") or {}).get("IPv4Address"),
                        ipv6_address=(endpoint.get("IPAMConfig") or {}).get("IPv6Address"),
                    )
        except BaseException:
            with self._client.call(f"removing the container {id}", missing_ok=True) as api:
                api.remove_container(id, force=True)
            raise
        return id
