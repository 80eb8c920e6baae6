"""Whether a registry responds, and the error where it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from registry_tool.base.errors import NotARegistry, RegistryUnreachable
from registry_tool.engine import ContainerSpec, Endpoint, Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry, PortState, is_ready, probe_port, readiness, wait_until_ready
from tests.support.registry_over_http import ask
from tests.support.requirements import free_port, wait_for_words

OURS = {"Docker-Distribution-Api-Version": "registry/2.0"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


@contextmanager
def _serving(status: int, headers: dict[str, str], body: bytes = b"{}", *, port: int = 0) -> Iterator[int]:
    """A web server that gives one answer to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def registry(engine: Engine, registry_image: str, unique: str) -> Iterator[LocalRegistry]:
    """A registry that publishes no port: it answers inside its container alone. Tests put a port of theirs on it."""
    container = engine.run(ContainerSpec(image=registry_image, name=unique))
    try:
        wait_for_words(engine, container.id, b"listening on")
        yield LocalRegistry(
            name=unique, port=0, container_id=container.id, container_name=unique, image=registry_image, volume="", state="running"
        )
    finally:
        if engine.container(container.id) is not None:
            engine.remove(container.id, force=True)


@pytest.mark.parametrize(
    ("status", "headers", "seen"),
    [
        (200, OURS, PortState.REGISTRY),
        (401, OURS, PortState.REGISTRY),
        (200, JSON, PortState.REGISTRY),
        (401, JSON, PortState.REGISTRY),
        (503, JSON, PortState.FAILING),
        (429, OURS, PortState.FAILING),
        (200, HTML, PortState.OTHER),
        (404, HTML, PortState.OTHER),
        (404, JSON, PortState.OTHER),
        (502, HTML, PortState.OTHER),
        (403, {"Server": "AirTunes/775.3.1"}, PortState.OTHER),
        (200, {}, PortState.OTHER),
    ],
)
def test_port_state_by_response(status: int, headers: dict[str, str], seen: PortState) -> None:
    with _serving(status, headers) as port:
        result = probe_port(port)

    assert result.state is seen
    assert f"HTTP {status}" in result.detail


def test_port_without_listener_is_nothing() -> None:
    assert probe_port(free_port()).state is PortState.NOTHING


def test_loopback_is_not_probed_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")

    with _serving(200, OURS) as port:
        assert probe_port(port).state is PortState.REGISTRY


def test_registry_without_port_is_not_ready() -> None:
    registry = LocalRegistry(name="a", port=0, container_id="c", container_name="c", image="i", volume="", state="running")

    assert not is_ready(registry)
    with _serving(401, OURS) as port:
        assert is_ready(replace(registry, port=port))


@pytest.mark.engine
def test_wait_ends_when_the_registry_responds(engine: Engine, registry: LocalRegistry) -> None:
    port = free_port()
    ready = threading.Event()

    def late() -> None:
        time.sleep(0.3)
        with _serving(200, OURS, port=port):
            ready.wait(600)

    thread = threading.Thread(target=late)
    thread.start()
    try:
        wait_until_ready(engine, replace(registry, port=port), timeout=600)
    finally:
        ready.set()
        thread.join()


@pytest.mark.engine
def test_other_server_on_the_port_is_reported_at_once(engine: Engine, registry: LocalRegistry) -> None:
    with _serving(200, HTML, b"<html>It works!</html>") as port, pytest.raises(NotARegistry) as failure:
        wait_until_ready(engine, replace(registry, port=port), timeout=60)

    assert failure.value.message == f"the server on 127.0.0.1:{port} is not a registry (HTTP 200, text/html on /v2/)"
    assert failure.value.hint is not None
    assert "--port" in failure.value.hint


@pytest.mark.engine
def test_registry_that_responds_only_inside_is_reported(engine: Engine, registry: LocalRegistry) -> None:
    port = free_port()

    with pytest.raises(RegistryUnreachable) as failure:
        wait_until_ready(engine, replace(registry, port=port), timeout=0.5)

    assert failure.value.message == f"the registry answers inside its container, but not here on 127.0.0.1:{port}"
    assert failure.value.hint is not None
    assert "socket" in failure.value.hint
    assert not failure.value.excerpt


def test_remote_engine_hint_has_the_ssh_command() -> None:
    registry = LocalRegistry(name="a", port=5000, container_id="c", container_name="c", image="i", volume="", state="running")
    remote: Any = SimpleNamespace(endpoint=Endpoint(url="tcp://build.example:2376", source="DOCKER_HOST"))

    hint = readiness._other_machine_hint(remote, registry)

    assert "tcp://build.example:2376 (from DOCKER_HOST)" in hint
    assert "ssh -L 5000:127.0.0.1:5000" in hint


@pytest.mark.engine
def test_failing_registry_is_reported_after_the_timeout(engine: Engine, registry: LocalRegistry) -> None:
    began = time.monotonic()
    with _serving(503, JSON | OURS) as port, pytest.raises(RegistryUnreachable, match=r"reports an error \(HTTP 503") as failure:
        wait_until_ready(engine, replace(registry, port=port), timeout=0.5)

    assert not isinstance(failure.value, NotARegistry)
    assert failure.value.excerpt
    assert time.monotonic() - began >= 0.5


@pytest.mark.engine
@pytest.mark.parametrize(
    ("end", "word"),
    [
        (lambda engine, container_id: engine.kill(container_id), "exited"),
        (lambda engine, container_id: engine.remove(container_id, force=True), "(removed|removing|exited)"),
    ],
    ids=["killed", "removed"],
)
def test_container_that_ends_ends_the_wait(engine: Engine, registry: LocalRegistry, end: Callable[[Engine, str], None], word: str) -> None:
    ending = threading.Timer(0.2, end, (engine, registry.container_id))
    ending.start()
    try:
        with pytest.raises(RegistryUnreachable, match=f"is {word} instead of answering"):
            wait_until_ready(engine, replace(registry, port=free_port()), timeout=60)
    finally:
        ending.join()


@pytest.mark.engine
def test_registry_without_response_shows_its_log(engine: Engine, registry_image: str, unique: str) -> None:
    # It runs and says something, and never serves: a configuration of somebody else's.
    container = engine.run(
        ContainerSpec(image=registry_image, name=unique, entrypoint=("/bin/sh", "-c", "echo still thinking; exec sleep 600"))
    )
    silent = LocalRegistry(
        name=unique, port=free_port(), container_id=container.id, container_name=unique, image=registry_image, volume="", state="running"
    )
    try:
        wait_for_words(engine, container.id, b"still thinking")
        with pytest.raises(RegistryUnreachable, match="neither here nor inside") as failure:
            wait_until_ready(engine, silent, timeout=0.3)
    finally:
        engine.remove(container.id, force=True)

    assert failure.value.excerpt == ("still thinking",)


@pytest.mark.engine
def test_real_registry_is_a_registry(local: LocalRegistry) -> None:
    assert ask(local.port, "GET", "/v2/")[0] == 200
    assert local_registry.probe_port(local.port).state is PortState.REGISTRY
