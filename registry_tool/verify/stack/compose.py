"""The part of a compose file that a stack needs (Compose Specification, ``05-services.md``), as frozen values.

What is read is in ``docs/stack.md``; everything else is refused with its line, because a key that is passed over in silence
would verify another stack. A key without effect here is one whose absence can only make a service harder to run, or that says
something to this machine. Nothing of this machine goes in but files of variables: no folder, no build, no variable without a name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from registry_tool.base.address import MAX_PORT, is_port, parse_ip
from registry_tool.base.errors import NotFound
from registry_tool.base.interpolation import expand
from registry_tool.base.reader import Document
from registry_tool.base.yaml_reader import read
from registry_tool.verify.spec import MAX_REPLICAS
from registry_tool.verify.stack import env_file

MAX_SERVICES = 16
STARTED, HEALTHY, COMPLETED = "service_started", "service_healthy", "service_completed_successfully"
DEFAULT_NETWORK = "default"
FILE_KEYS = ("name", "networks", "services", "version")
SERVICE_KEYS = (
    *("command", "container_name", "depends_on", "deploy", "entrypoint", "env_file", "environment", "expose", "healthcheck", "image"),
    *("mem_limit", "networks", "pids_limit", "ports", "scale", "stdin_open", "tty", "user"),
)
IGNORED_SERVICE_KEYS = (
    *("annotations", "attach", "blkio_config", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime"),
    *("cpu_shares", "cpus", "cpuset", "develop", "init", "labels", "logging", "mem_reservation", "oom_score_adj", "pull_policy"),
    *("restart", "stop_grace_period", "stop_signal"),
)
ENV_FILE_KEYS = ("format", "path", "required")
DEPLOY_KEYS = (
    "endpoint_mode",
    "labels",
    "mode",
    "placement",
    "replicas",
    "resources",
    "restart_policy",
    "rollback_config",
    "update_config",
)
DEPENDENCY_KEYS = ("condition", "required", "restart")
HEALTHCHECK_KEYS = ("disable", "interval", "retries", "start_interval", "start_period", "test", "timeout")
MAX_RETRIES = 10_000
MAX_PROCESSES = 1 << 22
PORT_KEYS = ("target", "published", "protocol", "mode", "host_ip")

_MACHINE = "a stack takes nothing from this machine"
_FILE_REFUSED = {
    "volumes": "a stack starts without data, and keeps none",
    "configs": _MACHINE,
    "secrets": _MACHINE,
    "include": "one file is read",
}
_SERVICE_REFUSED = {
    "build": "an image is verified as it was pushed",
    "configs": _MACHINE,
    "devices": _MACHINE,
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
_SHELL = ("/bin/sh", "-c")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"0|(?:{_PART.pattern})+", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([bkmgt])b?|bytes)?", re.ASCII)
_SIZES = "bkmgt"
_EXPOSED = re.compile(r"([0-9]{1,5})(?:/tcp)?", re.ASCII)
_ADDRESS = r"\[(?P<bracketed>[^][]+)\]|(?P<address>[0-9A-Fa-f.:]+)"
_PORT = re.compile(rf"(?:(?:(?:{_ADDRESS}):)?(?P<host>[0-9]{{1,5}})?:)?(?P<container>[0-9]{{1,5}})(?:/(?i:tcp))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """A service's own health check. ``command`` is empty where that of its image is turned off; ``start_period`` is in seconds."""

    command: tuple[str, ...] = ()
    start_period: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. ``image`` is as it is written, in ``line``; ``ports`` are (published or None, the container's).

    ``memory`` (bytes) and ``processes`` are limits, None where it has none.
    """

    name: str
    image: str
    line: int
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int | None, int], ...] = ()
    replicas: int = 1
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)
    expose: tuple[int, ...] = ()
    """TCP ports on which it says that it listens."""
    after: tuple[str, ...] = ()
    """What it depends on: started before it."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Name of a service -> what must hold of it before this one starts, where that is more than its start."""
    healthcheck: Healthcheck | None = None
    """None: its image's."""
    alias: str | None = None
    """``container_name``, by which others reach it as well."""
    user: str | None = None
    tty: bool = False
    interactive: bool = False
    memory: int | None = None
    processes: int | None = None


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
    with suppress(OSError):  # there is none
        variables = {**env_file.load(path.parent / ".env", variables), **variables}
    return parse(content, file=str(path), variables=variables)


def parse(content: bytes, *, file: str, variables: Mapping[str, str] = {}) -> Composition:
    """Read ``content``; ``variables`` fill in ``${NAME}``. Raises UsageError: ``FILE:LINE: what``, with what is supported.

    Files of variables are looked for beside ``file``.
    """
    document, lines = read(content, file=file, expand=lambda text: expand(text, variables.get))
    document.only(FILE_KEYS, reasons=_FILE_REFUSED, extensions=True)
    if "services" not in document.members:
        document.refuse(None, "there are no services in it", hint="A compose file has a mapping called services.")
    declared = _networks(document.inner("networks"))
    tables = _mappings(document.inner("services"))
    if not 0 < len(tables) <= MAX_SERVICES:
        document.refuse("services", f"there are {len(tables)}; it should be 1 to {MAX_SERVICES}")
    values = _EnvFiles(Path(file).parent, variables)
    services = {name: _service(name, table, declared, lines, values) for name, table in tables.items()}
    for name, service in services.items():
        for other in service.after:
            if other not in services:
                tables[name].refuse("depends_on", f"there is no service {other[:80]!r}")
    return Composition(
        file=file,
        services=tuple(services[name] for name in _in_order(services, tables)),
        networks=tuple(sorted({network for service in services.values() for network in service.networks})),
    )


def _mappings(document: Document) -> dict[str, Document]:
    """The mappings in ``document``, which has no other members, by names that the engine takes."""
    for name in document.members:
        if not _NAME.fullmatch(name):
            document.refuse(name, "a name is of letters, digits, '_', '.' and '-', at most 63 of them")
    return {name: document.inner(name) for name in document.members}


def _networks(document: Document) -> tuple[str, ...]:
    """The networks that are declared. They are made with the engine's own driver, whatever is written."""
    declared = _mappings(document)
    for settings in declared.values():
        settings.only(("driver",), extensions=True)
        _one_of(settings, "driver", "bridge", "overlay")
    return tuple(declared)


def _service(name: str, service: Document, declared: tuple[str, ...], lines: Mapping[str, int], env_files: _EnvFiles) -> Service:
    service.only((*SERVICE_KEYS, *IGNORED_SERVICE_KEYS), reasons=_SERVICE_REFUSED, extensions=True)
    if not service.has("image"):
        service.refuse(None, "it has no image", hint="A service is an image that was pushed: image: NAME:TAG")
    after, conditions = _after(service)
    limits = service.inner("deploy").inner("resources").inner("limits")
    replicas, alias = _replicas(service), service.parsed("container_name", _container_name)
    if alias and replicas > 1:
        service.refuse("container_name", f"{replicas} containers cannot have one name")
    return Service(
        name=name,
        image=service.text("image") or "",
        line=lines[f"{service.path}.image"],
        command=_command(service, "command") or (),
        entrypoint=_command(service, "entrypoint"),
        environment={**env_files.read(service), **_environment(service)},
        ports=_ports(service),
        replicas=replicas,
        networks=_attached(service, declared),
        expose=_exposed(service),
        after=after,
        conditions=conditions,
        healthcheck=_healthcheck(service),
        alias=alias,
        user=service.text("user", empty=False),
        tty=_truth(service, "tty"),
        interactive=_truth(service, "stdin_open"),
        memory=_least(service.parsed("mem_limit", _size), limits.parsed("memory", _size)),
        processes=_least(_number(service, "pids_limit", MAX_PROCESSES), _number(limits, "pids", MAX_PROCESSES)),
    )


@dataclass(frozen=True, slots=True)
class _EnvFiles:
    """Files of variables in ``folder``; ``variables`` are those of the compose file."""

    folder: Path
    variables: Mapping[str, str]

    def read(self, service: Document) -> dict[str, str]:
        """The variables of ``env_file``: of a name, a list of names, or of mappings with path, required and format."""
        is_one = isinstance(service.members.get("env_file"), str)
        entries = [service.text("env_file") or ""] if is_one else service.items("env_file")
        values: dict[str, str] = {}
        for index, entry in enumerate(entries):
            key, required, raw = "env_file" if is_one else f"env_file[{index}]", True, False
            if isinstance(entry, Document):
                entry.only(ENV_FILE_KEYS, extensions=True)
                _one_of(entry, "format", "raw")
                path, raw = entry.text("path", empty=False) or entry.refuse(None, "it has no path"), entry.has("format")
                required = _truth(entry, "required", default=True)
            else:
                path = entry
            if not path:
                service.refuse(key, "it is empty")
            try:
                values |= env_file.load(self.folder / path, self.variables, raw=raw)
            except FileNotFoundError as error:
                if required:
                    service.refuse(key, f"{path[:80]!r} cannot be read: {error.strerror}")
            except (OSError, ValueError) as error:
                service.refuse(key, f"{path[:80]!r} cannot be read: {getattr(error, 'strerror', None) or error}")
        return values


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _size(text: str) -> int:
    """``50M``, ``1gb`` in bytes: units are powers of 1024, as docker reads a limit of memory. Raises ValueError."""
    match = _SIZE.fullmatch(text.lower())
    if match is None or not (size := int(float(match[1]) * 1024 ** _SIZES.index(match[2] or "b"))):
        raise ValueError(f"{text[:80]!r} is not a size; it looks like 50M or 1g")
    return size


def _container_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name is of letters, digits, '_', '.' and '-', at most 63 of them")
    return text


def _one_of(document: Document, key: str, *allowed: str) -> None:
    value = document.text(key)
    if value is not None and value not in allowed:
        document.refuse(key, f"{value[:80]!r} is not supported", hint=f"Supported: {', '.join(allowed)}.")


def _command(service: Document, key: str) -> tuple[str, ...] | None:
    if isinstance(service.members.get(key), list):
        return service.texts(key)
    text = service.text(key)
    try:
        return None if text is None else tuple(shlex.split(text))
    except ValueError as error:
        service.refuse(key, f"not a command: {error}")


def _environment(service: Document) -> dict[str, str]:
    if isinstance(service.members.get("environment"), list):
        entries = [text.partition("=") for text in service.texts("environment")]
        pairs = [(f"environment[{index}]", name, text if equals else None) for index, (name, equals, text) in enumerate(entries)]
    else:
        inner = service.inner("environment")
        pairs = [(f"environment.{name}", name, inner.text(name)) for name in inner.members]
    variables: dict[str, str] = {}
    for key, name, value in pairs:
        if value is None:
            service.refuse(key, f"{name[:80]!r} has no value: {_MACHINE}", hint="Write NAME: VALUE; an empty one as ''.")
        if name in variables:
            service.refuse(key, f"{name[:80]!r} appears twice")
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            service.refuse(key, f"{name[:80]!r} is not a variable")
        variables[name] = value
    return variables


def _ports(service: Document) -> tuple[tuple[int | None, int], ...]:
    return tuple(_port(service, f"ports[{index}]", entry) for index, entry in enumerate(service.items("ports")))


def _port(service: Document, key: str, entry: Document | str) -> tuple[int | None, int]:
    if isinstance(entry, Document):
        entry.only(PORT_KEYS, extensions=True)
        _one_of(entry, "protocol", "tcp")
        _check_address(entry, "host_ip", entry.text("host_ip"))
        return _number(entry, "published", MAX_PORT), _number(entry, "target", MAX_PORT) or entry.refuse(None, "it has no target")
    match = _PORT.fullmatch(entry)
    numbers = [int(number) for number in (match["host"], match["container"]) if number] if match else []
    if match is None or not all(map(is_port, numbers)):
        service.refuse(key, f"{entry[:80]!r} is not supported", hint='Supported, for TCP: "80", "4000:80", "127.0.0.1:4000:80".')
    _check_address(service, key, match["bracketed"] or match["address"])
    return (int(match["host"]) if match["host"] else None), int(match["container"])


def _check_address(document: Document, key: str, address: str | None) -> None:
    # Compose passes it to the engine, which publishes on every address where it cannot read one.
    try:
        if address:
            parse_ip(address)
    except ValueError as error:
        document.refuse(key, str(error), hint="It looks like 127.0.0.1.")


def _number(document: Document, key: str, most: int) -> int | None:
    """A whole number from 1 on: YAML's own are not taken, as ``22:22`` is one to it."""
    text = document.text(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        document.refuse(key, f"{text[:80]!r} is not a number from 1 to {most}")
    return int(text)


def _replicas(service: Document) -> int:
    scale = _number(service, "scale", MAX_REPLICAS)
    deploy = service.inner("deploy")
    deploy.only(DEPLOY_KEYS, extensions=True)
    _one_of(deploy, "mode", "replicated")
    replicas = _number(deploy, "replicas", MAX_REPLICAS)
    if scale and replicas and scale != replicas:
        service.refuse("scale", f"it is {scale}, and deploy.replicas {replicas}")
    return scale or replicas or 1


def _attached(service: Document, declared: tuple[str, ...]) -> tuple[str, ...]:
    names = _names(service, "networks")
    for name in names:
        if name not in (*declared, DEFAULT_NETWORK):
            service.refuse("networks", f"{name[:80]!r} is not declared in networks")
        if isinstance(service.members["networks"], dict) and service.inner("networks").has(name):
            service.refuse(f"networks.{name}", "settings are not supported", hint="A service is reached by its name.")
    return names or (DEFAULT_NETWORK,)


def _after(service: Document) -> tuple[tuple[str, ...], dict[str, str]]:
    """The services that it depends on, and what must hold of some."""
    names, conditions = _names(service, "depends_on"), {}
    if isinstance(service.members.get("depends_on"), dict):
        for name in names:
            settings = service.inner("depends_on").inner(name)
            settings.only(DEPENDENCY_KEYS, extensions=True)
            _one_of(settings, "condition", STARTED, HEALTHY, COMPLETED)
            _one_of(settings, "required", "true")
            if (condition := settings.text("condition") or STARTED) != STARTED:
                conditions[name] = condition
    return names, conditions


def _exposed(service: Document) -> tuple[int, ...]:
    """Of ``expose`` the single TCP ports: others are not looked at."""
    ports = (_EXPOSED.fullmatch(text) for text in service.texts("expose"))
    return tuple(int(match[1]) for match in ports if match and is_port(int(match[1])))


def _healthcheck(service: Document) -> Healthcheck | None:
    if not service.has("healthcheck"):
        return None
    check = service.inner("healthcheck")
    check.only(HEALTHCHECK_KEYS, extensions=True)
    for key in ("interval", "timeout", "start_interval"):
        check.parsed(key, _duration)
    _number(check, "retries", MAX_RETRIES)
    if _truth(check, "disable"):
        return Healthcheck()
    if not check.has("test"):
        check.refuse(None, "it has no test", hint='It looks like: test: ["CMD", "redis-cli", "ping"]')
    return Healthcheck(command=_test(check), start_period=check.parsed("start_period", _duration) or 0.0)


def _test(check: Document) -> tuple[str, ...]:
    """The command of ``test``: a string is a shell's, a list says first what it is."""
    if not isinstance(check.members["test"], list):
        text = check.text("test", empty=False)
        return () if text is None else (*_SHELL, text)
    kind, *words = check.texts("test") or ("",)
    if kind == "NONE" and not words:
        return ()
    if kind == "CMD" and words and words[0]:
        return tuple(words)
    if kind == "CMD-SHELL" and len(words) == 1 and words[0]:
        return (*_SHELL, *words)
    return check.refuse(
        "test", f"{kind[:80]!r} is not how a test begins", hint='Supported: ["CMD", "redis-cli", "ping"], ["CMD-SHELL", "TEXT"], ["NONE"].'
    )


def _duration(text: str) -> float:
    """``1m30s``, ``500ms`` in seconds. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a time; it looks like 30s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _truth(document: Document, key: str, *, default: bool = False) -> bool:
    """A boolean, in YAML's spellings."""
    text = (document.text(key) or str(default)).lower()
    if text not in ("true", "false", "yes", "no", "on", "off"):
        document.refuse(key, f"{text[:80]!r} is neither true nor false")
    return text in ("true", "yes", "on")


def _names(service: Document, key: str) -> tuple[str, ...]:
    """The names in a list, or those that a mapping has settings for; each once."""
    names = service.texts(key) if isinstance(service.members.get(key), list) else service.inner(key).members
    return tuple(dict.fromkeys(names))


def _in_order(services: Mapping[str, Service], tables: Mapping[str, Document]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: service.after for name, service in services.items()}).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        tables[circle[-1]].refuse("depends_on", f"a circle: {' -> '.join(reversed(circle))}")
