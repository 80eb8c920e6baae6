"""``docker-compose.registry.yml`` and ``up`` describe one registry, and take over from each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_tool.base import resources
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import Auth, UpResult, spec
from registry_tool.local.registry.spec import RegistrySettings
from tests.support import canary
from tests.support.registry_over_http import ask, push_tag, tags
from tests.support.requirements import free_port, missing, wait_for_registry


def _document() -> dict[str, Any]:
    document = yaml.safe_load(resources.compose_file().read_text())
    assert isinstance(document, dict)
    return document


def _with_defaults(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture
def described() -> dict[str, Any]:
    registry: dict[str, Any] = _document()["services"]["registry"]
    return registry


@pytest.fixture
def created() -> ContainerSpec:
    return spec.container_spec("default", image="registry:2", port=5000, settings=RegistrySettings.generate())


def test_the_environment_is_the_same_but_for_the_secret(described: dict[str, Any], created: ContainerSpec) -> None:
    ours = dict(created.environment)
    theirs = dict(described["environment"])

    assert theirs.pop("REGISTRY_HTTP_SECRET") == spec.COMPOSE_SIGNING_KEY
    assert ours.pop("REGISTRY_HTTP_SECRET") != spec.COMPOSE_SIGNING_KEY
    assert theirs == ours


def test_the_labels_of_ours_are_the_same(described: dict[str, Any], created: ContainerSpec) -> None:
    assert described["labels"] == dict(created.labels)
    assert _document()["volumes"]["registry"]["labels"] == spec.resource_labels("default")


def test_the_volume_is_the_same(described: dict[str, Any], created: ContainerSpec) -> None:
    named = {key: volume["name"] for key, volume in _document()["volumes"].items()}
    mounted = dict(entry.split(":") for entry in described["volumes"])

    assert {named[volume]: destination for volume, destination in mounted.items()} == dict(created.volumes)


def test_the_port_is_the_same(described: dict[str, Any], created: ContainerSpec) -> None:
    published = [f"{port.host_ip}:{port.host_port}:{port.container_port.removesuffix('/tcp')}" for port in created.ports]

    assert [_with_defaults(port) for port in described["ports"]] == published


def test_the_restart_policy_is_the_same(described: dict[str, Any], created: ContainerSpec) -> None:
    assert described["restart"] == created.restart


def test_nothing_else_is_said_of_the_registry(described: dict[str, Any]) -> None:
    # What compose said more, `up` would do differently. No container_name: two projects could not run side by side.
    assert set(described) == {"image", "restart", "ports", "environment", "labels", "volumes"}


def test_every_image_can_be_named_from_outside() -> None:
    services = _document()["services"]
    images = {name: service["image"] for name, service in services.items()}
    variables = {match[1] for image in images.values() if (match := re.match(r"\$\{(\w+):-", image))}
    lines = spec.compose_env(port=5000, images={"registry": "a", "app": "b", "redis": "c"})

    assert {name: _with_defaults(image) for name, image in images.items()} == {
        "registry": "registry:2",
        "web": "localhost:5000/john/get-started:part2",
        "redis": "redis:7-alpine",
    }
    assert variables | {"REGISTRY_TOOL_PORT"} == {line.partition("=")[0] for line in lines}


def test_nothing_is_published_beyond_loopback() -> None:
    for service in _document()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_app_with_redis_is_a_profile() -> None:
    profiles = {name: service.get("profiles", []) for name, service in _document()["services"].items()}

    assert profiles == {"registry": [], "web": ["app"], "redis": ["app"]}


Compose = Callable[..., str]


@pytest.fixture
def compose(unique: str, tmp_path: Path, registry_image: str, port: int) -> Iterator[Compose]:
    """Compose of either generation, on a copy of the file whose registry is the test's own (name and volume), as the
    file itself is about the one that whoever runs the tests may have."""
    program = _program()
    text = resources.compose_file().read_text()
    text = text.replace("io.registry-tool.registry: default", f"io.registry-tool.registry: {unique}")
    text = text.replace("name: registry-tool-default", f"name: registry-tool-{unique}")
    file = tmp_path / "docker-compose.registry.yml"
    file.write_text(text)

    def run(*arguments: str, check: bool = True, **variables: str) -> str:
        environment = {**os.environ, "REGISTRY_TOOL_IMAGE": registry_image, "REGISTRY_TOOL_PORT": str(port), **variables}
        command = [*program, "-p", unique, "-f", str(file), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == 0 or not check, output
        return output

    yield run
    run("down", "--volumes")


@pytest.fixture
def port() -> int:
    return free_port()


Bring = Callable[..., UpResult]


@pytest.fixture
def bring(engine: Engine, compose: Compose, registry_image: str, unique: str, tmp_path: Path) -> Iterator[Bring]:
    def up(**options: Any) -> UpResult:
        received: dict[str, Any] = {"image": lambda: registry_image, "name": unique, "state": tmp_path, **options}
        return local_registry.up(engine, **received)

    yield up
    if local_registry.find(engine, unique) or engine.volume(spec.resource_name(unique)):
        local_registry.down(engine, unique, volumes=True)


def _program() -> list[str]:
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]) and subprocess.run([*program, "version"], capture_output=True, check=False).returncode == 0:
            return program
    return missing("compose", "neither `docker compose` nor `docker-compose` is installed")


def _containers(engine: Engine, name: str) -> int:
    return len(engine.containers(all=True, labels=spec.resource_labels(name)))


@pytest.mark.engine
@pytest.mark.compose
def test_up_uses_the_registry_that_compose_started(compose: Compose, bring: Bring, engine: Engine, unique: str, port: int) -> None:
    compose("up", "-d")

    up = bring()

    assert not up.created
    assert (up.registry.started_by, up.registry.port) == ("compose", port)
    assert up.registry.volume == spec.resource_name(unique)
    assert local_registry.is_ready(up.registry)
    assert [one for one in local_registry.find_all(engine) if one.name == unique] == [up.registry]
    assert _containers(engine, unique) == 1
    compose("up", "-d")
    assert bring().registry == up.registry


@pytest.mark.engine
@pytest.mark.compose
def test_compose_then_down_then_up_loses_no_tag(compose: Compose, bring: Bring, engine: Engine, unique: str, port: int) -> None:
    compose("up", "-d")
    first = bring().registry
    push_tag(first.port, "john/app", "from-compose")

    result = local_registry.down(engine, unique)

    assert result.removed == (first.container_name,)
    assert result.volume_kept == spec.resource_name(unique)
    assert _containers(engine, unique) == 0

    up = bring(port=port)

    assert up.registry.started_by == "registry-tool"
    assert tags(port, "john/app") == ["from-compose"]
    container = engine.container(up.registry.container_id)
    assert container is not None
    assert f"REGISTRY_HTTP_SECRET={spec.COMPOSE_SIGNING_KEY}" in container.environment


@pytest.mark.engine
@pytest.mark.compose
def test_up_then_compose_clashes_on_the_port_and_both_go_with_one_down(
    compose: Compose, bring: Bring, engine: Engine, unique: str, port: int
) -> None:
    first = bring(port=port)
    push_tag(port, "john/app", "from-up")

    message = compose("up", "-d", check=False)

    assert "already allocated" in message or "already in use" in message
    assert bring().registry == first.registry
    assert tags(port, "john/app") == ["from-up"]
    local_registry.down(engine, unique)
    assert _containers(engine, unique) == 0


@pytest.mark.engine
@pytest.mark.compose
def test_up_then_down_then_compose_loses_no_tag(compose: Compose, bring: Bring, engine: Engine, unique: str, port: int) -> None:
    bring(port=port)
    push_tag(port, "john/app", "from-up")
    local_registry.down(engine, unique)

    compose("up", "-d")
    up = bring()

    assert up.registry.started_by == "compose"
    assert tags(port, "john/app") == ["from-up"]


@pytest.mark.engine
@pytest.mark.compose
def test_a_password_is_asked_for_again_where_compose_ran_without_it(
    compose: Compose, bring: Bring, engine: Engine, unique: str, port: int
) -> None:
    auth = Auth(user="john", password=canary.password())
    bring(port=port, auth=auth)
    local_registry.down(engine, unique)
    compose("up", "-d")
    wait_for_registry(port)
    assert ask(port, "GET", "/v2/")[0] == 200  # as the file's comment says

    up = bring(auth=auth)

    assert up.registry.user == "john"
    assert ask(port, "GET", "/v2/")[0] == 401
    assert ask(port, "GET", "/v2/", user=("john", canary.password()))[0] == 200


@pytest.mark.engine
@pytest.mark.compose
def test_beside_ours_compose_s_has_another_port_and_the_same_content(
    compose: Compose, bring: Bring, engine: Engine, unique: str, port: int
) -> None:
    first = bring(port=port)
    push_tag(port, "john/app", "from-up")
    other = free_port()

    compose("up", "-d", REGISTRY_TOOL_PORT=str(other))
    local_registry.wait_until_ready(engine, local_registry.lookup.find_containers(engine, unique)[1], timeout=600)

    assert tags(other, "john/app") == ["from-up"]
    assert bring().registry == first.registry


@pytest.mark.engine
@pytest.mark.compose
def test_compose_s_registry_that_was_stopped_is_started(compose: Compose, bring: Bring, engine: Engine, unique: str) -> None:
    compose("up", "-d")
    first = bring().registry
    compose("stop")

    up = bring()

    assert not up.created
    assert up.registry == first
    assert local_registry.is_ready(up.registry)


@pytest.mark.engine
@pytest.mark.compose
def test_another_port_for_compose_s_registry_is_a_container_of_ours_on_the_same_volume(
    compose: Compose, bring: Bring, engine: Engine, unique: str, port: int
) -> None:
    compose("up", "-d")
    bring()
    push_tag(port, "john/app", "from-compose")
    other = free_port()

    up = bring(port=other)

    assert up.created
    assert up.registry.started_by == "registry-tool"
    assert tags(other, "john/app") == ["from-compose"]
    assert _containers(engine, unique) == 1


@pytest.mark.engine
@pytest.mark.compose
def test_the_lines_of_status_are_what_compose_reads(compose: Compose, tmp_path: Path) -> None:
    lines = spec.compose_env(port=5007, images={"registry": "own/registry:1", "app": "own/app:1", "redis": "own/redis:1"})
    variables = dict(line.split("=", 1) for line in lines)

    message = compose("--profile", "app", "config", **variables)

    assert all(f"image: {variables[name]}" in message for name in variables if name.endswith("IMAGE"))
    assert "5007" in message
