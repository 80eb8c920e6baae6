"""What to verify: digest, probes, limits, in frozen values. Constructors raise UsageError; ``str()`` of a probe is as typed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from registry_tool.base.address import check_port
from registry_tool.base.errors import UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.verify import parsing

Value = TypeVar("Value")

MAX_REPLICAS = 100
MIN_MEMORY = 6 << 20  # bytes: an engine takes no smaller limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """A page must answer on ``container``'s port, ``published`` on the engine.

    ``json`` are pairs of path and value, as typed: ``("visits.0.name", "7")``. ``within`` is seconds for one response. Without
    ``status``, any below 400 holds.
    """

    published: int
    container: int
    path: str = "/"
    status: int | None = None
    text: tuple[str, ...] = ()
    json: tuple[tuple[str, str], ...] = ()
    within: float | None = None

    def __post_init__(self) -> None:
        _ports(self.published, self.container)
        if not self.path.startswith("/") or not all("!" <= letter <= "~" for letter in self.path):
            _refuse(f"{self.path[:80]!r} is not a path of a page", "It begins with a slash; blanks and the like are written as %20.")
        if self.status is not None and not 100 <= self.status <= 599:
            _refuse(f"{self.status} is not an HTTP status", "They go from 100 to 599.")
        if not all(self.text):
            _refuse("no text is in every page", "Give the text to look for.")
        if not all(path for path, _ in self.json):
            _refuse("a JSON value is found by a path", "It looks like visits=7 or user.name=john.")
        if self.within is not None:
            _seconds("the time for one answer", self.within)

    @classmethod
    def parse(cls, text: str) -> Http:
        """Read ``4000:80/PATH``. Raises UsageError."""
        published, container, path = _parsed(parsing.http, text)
        return cls(published=published, container=container, path=path)

    def expecting(self, *, json: str) -> Http:
        """A copy with one more expected value, ``PATH=VALUE``. Raises UsageError."""
        path, equals, value = json.partition("=")
        if not equals:
            _refuse(f"{json[:80]!r} names no value", "It looks like visits=7 or user.name=john.")
        return replace(self, json=(*self.json, (path, value)))

    def __str__(self) -> str:
        return f"{self.published}:{self.container}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcp:
    """A port must take connections."""

    published: int
    container: int

    def __post_init__(self) -> None:
        _ports(self.published, self.container)

    @classmethod
    def parse(cls, text: str) -> Tcp:
        """Read ``6379:6379``. Raises UsageError."""
        published, container = _parsed(parsing.ports, text)
        return cls(published=published, container=container)

    def __str__(self) -> str:
        return f"{self.published}:{self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """A command inside must end with 0; it is run without a shell."""

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            _refuse("the command is empty")

    @classmethod
    def parse(cls, text: str) -> Exec:
        """Read ``redis-cli ping``. Raises UsageError."""
        return cls(command=_parsed(parsing.command, text))

    def __str__(self) -> str:
        return shlex.join(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Exec):
    """The health check of the image or of a compose file must succeed. It is no option: it is run where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The container's log must contain a text."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            _refuse("no text is in every log", "Give the text to look for.")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The container must end by itself, with this code."""

    code: int

    def __post_init__(self) -> None:
        if not 0 <= self.code <= 255:
            _refuse(f"{self.code} is not an exit code", "They go from 0 to 255.")

    def __str__(self) -> str:
        return str(self.code)


Probe = Http | Tcp | Exec | Log | Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a container: ``memory``, ``log``, ``disk`` (outside volumes) in bytes, ``processes`` with threads, run ``seconds``."""

    memory: int = 512 << 20
    processes: int = 256
    log: int = 10 << 20
    seconds: float = 120.0
    disk: int = 1 << 30

    def __post_init__(self) -> None:
        if self.memory < MIN_MEMORY:
            _refuse(f"{self.memory} bytes of memory are too few", f"An engine gives no less than {MIN_MEMORY >> 20} MiB.")
        if self.processes < 1:
            _refuse(f"{self.processes} processes are too few")
        if self.log < 1:
            _refuse(f"{self.log} bytes of log are too few")
        if self.disk < 1:
            _refuse(f"{self.disk} bytes of disk are too few")
        _seconds("the time for the container", self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySpec:
    """One image and all that is to be verified of it. ``timeout`` (for the probes to hold) and ``stop_within`` are in seconds."""

    image: Reference
    """With its host, and a tag or a digest."""
    expect: Digest | None = None
    probes: tuple[Probe, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout: float = 30.0
    stop_within: float = 10.0
    redis: bool = False
    replicas: int = 1
    stack: Path | None = None
    limits: Limits = field(default_factory=Limits)
    registry_as: str | None = None
    """``HOST:PORT`` of the registry as another engine reaches it."""

    def __post_init__(self) -> None:
        if not self.image.host or not (self.image.tag or self.image.digest):
            _refuse(f"{self.image} is not a full name", "It looks like localhost:5000/john/get-started:part2.")
        if self.expect and self.image.digest and self.expect != self.image.digest:
            _refuse(f"{self.image} names another digest than the one that is expected, {self.expect}", "Name one of them.")
        for name in self.environment:
            if not parsing.is_variable(name):
                _refuse(f"{name[:80]!r} is not a name of a variable")
        _seconds("the time for the probes", self.timeout)
        _seconds("the time to end in", self.stop_within)
        if not 1 <= self.replicas <= MAX_REPLICAS:
            _refuse(f"{self.replicas} is not a number of replicas", f"There may be 1 to {MAX_REPLICAS}.")
        if self.registry_as is not None:
            _parsed(parsing.host_port, self.registry_as)
        check_probes(self.probes)

    @property
    def expected(self) -> Digest | None:
        """The digest that must be there: ``expect``, or the image's own."""
        return self.expect or self.image.digest


def check_probes(probes: Sequence[Probe]) -> None:
    """Raises UsageError where probes contradict each other."""
    if sum(isinstance(probe, Exit) for probe in probes) > 1:
        _refuse("a program ends once", "Name one exit code.")
    published: dict[int, int] = {}
    for probe in probes:
        if isinstance(probe, (Http, Tcp)) and published.setdefault(probe.published, probe.container) != probe.container:
            ports = f"{published[probe.published]} and {probe.container}"
            _refuse(f"port {probe.published} cannot be published for both {ports}", "Give each a port of its own.")


def _ports(*ports: int) -> None:
    for port in ports:
        try:
            check_port(port)
        except ValueError as error:
            _refuse(str(error), "It looks like 4000.")


def _seconds(what: str, value: float) -> None:
    if not (math.isfinite(value) and 0 < value <= parsing.MAX_SECONDS):
        _refuse(f"{what}: {value:g} s is out of range", "It is more than 0 s, and a day at most.")


def _parsed(read: Callable[[str], Value], text: str) -> Value:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _refuse(message: str, hint: str | None = None) -> NoReturn:
    raise UsageError(message, hint=hint)
