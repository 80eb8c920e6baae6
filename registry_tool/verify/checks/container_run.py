"""One container of the image under proof, within its limits: started, looked at, ended, and always removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from registry_tool.base.address import is_loopback
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline, poll
from registry_tool.base.errors import Conflict, EngineError, NotFound, PortTaken, RegistryToolError, UsageError
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding
from registry_tool.oci.config import Config
from registry_tool.verify.checks import listening, program
from registry_tool.verify.checks.listening import Listening
from registry_tool.verify.checks.probes import PAUSE, ProbeResult, ProbeTarget, is_over, watch
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.spec import Http, Probe, Tcp, VerifySpec

SETTLES = 1.0
"""Seconds for which a container is watched of which nothing was asked."""
WEIGHED = 1.0
"""Seconds between two looks at how much it wrote."""
LAST_LINES = 10
_LOG_WITHIN = 10.0
_NOTHING = 0.05
"""Seconds between two looks at a container that nothing else is asked of."""


@dataclass(kw_only=True)
class ContainerRun:
    """What was seen of it. Times are in seconds."""

    place: Environment
    asked: VerifySpec
    config: Config
    image: str
    """What it is called there."""
    container: Container | None = None
    """As it was seen last; None: it was never made."""
    refusal: RegistryToolError | None = None
    """Why it could not be started."""
    program: str | None = None
    """What is wrong with its program, where that did not start."""
    ended_early: bool = False
    """It ended before it was asked to."""
    overfull: bool = False
    """It was ended for what it wrote."""
    seen: tuple[ProbeResult, ...] = ()
    listening: Listening | None = None
    connects: dict[int, bool] = field(default_factory=dict)
    """Where it could not be told where it listens: exposed port -> whether connections are taken there."""
    excerpt: tuple[str, ...] = ()
    ports: dict[int, int] = field(default_factory=dict)
    """Published as asked for -> published in fact; for what was not asked for, by the container's port."""
    killed: bool = False
    """It did not end when it was asked to."""
    started_in: float = 0.0
    lived: float = 0.0
    listening_in: float = 0.0
    probes_in: float = 0.0
    ended_in: float = 0.0

    def __post_init__(self) -> None:
        self._deadline = Deadline(self.asked.limits.seconds)
        self._weigh_at = time.monotonic() + WEIGHED
        self._began = time.monotonic()

    @property
    def engine(self) -> Engine:
        return self.place.engine

    @property
    def exposed(self) -> tuple[int, ...]:
        """TCP ports that the image says it listens on."""
        found = (port.partition("/") for port in self.config.exposed)
        return tuple(sorted({int(number) for number, _, kind in found if kind in ("", "tcp") and number.isascii() and number.isdigit()}))

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Those that were asked for, or else a connection to each port."""
        return self.asked.probes or tuple(Tcp(published=port, container=port) for port in self.exposed if 0 < port < 65536)

    @property
    def signal(self) -> str:
        return self.config.stop_signal or "SIGTERM"

    def run(self) -> None:
        """All of it. What the container does wrong is kept here; only an engine that fails is raised: Unreachable."""
        try:
            if self._start():
                self._look()
                self._end()
        finally:
            with defer_signals():
                self._remove()

    # --- start ---

    def _start(self) -> bool:
        with self._timed("started_in"):
            try:
                self._create(self._bindings())
                try:
                    self._begin()
                except PortTaken:
                    # Somebody has the port that was asked for. Which one it is proves nothing: let the engine choose.
                    with defer_signals():
                        self._remove()
                    self._create(self._bindings(any_port=True))
                    self._begin()
            except (EngineError, NotFound, PortTaken) as error:
                self.refusal, self.program = error, error.hint or self._why(error.message)
                return False
        self._began = time.monotonic()
        self._know_ports()
        return True

    def _create(self, bindings: tuple[PortBinding, ...]) -> None:
        limits = self.asked.limits
        spec = ContainerSpec(
            image=self.image,
            labels=self.place.labels(),
            environment=self.asked.environment,
            ports=bindings,
            memory=limits.memory,
            processes=limits.processes,
            log_size=limits.log,
            # To podman these few limits would be all there are, in place of its own.
            file_size=None if self.engine.info.product == "Podman" else limits.disk,
        )
        with defer_signals():
            self.container = self.engine.create(spec)

    def _begin(self) -> None:
        if self.container is not None:
            self.engine.start(self.container.id)
            self._now()

    def _bindings(self, *, any_port: bool = False) -> tuple[PortBinding, ...]:
        # Of an engine on another machine, all addresses: its loopback is not ours.
        near = self.place.where.clean or is_loopback(self.place.address(0)[0])
        here = "127.0.0.1" if near else ""
        asked = {(each.published, each.container) for each in self.asked.probes if isinstance(each, (Http, Tcp))}
        inside = {container for _, container in asked}
        wanted = [*sorted(asked), *((0, port) for port in self.exposed if port not in inside)]
        return tuple(
            PortBinding(container_port=f"{port}/tcp", host_port=0 if any_port else published, host_ip=here) for published, port in wanted
        )

    def _know_ports(self) -> None:
        bound: dict[str, list[int]] = {}
        for binding in self.container.ports if self.container else ():
            bound.setdefault(binding.container_port, []).append(binding.host_port)
        for each in self.probes:
            if isinstance(each, (Http, Tcp)):
                found = bound.get(f"{each.container}/tcp", [])
                self.ports[each.published] = each.published if each.published in found else (found or [each.published])[0]

    def _why(self, words: str) -> str | None:
        return program.why(self.engine, self.container.id, (*self.config.entrypoint, *self.config.cmd), words) if self.container else None

    # --- look ---

    def _look(self) -> None:
        timeout = self._deadline.within(self.asked.timeout)
        with self._timed("probes_in"):
            if self.probes and self.container is not None:
                subject = ProbeTarget(place=self.place, container=self.container.id, ports=self.ports, log=2 * self.asked.limits.log)
                self.seen = watch(subject, self.probes, timeout=timeout, now=self._now)
            else:
                self._watch(Deadline(SETTLES))
        with self._timed("listening_in"):
            self._listen(timeout)
        self.lived = time.monotonic() - self._began
        self.ended_early = is_over(self._now())
        self._keep_words()
        if self.ended_early and self.excerpt and self.excerpt[0].startswith("exec "):
            # Some engines start a container before they know that its program does not start.
            self.program = self._why(self.excerpt[0])

    def _listen(self, timeout: Deadline) -> None:
        """Once everything answers it listens, too, or soon will."""
        wanted = set(self.exposed)
        while self.container is not None and not is_over(self._now()) and wanted:
            self.listening = listening.look(self.engine, self.container.id)
            if self.listening is None:
                self._connect(timeout)
                return
            if wanted <= self.listening.reachable or timeout.passed:
                return
            self._watch(Deadline(_NOTHING))

    def _connect(self, timeout: Deadline) -> None:
        """See where it listens by connecting; a port that is not its own may be published by any other's number."""
        if self.container is None:
            return
        bound = {binding.container_port: binding.host_port for binding in self.container.ports}
        ports = {port: bound.get(f"{port}/tcp", port) for port in self.exposed}
        subject = ProbeTarget(place=self.place, container=self.container.id, ports=ports, log=0)
        asked = [Tcp(published=port, container=port) for port in self.exposed]
        found = watch(subject, asked, timeout=timeout, now=self._now)
        self.connects = {each.published: seen.ok is True for each, seen in zip(asked, found, strict=True)}

    def _keep_words(self) -> None:
        if self.container is None:
            return
        container_id, left = self.container.id, Deadline(_LOG_WITHIN)
        try:
            self.excerpt = call_with_deadline(
                lambda: self.engine.log_tail(container_id, LAST_LINES, settle=self.ended_early), lambda: left.left
            )
        except (DeadlineExceeded, RegistryToolError):
            # It is a kindness to the reader, and proves nothing.
            self.excerpt = ()

    # --- end ---

    def _end(self) -> None:
        if self.container is None or self.ended_early:
            return
        with self._timed("ended_in"):
            # It has just ended by itself; or the engine does not know the signal that the image wants, and it goes on.
            with suppress(Conflict, NotFound, UsageError):
                self.engine.kill(self.container.id, signal=self.signal)
            self._watch(Deadline(self.asked.stop_within))
            self.killed = self.container.running
        self._keep_words()

    def _watch(self, until: Deadline) -> None:
        """Wait until it has ended, or time is up."""
        poll(lambda: is_over(self._now()), until, pause=PAUSE)

    def _now(self) -> Container | None:
        """The container as it is; one that wrote more than it may is ended."""
        if self.container is None:
            return None
        found = self.engine.container(self.container.id)
        if found is None:
            return None
        self.container = found
        if found.running and time.monotonic() > self._weigh_at:
            self._weigh_at = time.monotonic() + WEIGHED
            if self.engine.bytes_written(found.id) > self.asked.limits.disk:
                self.overfull = True
                self.engine.kill(found.id)
        return found

    def _remove(self) -> None:
        if self.container is not None:
            self.engine.remove(self.container.id, force=True, missing_ok=True)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            setattr(self, name, time.monotonic() - began)
