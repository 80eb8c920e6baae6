"""The doctor on a real engine and a real registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.doctor import registry_checks, run
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.bring_up import registry_up
from registry_tool.local.registry import LocalRegistry
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image, sha256
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine
OF_ENGINE = ("engine", "engine-version", "clock", "folders", "https")
OF_REGISTRY = ("registry", "delete", "write", "stale-cache", "storage")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that takes long on a busy machine is waited for."""
    monkeypatch.setattr(run, "LIMIT", 600.0)


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


def test_registry_that_still_reports_a_removed_layer_is_restarted(
    typed: Typed, engine: Engine, own_registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a collection by distribution's own program, which does not restart the registry."""
    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 600.0)
    content = layer(b"what will be collected")
    make_image(own_registry.port, "app", "1", content)
    hexadecimal = sha256(content).partition(":")[2]
    path = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
    assert engine.execute(own_registry.container_id, ["rm", path])[0] == 0
    before = ("--registry", own_registry.address, "doctor", "--json")
    (check,) = typed(*before, "stale-cache").json["checks"]
    assert (check["state"], check["mendable"]) == ("wrong", True)
    assert sha256(content) in check["seen"]
    mended = typed(*before, "--fix", "--yes", "stale-cache", "storage")
    # The cache is mended; the image needs its layer again.
    assert [(each["name"], each["state"]) for each in mended.json["checks"]] == [("stale-cache", "ok"), ("storage", "wrong")]
    assert mended.code == 1
