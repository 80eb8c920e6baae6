"""Two registries in this process, which record their requests, and repositories in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from registry_tool.targets.registry import Registry, Repository, open_registry
from tests.support.recording_server import RecordingServer, recording_server


@dataclass(kw_only=True)
class Side:
    """A registry of the test's, and the client of it."""

    server: RecordingServer
    registry: Registry

    @property
    def port(self) -> int:
        return self.server.port

    def repository(self, path: str) -> Repository:
        return self.registry.repository(path)


@pytest.fixture
def source() -> Iterator[Side]:
    """Where images are copied from."""
    with recording_server(foreign_urls=True) as server, open_registry(server.host) as registry:
        yield Side(server=server, registry=registry)


@pytest.fixture
def destination() -> Iterator[Side]:
    """Where images are copied to."""
    with recording_server(foreign_urls=True) as server, open_registry(server.host) as registry:
        yield Side(server=server, registry=registry)
