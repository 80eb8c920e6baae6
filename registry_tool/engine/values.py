"""An engine's objects as frozen values. Sizes are bytes, times RFC 3339 as the engine formats them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Version, platform and storage of an engine."""

    name: str
    version: str
    api_version: str
    platform: Platform
    storage: str
    product: str = ""
    """``Docker`` or ``Podman``."""
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in the engine. ``id`` is the engine's ``Id`` (``sha256:…``); ``names`` are ``REPO:TAG``, ``digests`` ``REPO@sha256:…``."""

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    parent: str = ""
    created: str = ""
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    platform: Platform | None = None
    exposed: tuple[str, ...] = ()
    """``80/tcp``."""
    in_containerd_store: bool = False
    """Whether ``id`` is its manifest's or index's digest, as in containerd's image store; not known of a listing."""
    layer_folder: str = field(default="", compare=False)
    """Folder of its last layer's files on the engine's machine (overlay2), another one after each pull; empty in a listing."""

    @property
    def is_nameless(self) -> bool:
        """Whether it has neither a tag nor a digest by which it was pulled."""
        return not self.names and not self.digests

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id.removeprefix("sha256:")[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """``host_ip:host_port -> container_port`` (``80/tcp``). An empty ``host_ip`` is every address."""

    container_port: str
    host_port: int
    host_ip: str = ""
    last_host_port: int | None = None
    """The engine chooses a free port from ``host_port`` to this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """What a container may use beyond its image. ``binds`` are destinations of what is mounted from the engine's machine."""

    network: str = ""
    """As in docker: ``default``, ``bridge``, ``host``, ``container:ID``, a network's name."""
    privileged: bool = False
    capabilities: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    """Namespaces of the machine that it shares beside the network: ``pid``, ``ipc``, ``uts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container in the engine. ``state`` is docker's: created, running, paused, restarting, exited, dead, removing."""

    id: str
    name: str
    image: str
    image_id: str
    state: str
    status: str = ""
    created: str = ""
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    environment: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Destination -> volume name, or host path of a bind mount."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Network name -> the container's address in it (empty while it is not running)."""
    hostname: str = ""
    exit_code: int | None = None
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    """As configured: empty is root."""
    out_of_memory: bool = False
    """Whether the kernel killed a process in it for lack of memory."""
    error: str = ""
    """The engine's message where it did not start."""
    privileges: Privileges | None = None
    """None in a listing."""
    health_command: tuple[str, ...] = ()
    """Command of its health check (HEALTHCHECK), as an exec takes it; empty where there is none, and in a listing."""

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id[:12]

    @property
    def running(self) -> bool:
        """Whether its state is ``running``."""
        return self.state == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network in the engine."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    """Ids of attached containers; empty in a listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume in the engine. ``options`` are its driver's: ``type``, ``device`` and ``o`` of a mount."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """What a push or a pull did. ``layers`` is layer id (12 digits) -> its last status, as ``Pushed``."""

    reference: str
    descriptor: Descriptor | None
    """Digest and size of the manifest (0 where the engine does not report it, as on a pull)."""
    status: str = ""
    """docker's ``Status:`` line, for a pull."""
    layers: Mapping[str, str] = field(default_factory=dict)
    bytes_moved: int = 0
    """Bytes of the layers that were transferred, by the engine's count: compressed on a pull, uncompressed on a push."""
    partial_of: Digest | None = None
    """The index of which only one platform was pushed, as the engine does not have the others (containerd image store)."""

    @property
    def digest(self) -> Digest | None:
        """The manifest's digest."""
        return self.descriptor.digest if self.descriptor else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImage:
    """What removing an image name did: names untagged, layers deleted."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
