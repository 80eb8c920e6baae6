"""A local registry's container, and its volume with storage, settings and ``htpasswd``; no bind mounts, as the engine may be remote."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from registry_tool.base import labels
from registry_tool.base.address import HostPort, is_port, parse_ip
from registry_tool.base.address import check_port as check_number
from registry_tool.base.errors import UsageError
from registry_tool.engine.values import PortBinding
from registry_tool.local.registry import proxy
from registry_tool.local.registry.proxy import ProxySettings

if TYPE_CHECKING:
    from registry_tool.engine import ContainerSpec

DEFAULT_NAME = "default"
DEFAULT_PORT = 5000
LOOPBACK = "127.0.0.1"
EVERY_ADDRESS_V6 = "::"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - of the engine's machine, and only where a person asks for it
CONTAINER_PORT = "5000/tcp"
RESTART = "unless-stopped"

STORAGE = "/var/lib/registry"  # Where the volume is mounted. The registry uses `docker/` in it alone.
SETTINGS_FOLDER = "registry-tool"  # this tool's folder in the volume
SETTINGS = f"{STORAGE}/{SETTINGS_FOLDER}/settings.json"
HTPASSWD = f"{STORAGE}/{SETTINGS_FOLDER}/htpasswd"
PROXY = f"{STORAGE}/{SETTINGS_FOLDER}/proxy.yml"
CERTIFICATE = f"{STORAGE}/{SETTINGS_FOLDER}/server.crt"
KEY = f"{STORAGE}/{SETTINGS_FOLDER}/server.key"
AUTHORITY = f"{STORAGE}/{SETTINGS_FOLDER}/ca.crt"
TLS_KINDS = ("ca", "files")
"""Where the certificate comes from: this tool's authority, or files that a person gave."""

COMPOSE_PROJECT = "com.docker.compose.project"
"""Compose's label on everything it creates. Never written: compose would recreate what carries it."""
COMPOSE_SIGNING_KEY = "signs-the-state-of-uploads-on-loopback-and-is-no-credential"
"""The HTTP secret in ``docker-compose.registry.yml``, and so that of a volume which compose created."""

_NO_DELETION = {"REGISTRY_STORAGE_DELETE_ENABLED": "false"}  # a proxy would delete after seven days what it fetched
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Settings that outlive a registry's container. ``secret`` signs the state of uploads, so that they continue in a new one."""

    port: int | None
    secret: str = field(repr=False)
    user: str | None = None
    restart: str = RESTART
    proxy: ProxySettings | None = None
    listen: str = LOOPBACK
    """The address at which it is published beside loopback."""
    tls: str | None = None
    """One of :data:`TLS_KINDS`; None: plain HTTP."""
    names: tuple[str, ...] = ()
    """Further names for its certificate."""

    @classmethod
    def generate(cls) -> RegistrySettings:
        """Settings of a new registry: no port yet, and a random secret."""
        return cls(port=None, secret=secrets.token_hex(32))

    @classmethod
    def parse(cls, content: bytes) -> RegistrySettings:
        """Parse ``settings.json``; unknown members are ignored. Raises ValueError."""
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        port, secret, user = document.get("port"), document.get("secret"), document.get("user")
        restart = document.get("restart", RESTART)
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not is_port(port)):
            raise ValueError(f"not a port: {port!r}")
        if not isinstance(secret, str) or not secret:
            raise ValueError("no secret")
        if user is not None and not isinstance(user, str):
            raise ValueError(f"not a user: {user!r}")
        if not isinstance(restart, str) or not _RESTART.fullmatch(restart):
            raise ValueError(f"not a restart policy: {restart!r}")
        upstream = ProxySettings.parse(document.get("proxy"))
        listen, tls, names = document.get("listen", LOOPBACK), document.get("tls"), document.get("names", [])
        if not isinstance(listen, str):
            raise ValueError(f"not an address: {listen!r}")
        if tls is not None and tls not in TLS_KINDS:
            # Plain HTTP instead would let passwords be read.
            raise ValueError(f"not a kind of TLS: {tls!r}")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"not names: {names!r}")
        return cls(
            port=port,
            secret=secret,
            user=user,
            restart=restart,
            proxy=upstream,
            listen=parse_ip(listen),
            tls=tls,
            names=tuple(names),
        )

    def to_json(self) -> bytes:
        """The content of ``settings.json``."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def resource_name(name: str) -> str:
    """Name of the container and the volume of the registry ``name``."""
    return f"registry-tool-{name}"


def name_option(name: str) -> str:
    """What a suggested command needs to mean the registry ``name``: `` --name team``, nothing for the default one."""
    return "" if name == DEFAULT_NAME else f" --name {name}"


def resource_labels(name: str) -> dict[str, str]:
    """Labels of the container and the volume of the registry ``name``."""
    return {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: name}


def environment(secret: str, *, auth: bool) -> dict[str, str]:
    """The registry's configuration beyond the one in its image (distribution 2.8, configuration.md)."""
    variables = {
        "REGISTRY_STORAGE_DELETE_ENABLED": "true",
        "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true",
        "REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL": "10s",
        "REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD": "3",
        "REGISTRY_HTTP_SECRET": secret,
    }
    if auth:
        variables |= {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "registry-tool", "REGISTRY_AUTH_HTPASSWD_PATH": HTPASSWD}
    return variables


def tls_environment() -> dict[str, str]:
    """The registry's configuration for TLS."""
    return {"REGISTRY_HTTP_TLS_CERTIFICATE": CERTIFICATE, "REGISTRY_HTTP_TLS_KEY": KEY, "REGISTRY_HTTP_TLS_MINIMUMTLS": "tls1.2"}


def container_spec(name: str, *, image: str, port: int, settings: RegistrySettings) -> ContainerSpec:
    """The container of the registry ``name``, published on loopback, and where ``settings`` say."""
    from registry_tool.engine import ContainerSpec  # noqa: PLC0415 - who looks a registry up creates none

    user = {} if settings.user is None else {labels.USER: settings.user}
    tls = {} if settings.tls is None else {labels.TLS: settings.tls}
    return ContainerSpec(
        image=image,
        name=resource_name(name),
        environment=environment(settings.secret, auth=settings.user is not None)
        | (_NO_DELETION if settings.proxy else {})
        | (tls_environment() if settings.tls else {}),
        labels=resource_labels(name) | user | tls | ({} if settings.proxy is None else {labels.PROXY: settings.proxy.url}),
        ports=tuple(PortBinding(container_port=CONTAINER_PORT, host_port=port, host_ip=ip) for ip in published_at(settings.listen)),
        volumes={resource_name(name): STORAGE},
        restart=settings.restart,
        entrypoint=None if settings.proxy is None else proxy.command(PROXY),
        network=resource_name(name) if settings.proxy is not None and settings.proxy.upstream else None,
    )


def published_at(listen: str) -> tuple[str, ...]:
    """The addresses at which a registry is published that listens at ``listen``: loopback is always one of them."""
    return (listen,) if listen in (LOOPBACK, EVERY_ADDRESS) else (LOOPBACK, listen)


def parse_listen(address: str) -> str:
    """The address for ``--listen``; all of loopback is 127.0.0.1. Raises UsageError."""
    try:
        ip = LOOPBACK if address.lower() == "localhost" else parse_ip(address.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise UsageError(str(error), hint="For example: --listen 0.0.0.0, for all IPv4 addresses of the machine") from None
    if ipaddress.ip_address(ip).is_multicast or ip == "255.255.255.255":
        raise UsageError(f"{ip} is no address of one machine")
    return LOOPBACK if is_loopback_ip(ip) else ip


def check_tls_name(name: str) -> str:
    """A name or address for a certificate, in lower case. Raises UsageError."""
    host = name.removeprefix("[").removesuffix("]").lower()
    try:
        HostPort.parse(f"[{host}]" if ":" in host else host)
    except ValueError as error:
        raise UsageError(f"{error}, so no certificate can be made for it", hint="For example: --tls-name registry.example") from None
    return host


def is_loopback_ip(address: str) -> bool:
    """Whether an IP address is of this machine alone."""
    return ipaddress.ip_address(address).is_loopback


def check_name(name: str) -> None:
    """Raise UsageError where ``name`` cannot be part of a container's and a volume's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid registry name {name[:80]!r}: at most 63 of lower-case letters, digits, '_', '.' and '-', none of these three first",
            hint="For example: --name team",
        )


def check_port(port: int) -> None:
    """Raise UsageError where ``port`` is no port's number."""
    try:
        check_number(port)
    except ValueError as error:
        raise UsageError(str(error), hint="For example: --port 5001") from None


def check_restart(restart: str) -> None:
    """Raise UsageError where ``restart`` is not one of docker's policies."""
    if not _RESTART.fullmatch(restart):
        raise UsageError(f"{restart[:80]!r} is not a restart policy", hint="One of: no, always, unless-stopped, on-failure, on-failure:3")


def compose_env(*, port: int, images: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of an ``.env`` file for compose; ``images`` is role (``registry``, ``app``, ``redis``) -> image, where one is known."""
    variables = {"registry": "REGISTRY_TOOL_IMAGE", "app": "REGISTRY_TOOL_APP_IMAGE", "redis": "REGISTRY_TOOL_REDIS_IMAGE"}
    lines = [f"{variable}={images[role]}" for role, variable in variables.items() if role in images]
    return (f"REGISTRY_TOOL_PORT={port}", *lines)
