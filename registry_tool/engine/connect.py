"""The way to an engine, and a clear word where there is none."""

from __future__ import annotations

import errno
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from registry_tool.engine import endpoint as endpoints
from registry_tool.engine.endpoint import Endpoint
from registry_tool.errors import EngineNotFound, EngineNotPermitted, Unreachable

if TYPE_CHECKING:
    from registry_tool.engine.engine import Engine


def connect(*, context: str | None = None) -> Engine:
    """The engine that docker would use, or the one of ``context``; it answered when this returns.

    Raises EngineNotFound, EngineNotPermitted, Unreachable (exit 3), UsageError (no such context).
    """
    endpoint = endpoints.find(context=context)
    if endpoint.url.startswith("ssh://"):
        _require_ssh(endpoint)
    # Imported here: the SDK costs 0.1 s, which `--help` does not have.
    from registry_tool.engine.engine import Engine
    from registry_tool.engine.line import Line

    try:
        return Engine(Line(endpoint))
    except Exception as error:
        raise _diagnosis(endpoint, error) from error


def _require_ssh(endpoint: Endpoint) -> None:
    if importlib.util.find_spec("paramiko") is not None:
        return
    host = endpoint.url.partition("://")[2].rstrip("/")
    raise EngineNotFound(
        f"the engine is reached over ssh ({endpoint.url}, {endpoint.source}), which needs the Python package paramiko",
        hint=f"Install paramiko, or: ssh -nNT -L /tmp/engine.sock:{endpoints.DEFAULT_SOCKET} {host}, and DOCKER_HOST=unix:///tmp/engine.sock.",
    )


def _diagnosis(endpoint: Endpoint, error: Exception) -> Unreachable:
    where = f"{endpoint.url} ({endpoint.source})"
    code = _errno(error)
    path = endpoint.socket_path
    if code in (errno.EACCES, errno.EPERM) and path is not None:
        return EngineNotPermitted(f"an engine is there, but this user may not use its socket: {where}", hint=_permission_hint(path))
    if code == errno.ENOENT:
        return EngineNotFound(f"no container engine found: there is no {where}", hint=install_hint())
    if code == errno.ECONNREFUSED and path is not None:
        return EngineNotFound(f"the container engine is installed but not running: nobody listens at {where}", hint=start_hint())
    if code == errno.ECONNREFUSED:
        return EngineNotFound(f"no container engine answers at {where}: connection refused", hint=start_hint())
    reason = _innermost(error)
    return EngineNotFound(f"no container engine answers at {where}: {reason}", hint=start_hint())


def install_hint(platform: str = sys.platform) -> str:
    """What to do where there is no engine at all."""
    if platform == "darwin":
        return "Install and start Docker Desktop (or colima, OrbStack); then try again."
    return "Install one (Debian, Ubuntu: sudo apt-get install docker.io) and start it (sudo systemctl start docker); DOCKER_HOST names another."


def start_hint(platform: str = sys.platform) -> str:
    """What to do where an engine is installed and does not answer."""
    if platform == "darwin":
        return "Start Docker Desktop (open -a Docker), or your own engine; then try again."
    if Path("/run/systemd/system").is_dir():
        return "Start it: sudo systemctl start docker."
    return "Start it: sudo dockerd (there is no systemd here)."


def _permission_hint(path: Path) -> str:
    try:
        group = path.group()
    except (OSError, KeyError):
        group = "docker"
    return f"Join the group (sudo usermod -aG {group} $USER, then log in again), or use sudo."


def _errno(error: BaseException) -> int | None:
    """The operating system's reason, which the SDK, requests and urllib3 wrap in each other."""
    for layer in _layers(error):
        if isinstance(layer, OSError) and layer.errno is not None:
            return layer.errno
    return None


def _innermost(error: BaseException) -> str:
    *_, last = _layers(error)
    return " ".join(str(last).split()) or type(last).__name__


def _layers(error: BaseException) -> list[BaseException]:
    layers: list[BaseException] = []
    layer: BaseException | None = error
    while layer is not None and layer not in layers:
        layers.append(layer)
        layer = layer.__cause__ or layer.__context__
    return layers
