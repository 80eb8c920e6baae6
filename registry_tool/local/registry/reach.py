"""Whether a registry can be reached from here: tried, not inferred from what the engine says of its container."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import NotARegistry, RegistryToolError, RegistryUnreachable
from registry_tool.base.page_client import NoResponse, Page, get_page
from registry_tool.engine import Engine
from registry_tool.local.registry.registry import LocalRegistry
from registry_tool.local.registry.spec import LOOPBACK

_ONE_TRY = 2.0
"""Seconds for one request on loopback."""
_LOG_LINES = 20
"""As many as a Go program needs to say why it gave up, and where."""
_INSIDE = ("wget", "-q", "-S", "-O-", f"http://{LOOPBACK}:5000/v2/")
"""Asked in the registry's own container, of busybox's wget. No ``-T``: with it, Debian 12's static busybox crashes."""


class Seen(Enum):
    """What is at a registry's address."""

    REGISTRY = "a registry"
    AILING = "a registry that reports a failure of its own"
    OTHER = "something that is no registry"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One try. ``word`` is what came back, for a person."""

    seen: Seen
    word: str


def look(port: int, *, timeout: float = _ONE_TRY) -> Look:
    """Try ``/v2/`` on ``port`` of this machine once, for ``timeout`` seconds at most."""
    try:
        page = get_page(_url(port), timeout=timeout)
    except NoResponse as error:
        return Look(seen=Seen.NOTHING, word=str(error))
    return Look(seen=_judge(page), word=f"HTTP {page.status}, {_kind(page) or 'no content type'}")


def is_answering(registry: LocalRegistry) -> bool:
    """Whether the registry answers from here, right now."""
    return registry.port != 0 and look(registry.port).seen is Seen.REGISTRY


def wait_until_answering(engine: Engine, registry: LocalRegistry, *, timeout: float) -> None:
    """Come back as soon as the registry answers from here.

    Raises NotARegistry where something else does, and RegistryUnreachable where its container ended, or where nothing
    answered within ``timeout`` seconds; that error says whether it answers inside its container.
    """
    deadline = Deadline(timeout)
    seen = Look(seen=Seen.NOTHING, word="")

    def answers() -> bool:
        nonlocal seen
        seen = look(registry.port, timeout=max(0.1, min(_ONE_TRY, deadline.left)))
        if seen.seen is Seen.OTHER:
            raise _not_a_registry(registry, seen)
        if seen.seen is Seen.REGISTRY:
            return True
        container = engine.container(registry.container_id)
        if container is None or not container.running:
            raise _ended(engine, registry, "removed" if container is None else container.state)
        return False

    if not poll(answers, deadline, pause=0.5):
        raise _diagnosed(engine, registry, seen, timeout)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/v2/"


def _judge(page: Page) -> Seen:
    if "docker-distribution-api-version" not in page.headers and "json" not in _kind(page):
        return Seen.OTHER
    if page.status in (200, 401):
        return Seen.REGISTRY
    return Seen.AILING if page.status >= 500 or page.status == 429 else Seen.OTHER


def _kind(page: Page) -> str:
    return page.headers.get("content-type", "").partition(";")[0].strip().lower()


def _not_a_registry(registry: LocalRegistry, seen: Look) -> NotARegistry:
    return NotARegistry(
        f"what answers on {LOOPBACK}:{registry.port} here is no registry ({seen.word} on /v2/)",
        hint=f"It is not the container {registry.container_name} that answers. Take another port: regctl up --port {registry.port + 1}",
    )


def _ended(engine: Engine, registry: LocalRegistry, state: str) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"the registry's container {registry.container_name} is {state} instead of answering",
        hint=f"The end of its log is above; all of it: docker logs {registry.container_name}",
        excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
    )


def _diagnosed(engine: Engine, registry: LocalRegistry, seen: Look, timeout: float) -> RegistryUnreachable:
    if seen.seen is Seen.AILING:
        return RegistryUnreachable(
            f"the registry on {LOOPBACK}:{registry.port} reports a failure of its own ({seen.word})",
            hint="Its storage may be full or damaged: look at its log.",
            excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
        )
    if not _answers_inside(engine, registry):
        return RegistryUnreachable(
            f"the registry did not answer within {timeout:g} s, neither here nor inside its container",
            hint="A slow machine may need more: --timeout 120",
            excerpt=engine.log_tail(registry.container_id, _LOG_LINES),
        )
    return RegistryUnreachable(
        f"the registry answers inside its container, but not here on {LOOPBACK}:{registry.port}", hint=_elsewhere(engine, registry)
    )


def _elsewhere(engine: Engine, registry: LocalRegistry) -> str:
    if not engine.endpoint.is_local:
        return (
            f"The engine is {engine.endpoint.url} (from {engine.endpoint.source}) and publishes ports on its own machine: "
            f"run regctl there, or bring the port here: ssh -L {registry.port}:{LOOPBACK}:{registry.port} THAT-MACHINE"
        )
    return (
        "The engine's socket leads to another machine, or out of a container that it was mounted into, and ports are published there: "
        "run regctl on that machine, or this container with --network host."
    )


def _answers_inside(engine: Engine, registry: LocalRegistry) -> bool:
    try:
        _, output = engine.execute(registry.container_id, _INSIDE)
    except RegistryToolError:
        return False  # it has no wget, or ended meanwhile: nobody knows, and the log is shown
    return b"HTTP/1." in output
