"""``portability.toml``: what to verify of an image, kept beside it. ``portability.schema.json`` is its schema, for editors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from registry_tool.base import toml_reader
from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.base.reader import Document
from registry_tool.oci.digest import Digest
from registry_tool.verify import parsing
from registry_tool.verify.spec import MAX_REPLICAS, Exec, Exit, Http, Limits, Log, Probe, Tcp, check_probes

Value = TypeVar("Value")

FILE = "portability.toml"
SERVICES = ("redis",)  # services that need no compose file
MAX_SIZE = 1 << 20  # bytes of the file
SOURCE = toml_reader.source(FILE)

KNOWN = (
    *(
        "image",
        "expect",
        "engines",
        "require",
        "registry-as",
        "services",
        "replicas",
        "stack",
        "environment",
        "probes",
        "timeouts",
        "limits",
    ),
)
PROBES = {"http": ("http", "status", "text", "json", "within")} | {kind: (kind,) for kind in ("tcp", "exec", "log", "exit")}
"""Kind of probe -> its members; the first is required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """The file's settings; None and empty where it has none. Times are in seconds."""

    image: str | None = None
    expect: Digest | None = None
    engines: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    registry_as: str | None = None
    services: tuple[str, ...] = ()
    replicas: int | None = None
    stack: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    timeout: float | None = None
    stop_within: float | None = None
    limits: Limits = field(default_factory=Limits)


def load(folder: Path) -> VerifySettings:
    """The settings of ``portability.toml`` in ``folder``; the defaults where there is none. Raises UsageError, RegistryToolError."""
    path = folder / FILE
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return VerifySettings()
    except OSError as error:
        raise RegistryToolError(f"{FILE} cannot be read: {error.strerror or error}") from error
    settings = parse(content)
    return replace(settings, stack=folder / settings.stack) if settings.stack else settings


def parse(content: bytes) -> VerifySettings:
    """Read the file's content. Raises UsageError, which names the file, the member and what is wrong with it."""
    return from_members(toml_reader.read(content, file=FILE, max_size=MAX_SIZE, source=SOURCE))


def from_members(members: Mapping[str, Any]) -> VerifySettings:
    """The settings of a file that is decoded. Raises UsageError."""
    table = Document(members, source=SOURCE)
    table.only(KNOWN)
    timeouts = table.inner("timeouts")
    timeouts.only(("probes", "stop"))
    stack = table.text("stack", empty=False)
    return VerifySettings(
        image=table.text("image", empty=False),
        expect=table.parsed("expect", Digest.parse),
        engines=_names(table, "engines", parsing.environment),
        require=_names(table, "require", parsing.environment),
        registry_as=table.parsed("registry-as", parsing.host_port),
        services=_names(table, "services", _service),
        replicas=table.number("replicas", least=1, most=MAX_REPLICAS),
        stack=Path(stack) if stack else None,
        environment=_environment(table.inner("environment")),
        probes=_probes(table),
        timeout=_seconds(timeouts, "probes"),
        stop_within=_seconds(timeouts, "stop"),
        limits=_limits(table.inner("limits")),
    )


def _names(table: Document, key: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    """An array of names, none of them twice."""
    names = table.texts(key, empty=False)
    for index, name in enumerate(names):
        try:
            parse(name)
        except ValueError as error:
            table.refuse(key, str(error))
        if name in names[:index]:
            table.refuse(key, f"{name!r} appears twice")
    return names


def _service(name: str) -> str:
    if name not in SERVICES:
        raise ValueError(f"{name[:80]!r} is not a service; there is {', '.join(SERVICES)}, others come by a stack")
    return name


def _environment(table: Document) -> dict[str, str]:
    for name in table.members:
        if not parsing.is_variable(name):
            table.refuse(name, "not a name of a variable")
    return {name: table.text(name) or "" for name in table.members}


def _probes(table: Document) -> tuple[Probe, ...]:
    probes = tuple(map(_probe, table.objects("probes")))
    _checked(table, check_probes, probes=probes)
    return probes


def _probe(table: Document) -> Probe:
    kinds = [kind for kind in PROBES if kind in table.members]
    if len(kinds) != 1:
        why = f"it is {' and '.join(kinds)} at once" if kinds else "it has no kind"
        table.refuse(None, why, hint=f"A probe has one of {', '.join(PROBES)}.")
    [kind] = kinds
    table.only(PROBES[kind])
    if kind == "http":
        published, container, path = table.required("http", parsing.http)
        status, within = table.number("status", least=100, most=599), _seconds(table, "within")
        expected = {"status": status, "within": within, "text": _texts(table, "text"), "json": _json(table.inner("json"))}
        return _checked(table, Http, published=published, container=container, path=path, **expected)
    if kind == "tcp":
        published, container = table.required("tcp", parsing.ports)
        return _checked(table, Tcp, published=published, container=container)
    if kind == "exec":
        return _checked(table, Exec, command=_command(table))
    if kind == "log":
        return _checked(table, Log, text=table.text("log"))
    return _checked(table, Exit, code=table.number("exit", least=0, most=255))


def _checked(table: Document, check: Callable[..., Value], **members: object) -> Value:
    """Call ``check``, whose UsageError is about the whole table."""
    try:
        return check(**members)
    except UsageError as error:
        table.refuse(None, error.message, hint=error.hint)


def _command(table: Document) -> tuple[str, ...]:
    if isinstance(table.members["exec"], list):
        return table.texts("exec", empty=False) or table.refuse("exec", "the command is empty")
    return table.required("exec", parsing.command)


def _texts(table: Document, key: str) -> tuple[str, ...]:
    """A string, or an array of strings."""
    value = table.members.get(key)
    if isinstance(value, list):
        return table.texts(key, empty=False)
    if value is not None and not isinstance(value, str):
        table.refuse(key, f"text or a list of text is required, not {table.describe(value)}")
    text = table.text(key, empty=False)
    return () if text is None else (text,)


def _json(table: Document) -> tuple[tuple[str, str], ...]:
    for name, value in table.members.items():
        if not isinstance(value, (str, int, float, bool)):
            table.refuse(name, "text, a number, true or false is required")
    return tuple((name, value if isinstance(value, str) else json.dumps(value)) for name, value in table.members.items())


def _limits(table: Document) -> Limits:
    table.only(("memory", "processes", "log", "disk", "seconds"))
    limits = {
        "memory": _size(table, "memory"),
        "processes": table.number("processes", least=1, most=1 << 22),
        "log": _size(table, "log"),
        "disk": _size(table, "disk"),
        "seconds": _seconds(table, "seconds"),
    }
    return _checked(table, Limits, **{name: value for name, value in limits.items() if value is not None})


def _seconds(table: Document, key: str) -> float | None:
    """A time as text (``2s``), or a number of seconds."""
    value = table.members.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        inside = math.isfinite(value) and 0 < value <= parsing.MAX_SECONDS
        return float(value) if inside else table.refuse(key, "not a time: more than 0 seconds, and a day at most")
    if value is not None and not isinstance(value, str):
        table.refuse(key, f'a time is wanted (as "2s"), not {table.describe(value)}')
    return table.parsed(key, parsing.seconds)


def _size(table: Document, key: str) -> int | None:
    """A size as text (``512MiB``), or a number of bytes."""
    value = table.members.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return table.number(key, least=1, most=parsing.MAX_BYTES)
    if value is not None and not isinstance(value, str):
        table.refuse(key, f'a size is wanted (as "512MiB"), not {table.describe(value)}')
    return table.parsed(key, parsing.size)
