"""Where podman, buildah and skopeo keep user names and passwords (containers-auth.json(5)). Read, never written.

The file has the form of docker's configuration: ``auths`` and ``credHelpers``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from registry_tool.base.errors import CredentialsError


def file() -> Path | None:
    """``$REGISTRY_AUTH_FILE``, else the first of podman's own places that has a file; None where there is none."""
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        return Path(named)
    runtime, config = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CONFIG_HOME")
    folders = (
        Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}"),
        (Path(config) if config else Path.home() / ".config") / "containers",
    )
    return next((path for folder in folders if (path := folder / "auth.json").is_file()), None)


def load() -> dict[str, Any]:
    """What is in it, empty where there is none. Raises CredentialsError where it cannot be read or is no JSON object."""
    path = file()
    if path is None:
        return {}
    try:
        # Nothing of the content is ever quoted in a message: there are passwords in it.
        document = json.loads(path.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror}", hint="Make it a file that this user may read.") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CredentialsError(f"{path} is not a JSON object", hint="Repair it, or move it away and log in again: podman login")
    return document
