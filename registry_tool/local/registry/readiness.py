"""Whether a registry responds on its published port, by a request: a running container may not respond."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import NotARegistry, RegistryToolError, RegistryUnreachable
from registry_tool.base.page_client import NoResponse, Page, get_page
from registry_tool.engine import Engine
from registry_tool.local.registry.lookup import LocalRegistry
from registry_tool.local.registry.spec import LOOPBACK, name_option

_REQUEST_TIMEOUT = 2.0  # seconds for one request on loopback
_LOG_LINES = 20  # enough for the panic of a Go program with its stack
_INSIDE_COMMAND = ("wget", "-q", "-S", "-O-", f"http://{LOOPBACK}:5000/v2/")
"""Run in the registry's container, by busybox's wget; with TLS the registry answers 400.

No ``-T``: with it, Debian 12's static busybox crashes.
"""


class PortState(Enum):
    """What is on a registry's port."""

    REGISTRY = "a registry"
    FAILING = "a registry that reports an error"
    OTHER = "something that is not a registry"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortProbe:
    """Result of one request; ``detail`` describes the response, or why there is none."""

    state: PortState
    detail: str


def probe_port(port: int, *, tls: bool = False, timeout: float = _REQUEST_TIMEOUT) -> PortProbe:
    """Request ``/v2/`` on ``port`` of this machine once, within ``timeout`` seconds; with ``tls`` any certificate is accepted."""
    try:
        page = get_page(f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/v2/", timeout=timeout)
    except NoResponse as error:
        return PortProbe(state=PortState.NOTHING, detail=str(error))
    return PortProbe(state=_port_state(page), detail=f"HTTP {page.status}, {_media_type(page) or 'no content type'}")


def is_ready(registry: LocalRegistry) -> bool:
    """Whether the registry responds on its port now."""
    return registry.port != 0 and probe_port(registry.port, tls=registry.tls).state is PortState.REGISTRY


def wait_until_ready(engine: Engine, registry: LocalRegistry, *, timeout: float) -> None:
    """Wait for the registry. Raises NotARegistry; RegistryUnreachable where it has ended or is silent for ``timeout`` seconds."""
    deadline = Deadline(timeout)
    probe = PortProbe(state=PortState.NOTHING, detail="")

    def ready() -> bool:
        nonlocal probe
        probe = probe_port(registry.port, tls=registry.tls, timeout=max(0.1, min(_REQUEST_TIMEOUT, deadline.left)))
        if probe.state is PortState.OTHER:
            raise _not_a_registry(registry, probe)
        if probe.state is PortState.REGISTRY:
            return True
        container = engine.container(registry.container_id)
        if container is None or not container.running:
            raise _ended_error(engine, registry, "removed" if container is None else container.state)
        return False

    if not poll(ready, deadline, pause=0.5):
        raise _timeout_error(engine, registry, probe, timeout)


def _port_state(page: Page) -> PortState:
    if "docker-distribution-api-version" not in page.headers and "json" not in _media_type(page):
        return PortState.OTHER
    if page.status in (200, 401):
        return PortState.REGISTRY
    return PortState.FAILING if page.status >= 500 or page.status == 429 else PortState.OTHER


def _media_type(page: Page) -> str:
    return page.headers.get("content-type", "").partition(";")[0].strip().lower()


def _not_a_registry(registry: LocalRegistry, probe: PortProbe) -> NotARegistry:
    return NotARegistry(
        f"the server on {LOOPBACK}:{registry.port} is not a registry ({probe.detail} on /v2/)",
        hint=f"It is not the container {registry.container_name} that answers. "
        f"Take another port: regctl up{name_option(registry.name)} --port {registry.port + 1}",
    )


def _ended_error(engine: Engine, registry: LocalRegistry, state: str) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"the registry's container {registry.container_name} is {state} instead of answering",
        hint=f"The end of its log is above; all of it: docker logs {registry.container_name}",
        excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
    )


def _timeout_error(engine: Engine, registry: LocalRegistry, probe: PortProbe, timeout: float) -> RegistryUnreachable:
    if probe.state is PortState.FAILING:
        return RegistryUnreachable(
            f"the registry on {LOOPBACK}:{registry.port} reports an error ({probe.detail})",
            hint="Its storage may be full or damaged: look at its log.",
            excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
        )
    if not _responds_inside(engine, registry):
        return RegistryUnreachable(
            f"the registry did not respond within {timeout:g} s, neither here nor inside its container",
            hint="A slow machine may need more: --timeout 120",
            excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
        )
    return RegistryUnreachable(
        f"the registry answers inside its container, but not here on {LOOPBACK}:{registry.port}", hint=_other_machine_hint(engine, registry)
    )


def _other_machine_hint(engine: Engine, registry: LocalRegistry) -> str:
    if not engine.endpoint.is_local:
        return (
            f"The engine is {engine.endpoint.url} (from {engine.endpoint.source}) and publishes ports on its own machine: "
            f"run regctl there, or bring the port here: ssh -L {registry.port}:{LOOPBACK}:{registry.port} THAT-MACHINE"
        )
    return (
        "The engine's socket leads to another machine, or out of a container that it was mounted into, and ports are published there: "
        "run regctl on that machine, or this container with --network host."
    )


def _responds_inside(engine: Engine, registry: LocalRegistry) -> bool:
    try:
        _, output = engine.execute(registry.container_id, _INSIDE_COMMAND)
    except RegistryToolError:
        return False  # it has no wget, or has ended: unknown, and the log is shown
    return b"HTTP/1." in output
