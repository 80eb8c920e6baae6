"""A clean engine: one in a container, without images, whose network has loopback alone; the tunnel connects it to the registry."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from registry_tool.base import labels, runs
from registry_tool.base.address import HostPort
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EngineError, EngineNotFound, EnvironmentUnavailable, RegistryToolError, Unreachable
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, Endpoint, Engine, connect_to
from registry_tool.local import orphans
from registry_tool.local.base_images import PYTHON, BaseImage, BaseImageResolver
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.environments.inner_engine import INNER, SOCKET, SOCKETS, START, InnerEngine
from registry_tool.verify.environments.tunnel import Tunnel, program
from registry_tool.verify.result import EnvironmentInfo

READY_WITHIN = 30.0  # seconds for the inner engine to answer; it takes less than one on an idle machine
OLDEST = (1, 41)  # the API version with private control groups of a container: Docker 20.10, podman 4

_PROGRAM = "registry-tool-forwarder.py"
_FORWARDER = ("python3", "-I", "-S", "-B", f"/{_PROGRAM}")
_SOCKET_WAIT = 1.0  # seconds that the forwarder waits for the engine's socket; then it is checked whether the engine still runs
_PAUSE = 0.02
_LOG_LINES = 15
_CONSOLE = ("c 5:1 rwm",)  # /dev/console, which is not in podman's list; without root it takes no rules
_CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_CHROOT", "MKNOD", "NET_RAW", "AUDIT_WRITE")
"""What an engine needs beyond a container's defaults: mounts, networks, its containers' processes; and what docker gives to those."""


class CleanEnvironment:
    """A clean engine and its tunnel. See :class:`registry_tool.verify.environments.environment.Environment`."""

    isolated = True
    reaches_containers = True
    kept = None
    host_ip = "127.0.0.1"

    def __init__(self, info: EnvironmentInfo, engine: Engine, tunnel: Tunnel, labels: Mapping[str, str]) -> None:
        self.info = info
        self.engine = engine
        self._tunnel = tunnel
        self._labels = labels

    def local_name(self, image: Reference) -> str:
        """See ``Environment``."""
        return str(image)

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        """See ``Environment``."""
        return self._tunnel.connect((host, port) if host else port, timeout=timeout)

    def traffic(self, *, reset: bool = False) -> Traffic:
        """See ``Environment``."""
        return self._tunnel.traffic(reset=reset)

    def labels(self) -> Mapping[str, str]:
        """See ``Environment``."""
        return self._labels


@contextmanager
def open_clean(engine: Engine, kind: str, *, image: Reference, dirs: AppDirs, observer: Observer = SILENT) -> Iterator[CleanEnvironment]:
    """A clean engine of ``kind`` (``docker``, ``podman``) that reaches ``image``'s registry by the name that it has here.

    What dead runs left is removed first, what this one made at the end. Raises EnvironmentUnavailable, Unreachable, OSError.
    """
    _check(engine)
    address = _registry_address(image)
    bases = BaseImageResolver(engine, dirs.cache, observer)
    with runs.begin(dirs.state) as run, ExitStack() as opened:
        try:
            orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY)
            inner = INNER[kind]
            setup = _Setup(engine=engine, run=run, inner=inner, base=bases.ensure(inner.base), python=bases.ensure(PYTHON))
            opened.callback(setup.remove)
            environment = setup.start(image.host, address, opened)
        except RegistryToolError as error:
            if isinstance(error, Unreachable):
                raise
            raise EnvironmentUnavailable(
                f"a clean {kind} is not available: {error.message}", hint=error.hint, excerpt=error.excerpt
            ) from error
        yield environment


def _check(engine: Engine) -> None:
    info = engine.info
    version = tuple(int(part) for part in info.api_version.split(".") if part.isdigit())
    if version < OLDEST:
        raise EnvironmentUnavailable(
            f"{info.product} {info.version} is too old for an engine in a container (API {info.api_version})",
            hint="It takes Docker 20.10 or later; --on here verifies on the current engine.",
        )


def _registry_address(image: Reference) -> HostPort:
    """The registry's address, with its port."""
    address = HostPort.parse(image.host)
    if not address.is_loopback:
        raise EnvironmentUnavailable(
            f"a clean engine reaches a registry on this machine only, and {image.host} is elsewhere",
            hint="Use --on here, or --on context:NAME; or copy the image to a local registry: regctl up, then push.",
        )
    return address._replace(port=address.port or 80)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """The steps that create one; everything has the run's labels from the start, also after an interruption."""

    engine: Engine
    run: runs.Run
    inner: InnerEngine
    base: BaseImage
    python: BaseImage

    def start(self, registry_host: str, address: HostPort, opened: ExitStack) -> CleanEnvironment:
        """Create the environment; ``opened`` closes its tunnel and its client."""
        self.start_forwarder(address)
        container = self.start_engine(registry_host)
        tunnel = opened.enter_context(closing(self.open_tunnel(address)))
        clean = opened.enter_context(self.wait_until_ready(container, tunnel))
        return CleanEnvironment(self.info(clean), clean, tunnel, self.labels)

    @property
    def _name(self) -> str:
        return f"registry-tool-proof-{self.run.id}"

    @property
    def _forwarder(self) -> str:
        return f"{self._name}-forwarder"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that is created."""
        return self.run.labels(labels.ROLE_VERIFY)

    def start_forwarder(self, registry: HostPort) -> None:
        """Start the container whose network the engine shares, with the forwarder on the registry's port."""
        with defer_signals():
            self.engine.create_volume(self._name, labels=self.labels)
        host = "127.0.0.1" if registry.host == "localhost" else registry.host
        spec = ContainerSpec(
            image=self.python.name,
            name=self._forwarder,
            entrypoint=_FORWARDER,
            command=(host, str(registry.port)),
            network="none",
            volumes={self._name: SOCKETS},
            labels=self.labels,
        )
        with defer_signals():
            forwarder = self.engine.create(spec)
        self.engine.put_files(forwarder.id, "/", {_PROGRAM: (program(), 0o644)})
        with defer_signals():
            self.engine.start(forwarder.id)

    def start_engine(self, registry: str) -> Container:
        """Start the clean engine in the form that this engine allows. Raises EnvironmentUnavailable."""
        plain = ContainerSpec(
            image=self.base.name,
            name=f"{self._name}-engine",
            entrypoint=(f"/{START}",),
            network=f"container:{self._forwarder}",
            volumes={self._name: SOCKETS},
            labels=self.labels,
            cgroupns="private",
        )
        options = ("seccomp=unconfined", "apparmor=unconfined")
        narrow = replace(plain, cap_add=_CAPABILITIES, security_opt=options, unmasked=True)
        # On cgroups v1 an engine can give its containers no device that it may not use itself, and docker's get the console.
        console = (replace(narrow, device_rules=_CONSOLE),) if self.engine.is_podman else ()
        refused: list[EngineError] = []
        for spec in (replace(plain, privileged=True), *console, narrow):
            try:
                with defer_signals():
                    return self._start_container(spec, registry)
            except EngineError as error:
                refused.append(error)
        raise EnvironmentUnavailable(
            f"this engine does not start an engine in a container: {refused[-1].message} (with --privileged: {refused[0].message})",
            hint="It has to allow --privileged, or mounts and networks of a container's own. --on here verifies on the current engine.",
        )

    def _start_container(self, spec: ContainerSpec, registry: str) -> Container:
        created = self.engine.create(spec)
        try:
            self.engine.put_files(created.id, "/", self.inner.files(registry))
            self.engine.start(created.id)
        except EngineError:
            self.engine.remove(created.id, force=True)
            raise
        return created

    def open_tunnel(self, registry: HostPort) -> Tunnel:
        """Connect this process to the forwarder's network."""
        return Tunnel(lambda: self.engine.exec_stream(self._forwarder, _FORWARDER), registry)

    @contextmanager
    def wait_until_ready(self, container: Container, tunnel: Tunnel) -> Iterator[Engine]:
        """The inner engine, once it answers. Raises EnvironmentUnavailable."""
        endpoint = Endpoint(
            url="unix:///clean-engine", source=f"a clean {self.inner.kind}", dial=lambda: tunnel.connect(SOCKET, wait=_SOCKET_WAIT)
        )

        def answering() -> Engine | None:
            try:
                return connect_to(endpoint)
            except EngineNotFound:
                seen = self.engine.container(container.id)
                if seen is None or not seen.running:
                    raise self._not_ready(container, "ended while it started") from None
                return None

        clean = poll(answering, Deadline(READY_WITHIN), pause=_PAUSE)
        if clean is None:
            raise self._not_ready(container, f"does not answer within {READY_WITHIN:g} s")
        with clean:
            yield clean

    def _not_ready(self, container: Container, what: str) -> EnvironmentUnavailable:
        return EnvironmentUnavailable(
            f"the clean {self.inner.kind} {what}",
            hint="Its log says why. --on here verifies on the current engine.",
            excerpt=self.engine.log_tail(container.id, _LOG_LINES),
        )

    def info(self, clean: Engine) -> EnvironmentInfo:
        """The environment's description in the report."""
        info = clean.info
        return EnvironmentInfo(
            kind=self.inner.kind,
            name=self.inner.kind,
            engine=f"{info.product} {info.version}",
            kernel=info.kernel,
            platform=str(info.platform),
            clean=True,
            image=f"{self.base.name} ({self.base.source})",
        )

    def remove(self) -> None:
        """Remove everything that was created."""
        with defer_signals():
            orphans.clear(self.engine, self.labels)
