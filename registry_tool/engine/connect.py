"""Connecting to an engine, with one clear error where that fails."""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path

from registry_tool.base.errors import EngineNotFound, EngineNotPermitted, Unreachable
from registry_tool.engine import endpoint as endpoints
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.engine import Engine
from registry_tool.engine.engine_errors import causes

_SOCKET_TIMEOUT = 10  # seconds that an engine has to accept a connection


def connect(*, context: str | None = None) -> Engine:
    """Connect to docker's engine or ``context``'s. Raises EngineNotFound, EngineNotPermitted, Unreachable, UsageError (no context)."""
    return connect_to(endpoints.find(context=context))


def connect_to(endpoint: Endpoint) -> Engine:
    """Connect to the engine at ``endpoint``. Raises EngineNotFound, EngineNotPermitted, Unreachable (exit 3)."""
    if endpoint.url.startswith("ssh://"):
        _require_ssh(endpoint)
    if endpoint.dial is None and (path := endpoint.socket_path) is not None:
        _check_socket(endpoint, path)
    # Here, because the SDK behind it costs 0.1 s, which `regctl --help` does not have.
    from registry_tool.engine.client import EngineClient  # noqa: PLC0415

    try:
        client = EngineClient(endpoint)
    except Exception as error:
        raise _connect_error(endpoint, error) from error
    return Engine(client)


def _check_socket(endpoint: Endpoint, path: Path) -> None:
    """Connect once without the SDK, which hides the operating system's error."""
    where = f"{endpoint.url} ({endpoint.source})"
    hint = _source_hint(endpoint)
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(_SOCKET_TIMEOUT)
            trial.connect(str(path))
    except PermissionError as error:
        raise EngineNotPermitted(f"this user may not use the engine's socket {where}", hint=_permission_hint(path)) from error
    except ConnectionRefusedError as error:
        raise EngineNotFound(
            f"a container engine is installed but not running: nothing listens at {where}", hint=hint or start_hint()
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        is_installed = any(shutil.which(program) for program in ("dockerd", "docker", "podman"))
        hint = hint or (start_hint() if is_installed else install_hint())
        raise EngineNotFound(f"no container engine found: there is no {where}", hint=hint) from error
    except OSError as error:
        raise EngineNotFound(f"no container engine answers at {where}: {error.strerror or error}", hint=hint or start_hint()) from error


def _require_ssh(endpoint: Endpoint) -> None:
    if importlib.util.find_spec("paramiko") is not None:
        return
    host = endpoint.url.partition("://")[2].rstrip("/")
    raise EngineNotFound(
        f"the engine is reached over ssh ({endpoint.url}, {endpoint.source}), which needs the Python package paramiko",
        hint=f"Install it, or: ssh -fNL /tmp/engine.sock:{endpoints.DEFAULT_SOCKET} {host}, then DOCKER_HOST=unix:///tmp/engine.sock.",
    )


def _connect_error(endpoint: Endpoint, error: Exception) -> Unreachable:
    """The error for a failed connection."""
    where, hint = f"{endpoint.url} ({endpoint.source})", _source_hint(endpoint) or start_hint()
    chain = causes(error)
    responded = any(getattr(cause, "response", None) is not None for cause in chain)
    if responded or any(isinstance(cause, ValueError | KeyError | http.client.HTTPException) for cause in chain):
        return EngineNotFound(f"the server at {where} is not a container engine, or not ready", hint=hint)
    reason = " ".join(str(chain[-1]).split()) or type(chain[-1]).__name__
    return EngineNotFound(f"no container engine answers at {where}: {reason}", hint=hint)


def _source_hint(endpoint: Endpoint) -> str | None:
    """What to do where a person named the engine that does not answer; None for the default one."""
    if endpoint.source == "DOCKER_HOST":
        return "Start that engine, or correct DOCKER_HOST; without it (unset DOCKER_HOST) docker's default engine is used."
    if endpoint.source.startswith("context "):
        return "Start that engine, or use docker's default one: regctl --context default …"
    return None


def install_hint(platform: str = sys.platform) -> str:
    """What to do where no engine is installed."""
    if platform == "darwin":
        return "Install Docker Desktop, colima or OrbStack, and start it."
    return "Install one (Debian, Ubuntu: sudo apt-get install docker.io) and start it, or name another one in DOCKER_HOST."


def start_hint(platform: str = sys.platform) -> str:
    """What to do where an installed engine does not answer."""
    if shutil.which("podman") and not shutil.which("docker" if platform == "darwin" else "dockerd"):
        return _podman_hint(platform)
    if platform == "darwin":
        return "Start it (open -a Docker), or name another one in DOCKER_HOST."
    if "microsoft" in os.uname().release.lower():
        return "Start Docker Desktop on Windows, or: sudo service docker start."
    if Path("/run/systemd/system").is_dir():
        return "Start it: sudo systemctl start docker."
    return "Start it: sudo service docker start."


def _podman_hint(platform: str) -> str:
    if platform == "darwin":
        return "Start podman's machine: podman machine start."
    if not Path("/run/systemd/system").is_dir():
        return "Start podman's service: podman system service --time=0 &"
    return f"Start podman's socket: {'sudo systemctl' if os.geteuid() == 0 else 'systemctl --user'} start podman.socket."


def _permission_hint(path: Path) -> str:
    try:
        group = path.group()
    except (OSError, KeyError):
        group = "docker"
    if group == "root":
        return "Use sudo."
    return f"Join its group (sudo usermod -aG {group} $USER, then log in again), or use sudo."
