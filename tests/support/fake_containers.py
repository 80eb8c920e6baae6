"""An engine whose containers are made up: for tests of what is concluded from their behaviour. The pages are served for real."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from registry_tool.base.errors import Conflict, NotFound, RegistryToolError
from registry_tool.engine import Container, ContainerSpec, EngineInfo, Image, PortBinding, TransferResult
from registry_tool.engine.values import Privileges
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.result import EnvironmentInfo
from registry_tool.verify.stack import proxy as proxies

PLATFORM = Platform.parse("linux/amd64")
PRIVILEGES = Privileges(network="default")
ENGINE = EngineInfo(name="Docker", version="28", api_version="1.48", platform=PLATFORM, storage="overlay2", product="Docker")
CLEAN = EnvironmentInfo(
    kind="docker", name="docker", engine="Docker 28", kernel="6", platform=str(PLATFORM), clean=True, image="docker:dind"
)
Page = Callable[[str], tuple[int, str]]
"""Path -> status and body."""


def hello(path: str) -> tuple[int, str]:
    return (200, "Hello World!") if path == "/" else (404, "nothing here")


@dataclass(kw_only=True)
class Program:
    """What a container does.

    ``ends`` is the exit code with which it ends as soon as it is started; with ``then_ends`` it ends when it was inspected so often.
    """

    ends: int | None = None
    then_ends: int = 0
    listens: frozenset[int] = frozenset({80})
    loopback: frozenset[int] = frozenset()
    cat: bool = True
    """Whether the image has ``cat``, with which one sees where it listens."""
    accepts: bool = False
    """The engine takes connections whether somebody listens or not."""
    page: Page = hello
    health: int = 0
    """Exit code of every exec but ``cat``."""
    log: bytes = b"serving\n"
    ignores_signals: bool = False
    out_of_memory: bool = False
    written: int = 0
    privileges: Privileges = PRIVILEGES


@dataclass(kw_only=True)
class _Running:
    spec: ContainerSpec
    program: Program
    container: Container
    inspections: int = 0


@dataclass(kw_only=True)
class FakeContainers:
    """The engine. ``programs`` gives the program of a container, by its specification."""

    programs: Callable[[ContainerSpec], Program] = lambda spec: Program()
    known: dict[str, Image] = field(default_factory=dict)
    """Images by their names."""
    health_commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Image -> the command of its HEALTHCHECK."""
    pulled: Image | None = None
    """What a pull brings."""
    pull_error: RegistryToolError | None = None
    refuse: Callable[[ContainerSpec], RegistryToolError | None] = lambda spec: None
    """The error with which a container does not start."""
    network_error: RegistryToolError | None = None
    pull_digest: Digest | None = None
    """What the engine reports at the end of a pull; None: that of the name."""
    info: EngineInfo = ENGINE
    running: dict[str, _Running] = field(default_factory=dict)
    replica_alias: str = "web"
    choose: Callable[[int, int], int] = lambda turn, replicas: turn % replicas
    """Which of so many replicas the proxy takes for a request."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._turn = itertools.count()

    # Images.

    def images(self, *, all: bool = False) -> tuple[Image, ...]:
        return tuple(self.known.values())

    def image(self, name: str) -> Image | None:
        return self.known.get(name) or next((image for image in self.known.values() if image.id == name), None)

    def pull(self, name: str, *, known_as: str | None = None, observer: object = None) -> TransferResult:
        if self.pull_error is not None:
            raise self.pull_error
        digest = self.pull_digest or Reference.parse(name, default_host="").digest or Digest.of(name.encode())
        self.known[name] = self.pulled or Image(id=name)
        descriptor = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=digest, size=0)
        return TransferResult(reference=name, descriptor=descriptor)

    # Containers.

    def create(self, spec: ContainerSpec) -> Container:
        id = f"c{next(self._ids)}"
        ports = tuple(replace(port, host_port=port.host_port or 30000 + next(self._ids)) for port in spec.ports)
        container = Container(id=id, name=id, image=spec.image, image_id=spec.image, state="created", ports=ports)
        program = self.programs(spec)
        container = replace(
            container,
            networks={spec.network or "bridge": f"10.0.0.{next(self._ids)}"},
            privileges=program.privileges,
            command=spec.command,
            health_command=self.health_commands.get(spec.image, ()),
        )
        self.running[id] = _Running(spec=spec, program=program, container=container)
        return container

    def start(self, id: str) -> None:
        one = self.running[id]
        if error := self.refuse(one.spec):
            raise error
        one.inspections = 0
        one.container = replace(one.container, out_of_memory=one.program.out_of_memory)
        if one.program.ends is None:
            one.container = replace(one.container, state="running", exit_code=None)
        else:
            self._end(one, one.program.ends)

    def container(self, id: str) -> Container | None:
        one = self.running.get(id)
        if one is None:
            return None
        one.inspections += 1
        if one.container.running and one.program.then_ends and one.inspections > one.program.then_ends:
            self._end(one, 1)
        return one.container

    def stop(self, id: str, *, timeout: int = 10) -> None:
        self._end(self.running[id], 0)

    def kill(self, id: str, *, signal: str = "KILL") -> None:
        one = self.running[id]
        if not one.container.running:
            raise Conflict("it is not running")
        if signal == "KILL" or not one.program.ignores_signals:
            self._end(one, 137 if signal == "KILL" else 0)

    def remove(self, id: str, *, force: bool = False, missing_ok: bool = False) -> None:
        self.running.pop(id, None)

    def execute(self, id: str, command: Sequence[str]) -> tuple[int, bytes]:
        one = self.running[id]
        if not one.container.running:
            raise Conflict("it is not running")
        if command[0] == "cat":
            return (0, _table(one.program)) if one.program.cat else (127, b"")
        return one.program.health, b"looked"

    def logs(self, id: str, *, follow: bool = False, tail: int | None = None) -> Iterator[tuple[str, bytes]]:
        if id not in self.running:
            raise NotFound("there is no such container")
        yield "stdout", self.running[id].program.log

    def log_tail(self, id: str, lines: int, *, settle: bool = True) -> tuple[str, ...]:
        return tuple(self.running[id].program.log.decode().splitlines()[-lines:]) if id in self.running else ()

    def bytes_written(self, id: str) -> int:
        return self.running[id].program.written

    def get_file(self, id: str, path: str) -> bytes | None:
        return None

    def put_files(self, id: str, folder: str, files: Mapping[str, tuple[bytes, int]]) -> None:
        return

    def create_network(self, name: str, *, labels: Mapping[str, str], internal: bool = False) -> None:
        if self.network_error is not None:
            raise self.network_error

    def remove_network(self, name: str, *, missing_ok: bool = False) -> None:
        return

    def connect_network(self, network: str, container: str, *, aliases: Sequence[str] = ()) -> None:
        return

    # Connections.

    def connect(self, port: int, host: str | None = None) -> socket.socket:
        """What answers on a published port, or on one of a container's address. Raises ConnectionRefusedError."""
        for one in self.running.values():
            if host in one.container.networks.values() and one.container.running and port in one.program.listens:
                return _served(partial(_answer, one.program))
        for one in self.running.values() if host is None else ():
            for binding in one.container.ports:
                if binding.host_port == port and one.container.running:
                    inside = int(binding.container_port.partition("/")[0])
                    if inside == proxies.PORT:
                        return _served(self._next_replica)
                    if inside in one.program.listens or one.program.accepts:
                        return _served(partial(_answer, one.program))
        raise ConnectionRefusedError("refused")

    def alive(self, alias: str) -> list[_Running]:
        """The running containers of a stack's service, in the order of their creation."""
        return [one for one in self.running.values() if alias in one.spec.aliases and one.container.running]

    def _next_replica(self, path: str) -> tuple[int, str, dict[str, str]]:
        everybody = [one for one in self.running.values() if self.replica_alias in one.spec.aliases]
        alive = [one for one in everybody if one.container.running]
        if not alive:
            return 503, "nobody", {}
        one = alive[self.choose(next(self._turn), len(alive))]
        return *one.program.page(path), {proxies.REPLICA: f"{self.replica_alias}-{everybody.index(one) + 1}"}

    def _end(self, one: _Running, code: int) -> None:
        one.container = replace(one.container, state="exited", exit_code=code)


@dataclass(kw_only=True)
class FakeEnvironment:
    """A clean engine of made-up containers."""

    engine: Any
    counted: Traffic | None = None
    isolated: bool = True
    kept: str | None = None
    host_ip: str = "127.0.0.1"
    reaches_containers: bool = True
    info: EnvironmentInfo = CLEAN

    def local_name(self, image: Reference) -> str:
        return str(image)

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        connection: socket.socket = self.engine.connect(port, host)
        connection.settimeout(timeout)
        return connection

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        return self.counted

    def labels(self) -> Mapping[str, str]:
        return {}


def published(port: int, at: int) -> PortBinding:
    return PortBinding(container_port=f"{port}/tcp", host_port=at)


def _table(program: Program) -> bytes:
    """``/proc/net/tcp`` of a container."""
    lines = ["  sl  local_address rem_address   st"]
    lines += [f"   0: 00000000:{port:04X} 00000000:0000 0A" for port in sorted(program.listens)]
    lines += [f"   0: 0100007F:{port:04X} 00000000:0000 0A" for port in sorted(program.loopback)]
    return "\n".join(lines).encode()


def _answer(program: Program, path: str) -> tuple[int, str, dict[str, str]]:
    return *program.page(path), {}


def _served(answer: Callable[[str], tuple[int, str, dict[str, str]]]) -> socket.socket:
    """One end of a connection whose other end is a web server."""
    ours, theirs = socket.socketpair()
    threading.Thread(target=_serve, args=(theirs, answer), daemon=True).start()
    return ours


def _serve(connection: socket.socket, answer: Callable[[str], tuple[int, str, dict[str, str]]]) -> None:
    with connection, connection.makefile("rb") as lines:
        while request := lines.readline():
            while lines.readline().strip():
                continue
            status, text, headers = answer(request.split()[1].decode())
            body = text.encode()
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            connection.sendall(f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
