"""One container of the verified image, within its limits: started, probed, stopped, and always removed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from registry_tool.base.address import is_port
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline, poll
from registry_tool.base.errors import Conflict, EngineError, NotFound, PortTaken, RegistryToolError, UsageError
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding
from registry_tool.oci.config import Config
from registry_tool.verify.checks import program
from registry_tool.verify.checks.engine_fault import check_engine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.probing import listening
from registry_tool.verify.probing.listening import Listening
from registry_tool.verify.probing.probes import PAUSE, ProbeResult, ProbeTarget, has_ended, open_ports, run_probes
from registry_tool.verify.spec import Exit, Health, Http, Probe, Tcp, VerifySpec

IDLE = 1.0  # seconds for which a container runs that has no probes
DISK_INTERVAL = 1.0  # seconds between two looks at how much it wrote
LOG_LINES = 10
_LOG_TIMEOUT = 10.0
_LISTEN_PAUSE = 0.05  # seconds between two looks at where it listens


@dataclass(kw_only=True)
class ContainerRun:
    """A run and what was observed of it. Times are in seconds."""

    environment: Environment
    spec: VerifySpec
    config: Config
    image: str
    """Its name in the environment."""
    container: Container | None = None
    """Its last state; None: it was never created."""
    start_error: RegistryToolError | None = None
    program_hint: str | None = None
    """What is wrong with its program, where that did not start."""
    ended_early: bool = False
    """It ended before it was stopped."""
    disk_exceeded: bool = False
    """It was killed for what it wrote."""
    probe_results: tuple[ProbeResult, ...] = ()
    listening: Listening | None = None
    connects: dict[int, bool] = field(default_factory=dict)
    """Exposed or probed TCP port -> whether it takes connections, where ``listening`` could not be read."""
    excerpt: tuple[str, ...] = ()
    """The end of its log."""
    ports: dict[int, int] = field(default_factory=dict)
    """Published port of the spec -> published port in fact; of ports that no probe names, by the container's port."""
    killed: bool = False
    """It did not end on its stop signal."""
    start_seconds: float = 0.0
    run_seconds: float = 0.0
    listen_seconds: float = 0.0
    probe_seconds: float = 0.0
    stop_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._deadline = Deadline(self.spec.limits.seconds)
        self._disk_check = time.monotonic() + DISK_INTERVAL
        self._started = time.monotonic()

    @property
    def engine(self) -> Engine:
        """The environment's engine."""
        return self.environment.engine

    @property
    def exposed(self) -> tuple[int, ...]:
        """TCP ports that the image exposes."""
        ports = (port.partition("/") for port in self.config.exposed)
        return tuple(sorted({int(number) for number, _, kind in ports if kind in ("", "tcp") and number.isascii() and number.isdigit()}))

    @property
    def other_exposed(self) -> tuple[str, ...]:
        """What the image exposes that is no single TCP port: ``53/udp``, ``8000-8010/tcp``."""
        single = {f"{port}{kind}" for port in self.exposed for kind in ("", "/tcp")}
        return tuple(port for port in self.config.exposed if port not in single)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The spec's, or a connection to each exposed port where it has none; and the health check of the image.

        A program that is to end is not healthy or unhealthy: it ends.
        """
        probes = self.spec.probes or tuple(Tcp(published=port, container=port) for port in self.exposed if is_port(port))
        command = self.container.health_command if self.container else ()
        return (*probes, Health(command=command)) if command and not self.may_exit else probes

    @property
    def may_exit(self) -> bool:
        """Whether a probe wants its end."""
        return any(isinstance(probe, Exit) for probe in self.spec.probes)

    @property
    def signal(self) -> str:
        """What stops it."""
        return self.config.stop_signal or "SIGTERM"

    def run(self) -> None:
        """Start, probe and stop it; what the container does wrong is kept in the fields.

        Raises Unreachable where the engine fails, EnvironmentUnavailable where it does not start any container.
        """
        try:
            if self._start():
                self._observe()
                if not self.ended_early:
                    self._stop()
        finally:
            self._remove()

    def _start(self) -> bool:
        with self._timed("start_seconds"):
            try:
                try:
                    self._create(self._bindings())
                except PortTaken:
                    # Which port it is published on proves nothing: the engine chooses another.
                    self._remove()
                    self._create(self._bindings(any_port=True))
            except (EngineError, NotFound, PortTaken) as error:
                check_engine(self.engine, self._container_spec(self._bindings(any_port=True)), error)
                self.start_error, self.program_hint = error, error.hint or self._program_error(error.message)
                return False
        self._started = time.monotonic()
        self._read_ports()
        return True

    def _container_spec(self, bindings: tuple[PortBinding, ...]) -> ContainerSpec:
        limits = self.spec.limits
        return ContainerSpec(
            image=self.image,
            labels=self.environment.labels(),
            environment=self.spec.environment,
            ports=bindings,
            memory=limits.memory,
            processes=limits.processes,
            log_size=limits.log,
            # Podman would take these few limits in place of all its own.
            file_size=None if self.engine.info.product == "Podman" else limits.disk,
        )

    def _create(self, bindings: tuple[PortBinding, ...]) -> None:
        with defer_signals():
            self.container = self.engine.create(self._container_spec(bindings))
        self.engine.start(self.container.id)
        self._inspect()

    def _bindings(self, *, any_port: bool = False) -> tuple[PortBinding, ...]:
        probed = {(probe.published, probe.container) for probe in self.spec.probes if isinstance(probe, (Http, Tcp))}
        inside = {container for _, container in probed}
        pairs = [*sorted(probed), *((0, port) for port in self.exposed if port not in inside)]
        return tuple(
            PortBinding(container_port=f"{port}/tcp", host_port=0 if any_port else published, host_ip=self.environment.host_ip)
            for published, port in pairs
        )

    def _read_ports(self) -> None:
        bound: dict[str, list[int]] = {}
        for binding in self.container.ports if self.container else ():
            bound.setdefault(binding.container_port, []).append(binding.host_port)
        for probe in self.probes:
            if isinstance(probe, (Http, Tcp)) and (ports := bound.get(f"{probe.container}/tcp")):
                self.ports[probe.published] = probe.published if probe.published in ports else ports[0]

    def _program_error(self, message: str) -> str | None:
        command = (*self.config.entrypoint, *self.config.cmd)
        return program.explain(self.engine, self.container.id, command, message) if self.container else None

    def _observe(self) -> None:
        timeout = self._deadline.within(self.spec.timeout)
        with self._timed("probe_seconds"):
            if self.probes:
                self.probe_results = run_probes(self._target(self.ports), self.probes, timeout=timeout, inspect=self._inspect)
            else:
                self._wait_for_end(IDLE)
        with self._timed("listen_seconds"):
            self._listen(timeout)
        self.run_seconds = time.monotonic() - self._started
        self.ended_early = has_ended(self._inspect())
        self._read_log()
        if self.ended_early and self.excerpt and self.excerpt[0].startswith("exec "):
            # Some engines start a container before they know that its program does not start.
            self.program_hint = self._program_error(self.excerpt[0])

    def _target(self, ports: Mapping[int, int]) -> ProbeTarget:
        container = self.container.id if self.container else ""
        return ProbeTarget(environment=self.environment, container=container, ports=ports, log=2 * self.spec.limits.log)

    def _listen(self, timeout: Deadline) -> None:
        """See where it listens: once all probes hold it does, or soon will."""
        wanted = {*self.exposed, *(probe.container for probe in self.probes if isinstance(probe, (Http, Tcp)))}
        while wanted and self.container is not None and not has_ended(self._inspect()):
            self.listening = listening.read(self.engine, self.container.id)
            if self.listening is None:
                self.connects = open_ports(self._target({}), self.container, wanted, timeout=timeout, inspect=self._inspect)
                return
            if wanted <= self.listening.reachable or timeout.passed:
                return
            self._wait_for_end(_LISTEN_PAUSE)

    def _read_log(self) -> None:
        container, deadline = self.container.id if self.container else "", Deadline(_LOG_TIMEOUT)
        try:
            self.excerpt = call_with_deadline(
                lambda: self.engine.log_tail(container, LOG_LINES, settle=self.ended_early), lambda: deadline.left
            )
        except (DeadlineExceeded, RegistryToolError):
            # No check needs it: it is for the reader.
            self.excerpt = ()

    def _stop(self) -> None:
        with self._timed("stop_seconds"):
            try:
                with suppress(UsageError):  # the engine does not know the image's signal, and it goes on
                    self.engine.kill(self.container.id if self.container else "", signal=self.signal)
            except (Conflict, NotFound):
                self.ended_early = True
            self._wait_for_end(self.spec.stop_within)
            self.killed = self.container is not None and self.container.running
        self._read_log()

    def _wait_for_end(self, seconds: float) -> None:
        poll(lambda: has_ended(self._inspect()), Deadline(seconds), pause=PAUSE)

    def _inspect(self) -> Container | None:
        """Its state now, None where it is gone. One that wrote more than its limit is killed."""
        container = self.engine.container(self.container.id) if self.container else None
        if container is None:
            return None
        self.container = container
        if container.running and time.monotonic() > self._disk_check:
            self._disk_check = time.monotonic() + DISK_INTERVAL
            if self.engine.bytes_written(container.id) > self.spec.limits.disk:
                self.disk_exceeded = True
                self.engine.kill(container.id)
        return container

    def _remove(self) -> None:
        if self.container is not None:
            with defer_signals():
                self.engine.remove(self.container.id, force=True, missing_ok=True)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            setattr(self, name, time.monotonic() - started)
