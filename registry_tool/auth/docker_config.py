"""docker's own configuration: ``config.json`` in ``$DOCKER_CONFIG`` or ``~/.docker`` (docker's command line reference,
"Configuration files"). It belongs to docker and to the person: what this tool does not know in it is kept as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_tool.base import files
from registry_tool.base.dirs import app_dirs
from registry_tool.base.errors import CredentialsError


def folder() -> Path:
    """``$DOCKER_CONFIG``, or ``~/.docker``. It need not be there."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def file() -> Path:
    """``config.json`` in :func:`folder`."""
    return folder() / "config.json"


def load() -> dict[str, Any]:
    """The configuration, empty where there is none. Raises CredentialsError where it cannot be read or is no JSON object."""
    path = file()
    try:
        # Nothing of the content is ever quoted in a message: there are passwords in it.
        document = json.loads(path.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(
            f"docker's configuration {path} cannot be read: {error.strerror}", hint="Make it a file that this user may read."
        ) from None
    except (ValueError, RecursionError):
        raise _rubbish(path, "is not JSON") from None
    if not isinstance(document, dict):
        raise _rubbish(path, "is not a JSON object")
    return document


def save(changes: Mapping[str, Any]) -> None:
    """Change the configuration as a JSON merge patch does (RFC 7386): objects are merged, None removes, the rest is kept.

    Written atomically, readable by its owner alone. Two of us that write at once take turns, so that neither change
    is lost. Raises CredentialsError.
    """
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
    """The context that docker would use: ``DOCKER_CONTEXT``, or ``docker context use``'s choice. None is the default one.

    ``DOCKER_HOST`` goes before it and is the caller's to look at. Raises CredentialsError as :func:`load` does.
    """
    name = os.environ.get("DOCKER_CONTEXT") or load().get("currentContext")
    return name if isinstance(name, str) and name not in ("", "default") else None


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


def _rubbish(path: Path, why: str) -> CredentialsError:
    return CredentialsError(f"docker's configuration {path} {why}", hint="Repair it, or move it away and log in again.")
