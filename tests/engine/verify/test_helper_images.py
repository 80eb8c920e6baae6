"""What a proof lends to another engine: through the registry, which is given back as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base import files, labels
from registry_tool.base.dirs import AppDirs, owner_id
from registry_tool.base.errors import NotFound, RegistryUnreachable
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.base_images import REDIS
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.stack.helper_images import HelperImage, HelperImages, sweep
from tests.support.requirements import free_port, wait_for_registry
from tests.support.verify_images import ThisEngine

pytestmark = pytest.mark.engine


@pytest.fixture
def place(engine: Engine) -> Iterator[ThisEngine]:
    """Takes away what was lent to it."""
    elsewhere = ThisEngine(engine, "context", counted=Traffic(down=7))
    yield elsewhere
    for image in engine.images():
        for name in image.digests:
            if name.partition("/registry-tool/lent/")[0] in elsewhere.hosts:
                engine.remove_image(name)


def _lender(engine: Engine, dirs: AppDirs, host: str) -> HelperImages:
    return HelperImages(present=engine, host=host, state=dirs.state, cache=dirs.cache)


def _lent_names(engine: Engine, host: str) -> set[str]:
    return {name for image in engine.images() for name in image.names if name.startswith(f"{host}/registry-tool/lent/")}


def test_a_registry_that_is_not_there(engine: Engine, dirs: AppDirs, place: ThisEngine) -> None:
    host = f"localhost:{free_port()}"
    with pytest.raises(RegistryUnreachable):
        _lender(engine, dirs, host).lend(REDIS, place)
    assert _lent_names(engine, host) == set(), "the name it was pushed under is gone all the same"


def test_it_comes_through_the_registry_and_goes_again(engine: Engine, dirs: AppDirs, local: LocalRegistry, place: ThisEngine) -> None:
    lent = _lender(engine, dirs, local.address).lend(REDIS, place)
    assert lent.reference is not None
    reference = Reference.parse(lent.reference, default_host="")
    assert (reference.host, reference.path) == (local.address, "registry-tool/lent/redis")
    assert lent.image == f"{reference.repository}@{lent.digest}"
    assert engine.image(lent.image) is not None
    assert (lent.fetched, lent.left) == (7, None)
    assert _lent_names(engine, local.address) == set()
    with open_registry(local.address) as registry:
        assert registry.tags(reference.path) == ()


def test_here_it_is_there_already(engine: Engine, dirs: AppDirs) -> None:
    lent = _lender(engine, dirs, "nowhere.invalid").lend(REDIS, ThisEngine(engine, "here"))
    assert (lent.reference, lent.digest, lent.fetched) == (None, None, None)
    assert engine.image(lent.image) is not None


def test_two_at_once_take_turns(engine: Engine, dirs: AppDirs, local: LocalRegistry, place: ThisEngine) -> None:
    lent: list[HelperImage] = []
    lender = _lender(engine, dirs, local.address)
    threads = [threading.Thread(target=lambda: lent.append(lender.lend(REDIS, place))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.left for one in lent] == [None] * 3


@pytest.fixture
def left(engine: Engine, dirs: AppDirs, local: LocalRegistry) -> Iterator[str]:
    """The name that a run leaves which is killed while it pushes."""
    provisioned = _lender(engine, dirs, "x").lend(REDIS, ThisEngine(engine, "here")).image
    name = f"{local.address}/registry-tool/lent/redis:{owner_id(dirs.state)}-killed"
    engine.tag(provisioned, name)
    yield name
    assert engine.image(provisioned) is not None
    if engine.image(name) is not None:
        engine.remove_image(name)


def test_what_a_killed_run_left_goes_with_the_next_one(engine: Engine, dirs: AppDirs, left: str) -> None:
    sweep(engine, dirs.state)
    assert engine.image(left) is None


def test_it_goes_with_the_next_that_lends(engine: Engine, dirs: AppDirs, local: LocalRegistry, place: ThisEngine, left: str) -> None:
    _lender(engine, dirs, local.address).lend(REDIS, place)
    assert engine.image(left) is None


def test_what_another_owner_pushes_stays(engine: Engine, dirs: AppDirs, tmp_path: Path, left: str) -> None:
    """Whether that one lives cannot be seen from here."""
    sweep(engine, tmp_path)
    assert engine.image(left) is not None


def test_what_a_living_one_pushes_stays(engine: Engine, dirs: AppDirs, left: str) -> None:
    with files.lock(dirs.state / "proofs" / "lent.lock"):
        sweep(engine, dirs.state)
    assert engine.image(left) is not None


@pytest.fixture
def deleting_nothing(engine: Engine, registry_image: str) -> Iterator[str]:
    """The address of a registry where deletion is off."""
    port = free_port()
    spec = ContainerSpec(
        image=registry_image,
        environment={"REGISTRY_STORAGE_DELETE_ENABLED": "false"},
        labels={labels.ROLE: labels.ROLE_PROBE},
        ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),),
    )
    container = engine.run(spec)
    try:
        wait_for_registry(port)
        yield f"localhost:{port}"
    finally:
        engine.remove(container.id, force=True)


def test_where_nothing_can_be_deleted_it_stays_and_that_is_said(
    engine: Engine, dirs: AppDirs, deleting_nothing: str, place: ThisEngine
) -> None:
    lent = _lender(engine, dirs, deleting_nothing).lend(REDIS, place)
    assert lent.left == f"{deleting_nothing} deletes nothing"
    assert lent.as_json()["left_in_registry"] == lent.left
    with open_registry(deleting_nothing) as registry:
        assert len(registry.tags("registry-tool/lent/redis")) == 1


def test_another_proof_takes_nothing_away_that_was_lent(
    engine: Engine, dirs: AppDirs, local: LocalRegistry, deleting_nothing: str, place: ThisEngine
) -> None:
    """To the present engine by another name, say, where the same image is pushed from."""
    lent = _lender(engine, dirs, local.address).lend(REDIS, place)
    _lender(engine, dirs, deleting_nothing).lend(REDIS, place)
    assert engine.image(lent.image) is not None
    _lender(engine, dirs, local.address).lend(REDIS, place)
    assert engine.image(lent.id) is not None


def test_what_somebody_else_took_away_meanwhile_is_lent_again(
    engine: Engine, dirs: AppDirs, local: LocalRegistry, place: ThisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Reference] = []

    def once(image: Reference) -> str:
        asked.append(image)
        return f"{local.address}/nobody/nothing:1" if len(asked) == 1 else str(image)

    monkeypatch.setattr(place, "named", once)
    assert _lender(engine, dirs, local.address).lend(REDIS, place).left is None
    assert len(asked) == 2


def test_a_pull_that_fails_gives_the_registry_back_too(
    engine: Engine, dirs: AppDirs, local: LocalRegistry, place: ThisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(image: Reference) -> str:
        return f"{local.address}/nobody/nothing:1"

    monkeypatch.setattr(place, "named", unknown)
    with pytest.raises(NotFound):
        _lender(engine, dirs, local.address).lend(REDIS, place)
    with open_registry(local.address) as registry:
        assert registry.tags("registry-tool/lent/redis") == ()
