"""A stack that stands on the engine of a place: networks of its own, services, replicas, and one port to look at them through."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from registry_tool.base.errors import VerificationFailed
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, PortBinding
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.spec import Limits
from registry_tool.verify.stack import proxy
from registry_tool.verify.stack.plan import StackPlan, StackService

LAST_LINES = 10


@dataclass(kw_only=True)
class RunningStack:
    """``replicas`` are the app's containers by what the proxy calls them."""

    place: Environment
    plan: StackPlan
    limits: Limits
    prefix: str
    replicas: dict[str, Container] = field(default_factory=dict)
    redis: Container | None = None
    proxy: Container | None = None
    containers: list[Container] = field(default_factory=list)
    published: int = 0
    """The engine's port."""

    def connect(self, timeout: float) -> socket.socket:
        """Connect to the stack's port. Raises OSError."""
        return self.place.connect(self.published, timeout=timeout)

    def excerpt(self) -> tuple[str, ...]:
        """The last lines of the first replica that is still there."""
        for container in self.replicas.values():
            if self.place.engine.container(container.id) is not None:
                return self.place.engine.log_tail(container.id, LAST_LINES)
        return ()

    def served(self) -> list[str]:
        """The replicas that took connections through the proxy, one after the other; empty where it passes requests, or is not there."""
        if self.proxy is None:
            return []
        return proxy.served(chunk for _, chunk in self.place.engine.logs(self.proxy.id))

    def network(self, name: str) -> str:
        """What the engine calls the file's network ``name``."""
        return f"{self.prefix}-{name}"


@contextmanager
def running_stack(
    place: Environment, plan: StackPlan, images: Mapping[str, str], *, port: int, http: bool, proxied: str | None, limits: Limits
) -> Iterator[RunningStack]:
    """Start it, and take it away again, where the engine itself is not thrown away.

    ``images`` is service -> image on that engine; ``proxied`` is the proxy's, None where the one replica is looked at directly;
    ``port`` is the app's inside. Raises what the engine raises; ProofFailed where a replica ends at once.
    """
    stack = RunningStack(place=place, plan=plan, limits=limits, prefix=f"registry-tool-stack-{secrets.token_hex(4)}")
    try:
        for network in plan.networks:
            with defer_signals():
                place.engine.create_network(stack.network(network), labels=place.labels())
        for part in plan.parts:
            _start(stack, part, images[part.service.name], publish=port if part is plan.app and proxied is None else None)
        published, inside = next(iter(stack.replicas.values())), port
        if proxied is not None:
            stack.proxy = published = _start_proxy(stack, proxied, port, http=http)
            inside = proxy.PORT
        stack.published = _published(stack, published, inside)
        yield stack
    finally:
        if not place.info.clean:
            with defer_signals():
                _take_away(stack)


def _start(stack: RunningStack, part: StackService, image: str, *, publish: int | None) -> None:
    service = part.service
    for number in range(1, service.replicas + 1):
        spec = ContainerSpec(
            image=image,
            command=service.command,
            entrypoint=service.entrypoint,
            environment=service.environment,
            labels=stack.place.labels(),
            ports=() if publish is None else (_binding(stack.place, publish),),
            memory=stack.limits.memory,
            processes=stack.limits.processes,
            log_size=stack.limits.log,
        )
        container = _run(stack, spec, service.networks, service.name)
        if part is stack.plan.app:
            stack.replicas[f"{service.name}-{number}"] = container
        elif part is stack.plan.redis:
            stack.redis = container


def _start_proxy(stack: RunningStack, image: str, port: int, *, http: bool) -> Container:
    network = stack.plan.app.service.networks[0]
    addresses = {name: container.networks.get(stack.network(network), "") for name, container in stack.replicas.items()}
    if not all(addresses.values()):
        raise _ended(stack)
    files = {proxy.FILE: (proxy.configuration(addresses, port, http=http), 0o644)}
    spec = ContainerSpec(image=image, labels=stack.place.labels(), ports=(_binding(stack.place, proxy.PORT),))
    return _run(stack, spec, (network,), "proxy", files=files)


def _run(
    stack: RunningStack, spec: ContainerSpec, networks: tuple[str, ...], alias: str, *, files: Mapping[str, tuple[bytes, int]] | None = None
) -> Container:
    engine, (first, *others) = stack.place.engine, [stack.network(name) for name in networks]
    with defer_signals():
        created = engine.create(replace(spec, network=first, aliases=(alias,)))
        stack.containers.append(created)
    for network in others:
        engine.connect_network(network, created.id, aliases=(alias,))
    if files:
        engine.put_files(created.id, proxy.FOLDER, files)
    engine.start(created.id)
    return engine.container(created.id) or created


def _binding(place: Environment, port: int) -> PortBinding:
    """A port that the engine chooses."""
    return PortBinding(container_port=f"{port}/tcp", host_port=0, host_ip=place.host_ip)


def _published(stack: RunningStack, container: Container, port: int) -> int:
    for binding in container.ports:
        if binding.container_port == f"{port}/tcp" and binding.host_port:
            return binding.host_port
    raise _ended(stack)


def _ended(stack: RunningStack) -> VerificationFailed:
    """What has no address and no port does not run any more."""
    return VerificationFailed(
        "a container of the stack ended as soon as it was started", hint="Its last lines may say why.", excerpt=stack.excerpt()
    )


def _take_away(stack: RunningStack) -> None:
    engine = stack.place.engine
    for container in reversed(stack.containers):
        engine.remove(container.id, force=True, missing_ok=True)
    for network in stack.plan.networks:
        engine.remove_network(stack.network(network), missing_ok=True)
