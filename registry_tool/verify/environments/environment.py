"""The port between the checks and the engine they run on: a clean one in a container, a context's, or the current one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from registry_tool.engine import Engine
from registry_tool.oci.reference import Reference
from registry_tool.verify.result import EnvironmentInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Traffic of the tunnel with the registry since the last reset: bytes each way, connections, and those that failed."""

    down: int = 0
    """From the registry."""
    up: int = 0
    connections: int = 0
    refused: int = 0


class Environment(Protocol):
    """An engine that is ready, opened by :func:`registry_tool.verify.environments.selection.open_environment`."""

    @property
    def info(self) -> EnvironmentInfo:
        """Its description in the report."""

    @property
    def engine(self) -> Engine:
        """The engine itself."""

    @property
    def isolated(self) -> bool:
        """Whether only the registry can be reached from it."""

    @property
    def kept(self) -> str | None:
        """Why the image is still there, where removing it first would have lost something; else None."""

    @property
    def host_ip(self) -> str:
        """Address on which the engine publishes ports: its loopback, or all (empty) where that is not this machine's."""

    def local_name(self, image: Reference) -> str:
        """The engine's name for ``image``: the registry may have another name there."""

    @property
    def reaches_containers(self) -> bool:
        """Whether :meth:`connect` reaches a container at its own address."""

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        """Connect to a port that the engine publishes, or to one of ``host``; the socket keeps the timeout (seconds). Raises OSError."""

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        """Traffic with the registry; None where it is not counted."""

    def labels(self) -> Mapping[str, str]:
        """Labels of all that is made there, by which it is found and removed."""
