"""The ``auth.json`` of podman, buildah and skopeo (containers-auth.json(5)); read, never written.

It has the form of docker's configuration: ``auths`` and ``credHelpers``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from registry_tool.auth import docker_config


def file() -> Path | None:
    """``$REGISTRY_AUTH_FILE``, else the first of podman's folders that has one; None where there is none."""
    if name := os.environ.get("REGISTRY_AUTH_FILE"):
        return Path(name)
    runtime, config = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CONFIG_HOME")
    folders = (
        Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}"),
        (Path(config) if config else Path.home() / ".config") / "containers",
    )
    return next((path for folder in folders if (path := folder / "auth.json").is_file()), None)


def load() -> dict[str, Any]:
    """Its content, empty where there is none. Raises CredentialsError where it cannot be read or is no JSON object."""
    path = file()
    return {} if path is None else docker_config.load_object(path, name="", login="log in again: podman login")
