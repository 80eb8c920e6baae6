"""What every test stands on: folders of its own, a name of its own, and an engine where there is one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.engine import Engine, connect
from registry_tool.errors import Unreachable

REQUIRED = frozenset(part.strip() for part in os.environ.get("REGISTRY_TOOL_REQUIRE", "").split(",") if part.strip())


def missing(what: str, why: str) -> None:
    """Skip for a person; fail where ``REGISTRY_TOOL_REQUIRE`` says that ``what`` may not be skipped."""
    if what in REQUIRED:
        pytest.fail(f"{what} is required here (REGISTRY_TOOL_REQUIRE) and missing: {why}")
    pytest.skip(f"no {what}: {why}")


@pytest.fixture(scope="session")
def real_endpoint() -> str | None:
    """The engine as the person who typed the command would find it, before the tests hide the configuration."""
    try:
        with connect() as engine:
            return engine.endpoint.url
    except Unreachable:
        return None


@pytest.fixture(autouse=True)
def own_folders(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, real_endpoint: str | None
) -> Path:
    """HOME, XDG folders and docker's configuration of the test's own; never those of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "REGISTRY_TOOL_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    if real_endpoint is not None:
        monkeypatch.setenv("DOCKER_HOST", real_endpoint)
    return home


@pytest.fixture
def unique() -> str:
    """A short name that nothing else has, fit for tags, containers, volumes and repositories."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def engine(real_endpoint: str | None, own_folders: Path) -> Iterator[Engine]:
    """The real engine."""
    try:
        connected = connect()
    except Unreachable as error:
        missing("engine", error.message)
        raise
    with connected:
        yield connected
