"""Networks and volumes of a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool.base.errors import Conflict, NotFound
from registry_tool.engine import ContainerSpec, Engine

pytestmark = pytest.mark.engine


@pytest.fixture
def container(engine: Engine, registry_image: str) -> Iterator[str]:
    made = engine.run(ContainerSpec(image=registry_image, entrypoint=("sleep",), command=("600",)))
    yield made.id
    if engine.container(made.id) is not None:
        engine.remove(made.id, force=True)


def test_missing_network_is_not_found(engine: Engine, unique: str, container: str) -> None:
    assert engine.network(unique) is None
    with pytest.raises(NotFound):
        engine.remove_network(unique)
    with pytest.raises(NotFound):
        engine.connect_network(unique, container)
    engine.disconnect_network(unique, container)


@pytest.mark.parametrize("remove", ["remove", "remove_image", "remove_network", "remove_volume"])
def test_remove_with_missing_ok_what_is_absent_is_not_an_error(engine: Engine, unique: str, remove: str) -> None:
    with pytest.raises(NotFound):
        getattr(engine, remove)(unique)
    getattr(engine, remove)(unique, missing_ok=True)


def test_network_create_connect_remove(engine: Engine, unique: str, container: str) -> None:
    made = engine.create_network(unique, labels={"run": unique}, internal=True)
    try:
        with pytest.raises(Conflict):
            engine.create_network(unique, labels={})
        engine.connect_network(unique, container, aliases=["redis"])
        with pytest.raises(Conflict) as caught:
            engine.remove_network(unique)
        assert caught.value.hint
        result = engine.network(unique)
        assert result is not None
        assert (result.id, result.labels, result.containers) == (made.id, {"run": unique}, (container,))
        assert [network.id for network in engine.networks(labels={"run": unique})] == [made.id]
        attached = engine.container(container)
        assert attached is not None
        assert attached.networks[unique]
    finally:
        engine.remove(container, force=True)
        engine.remove_network(unique)
    assert engine.networks(labels={"run": unique}) == ()


def test_what_was_attached_is_detached(engine: Engine, unique: str, container: str) -> None:
    before = engine.container(container)
    engine.create_network(unique, labels={}, internal=True)
    try:
        engine.connect_network(unique, container)
        for _ in range(2):
            engine.disconnect_network(unique, container)
        engine.disconnect_network(unique, unique)
        after = engine.container(container)
        assert before is not None and after is not None and after.networks == before.networks
    finally:
        engine.remove_network(unique)


def test_missing_volume_is_not_found(engine: Engine, unique: str) -> None:
    assert engine.volume(unique) is None
    assert engine.volumes(labels={"run": unique}) == ()
    with pytest.raises(NotFound):
        engine.remove_volume(unique)


def test_volume_create_list_remove(engine: Engine, unique: str, registry_image: str) -> None:
    made = engine.create_volume(unique, labels={"run": unique})
    try:
        assert engine.create_volume(unique, labels={"run": "another"}).labels == {"run": unique}, "what is there keeps its labels"
        assert engine.volumes(labels={"run": unique}) == (made,)
        assert engine.volume(unique) == made
        container = engine.create(ContainerSpec(image=registry_image, volumes={unique: "/data"}))
        try:
            with pytest.raises(Conflict, match="in use|being used"):
                engine.remove_volume(unique)
        finally:
            engine.remove(container.id)
        assert engine.volume(unique) == made, "a named volume outlives its container"
    finally:
        engine.remove_volume(unique)
    assert engine.volume(unique) is None
