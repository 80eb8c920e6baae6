"""A registry in this process, behind a proxy that can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool import server
from registry_tool.content.delete import writes
from registry_tool.targets.registry import Registry, Repository
from registry_tool.transport import Transport
from tests.support.deletions import NAME
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy


@pytest.fixture
def proxy(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def repository(proxy: FaultyProxy) -> Iterator[Repository]:
    with Registry(Transport(proxy.host)) as opened:
        yield opened.repository(NAME)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look once only."""
    monkeypatch.setattr(writes, "PATIENCE", 0.0)
