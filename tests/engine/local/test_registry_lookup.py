"""Registries are found again by their labels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import lookup, spec
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine

COMPOSE = {spec.COMPOSE_PROJECT: "somewhere"}


@pytest.fixture
def made(engine: Engine, unique: str) -> Iterator[list[str]]:
    """Ids of containers that are removed in the end, with the registry's volume."""
    ids: list[str] = []
    yield ids
    for container_id in ids:
        engine.remove(container_id, force=True)
    if engine.volume(spec.resource_name(unique)) is not None:
        engine.remove_volume(spec.resource_name(unique))


def _spec(image: str, name: str, port: int, *, more: dict[str, str] | None = None, container_name: str | None = None) -> ContainerSpec:
    return ContainerSpec(
        image=image,
        name=container_name,
        labels=spec.resource_labels(name) | (more or {}),
        ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),),
        volumes={spec.resource_name(name): spec.STORAGE},
    )


def test_registry_is_found_by_labels_running_or_not(engine: Engine, registry_image: str, unique: str, made: list[str]) -> None:
    port = free_port()
    made.append(engine.create(_spec(registry_image, unique, port, container_name=f"{unique}-renamed")).id)

    created = local_registry.find(engine, unique)
    engine.start(made[0])
    running = local_registry.find(engine, unique)
    engine.stop(made[0])
    stopped = local_registry.find(engine, unique)

    assert created is not None
    assert (created.container_name, created.port, created.state) == (f"{unique}-renamed", port, "created")
    assert running is not None
    assert (running.port, running.state, running.running) == (port, "running", True)
    assert stopped is not None
    assert (stopped.port, stopped.state, stopped.volume) == (port, "exited", spec.resource_name(unique))
    assert stopped.started_by == "registry-tool"
    assert stopped in local_registry.find_all(engine)


def test_running_container_is_preferred(engine: Engine, registry_image: str, unique: str, made: list[str]) -> None:
    made.append(engine.create(_spec(registry_image, unique, free_port())).id)
    made.append(engine.run(_spec(registry_image, unique, free_port(), more=COMPOSE)).id)

    result = local_registry.find(engine, unique)

    assert result is not None
    assert result.container_id == made[1]
    assert result.started_by == "compose"
    assert [one.container_id for one in lookup.find_containers(engine, unique)] == [made[1], made[0]]
    assert [one.name for one in local_registry.find_all(engine)].count(unique) == 1


@pytest.mark.parametrize("ours", [0, 1], ids=["made first", "made second"])
def test_container_of_up_is_preferred_to_composes(engine: Engine, registry_image: str, unique: str, made: list[str], ours: int) -> None:
    for number in range(2):
        more = None if number == ours else COMPOSE
        made.append(engine.run(_spec(registry_image, unique, free_port(), more=more)).id)

    result = local_registry.find(engine, unique)

    assert result is not None
    assert result.container_id == made[ours]


def test_registry_without_published_port_has_port_0(engine: Engine, registry_image: str, unique: str, made: list[str]) -> None:
    made.append(engine.run(ContainerSpec(image=registry_image, labels=spec.resource_labels(unique))).id)

    result = local_registry.find(engine, unique)

    assert result is not None
    assert result.port == 0


def test_container_without_labels_is_no_registry(engine: Engine, registry_image: str, unique: str, made: list[str]) -> None:
    made.append(engine.create(ContainerSpec(image=registry_image, name=spec.resource_name(unique))).id)

    assert local_registry.find(engine, unique) is None


def test_error_for_a_missing_registry_names_the_volume_with_its_content(engine: Engine, unique: str, made: list[str]) -> None:
    assert "its content is in the volume" not in lookup.not_found(engine, unique).message
    engine.create_volume(spec.resource_name(unique), labels=spec.resource_labels(unique))
    assert f"its content is in the volume {spec.resource_name(unique)}" in lookup.not_found(engine, unique).message
