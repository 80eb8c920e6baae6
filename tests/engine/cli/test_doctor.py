"""The doctor on a real engine and a real registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.bring_up import registry_up
from registry_tool.local.registry import LocalRegistry
from tests.support.cli_runner import Typed
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine
OF_ENGINE = ("engine", "engine-version", "clock", "folders", "https")
OF_REGISTRY = ("registry", "delete", "write", "stale-cache", "storage")


@pytest.fixture
def own_registry(engine: Engine, dirs: AppDirs, unique: str) -> Iterator[LocalRegistry]:
    """A registry of the test's own, which it may stop."""
    try:
        yield registry_up(engine, dirs, name=unique, port=free_port()).up.registry
    finally:
        local_registry.down(engine, unique, volumes=True)


def test_registry_that_runs_is_healthy_and_one_that_was_stopped_runs_again(
    typed: Typed, engine: Engine, own_registry: LocalRegistry
) -> None:
    before = ("--registry", own_registry.address, "doctor", "--json")
    healthy = typed(*before, *OF_ENGINE, *OF_REGISTRY)
    assert {check["name"]: check["state"] for check in healthy.json["checks"]} == dict.fromkeys((*OF_ENGINE, *OF_REGISTRY), "ok")
    assert healthy.code == 0

    engine.stop(own_registry.container_id)
    assert typed(*before, "registry").json["checks"][0]["state"] == "wrong"
    mended = typed(*before, "--fix", "--yes", "registry", "write")
    assert [(check["state"], check["mended"]) for check in mended.json["checks"]] == [("ok", True), ("ok", False)]
    assert mended.code == 0
