"""A clean engine: one of its own in a container, which has nothing, and from which the registry can be reached and nothing else.

Its network is that of the forwarder's container: an internal one with the registry in it, or, where the registry is no
container of this engine, none at all, and the forwarder goes through us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from registry_tool.local.registry import LocalRegistry, find_all
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.environments.inner_engine import INNER, SOCKET, SOCKETS, START, InnerEngine
from registry_tool.verify.environments.tunnel.tunnel import Tunnel, program
from registry_tool.verify.result import EnvironmentInfo

READY_WITHIN = 30.0
"""Seconds for the engine inside to answer; it takes less than one where nothing else is going on."""
OLDEST = (1, 41)
"""The version of an engine's interface that knows control groups of a container's own: Docker 20.10, podman 4."""

_PROGRAM = "registry-tool-door.pyz"
_REGISTRY_PORT = 5000
_PAUSE = 0.02
_LOG_LINES = 15
_CAPABILITIES = (
    "SYS_ADMIN",
    "NET_ADMIN",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "SYS_CHROOT",
    "MKNOD",
)
"""What an engine needs beyond what any container has: mounts, networks, a look at its containers' processes."""


class CleanEnvironment:
    """The engine, its door and what is said of it. See :class:`registry_tool.verify.environments.environment.Environment`."""

    isolated = True

    def __init__(self, where: EnvironmentInfo, engine: Engine, door: Tunnel, marks: Mapping[str, str]) -> None:
        self.where = where
        self.engine = engine
        self._door = door
        self._marks = marks

    def named(self, image: Reference) -> str:
        return str(image)

    def address(self, port: int) -> tuple[str, int]:
        return self._door.address(port)

    def connect(self, port: int, *, timeout: float) -> None:
        """Whether something listens on the published ``port``: ``address`` itself takes any connection. Raises OSError where not."""
        self._door.open(port, timeout=timeout).close()

    def traffic(self, *, reset: bool = False) -> Traffic:
        return self._door.traffic(reset=reset)

    def refuse(self, what: str) -> None:
        """From now on, what the engine asks the registry for is refused: ``nothing``, ``blobs``, ``everything``."""
        self._door.refuse(what)

    def labels(self) -> Mapping[str, str]:
        return self._marks


@contextmanager
def open_clean(
    engine: Engine, kind: str, *, image: Reference, dirs: AppDirs, ladder: BaseImageResolver | None = None, observer: Observer = SILENT
) -> Iterator[CleanEnvironment]:
    """A clean engine of ``kind`` (``docker``, ``podman``), to which ``image``'s registry is what its name says.

    What dead proofs left is removed first, and all that is made here in the end. Raises NoPlace, Unreachable, OSError (no disk space).
    """
    _check(engine)
    address = _registry_address(image)
    ladder = ladder or BaseImageResolver(engine, dirs.cache, observer)
    with runs.begin(dirs.state) as run, ExitStack() as opened:
        try:
            orphans.sweep(engine, dirs.state, labels.ROLE_PROOF)
            inner = INNER[kind]
            making = _Making(engine=engine, run=run, inner=inner, base=ladder.ensure(inner.base), python=ladder.ensure(PYTHON))
            opened.callback(making.remove)
            place = _made(making, image.host, address, opened)
        except RegistryToolError as error:
            if isinstance(error, Unreachable):
                raise
            raise EnvironmentUnavailable(
                f"a clean {kind} cannot be had: {error.message}", hint=error.hint, excerpt=error.excerpt
            ) from error
        yield place


def _made(making: _Making, registry_host: str, address: tuple[str, int], opened: ExitStack) -> CleanEnvironment:
    host, port = address
    registry = next((one for one in find_all(making.engine) if one.running and one.port == port), None)
    inside = making.start_forwarder(registry)
    container = making.start_engine(registry_host)
    door = opened.enter_context(making.open_tunnel(None if registry else address))
    door.listen("127.0.0.1" if host == "localhost" else host, port, inside)
    clean = opened.enter_context(making.wait_until_ready(container, door))
    return CleanEnvironment(making.where(clean), clean, door, making.labels)


def _check(engine: Engine) -> None:
    info = engine.info
    version = tuple(int(part) for part in info.api_version.split(".") if part.isdigit())
    if version < OLDEST:
        raise EnvironmentUnavailable(
            f"{info.product} {info.version} is too old for an engine in a container (API {info.api_version})",
            hint="It takes Docker 20.10 or later; --on here proves it on the present engine.",
        )


def _registry_address(image: Reference) -> tuple[str, int]:
    """Host and port, as the image's name spells them."""
    address = HostPort.parse(image.host)
    if not address.is_loopback:
        raise EnvironmentUnavailable(
            f"a clean engine reaches a registry on this machine only, and {image.host} is elsewhere",
            hint="Use --on here, or --on context:NAME; or copy the image to a local registry: regctl up, then push.",
        )
    return address.host, address.port or 80


def _knocked(door: Tunnel, endpoint: Endpoint) -> Engine | None:
    """The engine, if it answers; None while nobody listens there."""
    try:
        # Cheaper than what the SDK makes of nobody.
        door.open(SOCKET).close()
        return connect_to(endpoint)
    except (OSError, EngineNotFound):
        return None


@dataclass(frozen=True, kw_only=True)
class _Making:
    """The steps of making one. What an interruption finds half made carries the run's labels already."""

    engine: Engine
    run: runs.Run
    inner: InnerEngine
    base: BaseImage
    python: BaseImage

    @property
    def _name(self) -> str:
        return f"registry-tool-proof-{self.run.id}"

    @property
    def labels(self) -> dict[str, str]:
        """Of everything that is made."""
        return self.run.labels(labels.ROLE_PROOF)

    def start_forwarder(self, registry: LocalRegistry | None) -> tuple[str, int] | None:
        """Where the registry is in its network; None where it is not in there."""
        with defer_signals():
            self.engine.create_volume(self._name, labels=self.labels)
        if registry is not None:
            with defer_signals():
                self.engine.create_network(self._name, labels=self.labels, internal=True)
            with defer_signals():
                self.engine.connect_network(self._name, registry.container_id)
        spec = ContainerSpec(
            image=self.python.name,
            name=f"{self._name}-door",
            entrypoint=("python3",),
            command=("-c", "import signal; signal.pause()"),
            network=self._name if registry is not None else "none",
            volumes={self._name: SOCKETS},
            labels=self.labels,
        )
        with defer_signals():
            forwarder = self.engine.create(spec)
        self.engine.put_files(forwarder.id, "/", {_PROGRAM: (program(), 0o644)})
        with defer_signals():
            self.engine.start(forwarder.id)
        # An address and no name: the engine's look-up of names is one more thing that may be slow.
        if registry is None:
            return None
        seen = self.engine.container(registry.container_id)
        address = seen.networks.get(self._name) if seen is not None else None
        if not address:
            raise EnvironmentUnavailable(
                f"the registry {registry.name!r} is going away", hint="Look with: regctl status. Start it with: regctl up."
            )
        return address, _REGISTRY_PORT

    def start_engine(self, registry: str) -> Container:
        """In the form that this engine allows. Raises NoPlace."""
        plain = ContainerSpec(
            image=self.base.name,
            name=f"{self._name}-engine",
            entrypoint=(f"/{START}",),
            network=f"container:{self._name}-door",
            volumes={self._name: SOCKETS},
            labels=self.labels,
            cgroupns="private",
        )
        narrow = replace(plain, cap_add=_CAPABILITIES, security_opt=("seccomp=unconfined", "apparmor=unconfined"), unmasked=True)
        refused: list[EngineError] = []
        for spec in (replace(plain, privileged=True), narrow):
            try:
                with defer_signals():
                    return self._started(spec, registry)
            except EngineError as error:
                refused.append(error)
        raise EnvironmentUnavailable(
            f"this engine does not start an engine in a container: {refused[1].message} (with --privileged: {refused[0].message})",
            hint="It has to allow --privileged, or mounts and networks of a container's own. --on here proves it on the present engine.",
        )

    def _started(self, spec: ContainerSpec, registry: str) -> Container:
        created = self.engine.create(spec)
        try:
            self.engine.put_files(created.id, "/", self.inner.files(registry))
            self.engine.start(created.id)
        except EngineError:
            self.engine.remove(created.id, force=True)
            raise
        return created

    def open_tunnel(self, registry: tuple[str, int] | None) -> Tunnel:
        return Tunnel(self.engine.exec_stream(f"{self._name}-door", ("python3", "-I", "-B", f"/{_PROGRAM}")), registry)

    @contextmanager
    def wait_until_ready(self, container: Container, door: Tunnel) -> Iterator[Engine]:
        """The engine inside, as soon as it answers. Raises NoPlace where it does not."""
        endpoint = Endpoint(url="unix:///clean-engine", source=f"a clean {self.inner.kind}", dial=lambda: door.open(SOCKET))

        def answering() -> Engine | None:
            clean = _knocked(door, endpoint)
            if clean is None:
                seen = self.engine.container(container.id)
                if seen is None or not seen.running:
                    raise self._not_ready(container, "ended while it started")
            return clean

        clean = poll(answering, Deadline(READY_WITHIN), pause=_PAUSE)
        if clean is None:
            raise self._not_ready(container, f"does not answer within {READY_WITHIN:g} s")
        with clean:
            yield clean

    def _not_ready(self, container: Container, what: str) -> EnvironmentUnavailable:
        return EnvironmentUnavailable(
            f"the clean {self.inner.kind} {what}",
            hint="Its log says why. --on here proves it on the present engine.",
            excerpt=self.engine.log_tail(container.id, _LOG_LINES),
        )

    def where(self, clean: Engine) -> EnvironmentInfo:
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
        with defer_signals():
            orphans.clear(self.engine, self.labels)
