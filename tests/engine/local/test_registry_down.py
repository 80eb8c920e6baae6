"""``down`` removes the container, and the content only with ``volumes``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base import files
from registry_tool.base.errors import Conflict, NotFound, UsageError
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import DownResult, spec
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine


@pytest.fixture
def running(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[str]:
    """The name of a registry that runs."""
    local_registry.up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=tmp_path)
    yield unique
    if local_registry.find(engine, unique) or engine.volume(spec.resource_name(unique)):
        local_registry.down(engine, unique, volumes=True)


def test_down_keeps_the_content(engine: Engine, running: str, tmp_path: Path) -> None:
    thing = spec.resource_name(running)

    assert local_registry.down(engine, running, state=tmp_path) == DownResult(name=running, removed=(thing,), volume_kept=thing)

    assert engine.container(thing) is None
    assert engine.volume(thing) is not None
    assert local_registry.down(engine, running, state=tmp_path) == DownResult(name=running, volume_kept=thing)


def test_down_with_volumes_removes_the_content(engine: Engine, running: str, tmp_path: Path) -> None:
    thing = spec.resource_name(running)

    assert local_registry.down(engine, running, volumes=True, state=tmp_path) == DownResult(
        name=running, removed=(thing,), volume_removed=thing
    )

    assert engine.volume(thing) is None
    with pytest.raises(NotFound, match=f"no registry '{running}'"):
        local_registry.down(engine, running, state=tmp_path)


def test_kept_content_is_removed_by_a_later_down(engine: Engine, running: str, tmp_path: Path) -> None:
    local_registry.down(engine, running, state=tmp_path)

    assert local_registry.down(engine, running, volumes=True, state=tmp_path).volume_removed == spec.resource_name(running)
    assert engine.volume(spec.resource_name(running)) is None


def test_down_removes_every_container_of_the_name(engine: Engine, registry_image: str, running: str) -> None:
    # As compose leaves one behind whose port was taken.
    volumes = {spec.resource_name(running): spec.STORAGE}
    engine.create(ContainerSpec(image=registry_image, name=f"{running}-left", labels=spec.resource_labels(running), volumes=volumes))

    result = local_registry.down(engine, running, volumes=True)

    assert result.removed == (spec.resource_name(running), f"{running}-left")
    assert not engine.containers(all=True, labels=spec.resource_labels(running))


def test_volume_in_use_is_a_conflict(engine: Engine, registry_image: str, running: str, unique: str) -> None:
    using = engine.create(ContainerSpec(image=registry_image, name=f"{unique}-user", volumes={spec.resource_name(running): "/data"}))
    try:
        with pytest.raises(Conflict):
            local_registry.down(engine, running, volumes=True)
        assert engine.volume(spec.resource_name(running)) is not None
    finally:
        engine.remove(using.id, force=True)


def test_invalid_name_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError):
        local_registry.down(engine, "../x")


def test_down_waits_for_the_lock_of_up(engine: Engine, running: str, tmp_path: Path) -> None:
    local_registry.down(engine, running, state=tmp_path)

    (lock,) = tmp_path.glob(f"registry-*-{running}.lock")
    assert not files.is_locked(lock)
