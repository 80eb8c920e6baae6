"""Readiness of a registry with TLS, whose certificate this machine need not trust."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.errors import RegistryUnreachable
from registry_tool.local.registry import LocalRegistry, PortState, is_ready, probe_port, readiness, wait_until_ready
from tests.support.fake_server import Reply, fake_server

OURS = {"Docker-Distribution-Api-Version": "registry/2.0", "Content-Type": "application/json"}


def registry(port: int, *, tls: bool) -> LocalRegistry:
    return LocalRegistry(
        name="default", port=port, container_id="1", container_name="registry-tool-default", image="", volume="", state="running", tls=tls
    )


def certificate_of_nobody(folder: Path) -> Path:
    """A certificate and its key in one file, of an authority that nobody trusts."""
    pair = certificates.issue(certificates.generate_authority("nobody", days=2), names=["elsewhere.example"], addresses=[], days=2)
    file = folder / "server.pem"
    file.write_bytes(pair.certificate + pair.key)
    return file


def engine(output: bytes) -> Any:
    """An engine whose container runs; a request inside prints ``output``."""
    return SimpleNamespace(
        container=lambda container: SimpleNamespace(running=True, state="running"),
        execute=lambda container, command: (1, output),
        log_tail=lambda container, lines: "the end of the log",
        endpoint=SimpleNamespace(is_local=True),
    )


@pytest.mark.parametrize("status", [200, 401])
def test_registry_with_tls_is_ready_though_nobody_trusts_its_certificate(tmp_path: Path, status: int) -> None:
    with fake_server(lambda request: Reply(status=status, headers=OURS), certificate=certificate_of_nobody(tmp_path)) as server:
        assert is_ready(registry(server.port, tls=True))
        wait_until_ready(engine(b""), registry(server.port, tls=True), timeout=60)


def test_registry_with_tls_is_not_ready_for_plain_http_and_the_other_way_round(tmp_path: Path) -> None:
    with fake_server(lambda request: Reply(headers=OURS), certificate=certificate_of_nobody(tmp_path)) as server:
        assert probe_port(server.port, tls=False).state is not PortState.REGISTRY
    with fake_server(lambda request: Reply(headers=OURS)) as server:
        assert probe_port(server.port, tls=True).state is PortState.NOTHING


def test_registry_with_tls_that_answers_inside_its_container_alone_is_said_to() -> None:
    """Inside it is asked in plain HTTP, which Go's server with TLS answers with 400."""
    refused = b"  HTTP/1.0 400 Bad Request\nwget: server returned error: HTTP/1.0 400 Bad Request\n"
    with pytest.raises(RegistryUnreachable, match="answers inside its container, but not here"):
        readiness.wait_until_ready(engine(refused), registry(9, tls=True), timeout=0.1)
    with pytest.raises(RegistryUnreachable, match="neither here nor inside its container"):
        readiness.wait_until_ready(engine(b"wget: can't connect"), registry(9, tls=True), timeout=0.1)
