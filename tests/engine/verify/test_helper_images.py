"""Helper images of a stack, loaded into the engines of environments from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EngineError, ProvisionFailed
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local.base_images import PROXY, REDIS, BaseImageResolver
from registry_tool.local.registry import LocalRegistry
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.stack.helper_images import HelperImage, ensure_helper_image
from tests.support.verify_images import opened

pytestmark = [pytest.mark.engine]

HELPERS = ((REDIS, ("redis-server", "--version")), (PROXY, ("haproxy", "-v")))


@pytest.fixture(
    scope="module",
    params=[pytest.param("docker", marks=pytest.mark.docker_proof), pytest.param("podman", marks=pytest.mark.podman_proof)],
)
def clean(request: pytest.FixtureRequest, session_engine: Engine, session_dirs: AppDirs, local: LocalRegistry) -> Iterator[Environment]:
    with opened(session_engine, request.param, f"{local.address}/nobody/nothing:1", session_dirs) as environment:
        yield environment


@pytest.fixture
def resolver(session_engine: Engine, session_dirs: AppDirs) -> BaseImageResolver:
    """Of the current engine."""
    return BaseImageResolver(session_engine, session_dirs.cache)


def test_helper_image_is_loaded_once_and_runs(clean: Environment, local: LocalRegistry, resolver: BaseImageResolver) -> None:
    clean.traffic(reset=True)
    for base, command in HELPERS:
        first, second = (ensure_helper_image(base, clean.engine, resolver) for _ in range(2))
        assert (first.role, first.loaded, second.loaded) == (base.role, True, False)
        assert (first.name, first.id) == (second.name, second.id)
        container = clean.engine.run(ContainerSpec(image=first.id, entrypoint=command[:1], command=command[1:], labels=clean.labels()))
        assert clean.engine.wait(container.id, timeout=600) == 0
        clean.engine.remove(container.id)
    traffic = clean.traffic()
    assert traffic is not None and traffic.connections == 0, "nothing came from the registry"
    with open_registry(local.address) as registry:
        assert [name for name in registry.catalog() if name.startswith("registry-tool/")] == []


def test_helper_image_on_the_current_engine_is_not_loaded(session_engine: Engine, resolver: BaseImageResolver) -> None:
    helper = ensure_helper_image(REDIS, session_engine, resolver)
    assert not helper.loaded
    present = session_engine.image(helper.name)
    assert present is not None and present.id == helper.id


class Deaf:
    """An engine that takes archives in and has no image afterwards."""

    def image(self, name: str) -> None:
        return None

    def load_image(self, source: object) -> tuple[str, ...]:
        return ()


def test_engine_without_the_image_after_the_load_is_an_error(resolver: BaseImageResolver) -> None:
    with pytest.raises(EngineError, match="does not have it"):
        ensure_helper_image(REDIS, Deaf(), resolver)  # type: ignore[arg-type]


def test_cache_without_room_for_the_copy_is_an_error(session_engine: Engine, tmp_path: Path) -> None:
    class Full(BaseImageResolver):
        def archive(self, provisioned: object) -> Path:
            raise OSError(28, "No space left on device")

    with pytest.raises(ProvisionFailed, match="No space left on device"):
        ensure_helper_image(REDIS, Deaf(), Full(session_engine, tmp_path))  # type: ignore[arg-type]


def test_json_of_a_helper_image_has_the_members_of_a_service() -> None:
    helper = HelperImage(role="redis", name="redis:7-alpine", id="sha256:0", source="docker.io", loaded=True)
    expected = {"role": "redis", "source": "docker.io", "reference": None, "digest": None, "fetched": None, "loaded": True}
    assert helper.as_json() == expected
