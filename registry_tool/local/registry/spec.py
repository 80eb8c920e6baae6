"""What a registry of ours is made of: the one description that ``up`` creates and ``docker-compose.registry.yml`` repeats.

What has to outlive the container lies in its volume, beside the storage: the settings and, where there is a password,
the ``htpasswd`` file. Nothing is bind-mounted from the host, so all of this works on an engine that is elsewhere.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.base import labels
from registry_tool.base.address import check_port as check_number
from registry_tool.base.errors import UsageError
from registry_tool.engine.values import ContainerSpec, PortBinding

DEFAULT_NAME = "default"
FIRST_PORT = 5000
LOOPBACK = "127.0.0.1"
CONTAINER_PORT = "5000/tcp"
RESTART = "unless-stopped"

STORAGE = "/var/lib/registry"
"""The volume's place. The registry keeps its content in ``docker/`` below it and does not look at the rest."""
FOLDER = "registry-tool"
"""Our own folder in the volume."""
SETTINGS = f"{STORAGE}/{FOLDER}/settings.json"
HTPASSWD = f"{STORAGE}/{FOLDER}/htpasswd"

COMPOSE_PROJECT = "com.docker.compose.project"
"""Compose's own label on everything it makes. Read, never written: forged, it makes compose recreate our things."""
COMPOSE_SIGNS_WITH = "signs-the-state-of-uploads-on-loopback-and-is-no-credential"
"""The HTTP secret in ``docker-compose.registry.yml``, and so that of a volume which compose made."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What is remembered of a registry. ``secret`` signs the state of uploads, so that one goes on across a recreation."""

    port: int | None
    secret: str = field(repr=False)
    user: str | None = None
    restart: str = RESTART

    @classmethod
    def fresh(cls) -> RegistrySettings:
        """Those of a registry that never was: no port yet, and a random secret."""
        return cls(port=None, secret=secrets.token_hex(32))

    @classmethod
    def parse(cls, content: bytes) -> RegistrySettings:
        """Read ``settings.json``; unknown members are for later versions. Raises ValueError on anything that is not one."""
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        port, secret, user = document.get("port"), document.get("secret"), document.get("user")
        restart = document.get("restart", RESTART)
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
            raise ValueError(f"not a port: {port!r}")
        if not isinstance(secret, str) or not secret:
            raise ValueError("no secret")
        if user is not None and not isinstance(user, str):
            raise ValueError(f"not a user: {user!r}")
        if not isinstance(restart, str) or not _RESTART.fullmatch(restart):
            raise ValueError(f"not a restart policy: {restart!r}")
        return cls(port=port, secret=secret, user=user, restart=restart)

    def to_json(self) -> bytes:
        document = {"port": self.port, "secret": self.secret, "user": self.user, "restart": self.restart}
        return json.dumps(document, indent=2).encode() + b"\n"


def thing_name(name: str) -> str:
    """What the container and the volume of the registry ``name`` are called."""
    return f"registry-tool-{name}"


def thing_labels(name: str) -> dict[str, str]:
    """The labels by which the container and the volume of the registry ``name`` are found again."""
    return {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: name}


def environment(secret: str, *, auth: bool) -> dict[str, str]:
    """The registry's configuration, as far as it differs from the one in its image (distribution 2.8, configuration.md)."""
    variables = {
        "REGISTRY_STORAGE_DELETE_ENABLED": "true",
        "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true",
        "REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL": "10s",
        "REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD": "3",
        "REGISTRY_HTTP_SECRET": secret,
    }
    if auth:
        variables |= {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "registry-tool",
            "REGISTRY_AUTH_HTPASSWD_PATH": HTPASSWD,
        }
    return variables


def container_spec(name: str, *, image: str, port: int, settings: RegistrySettings) -> ContainerSpec:
    """The container of the registry ``name`` on ``port``, reachable from this machine alone."""
    own = thing_labels(name)
    if settings.user is not None:
        own[labels.USER] = settings.user
    return ContainerSpec(
        image=image,
        name=thing_name(name),
        environment=environment(settings.secret, auth=settings.user is not None),
        labels=own,
        ports=(PortBinding(container_port=CONTAINER_PORT, host_port=port, host_ip=LOOPBACK),),
        volumes={thing_name(name): STORAGE},
        restart=settings.restart,
    )


def check_name(name: str) -> None:
    """Raises UsageError where ``name`` cannot be part of a container's and a volume's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid registry name {name[:80]!r}: at most 63 of lower-case letters, digits, '_', '.' and '-', none of these three first",
            hint="For example: --name team",
        )


def check_port(port: int) -> None:
    """Raises UsageError where ``port`` is none."""
    try:
        check_number(port)
    except ValueError as error:
        raise UsageError(str(error), hint="For example: --port 5001") from None


def check_restart(restart: str) -> None:
    """Raises UsageError where ``restart`` is not a policy that docker knows."""
    if not _RESTART.fullmatch(restart):
        raise UsageError(f"{restart[:80]!r} is not a restart policy", hint="One of: no, always, unless-stopped, on-failure, on-failure:3")


def env_lines(*, port: int, images: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of an ``.env`` file with which compose uses this very registry.

    ``images`` is what stands in for which role here: ``registry``, ``app``, ``redis``; a role that is not known has no line.
    """
    variables = {"registry": "REGISTRY_TOOL_IMAGE", "app": "REGISTRY_TOOL_APP_IMAGE", "redis": "REGISTRY_TOOL_REDIS_IMAGE"}
    lines = [f"{variable}={images[role]}" for role, variable in variables.items() if role in images]
    return (f"REGISTRY_TOOL_PORT={port}", *lines)
