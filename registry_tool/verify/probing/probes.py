"""Probes of a running container: pages, ports, commands, its log, its end. Each is repeated until it holds, or time is up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from registry_tool.base import units
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline, poll
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.page_client import NoResponse, PageClient
from registry_tool.engine import Container, Engine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.expectations import excerpt, page_error
from registry_tool.verify.spec import Exec, Exit, Http, Log, Probe, Tcp

IN_A_ROW = 3  # times that a page must hold: some answer as they should only once
RESPONSE_TIMEOUT = 10.0  # seconds for one response, where the probe says nothing else
MIN_TIMEOUT = 1.0  # seconds for the last response, also where less is left: a reason is worth more than the time
PAUSE = 0.02  # seconds between two rounds
CLOSE_WAIT = 0.25  # seconds after which an open connection counts: engines accept, and close again, on ports on which nothing listens
UNCONFIRMED_CLOSE_WAIT = 2.0  # seconds, where nothing else tells whether anything listens: the engine of a busy machine closes late

Inspect = Callable[[], Container | None]  # returns the container's state now; None where it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """A probe's result. ``ok`` None: it could not be told. ``seconds`` is from the first attempt to the last."""

    JSON_MEMBERS: ClassVar = "kind asked=probe ok seen=observed seconds looks=attempts"

    probe: Probe
    ok: bool | None
    observed: str
    seconds: float
    attempts: int

    @property
    def kind(self) -> str:
        """``http``, ``tcp``, ``exec``, ``health``, ``log`` or ``exit``."""
        return type(self.probe).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """The container. ``ports``: published port of the spec -> published port in fact. ``log`` is how many bytes of it are read.

    A port that is not among ``ports`` is the container's no more: what listens there belongs to somebody else. With ``address``, the
    container's own, ``ports`` are those inside, too: no engine's proxy accepts in its place. A TCP connection counts that stays open for
    ``close_wait`` seconds.
    """

    environment: Environment
    container: str
    ports: Mapping[int, int]
    log: int
    address: str | None = None
    close_wait: float = CLOSE_WAIT

    @property
    def engine(self) -> Engine:
        """The environment's engine."""
        return self.environment.engine

    def connect(self, published: int, timeout: float) -> socket.socket:
        """Connect to a port of the spec. Raises OSError, also where the container does not publish it."""
        if published not in self.ports:
            raise OSError("the container does not publish the port")
        return self.environment.connect(self.ports[published], host=self.address, timeout=timeout)


def run_probes(target: ProbeTarget, probes: Sequence[Probe], *, timeout: Deadline, inspect: Inspect) -> tuple[ProbeResult, ...]:
    """Repeat ``probes`` until all hold, or one can hold no more, or the container ended, or time is up."""
    attempts = [_Attempts(target, probe) for probe in probes]
    ended = False

    def all_decided() -> bool:
        nonlocal ended
        # Before the attempts: the log of a container that has ended is complete.
        container = inspect()
        ended = has_ended(container)
        for each in attempts:
            if each.ok is None and not (ended and each.needs_running):
                each.attempt(container, timeout)
        return ended or all(each.ok is not None for each in attempts)

    poll(all_decided, timeout, pause=PAUSE)
    return tuple(each.result(ended=ended) for each in attempts)


def open_ports(
    target: ProbeTarget, container: Container, ports: Collection[int], *, timeout: Deadline, inspect: Inspect
) -> dict[int, bool]:
    """Which of the container's TCP ``ports`` take connections; without those that cannot be reached from here.

    They are connected to at the container's own address where the environment reaches it.
    """
    address = next(filter(None, container.networks.values()), None) if target.environment.reaches_containers else None
    bound = {binding.container_port: binding.host_port for binding in container.ports}
    reached = {port: port if address else bound[f"{port}/tcp"] for port in sorted(ports) if address or f"{port}/tcp" in bound}
    target = replace(target, ports=reached, address=address, close_wait=CLOSE_WAIT if address else UNCONFIRMED_CLOSE_WAIT)
    results = run_probes(target, [Tcp(published=port, container=port) for port in reached], timeout=timeout, inspect=inspect)
    return {port: result.ok is True for port, result in zip(reached, results, strict=True)}


def has_ended(container: Container | None) -> bool:
    """Whether it has ended, and its exit code is known: an engine may take a moment for that."""
    return container is None or container.exit_code is not None


class _Attempts:
    def __init__(self, target: ProbeTarget, probe: Probe) -> None:
        self._target = target
        self._probe = probe
        self._started = time.monotonic()
        self._observed = "not looked at"
        self._holds = 0
        self._attempts = 0
        self.ok: bool | None = None

    @property
    def needs_running(self) -> bool:
        """Whether only a container that runs can be probed: its port may be another's afterwards."""
        return not isinstance(self._probe, (Log, Exit))

    def attempt(self, container: Container | None, timeout: Deadline) -> None:
        """Try once; a page that holds is fetched again at once."""
        needed = IN_A_ROW if isinstance(self._probe, Http) else 1
        while self.ok is None:
            holds, self._observed = _attempt(self._target, self._probe, container, timeout)
            self._attempts += 1
            if holds:
                self._holds += 1
                self.ok = True if self._holds == needed else None
                continue
            if self._holds:
                self._observed = f"it held {'once' if self._holds == 1 else f'{self._holds} times'}, and then no more: {self._observed}"
                self.ok = False
            elif isinstance(self._probe, Exit) and has_ended(container):
                self.ok = False
            return

    def result(self, *, ended: bool) -> ProbeResult:
        """The result so far: of a container that has ended only log and exit code can be told."""
        unknown = ended and self.needs_running
        ok = self.ok if self.ok is not None or unknown else False
        seconds = time.monotonic() - self._started
        return ProbeResult(probe=self._probe, ok=ok, observed=self._observed, seconds=seconds, attempts=self._attempts)


def _attempt(target: ProbeTarget, probe: Probe, container: Container | None, timeout: Deadline) -> tuple[bool, str]:
    """(whether it holds, what was observed)."""
    seconds = max(MIN_TIMEOUT, min(RESPONSE_TIMEOUT, timeout.left))
    if isinstance(probe, Http):
        return _page(target, probe, seconds)
    if isinstance(probe, Tcp):
        return _port(target, probe, seconds)
    if isinstance(probe, Exec):
        return _command(target, probe, seconds)
    if isinstance(probe, Log):
        return _log(target, probe, seconds)
    if container is None or not has_ended(container):
        return False, "it is still running" if container else "it is gone"
    return container.exit_code == probe.code, f"it ended with code {container.exit_code}"


def _page(target: ProbeTarget, probe: Http, timeout: float) -> tuple[bool, str]:
    try:
        # A connection of its own each time, and the name that a person would use.
        with closing(PageClient(partial(target.connect, probe.published), name=f"localhost:{probe.published}")) as client:
            client.connect(timeout)
            started = time.monotonic()
            page = client.get(probe.path, timeout=probe.within or timeout)
    except NoResponse as error:
        return False, str(error)
    seconds = time.monotonic() - started
    wrong = page_error(probe, page)
    if wrong is None and probe.within is not None and seconds > probe.within:
        wrong = f"the answer took {seconds:.2f} s, and {probe.within:g} s were allowed"
    return wrong is None, wrong or f"{page.status} within {seconds:.3f} s"


def _port(target: ProbeTarget, probe: Tcp, timeout: float) -> tuple[bool, str]:
    try:
        with target.connect(probe.published, timeout) as connection:
            connection.settimeout(target.close_wait)
            try:
                greeting = connection.recv(64)
            except TimeoutError:
                return True, "it takes connections"
    except OSError as error:
        return False, f"no connection: {error.strerror or error}"
    if not greeting:
        return False, "the connection was closed at once: nothing listens"
    return True, f"it takes connections, and says {greeting!r}"


def _command(target: ProbeTarget, probe: Exec, timeout: float) -> tuple[bool, str]:
    deadline = Deadline(timeout)
    try:
        code, output = call_with_deadline(lambda: target.engine.execute(target.container, probe.command), lambda: deadline.left)
    except DeadlineExceeded:
        return False, "it did not end in time"
    except RegistryToolError as error:
        return False, error.message
    return code == 0, f"it ended with code {code}: {excerpt(output.decode(errors='replace'))}"


def _log(target: ProbeTarget, probe: Log, timeout: float) -> tuple[bool, str]:
    deadline = Deadline(timeout)
    try:
        text = call_with_deadline(lambda: _read_log(target.engine, target.container, target.log), lambda: deadline.left)
    except (DeadlineExceeded, RegistryToolError) as error:
        return False, f"its log could not be read: {getattr(error, 'message', 'not in time')}"
    holds = probe.text in text
    return holds, "it is in the log" if holds else f"it is not in the log ({units.count(len(text), 'character')})"


def _read_log(engine: Engine, container: str, limit: int) -> str:
    """The first ``limit`` bytes of its log: one that prints faster than it is read has no end."""
    content = b""
    chunks = engine.logs(container)
    with closing(chunks):  # type: ignore[type-var]
        for _, chunk in chunks:
            content += chunk
            if len(content) >= limit:
                break
    return content.decode(errors="replace")
