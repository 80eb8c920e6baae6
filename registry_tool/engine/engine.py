"""One container engine, with everything this tool asks of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from registry_tool.base.errors import RegistryToolError
from registry_tool.engine.build.classic import Builds
from registry_tool.engine.containers import Containers
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.networks import Networks
from registry_tool.engine.transfer import Transfer
from registry_tool.engine.values import EngineInfo
from registry_tool.oci.descriptor import Platform

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient


class Engine(Builds, Transfer, Containers, Networks):
    """A connected engine; a context manager. Got from :func:`registry_tool.engine.connect`, never made elsewhere.

    Every method raises Unreachable where the engine stops answering, and EngineError for a refusal of no better name.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._prefetch: threading.Thread | None = None
        self._info_cache: dict[str, Any] = {}

    @property
    def endpoint(self) -> Endpoint:
        """Where it was found, and how."""
        return self._client.endpoint

    def prefetch_info(self) -> None:
        """Have it say who it is (``id``) while something else is done: it starts programs to find out, and few answers take longer."""

        def ask() -> None:
            # Who wants to know then asks again, and hears why.
            with suppress(RegistryToolError):
                self._fetch_info()

        self._prefetch = threading.Thread(target=ask, daemon=True)
        self._prefetch.start()

    @cached_property
    def id(self) -> str:
        """Stable for one engine, however it is reached."""
        return str(self._info.get("ID") or "")

    @cached_property
    def info(self) -> EngineInfo:
        """The engine itself; asked once."""
        with self._client.call("asking what it is") as api:
            version = api.version()
        return EngineInfo(
            name=self._info.get("Name") or "",
            version=version.get("Version") or "",
            api_version=api.api_version,
            platform=Platform(os=version.get("Os") or "", architecture=version.get("Arch") or ""),
            storage=self._info.get("Driver") or "",
            product=_product(version),
            kernel=self._info.get("KernelVersion") or "",
        )

    @property
    def _info(self) -> dict[str, Any]:
        if self._prefetch is not None:
            self._prefetch.join()
        return self._info_cache or self._fetch_info()

    def _fetch_info(self) -> dict[str, Any]:
        with self._client.call("asking how it is set up") as api:
            self._info_cache = dict(api.info())
        return self._info_cache

    def close(self) -> None:
        """Close the connections; the engine's things stay as they are."""
        self._client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _product(version: Mapping[str, Any]) -> str:
    """podman's interface calls itself a ``Podman Engine`` among its components."""
    names = [str(part.get("Name") or "") for part in version.get("Components") or ()]
    return "Podman" if any(name.startswith("Podman") for name in names) else "Docker"
