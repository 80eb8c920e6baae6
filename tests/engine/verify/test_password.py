"""A registry that wants a password: it reaches the engine in the request alone, and nobody reads it afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base.codec import to_json
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import AuthenticationFailed
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.bring_up import registry_up
from registry_tool.local.registry import Auth
from registry_tool.targets.registry import open_registry
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments import current
from registry_tool.verify.spec import VerifySpec
from tests.support import canary
from tests.support.requirements import free_port
from tests.support.verify_images import check_named, opened, reference
from tests.unit.engine.test_endpoint import make_context

pytestmark = pytest.mark.engine


@pytest.fixture
def locked(engine: Engine, dirs: AppDirs, unique: str, tiny_image: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """The name of an image in a registry that lets john in, and his password, which is known here."""
    password = canary.password()
    registry = registry_up(engine, dirs, name=unique, port=free_port(), auth=Auth(user="john", password=password)).up.registry
    try:
        credentials.store(registry.address, Credential(username="john", password=password))
        name = f"{registry.address}/john/app:{unique}"
        tiny_image(name)
        engine.push(name)
        yield name, password
    finally:
        local_registry.down(engine, unique, volumes=True)


@pytest.mark.docker_proof
def test_clean_engine_uses_the_password_and_stores_it_nowhere(engine: Engine, dirs: AppDirs, locked: tuple[str, str]) -> None:
    name, password = locked
    with opened(engine, "docker", name, dirs) as environment:
        result = run_checks(environment, VerifySpec(image=reference(name)), current=engine, dirs=dirs)
        assert check_named(result, "fetched").ok is True
        for container in engine.containers(labels=environment.labels()):
            _, inside = engine.execute(
                container.id, ("sh", "-c", "cat /root/.docker/config.json /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>&1")
            )
            assert password.encode() not in inside
    assert password not in json.dumps(to_json(result))


def test_context_with_another_registry_name_gets_the_password(engine: Engine, dirs: AppDirs, locked: tuple[str, str]) -> None:
    name = reference(locked[0])
    make_context("lab", engine.endpoint.url)
    engine.remove_image(str(name))
    other = f"127.0.0.1:{name.host.partition(':')[2]}"
    with (
        open_registry(name.host) as registry,
        current.open_context("lab", name, registry, registry_as=other, labels={"io.example.test": "password"}) as environment,
    ):
        result = run_checks(environment, VerifySpec(image=name), current=engine, dirs=dirs)
    assert check_named(result, "digest").ok is True


def test_missing_password_is_an_authentication_failure(engine: Engine, dirs: AppDirs, locked: tuple[str, str]) -> None:
    name = reference(locked[0])
    credentials.erase(name.host)
    with pytest.raises(AuthenticationFailed), opened(engine, "here", str(name), dirs):
        pytest.fail("it was opened")
