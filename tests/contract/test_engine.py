"""A container engine's own push and pull."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry_tool import server
from registry_tool.engine import Engine
from tests.support import registry_over_http
from tests.support.engine_facts import reports_layers

pytestmark = pytest.mark.engine


def test_engine_pushes_to_and_pulls_from_the_server(
    registry: server.RunningRegistry, engine: Engine, tiny_image: Callable[..., str], unique: str
) -> None:
    name = f"localhost:{registry.port}/{unique}/tiny:1"
    image_id = tiny_image(name)

    pushed = engine.push(name)
    engine.remove_image(name)
    assert engine.image(name) is None
    pulled = engine.pull(name)

    result = engine.image(name)
    assert result is not None
    assert result.id == image_id
    assert pulled.digest == pushed.digest
    assert registry_over_http.tags(registry.port, f"{unique}/tiny") == ["1"]


def test_existing_layers_are_not_pushed_again(
    registry: server.RunningRegistry, engine: Engine, tiny_image: Callable[..., str], unique: str
) -> None:
    name = f"localhost:{registry.port}/{unique}/tiny"
    tiny_image(f"{name}:1")
    engine.push(f"{name}:1")
    engine.tag(f"{name}:1", f"{name}:2")

    again = engine.push(f"{name}:2")

    if reports_layers(engine):
        assert set(again.layers.values()) == {"Layer already exists"}
    assert sorted(registry_over_http.tags(registry.port, f"{unique}/tiny") or ()) == ["1", "2"]
