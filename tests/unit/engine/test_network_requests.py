from __future__ import annotations

import pytest

from registry_tool.base.errors import EngineError
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply

PATH = "POST /networks/net/disconnect"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("container app is not connected to network net", 500),
        ("Container app is marked for removal and cannot be connected or disconnected to the network", 500),
        ("No such container: app", 404),
    ],
    ids=["not attached", "being removed", "gone"],
)
def test_container_that_is_not_attached_or_about_to_go_is_detached(message: str, status: int) -> None:
    with fake_engine({PATH: reply({"message": message}, status)}) as (engine, _):
        engine.disconnect_network("net", "app")


def test_other_refusals_of_a_detachment_are_errors() -> None:
    with (
        fake_engine({PATH: reply({"message": "the driver failed"}, 500)}) as (engine, _),
        pytest.raises(EngineError, match="the driver failed"),
    ):
        engine.disconnect_network("net", "app")
