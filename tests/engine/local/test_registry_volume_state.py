"""What a volume keeps of its registry."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base import labels
from registry_tool.base.errors import Conflict, RegistryError
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import spec, volume_state
from registry_tool.local.registry.passwords import Users
from registry_tool.local.registry.spec import RegistrySettings
from registry_tool.local.registry.volume_state import VolumeState
from tests.support.paths import ROOT

pytestmark = pytest.mark.engine


@pytest.fixture
def volume(engine: Engine, unique: str) -> Iterator[str]:
    """The name of the registry's volume; removed in the end, with what probes may have left."""
    yield spec.resource_name(unique)
    for container in engine.containers(all=True):
        if spec.resource_name(unique) in container.mounts.values():
            engine.remove(container.id, force=True)
    if engine.volume(spec.resource_name(unique)) is not None:
        engine.remove_volume(spec.resource_name(unique))


def test_state_without_volume_is_none(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> None:
    assert volume_state.read_volume(engine, unique, registry_image, state=tmp_path) is None


def test_written_state_is_read_and_no_container_is_left(
    engine: Engine, registry_image: str, unique: str, volume: str, tmp_path: Path
) -> None:
    volume_state.create_volume(engine, unique)
    volume_state.create_volume(engine, unique)
    written = VolumeState(settings=RegistrySettings(port=5007, secret="s", user="john", restart="always"), users=Users({"john": b"hash"}))
    description = spec.container_spec(unique, image=registry_image, port=5007, settings=written.settings)
    created = engine.create(description)
    volume_state.write(engine, created.id, written)
    engine.remove(created.id, force=True)

    assert volume_state.read_volume(engine, unique, registry_image, state=tmp_path) == written

    assert not [container for container in engine.containers(all=True) if volume in container.mounts.values()]


def test_volume_of_compose_has_its_secret(engine: Engine, registry_image: str, unique: str, volume: str, tmp_path: Path) -> None:
    engine.create_volume(volume, labels=spec.resource_labels(unique) | {spec.COMPOSE_PROJECT: "somewhere"})

    result = volume_state.read_volume(engine, unique, registry_image, state=tmp_path)

    assert result == VolumeState(settings=RegistrySettings(port=None, secret=spec.COMPOSE_SIGNING_KEY))


def test_volume_without_settings_gets_a_new_secret(engine: Engine, registry_image: str, unique: str, volume: str, tmp_path: Path) -> None:
    volume_state.create_volume(engine, unique)

    result = volume_state.read_volume(engine, unique, registry_image, state=tmp_path)

    assert result is not None
    assert result.settings.secret != spec.COMPOSE_SIGNING_KEY


@pytest.mark.parametrize("wrong", [{}, {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: "another"}, {labels.REGISTRY: "UNIQUE"}])
def test_other_owners_volume_is_a_conflict(
    engine: Engine, registry_image: str, unique: str, volume: str, wrong: dict[str, str], tmp_path: Path
) -> None:
    engine.create_volume(volume, labels={name: value.replace("UNIQUE", unique) for name, value in wrong.items()})

    with pytest.raises(Conflict, match="somebody else"):
        volume_state.read_volume(engine, unique, registry_image, state=tmp_path)


def test_damaged_settings_name_the_file(engine: Engine, registry_image: str, unique: str, volume: str) -> None:
    volume_state.create_volume(engine, unique)
    created = engine.create(spec.container_spec(unique, image=registry_image, port=5007, settings=RegistrySettings.generate()))
    engine.put_files(created.id, spec.STORAGE, {"registry-tool/settings.json": (b'{"secret": 1}', 0o600)})

    with pytest.raises(RegistryError, match="damaged: no secret") as failure:
        volume_state.read(engine, created)

    assert volume in (failure.value.hint or "")


KILLED = """
import os, sys
from pathlib import Path
from registry_tool.engine import connect
from registry_tool.local.registry import volume_state
volume_state.read = lambda engine, container: os.kill(os.getpid(), 9)
with connect() as engine:
    volume_state.read_volume(engine, sys.argv[1], sys.argv[2], state=Path(sys.argv[3]))
"""


@pytest.fixture
def left(engine: Engine, registry_image: str, unique: str, volume: str, tmp_path: Path) -> str:
    """The id of a probe whose process was killed."""
    volume_state.create_volume(engine, unique)
    killed = subprocess.run([sys.executable, "-c", KILLED, unique, registry_image, str(tmp_path)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    (probe,) = _probes(engine, volume)
    return probe


def _probes(engine: Engine, volume: str) -> list[str]:
    return [container.id for container in engine.containers(all=True) if volume in container.mounts.values()]


def test_probe_of_a_killed_process_is_removed_by_the_next(
    engine: Engine, registry_image: str, unique: str, volume: str, left: str, tmp_path: Path
) -> None:
    assert volume_state.read_volume(engine, unique, registry_image, state=tmp_path) is not None
    assert _probes(engine, volume) == []


def test_probe_of_a_killed_process_does_not_block_the_volume(engine: Engine, unique: str, volume: str, left: str) -> None:
    assert local_registry.down(engine, unique, volumes=True).volume_removed == volume
    assert _probes(engine, volume) == []


def test_probe_of_another_owner_is_untouched(
    engine: Engine, registry_image: str, unique: str, volume: str, left: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert volume_state.read_volume(engine, unique, registry_image, state=other) is not None
    assert _probes(engine, volume) == [left], "somebody may need it still"


def test_container_of_another_owner_on_the_volume_stays(
    engine: Engine, registry_image: str, unique: str, volume: str, tmp_path: Path
) -> None:
    volume_state.create_volume(engine, unique)
    theirs = engine.create(ContainerSpec(image=registry_image, labels={labels.ROLE: labels.ROLE_PROBE}, volumes={volume: "/data"}))
    with pytest.raises(Conflict):
        local_registry.down(engine, unique, volumes=True)
    assert engine.container(theirs.id) is not None
