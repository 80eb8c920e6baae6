"""One container engine with all its operations."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from registry_tool.base.errors import RegistryToolError
from registry_tool.engine.builds import Builds
from registry_tool.engine.clones import Clones
from registry_tool.engine.container_streams import ContainerStreams
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.networks import Networks
from registry_tool.engine.transfer import Transfer
from registry_tool.engine.values import EngineInfo
from registry_tool.oci.descriptor import Platform

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient
    from registry_tool.engine.engine_setup import EngineSetup


class Engine(Builds, Transfer, ContainerStreams, Clones, Networks):
    """A connected engine, a context manager from :func:`connect`. Methods raise Unreachable; EngineError for errors of no other class."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._prefetch: threading.Thread | None = None
        self._info_cache: dict[str, Any] = {}

    @property
    def endpoint(self) -> Endpoint:
        """Its address and how that was found."""
        return self._client.endpoint

    @property
    def is_podman(self) -> bool:
        """Whether it is podman, as its first response told."""
        return self._client.api.is_podman

    def prefetch_info(self) -> None:
        """Prefetch ``/info`` in a background thread: the engine starts programs for it, and few responses take longer."""

        def fetch() -> None:
            # Who needs it later requests it again, and gets the error.
            with suppress(RegistryToolError):
                self._fetch_info()

        self._prefetch = threading.Thread(target=fetch, daemon=True)
        self._prefetch.start()

    @cached_property
    def id(self) -> str:
        """The engine's id: the same whatever address it is reached by."""
        if self.is_podman:
            # Podman makes up another one for each response.
            return hashlib.sha256(f"{self._info.get('Name')}\n{self._info.get('DockerRootDir')}".encode()).hexdigest()
        return str(self._info.get("ID") or "")

    @cached_property
    def info(self) -> EngineInfo:
        """Version, platform and storage of the engine; requested once."""
        with self._client.call("asking what it is") as api:
            version = api.version()
        return EngineInfo(
            name=self._info.get("Name") or "",
            version=version.get("Version") or "",
            api_version=api.api_version,
            platform=Platform(os=version.get("Os") or "", architecture=version.get("Arch") or ""),
            storage=self._info.get("Driver") or "",
            product="Podman" if self.is_podman else "Docker",
            kernel=self._info.get("KernelVersion") or "",
        )

    def setup(self) -> EngineSetup:
        """How the engine is set up now, and its clock."""
        from registry_tool.engine.engine_setup import EngineSetup  # noqa: PLC0415 - only a diagnosis looks at it

        started = time.time()
        info = self._fetch_info()
        registries = info.get("RegistryConfig") or {}
        indexes = registries.get("IndexConfigs") or {}
        insecure = [host for host, entry in indexes.items() if isinstance(entry, dict) and entry.get("Secure") is False]
        return EngineSetup(
            host=info.get("Name") or "",
            storage=info.get("Driver") or "",
            root_folder=info.get("DockerRootDir") or "",
            cgroup_driver=info.get("CgroupDriver") or "",
            cgroup_version=str(info.get("CgroupVersion") or ""),
            runtime=info.get("DefaultRuntime") or "",
            insecure=(*sorted(insecure), *(registries.get("InsecureRegistryCIDRs") or ())),
            http_proxy=info.get("HttpProxy") or info.get("HttpsProxy") or "",
            no_proxy=info.get("NoProxy") or "",
            system_time=info.get("SystemTime") or "",
            asked_at=(started + time.time()) / 2,
        )

    def time(self) -> float:
        """The time on the engine's machine, in Unix seconds; this machine's where the engine does not say."""
        from registry_tool.oci.config import parse_time  # noqa: PLC0415 - few commands ask for it

        moment = parse_time(self._fetch_info().get("SystemTime"))
        return moment.timestamp() if moment is not None else time.time()

    @property
    def has_containerd_store(self) -> bool:
        """Whether it keeps images in containerd's store: as they are in a registry, with the layers' compression."""
        return ["driver-type", "io.containerd.snapshotter.v1"] in (self._info.get("DriverStatus") or [])

    @property
    def data_folder(self) -> str:
        """The folder on the engine's machine where it stores what it has; empty where it does not say."""
        return str(self._info.get("DockerRootDir") or "")

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
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
