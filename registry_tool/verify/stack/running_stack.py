"""A stack that runs on an environment's engine: networks of its own, services, replicas, and one published port."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from registry_tool.base.errors import EngineError, EnvironmentUnavailable, VerificationFailed
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, PortBinding
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.spec import MIN_MEMORY, Limits
from registry_tool.verify.stack import proxy
from registry_tool.verify.stack.plan import StackPlan, StackService

LAST_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StackContainer:
    """One container of a service."""

    service: StackService
    container: Container


@dataclass(kw_only=True)
class RunningStack:
    """``members`` are the containers of all services by name and number, ``replicas`` the app's, which the proxy calls the same."""

    environment: Environment
    plan: StackPlan
    limits: Limits
    prefix: str
    members: dict[str, StackContainer] = field(default_factory=dict)
    replicas: dict[str, Container] = field(default_factory=dict)
    redis: Container | None = None
    proxy: Container | None = None
    containers: list[Container] = field(default_factory=list)
    published: int = 0
    """The engine's port."""

    def connect(self, timeout: float) -> socket.socket:
        """Connect to the stack's port. Raises OSError."""
        return self.environment.connect(self.published, timeout=timeout)

    def excerpt(self) -> tuple[str, ...]:
        """The last lines of the first replica that is still there."""
        for container in self.replicas.values():
            if self.environment.engine.container(container.id) is not None:
                return self.environment.engine.log_tail(container.id, LAST_LINES)
        return ()

    def logged_replicas(self) -> list[str]:
        """The replica of each connection in the proxy's log, in order; empty without a proxy, and where it forwards requests."""
        if self.proxy is None:
            return []
        return proxy.logged_replicas(chunk for _, chunk in self.environment.engine.logs(self.proxy.id))

    def network(self, name: str) -> str:
        """The engine's name of the plan's network ``name``."""
        return f"{self.prefix}-{name}"


@contextmanager
def running_stack(
    environment: Environment,
    plan: StackPlan,
    images: Mapping[str, str],
    *,
    port: int,
    http: bool,
    proxy_image: str | None,
    limits: Limits,
    probed: Collection[int] = (),
    wait: Callable[[RunningStack, StackService], None] = lambda stack, service: None,
) -> Iterator[RunningStack]:
    """Start the stack; it is removed in the end, where the engine itself is not.

    ``images`` is service -> image on that engine; ``proxy_image`` None publishes the one replica itself; ``port`` is the app's,
    ``probed`` are those that each of its replicas publishes. ``wait`` is called before a service starts, and waits for those that
    it depends on. Raises VerificationFailed where a container ends at once; what the engine raises.
    """
    stack = RunningStack(environment=environment, plan=plan, limits=limits, prefix=f"registry-tool-stack-{secrets.token_hex(4)}")
    try:
        for network in plan.networks:
            with defer_signals(), _engine_faults(environment, f"creating the network {network}"):
                environment.engine.create_network(stack.network(network), labels=environment.labels())
        for service in plan.services:
            wait(stack, service)
            ports = {*probed, *((port,) if proxy_image is None else ())} if service is plan.app else set()
            _start(stack, service, images[service.name], publish=sorted(ports))
        published, inside = next(iter(stack.replicas.values())), port
        if proxy_image is not None:
            stack.proxy = published = _start_proxy(stack, proxy_image, port, http=http)
            inside = proxy.PORT
        stack.published = _published(stack, published, inside)
        yield stack
    finally:
        if not environment.info.clean:
            with defer_signals():
                _remove(stack)


def _start(stack: RunningStack, service: StackService, image: str, *, publish: Collection[int]) -> None:
    definition = service.definition
    for number in range(1, service.replicas + 1):
        spec = ContainerSpec(
            image=image,
            command=definition.command,
            entrypoint=definition.entrypoint,
            environment=definition.environment,
            labels=stack.environment.labels(),
            ports=tuple(_binding(stack.environment, port) for port in publish),
            user=definition.user,
            tty=definition.tty,
            interactive=definition.interactive,
            # What a service is given at home is all that it gets here, too.
            memory=max(MIN_MEMORY, min(stack.limits.memory, definition.memory or stack.limits.memory)),
            processes=min(stack.limits.processes, definition.processes or stack.limits.processes),
            log_size=stack.limits.log,
        )
        container = _run(stack, spec, definition.networks, (service.name, *((definition.alias,) if definition.alias else ())))
        stack.members[f"{service.name}-{number}"] = StackContainer(service=service, container=container)
        if service is stack.plan.app:
            stack.replicas[f"{service.name}-{number}"] = container
        elif service is stack.plan.redis:
            stack.redis = container


def _start_proxy(stack: RunningStack, image: str, port: int, *, http: bool) -> Container:
    network = stack.plan.app.definition.networks[0]
    addresses = {name: container.networks.get(stack.network(network), "") for name, container in stack.replicas.items()}
    if not all(addresses.values()):
        raise _ended(stack)
    files = {proxy.FILE: (proxy.configuration(addresses, port, http=http), 0o644)}
    spec = ContainerSpec(image=image, labels=stack.environment.labels(), ports=(_binding(stack.environment, proxy.PORT),))
    with _engine_faults(stack.environment, "starting the proxy"):
        return _run(stack, spec, (network,), ("proxy",), files=files)


def _run(
    stack: RunningStack,
    spec: ContainerSpec,
    networks: tuple[str, ...],
    aliases: tuple[str, ...],
    *,
    files: Mapping[str, tuple[bytes, int]] | None = None,
) -> Container:
    engine, (first, *others) = stack.environment.engine, [stack.network(name) for name in networks]
    with defer_signals():
        created = engine.create(replace(spec, network=first, aliases=aliases))
        stack.containers.append(created)
    for network in others:
        with _engine_faults(stack.environment, f"connecting {aliases[0]} to a network"):
            engine.connect_network(network, created.id, aliases=aliases)
    if files:
        engine.put_files(created.id, proxy.FOLDER, files)
    engine.start(created.id)
    return engine.container(created.id) or created


@contextmanager
def _engine_faults(environment: Environment, what: str) -> Iterator[None]:
    """Raise EnvironmentUnavailable for the engine's errors in what has nothing to do with an image."""
    try:
        yield
    except EngineError as error:
        engine = f"{environment.info.engine or environment.info.name}"
        raise EnvironmentUnavailable(f"{engine} failed at {what}: {error.message}", hint=error.hint or "Its log says more.") from error


def _binding(environment: Environment, port: int) -> PortBinding:
    """A port that the engine chooses."""
    return PortBinding(container_port=f"{port}/tcp", host_port=0, host_ip=environment.host_ip)


def _published(stack: RunningStack, container: Container, port: int) -> int:
    for binding in container.ports:
        if binding.container_port == f"{port}/tcp" and binding.host_port:
            return binding.host_port
    raise _ended(stack)


def _ended(stack: RunningStack) -> VerificationFailed:
    """The error of a container without an address or a port: it does not run any more."""
    return VerificationFailed(
        "a container of the stack ended as soon as it was started", hint="Its last lines may say why.", excerpt=stack.excerpt()
    )


def _remove(stack: RunningStack) -> None:
    engine = stack.environment.engine
    for container in reversed(stack.containers):
        engine.remove(container.id, force=True, missing_ok=True)
    for network in stack.plan.networks:
        engine.remove_network(stack.network(network), missing_ok=True)
