"""The port between a proof and the engine it is made on: a clean one in a container, somebody's context, or the present one."""

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
    """What went through the door to the registry since it was last reset: bytes each way, connections, and those refused."""

    down: int = 0
    """From the registry."""
    up: int = 0
    connections: int = 0
    refused: int = 0


class Environment(Protocol):
    """An engine that is ready, for as long as its context manager is open.

    Made by :func:`registry_tool.verify.environments.selection.open_environment`.
    """

    @property
    def info(self) -> EnvironmentInfo:
        """What the certificate says of it."""

    @property
    def engine(self) -> Engine:
        """The engine itself."""

    @property
    def isolated(self) -> bool:
        """Whether nothing but the registry can be reached from it."""

    def local_name(self, image: Reference) -> str:
        """What ``image`` is called there: a registry may have another name on another machine."""

    @property
    def host_ip(self) -> str:
        """The address on which the engine publishes ports: its own loopback, or all (empty) where that is not ours."""

    def connect(self, port: int, *, timeout: float) -> socket.socket:
        """Connect to what the engine publishes on ``port``; the socket keeps the time-out (seconds). Raises OSError."""

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        """What was fetched so far; None where nobody counts."""

    def labels(self) -> Mapping[str, str]:
        """What containers, networks and volumes made there carry, so that they are found and removed whatever happens."""
