"""What the checks look at: engine, registries, folders, configuration. Each is found once; threads share it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from registry_tool.base.concurrency import SingleFlight
from registry_tool.base.dirs import AppDirs, app_dirs
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.engine import Engine, EngineSetup
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry, PortProbe
from registry_tool.local.registry.readiness import PortState
from registry_tool.local.registry.spec import LOOPBACK
from registry_tool.targets.registry import Registry

if TYPE_CHECKING:
    from registry_tool.doctor.registry_checks import StorageLook

_PROBE_TIMEOUT = 5.0
"""Seconds for a registry's response on loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRegistry:
    """A registry that is looked at; ``local`` where it runs in a container of this tool's on the engine."""

    host: str
    local: LocalRegistry | None = None

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.local.name if self.local is not None else self.host


class Surroundings:
    """``host`` is of ``--registry``, whose registry is looked at instead of the local ones; ``folder`` is the current one."""

    def __init__(
        self,
        *,
        connect: Callable[[], Engine],
        open_registry: Callable[[str], AbstractContextManager[Registry]],
        folder: Path,
        host: str | None = None,
    ) -> None:
        self.open_registry = open_registry
        self.folder = folder
        self.host = host
        self.storage_looks: SingleFlight[str, StorageLook] = SingleFlight()
        """What a look at each registry's images found, by host."""
        self._connect = connect
        self._known: SingleFlight[str, object] = SingleFlight()

    @property
    def dirs(self) -> AppDirs:
        """The folders of state and cache. Raises OSError where there can be none."""
        return cast("AppDirs", self._known.get("dirs", app_dirs))

    @property
    def engine(self) -> Engine:
        """The engine. Raises what connecting to it raised, each time."""
        return cast("Engine", self._known.get("engine", self._connect))

    @property
    def setup(self) -> EngineSetup:
        """How the engine is set up."""
        return cast("EngineSetup", self._known.get("setup", self.engine.setup))

    @property
    def local_registries(self) -> tuple[LocalRegistry, ...]:
        """The registries of this tool on the engine, running or not."""
        return cast("tuple[LocalRegistry, ...]", self._known.get("registries", lambda: local_registry.find_all(self.engine)))

    @property
    def registries(self) -> tuple[CheckedRegistry, ...]:
        """The registries that are looked at."""
        if self.host is None:
            return tuple(CheckedRegistry(host=each.address, local=each) for each in self.local_registries)
        try:
            local = next((each for each in self.local_registries if each.address == self.host), None)
        except RegistryToolError:
            local = None  # no engine is needed for requests to a registry
        return (CheckedRegistry(host=self.host, local=local),)

    def probe(self, registry: LocalRegistry) -> PortProbe:
        """What responds on the port of a local registry."""

        def look() -> PortProbe:
            if not registry.running or not registry.port:
                return PortProbe(state=PortState.NOTHING, detail=f"its container is {registry.state}")
            return local_registry.probe_port(registry.port, tls=registry.tls, timeout=_PROBE_TIMEOUT)

        return cast("PortProbe", self._known.get(f"probe {registry.container_id}", look))

    def responds(self, registry: CheckedRegistry) -> bool:
        """Whether requests to it make sense; one that is elsewhere is tried."""
        return registry.local is None or self.probe(registry.local).state is PortState.REGISTRY

    @staticmethod
    def registry_clock(registry: LocalRegistry) -> tuple[str, float] | None:
        """The ``Date`` of a response of ``registry``, and our Unix seconds at that moment; None without a response."""
        started = time.time()
        try:
            page = get_page(f"{'https' if registry.tls else 'http'}://{LOOPBACK}:{registry.port}/v2/", timeout=_PROBE_TIMEOUT)
        except NoResponse:
            return None
        date = page.headers.get("date")
        return (date, (started + time.time()) / 2) if date else None
