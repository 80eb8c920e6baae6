"""Docker's configuration: ``config.json`` in ``$DOCKER_CONFIG`` or ``~/.docker``. Members that this tool does not know are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry_tool.base import files
from registry_tool.base.dirs import app_dirs
from registry_tool.base.errors import CredentialsError


def folder() -> Path:
    """``$DOCKER_CONFIG``, or ``~/.docker``; it may not exist."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def file() -> Path:
    """``config.json`` in :func:`folder`."""
    return folder() / "config.json"


def load() -> dict[str, Any]:
    """The configuration, empty where there is none. Raises CredentialsError where it cannot be read or is no JSON object."""
    return load_object(file(), name="docker's configuration ", login="log in again.")


def load_object(path: Path, *, name: str, login: str) -> dict[str, Any]:
    """The JSON object in ``path``, empty where there is no file; ``name`` and ``login`` are for messages. Raises CredentialsError.

    Strings may have line breaks in them, as ``base64`` makes them.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(f"{name}{path} cannot be read: {error.strerror}", hint="Make it a file that this user may read.") from None
    return parse_object(content or b"{}", f"{name}{path}", hint=f"Repair it, or move it away and {login}")


def parse_object(content: bytes, name: str, *, hint: str) -> dict[str, Any]:
    """The JSON object ``content``; ``name`` is for the message. Raises CredentialsError."""
    document: object = None
    # No message quotes the content: it has passwords.
    with suppress(ValueError, RecursionError):
        document = json.loads(content, strict=False)
    if not isinstance(document, dict):
        raise CredentialsError(f"{name} is not a JSON object", hint=hint)
    return document


def save(changes: Mapping[str, Any]) -> None:
    """Apply a JSON merge patch (RFC 7386), atomically and one process at a time; readable by the owner only. Raises CredentialsError."""
    path = file()
    try:
        with files.lock(app_dirs().state / "docker-config.lock"):
            document = _merged(load(), changes)
            files.atomic_write(path, json.dumps(document, indent="\t").encode() + b"\n", mode=0o600)
    except OSError as error:
        raise CredentialsError(
            f"docker's configuration {path} cannot be written: {error.strerror}",
            hint="Make its folder writable, or name another one in DOCKER_CONFIG.",
        ) from None


def current_context() -> str | None:
    """The context that docker uses where ``$DOCKER_HOST`` is not set; None for the default one. Raises CredentialsError as :func:`load`."""
    name = os.environ.get("DOCKER_CONTEXT") or load().get("currentContext")
    return name if isinstance(name, str) and name not in ("", "default") else None


_PROXIES = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "ftpProxy": "FTP_PROXY", "noProxy": "NO_PROXY", "allProxy": "ALL_PROXY"}


def proxy_variables(engine: str, on_warning: Callable[[str], None]) -> dict[str, str]:
    """The variables that docker gives to builds and containers (``proxies``), in upper and lower case.

    ``engine`` is the engine's URL: its own entry counts before ``default``. A configuration that cannot be read is a warning, as
    in docker.
    """
    try:
        proxies = load().get("proxies")
    except CredentialsError as error:
        on_warning(f"{error.message}: going on without its proxies")
        return {}
    entry = (proxies.get(engine) or proxies.get("default")) if isinstance(proxies, dict) else None
    variables: dict[str, str] = {}
    for member, name in _PROXIES.items():
        value = entry.get(member) if isinstance(entry, dict) else None
        if isinstance(value, str) and value:
            variables |= {name: value, name.lower(): value}
    return variables


def _merged(target: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(target) if isinstance(target, dict) else {}
    for key, change in changes.items():
        if change is None:
            result.pop(key, None)
        elif isinstance(change, Mapping):
            result[key] = _merged(result.get(key), change)
        else:
            result[key] = change
    return result
