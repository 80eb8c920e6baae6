"""The engine's address, from files alone and in docker's order: context, ``DOCKER_HOST``, ``DOCKER_CONTEXT``, ``config.json``, default."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry_tool.auth import docker_config
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import UsageError

DEFAULT_SOCKET = "/var/run/docker.sock"
PODMAN_SOCKET = "/run/podman/podman.sock"
DEFAULT_CONTEXT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a TLS connection to an engine needs; paths of PEM files."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An engine's address. ``source`` says how it was found: ``DOCKER_HOST``, ``context NAME`` or ``the default socket``."""

    url: str
    source: str
    tls: Tls | None = None
    dial: Callable[[], socket.socket] | None = None
    """For an engine without an address: opens a connection to it; ``url`` is then only a name for messages."""

    @property
    def socket_path(self) -> Path | None:
        """The unix socket; None for other transports."""
        scheme, _, path = self.url.partition("://")
        return Path("/" + path.lstrip("/")) if scheme == "unix" else None

    @property
    def is_local(self) -> bool:
        """Whether what the engine publishes on its loopback is on ours: a unix socket or a loopback address."""
        return self.socket_path is not None or is_loopback(urlsplit(self.url).netloc.rpartition("@")[2])


def find(*, context: str | None = None) -> Endpoint:
    """The engine to use. Raises UsageError where the context does not exist or its address is invalid."""
    if context is None and not os.environ.get("DOCKER_HOST"):
        context = docker_config.current_context()
    if context and context != DEFAULT_CONTEXT:
        return _of_context(context)
    return _of_environment() or _default()


def contexts() -> tuple[str, ...]:
    """The names of all contexts, ``default`` first."""
    names = []
    for file in sorted((docker_config.folder() / "contexts" / "meta").glob("*/meta.json")):
        name = _metadata(file).get("Name")
        if isinstance(name, str) and name:
            names.append(name)
    return (DEFAULT_CONTEXT, *sorted(names))


def _of_environment() -> Endpoint | None:
    url = os.environ.get("DOCKER_HOST")
    if not url:
        return None
    tls = None
    if os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_TLS"):
        folder = Path(os.environ.get("DOCKER_CERT_PATH") or docker_config.folder())
        tls = _tls_files(folder, verify=bool(os.environ.get("DOCKER_TLS_VERIFY")))
    return Endpoint(url=_normalized(url, "DOCKER_HOST"), source="DOCKER_HOST", tls=tls)


def _of_context(name: str) -> Endpoint:
    digest = hashlib.sha256(name.encode()).hexdigest()
    file = docker_config.folder() / "contexts" / "meta" / digest / "meta.json"
    source = f"context {name}"
    if not file.is_file():
        raise UsageError(f"there is no docker context {name!r}", hint=f"Those that exist: {', '.join(contexts())}.")
    docker = (_metadata(file).get("Endpoints") or {}).get("docker") or {}
    url = docker.get("Host")
    if not isinstance(url, str) or not url:
        raise UsageError(f"docker's context {name!r} names no engine", hint=f"Look at {file}.")
    files = docker_config.folder() / "contexts" / "tls" / digest / "docker"
    tls = _tls_files(files, verify=not docker.get("SkipTLSVerify")) if files.is_dir() or docker.get("SkipTLSVerify") else None
    return Endpoint(url=_normalized(url, source), source=source, tls=tls)


def _default() -> Endpoint:
    candidates = [Path(DEFAULT_SOCKET), *_user_sockets(), *_podman_sockets()]
    # Not Path.exists(): another user's folder in the path makes that raise PermissionError.
    chosen = next((path for path in candidates if os.access(path, os.F_OK)), candidates[0])
    return Endpoint(url=f"unix://{chosen}", source="the default socket")


def _user_sockets() -> list[Path]:
    """Sockets of this user's own engines: rootless docker, Docker Desktop."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    rootless = [Path(runtime) / "docker.sock"] if runtime else []
    desktop = Path.home() / ".docker" / "run" / "docker.sock"
    return [desktop, *rootless] if sys.platform == "darwin" else [*rootless, desktop]


def _podman_sockets() -> list[Path]:
    """Podman's sockets, for this user and for root, or of its machine; none where docker's engine is installed and just not running."""
    if shutil.which("docker" if sys.platform == "darwin" else "dockerd"):
        return []
    if sys.platform == "darwin":
        machine = Path.home() / ".local" / "share" / "containers" / "podman" / "machine" / "podman.sock"
        return [Path(tempfile.gettempdir()) / "podman" / "podman-machine-default-api.sock", machine]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [*([Path(runtime) / "podman" / "podman.sock"] if runtime else []), Path(PODMAN_SOCKET)]


def _tls_files(folder: Path, *, verify: bool) -> Tls:
    ca, certificate, key = (path if path.is_file() else None for path in (folder / f"{name}.pem" for name in ("ca", "cert", "key")))
    return Tls(ca=ca, certificate=certificate, key=key, verify=verify)


def _metadata(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"docker's context file cannot be read: {file}: {error}") from error
    return content if isinstance(content, dict) else {}


def _normalized(url: str, source: str) -> str:
    """``url`` as unix://, tcp:// or ssh://; a bare HOST:PORT is tcp, as in docker."""
    text = url if "://" in url else f"tcp://{url}"
    scheme, _, address = text.partition("://")
    scheme = {"http": "tcp", "https": "tcp"}.get(scheme, scheme)
    if scheme not in ("unix", "tcp", "ssh") or not address.strip("/"):
        raise _invalid_address(url, source)
    if scheme == "tcp":
        try:
            port = urlsplit(text).port
        except ValueError:
            raise _invalid_address(url, source) from None
        if port is None:
            raise _invalid_address(url, source)
    return f"{scheme}://{address}"


def _invalid_address(url: str, source: str) -> UsageError:
    return UsageError(
        f"{source} is {url!r}: not an address of an engine that this tool can use",
        hint=_address_hint(url),
    )


def _address_hint(url: str) -> str:
    path = url.removeprefix("unix:")
    if path.startswith("/") and path.strip("/"):
        return f"A socket's address begins with unix:// : unix:///{path.lstrip('/')}"
    host = url.removeprefix("tcp://")
    if host and "/" not in host and ":" not in host:
        return f"It needs a port: tcp://{host}:2375. A socket looks like unix://{DEFAULT_SOCKET}."
    return f"An address looks like unix://{DEFAULT_SOCKET} or tcp://127.0.0.1:2375."
