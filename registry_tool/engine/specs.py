"""What an engine is asked to create and to run, as frozen values. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry_tool.engine.values import PortBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One of docker's ``--mount``: ``type`` is ``bind``, ``volume`` or ``tmpfs``."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """The members of ``BindOptions``, ``VolumeOptions`` or ``TmpfsOptions`` (Engine API)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Configuration of a container to create. Only ``binds`` and ``mounts`` take folders of the engine's machine."""

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    """``host_port`` 0 lets the engine choose one."""
    publish_all: bool = False
    """Whether each port that the image exposes is published on a free one."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Volume name -> destination."""
    binds: tuple[str, ...] = ()
    """docker's ``-v``: ``SOURCE:DESTINATION[:OPTIONS]``, or a destination alone for an anonymous volume."""
    mounts: tuple[Mount, ...] = ()
    network: str | None = None
    """A network's name, ``host``, ``none``, or ``container:ID`` for that container's own."""
    aliases: tuple[str, ...] = ()
    user: str | None = None
    entrypoint: tuple[str, ...] | None = None
    working_dir: str | None = None
    platform: str | None = None
    """``linux/arm64``, of a multi-platform image; None: the engine's own."""
    restart: str = "no"
    """no, always, unless-stopped, on-failure[:N]."""
    remove: bool = False
    """Whether the engine removes it, with its anonymous volumes, when it ends."""
    tty: bool = False
    terminal_size: tuple[int, int] | None = None
    """Rows and columns at the start, where an engine takes them (API 1.42)."""
    interactive: bool = False
    read_only_volumes: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    """``seccomp=unconfined``, ``apparmor=unconfined``; some values of docker's client are unknown to its engine."""
    unmasked: bool = False
    """No path of ``/proc`` and ``/sys`` is masked or read-only: docker's ``systempaths=unconfined``."""
    device_rules: tuple[str, ...] = ()
    """Devices that it may use beyond the engine's list, in the form of control groups: ``c 5:1 rwm``."""
    cgroupns: str | None = None
    """private or host; None: the engine's default."""
    memory: int | None = None
    """Limit in bytes."""
    swap: bool = False
    """Whether it may swap as many bytes as ``memory`` again, docker's default with ``-m``."""
    processes: int | None = None
    log_size: int | None = None
    """How many bytes of its output the engine keeps: the last ones."""
    file_size: int | None = None
    """Limit in bytes for one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A command to run in a running container."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str | None = None
    tty: bool = False
    interactive: bool = False
