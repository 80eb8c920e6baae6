"""A registry's state where the engine's listing is behind."""

from __future__ import annotations

from registry_tool.base import labels
from registry_tool.local import registry as local_registry
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply

ID = 64 * "a"
LABELS = {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: "team"}


def test_registry_that_was_just_stopped_is_not_running_though_it_is_listed_so() -> None:
    port = {"IP": "127.0.0.1", "PrivatePort": 5000, "PublicPort": 5001, "Type": "tcp"}
    listed = {"Id": ID, "Names": ["/registry-tool-team"], "State": "running", "Labels": LABELS, "Ports": [port]}
    inspected = {
        "Id": ID,
        "Name": "/registry-tool-team",
        "State": {"Status": "exited", "ExitCode": 2},
        "Config": {"Labels": LABELS},
        "HostConfig": {"PortBindings": {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5001"}]}},
    }
    with fake_engine({"GET /containers/json": reply([listed]), f"GET /containers/{ID}/json": reply(inspected)}) as (engine, _):
        found = local_registry.find(engine, "team")
    assert found is not None
    assert (found.state, found.running, found.port) == ("exited", False, 5001)
