"""What an engine says of its things, as frozen values. Sizes are bytes, times RFC 3339 as the engine gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine itself."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """``host_ip:host_port -> container_port`` (``80/tcp``). An empty ``host_ip`` is every address."""

    container_port: str
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """What a container was given beyond its image. ``binds`` are destinations of what is mounted from the engine's machine."""

    network: str = ""
    """docker's word: ``default``, ``bridge``, ``host``, ``container:ID``, a network's name."""
    privileged: bool = False
    capabilities: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    """Those of the machine that it shares beside the network: ``pid``, ``ipc``, ``uts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container in the engine. ``state`` is docker's word: created, running, paused, restarting, exited, dead, removing."""

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
    health: str | None = None
    """healthy, unhealthy, starting; None where the image or container has no health check, or in a listing."""
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    """As it was asked for: empty is root."""
    out_of_memory: bool = False
    """Whether the kernel ended something in it for its memory."""
    error: str = ""
    """The engine's own word on why it did not start."""
    privileges: Privileges | None = None
    """What it was given beyond its image; None in a listing."""

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    def running(self) -> bool:
        return self.state == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What to create. Everything a registry, a demo or ``run`` needs; nothing is bind-mounted from the host."""

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    """``host_port`` 0 lets the engine choose one."""
    publish_all: bool = False
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Volume name -> destination."""
    network: str | None = None
    """A network's name, ``none``, or ``container:ID`` for that container's own."""
    aliases: tuple[str, ...] = ()
    hostname: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] | None = None
    workdir: str | None = None
    restart: str = "no"
    """no, always, unless-stopped, on-failure[:N]."""
    remove: bool = False
    """The engine removes it, and its anonymous volumes, when it ends."""
    tty: bool = False
    interactive: bool = False
    read_only_volumes: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    """``seccomp=unconfined``, ``apparmor=unconfined``; docker's client knows more words than its engine does."""
    unmasked: bool = False
    """All of ``/proc`` and ``/sys`` is there, and nothing of it read-only by name: docker's ``systempaths=unconfined``."""
    cgroupns: str | None = None
    """private or host; None leaves it to the engine."""
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    memory: int | None = None
    """Bytes that it may use, with no swap beside them."""
    processes: int | None = None
    log_size: int | None = None
    """Bytes of its output that the engine keeps: the last ones."""
    file_size: int | None = None
    """Bytes that one file may grow to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network in the engine."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    """Ids of what is attached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume in the engine."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """What a push or a pull did. ``layers`` is layer id (12 digits) -> its last word: ``Pushed``, ``Already exists``, …"""

    reference: str
    descriptor: Descriptor | None
    """Digest, and size of the manifest in bytes (0 where the engine does not say, as on a pull)."""
    status: str = ""
    """docker's ``Status:`` line, for a pull."""
    layers: Mapping[str, str] = field(default_factory=dict)
    bytes_moved: int = 0
    """Bytes of the layers that moved, as the engine counted them: compressed on a pull, uncompressed on a push."""

    @property
    def digest(self) -> Digest | None:
        return self.descriptor.digest if self.descriptor else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImage:
    """What removing an image name did: names taken away, layers deleted."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
