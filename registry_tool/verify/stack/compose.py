"""The part of a compose file that a stack needs (Compose Specification, ``05-services.md``), as frozen values.

What is read is in ``docs/stack.md``; everything else is refused with its line, because a key that is passed over in silence
would make the proof one of another stack. Nothing of this machine goes in: no folder, no build, no variable without a name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from registry_tool.base.address import MAX_PORT, is_port
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.verify.spec import MOST_REPLICAS
from registry_tool.verify.stack.yaml_reader import Value, read

MAX_SERVICES = 16
DEFAULT_NETWORK = "default"
FILE_KEYS = frozenset({"name", "networks", "services", "version"})
SERVICE_KEYS = frozenset(
    {"command", "depends_on", "deploy", "entrypoint", "environment", "expose", "image", "labels", "networks", "ports", "restart", "scale"}
)
DEPLOY_KEYS = frozenset({"mode", "placement", "replicas", "resources", "restart_policy", "update_config"})

_MACHINE = "a proof takes nothing from this machine"
_FILE_REFUSED = {
    "volumes": "a proof begins with nothing kept, and keeps nothing",
    "configs": _MACHINE,
    "secrets": _MACHINE,
    "include": "one file is read",
}
_SERVICE_REFUSED = {
    "build": "an image is proven as it was pushed",
    "configs": _MACHINE,
    "devices": _MACHINE,
    "env_file": f"{_MACHINE}; write environment",
    "extends": "one file is read",
    "network_mode": "services meet in the stack's own networks",
    "privileged": "a service needs nothing but its image",
    "profiles": "all services are started",
    "secrets": _MACHINE,
    "volumes": f"{_MACHINE}, and keeps nothing",
    "volumes_from": _MACHINE,
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_ADDRESS = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:]+\])"
_PORT = re.compile(rf"(?:(?:{_ADDRESS}:)?(?P<host>[0-9]{{1,5}})?:)?(?P<container>[0-9]{{1,5}})(?:/tcp)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. ``image`` is as it is written, in ``line``; ``ports`` are (published or None, the container's)."""

    name: str
    image: str
    line: int
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int | None, int], ...] = ()
    replicas: int = 1
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)
    after: tuple[str, ...] = ()
    """What it depends on: started before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A file's services in an order in which they can be started, and the networks that they meet in."""

    file: str
    services: tuple[Service, ...]
    networks: tuple[str, ...]


def load(path: Path, variables: Mapping[str, str]) -> Composition:
    """Read the file at ``path``. Raises NotFound, UsageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"the compose file {path} cannot be read: {error.strerror or error}", hint="Name another: --stack FILE") from error
    return parse(content, file=str(path), variables=variables)


def parse(content: bytes, *, file: str, variables: Mapping[str, str] = {}) -> Composition:
    """Read ``content``; ``variables`` fill in ``${NAME}``. Raises UsageError: ``FILE:LINE: what``, with what is supported."""
    top = read(content, file=file, variables=variables)
    members = top.members(known=FILE_KEYS, refused=_FILE_REFUSED)
    declared = _networks(members.get("networks"))
    if "services" not in members:
        raise top.wrong("there are no services in it", hint="A compose file has a mapping called services.")
    found = members["services"].members()
    if not 0 < len(found) <= MAX_SERVICES:
        raise members["services"].wrong(f"has {len(found)} services; it should be 1 to {MAX_SERVICES}")
    services = {name: _service(name, value, declared) for name, value in found.items()}
    for service in services.values():
        for name in service.after:
            if name not in services:
                raise found[service.name].members()["depends_on"].wrong(f"has {name[:80]!r}, and there is no such service")
    return Composition(
        file=file,
        services=tuple(services[name] for name in _in_order(services, found)),
        networks=tuple(sorted({network for service in services.values() for network in service.networks})),
    )


def _networks(value: Value | None) -> frozenset[str]:
    """The networks that are declared. They are made with the engine's own driver, whatever is written."""
    if value is None or value.is_nothing:
        return frozenset()
    declared = value.members()
    for name, settings in declared.items():
        _check_name(name, settings)
        if not settings.is_nothing:
            for driver in settings.members(known={"driver"}).values():
                if driver.text() not in ("bridge", "overlay"):
                    raise driver.wrong(f"is {driver.text()!r}", hint="Supported here: bridge, overlay.")
    return frozenset(declared)


def _service(name: str, value: Value, declared: frozenset[str]) -> Service:
    _check_name(name, value)
    keys = value.members(known=SERVICE_KEYS, refused=_SERVICE_REFUSED)
    if "image" not in keys:
        raise value.wrong("has no image", hint="A service of a proof is an image that was pushed: image: NAME:TAG")
    return Service(
        name=name,
        image=keys["image"].text(),
        line=keys["image"].line,
        command=_words(keys.get("command")) or (),
        entrypoint=_words(keys.get("entrypoint")),
        environment=_environment(keys.get("environment")),
        ports=tuple(_port(port) for port in keys["ports"].items()) if "ports" in keys else (),
        replicas=_replicas(keys),
        networks=_attached(keys.get("networks"), declared),
        after=_after(keys.get("depends_on")),
    )


def _check_name(name: str, value: Value) -> None:
    if not _NAME.fullmatch(name):
        raise value.wrong("should be called by letters, digits, '_', '.' and '-', at most 63 of them")


def _words(value: Value | None) -> tuple[str, ...] | None:
    if value is None or value.is_nothing:
        return None
    if value.is_list:
        return tuple(item.text() for item in value.items())
    try:
        return tuple(shlex.split(value.text()))
    except ValueError as error:
        raise value.wrong(f"is no command: {error}") from error


def _environment(value: Value | None) -> dict[str, str]:
    if value is None or value.is_nothing:
        return {}
    found: dict[str, str] = {}
    if value.is_mapping:
        for name, entry in value.members().items():
            if entry.is_nothing:
                raise _unset(entry, name)
            found[name] = entry.text()
    else:
        for entry in value.items():
            name, equals, text = entry.text().partition("=")
            if not equals:
                raise _unset(entry, name)
            if name in found:
                raise entry.wrong(f"has {name} twice")
            found[name] = text
    for name, text in found.items():
        if not _VARIABLE.fullmatch(name) or "\0" in text:
            raise value.wrong(f"has {name[:80]!r}, which is no variable")
    return found


def _unset(entry: Value, name: str) -> UsageError:
    return entry.wrong(f"has {name[:80]!r} without a value: {_MACHINE}", hint="Write NAME: VALUE; an empty one as ''.")


def _port(value: Value) -> tuple[int | None, int]:
    if value.is_mapping:
        keys = value.members(known={"target", "published", "protocol", "mode", "host_ip"})
        if "target" not in keys:
            raise value.wrong("has an entry without a target")
        if "protocol" in keys and keys["protocol"].text() != "tcp":
            raise keys["protocol"].wrong(f"is {keys['protocol'].text()!r}", hint="Supported here: tcp.")
        return (keys["published"].number(1, MAX_PORT) if "published" in keys else None), keys["target"].number(1, MAX_PORT)
    text = value.text()
    match = _PORT.fullmatch(text)
    numbers = [int(number) for number in (match["host"], match["container"]) if number] if match else []
    if match is None or not all(is_port(number) for number in numbers):
        raise value.wrong(f"has {text[:80]!r}", hint='Supported here, for TCP: "80", "4000:80", "127.0.0.1:4000:80".')
    return (int(match["host"]) if match["host"] else None), int(match["container"])


def _replicas(keys: Mapping[str, Value]) -> int:
    wanted: dict[str, int] = {}
    if "scale" in keys:
        wanted["scale"] = keys["scale"].number(1, MOST_REPLICAS)
    if "deploy" in keys and not keys["deploy"].is_nothing:
        deploy = keys["deploy"].members(known=DEPLOY_KEYS)
        if "mode" in deploy and deploy["mode"].text() != "replicated":
            raise deploy["mode"].wrong(f"is {deploy['mode'].text()!r}", hint="Supported here: replicated.")
        if "replicas" in deploy:
            wanted["deploy"] = deploy["replicas"].number(1, MOST_REPLICAS)
    if len(set(wanted.values())) > 1:
        raise keys["scale"].wrong(f"is {wanted['scale']}, and deploy.replicas {wanted['deploy']}")
    return next(iter(wanted.values()), 1)


def _attached(value: Value | None, declared: frozenset[str]) -> tuple[str, ...]:
    if value is None or value.is_nothing:
        return (DEFAULT_NETWORK,)
    if value.is_mapping:
        members = value.members()
        for settings in members.values():
            if not settings.is_nothing:
                raise settings.wrong("has settings, which are not supported", hint="A service is found by its own name.")
        names = tuple(members)
    else:
        names = tuple(dict.fromkeys(item.text() for item in value.items()))
    for name in names:
        if name not in declared | {DEFAULT_NETWORK}:
            raise value.wrong(f"has {name[:80]!r}, which networks does not declare")
    return names or (DEFAULT_NETWORK,)


def _after(value: Value | None) -> tuple[str, ...]:
    if value is None or value.is_nothing:
        return ()
    if value.is_list:
        return tuple(dict.fromkeys(item.text() for item in value.items()))
    members = value.members()
    for settings in members.values():
        condition = settings.members(known={"condition"}).get("condition")
        if condition is not None and condition.text() != "service_started":
            raise condition.wrong(f"is {condition.text()!r}", hint="Supported here: service_started. A page waits for what it needs.")
    return tuple(members)


def _in_order(services: Mapping[str, Service], values: Mapping[str, Value]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: service.after for name, service in services.items()}).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        raise values[circle[-1]].members()["depends_on"].wrong(f"goes in a circle: {' -> '.join(reversed(circle))}") from error
