"""How registries are reached that a person named at a login: by plain HTTP, or without a check of the certificate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.dirs import app_dirs
from registry_tool.base.errors import RegistryToolError

_NAME = "hosts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Settings of one registry; ``insecure``: its certificate is not checked."""

    plain_http: bool = False
    insecure: bool = False


def load(host: str) -> HostSettings:
    """The settings remembered for ``host``; the secure ones where there are none, or where they cannot be read."""
    settings = _read().get(host)
    members = settings if isinstance(settings, dict) else {}
    return HostSettings(plain_http=members.get("plain_http") is True, insecure=members.get("insecure") is True)


def remember(host: str, settings: HostSettings) -> None:
    """Remember ``settings`` for ``host``. Raises RegistryToolError where they cannot be written."""
    _write(host, {name: True for name in ("plain_http", "insecure") if getattr(settings, name)})


def forget(host: str) -> bool:
    """Forget the settings of ``host``; whether there were some. Raises as :func:`remember`."""
    if host not in _read():
        return False
    _write(host, {})
    return True


def _read() -> dict[str, object]:
    try:
        document = json.loads(_file().read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(host: str, members: dict[str, bool]) -> None:
    try:
        path = _file()
        with files.lock(path.with_suffix(".lock")):
            hosts = {name: settings for name, settings in _read().items() if name != host}
            if members:
                hosts[host] = members
            files.atomic_write(path, json.dumps(hosts, indent=2, sort_keys=True).encode() + b"\n", mode=0o600)
    except OSError as error:
        raise RegistryToolError(
            f"the settings of {host} cannot be remembered: {error.strerror or error}", hint="Make XDG_STATE_HOME writable."
        ) from None


def _file() -> Path:
    return app_dirs().state / _NAME
