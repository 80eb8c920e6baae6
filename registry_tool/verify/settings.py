"""``portability.toml``: what is to be proven of an image, kept beside it. ``portability.schema.json`` says the same for editors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.verify import parsing
from registry_tool.verify.spec import MOST_REPLICAS, Exec, Exit, Http, Limits, Log, Probe, Tcp
from registry_tool.verify.toml_table import TomlTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Value = TypeVar("Value")

FILE = "portability.toml"
SERVICES = ("redis",)
"""What can be had beside an image without a compose file."""
MAX_SIZE = 1 << 20
"""Bytes of the file."""

KNOWN = (
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
)
PROBES: Mapping[str, tuple[str, ...]] = {
    "http": ("http", "status", "text", "json", "within"),
    "tcp": ("tcp",),
    "exec": ("exec",),
    "log": ("log",),
    "exit": ("exit",),
}
"""A probe is what its first member says, and may have the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """What the file says; None and empty where it says nothing. ``stack`` is as seen from the file's folder. Times are seconds."""

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


def find(folder: Path) -> VerifySettings:
    """What ``portability.toml`` in ``folder`` says; nothing where there is none. Raises UsageError, RegistryToolError."""
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


def parse(content: bytes, *, file: str = FILE) -> VerifySettings:
    """Read the file's content. Raises UsageError, which names the file, the member and what is wrong with it."""
    if len(content) > MAX_SIZE:
        raise UsageError(f"{file}: more than {MAX_SIZE} bytes are no settings")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not UTF-8", hint="TOML is written in UTF-8.") from None
    try:
        members = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{file}: nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{file}: {_decoder(str(error), text)}", hint="See https://toml.io for how it is written.") from None
    return of(TomlTable(members, file))


def of(table: TomlTable) -> VerifySettings:
    """What the file says, once it is decoded. Raises UsageError."""
    table.only(KNOWN)
    timeouts = table.inner("timeouts")
    timeouts.only(("probes", "stop"))
    stack = table.text("stack")
    return VerifySettings(
        image=table.text("image"),
        expect=table.spelled("expect", Digest.parse),
        engines=_places(table, "engines"),
        require=_places(table, "require"),
        registry_as=table.spelled("registry-as", parsing.host_port),
        services=_services(table),
        replicas=table.number("replicas", least=1, most=MOST_REPLICAS),
        stack=Path(stack) if stack else None,
        environment=_environment(table),
        probes=_probes(table),
        timeout=timeouts.seconds("probes"),
        stop_within=timeouts.seconds("stop"),
        limits=_limits(table),
    )


def _places(table: TomlTable, key: str) -> tuple[str, ...]:
    names = table.texts(key)
    for name in names:
        table.checked(key, parsing.where, name)
    return table.once(key, names)


def _services(table: TomlTable) -> tuple[str, ...]:
    names = table.texts("services")
    for name in names:
        if name not in SERVICES:
            table.refuse(
                "services", f"{name[:80]!r} is no service that is known", hint=f"There is: {', '.join(SERVICES)}. Others come by a stack."
            )
    return table.once("services", names)


def _environment(table: TomlTable) -> dict[str, str]:
    inner = table.inner("environment")
    for name in inner.members:
        if not name or "=" in name or any(letter.isspace() or not letter.isprintable() for letter in name):
            inner.refuse(name, "no name for a variable")
    return {name: inner.string(name) for name in inner.members}


def _probes(table: TomlTable) -> tuple[Probe, ...]:
    probes = tuple(map(_probe, table.tables("probes")))
    published: dict[int, int] = {}
    for probe in probes:
        if isinstance(probe, (Http, Tcp)) and published.setdefault(probe.published, probe.container) != probe.container:
            table.refuse("probes", f"port {probe.published} is published for {published[probe.published]} and for {probe.container}")
    return probes


def _probe(table: TomlTable) -> Probe:
    kinds = [kind for kind in PROBES if kind in table.members]
    if len(kinds) != 1:
        words = f"it is {' and '.join(kinds)} at once" if kinds else "it does not say what it is"
        raise UsageError(f"{table.where}: {words}", hint=f"A probe has one of {', '.join(PROBES)}.")
    [kind] = kinds
    table.only(PROBES[kind])
    if kind == "http":
        published, container, path = table.needed("http", parsing.http)
        status, within = table.number("status", least=100, most=599), table.seconds("within")
        expected = {"status": status, "within": within, "text": table.text_or_texts("text"), "json": _json(table)}
        return _built(table, Http, published=published, container=container, path=path, **expected)
    if kind == "tcp":
        published, container = table.needed("tcp", parsing.ports)
        return _built(table, Tcp, published=published, container=container)
    if kind == "exec":
        return _built(table, Exec, command=_command(table))
    if kind == "log":
        return _built(table, Log, text=table.text("log"))
    return _built(table, Exit, code=table.number("exit", least=0, most=255))


def _built(table: TomlTable, kind: Callable[..., Value], **members: object) -> Value:
    """What is well-formed each by itself may not be together; then the words are the kind's own."""
    try:
        return kind(**members)
    except UsageError as error:
        raise UsageError(f"{table.where}: {error.message}", hint=error.hint) from None


def _command(table: TomlTable) -> tuple[str, ...]:
    if isinstance(table.members["exec"], list):
        return table.texts("exec") or table.refuse("exec", "the command is empty")
    return table.needed("exec", parsing.command)


def _json(table: TomlTable) -> tuple[tuple[str, str], ...]:
    inner = table.inner("json")
    for name, value in inner.members.items():
        if not isinstance(value, (str, int, float, bool)):
            inner.refuse(name, "text, a number, true or false is wanted")
    return tuple((name, value if isinstance(value, str) else json.dumps(value)) for name, value in inner.members.items())


def _limits(table: TomlTable) -> Limits:
    inner = table.inner("limits")
    inner.only(("memory", "processes", "log", "disk", "seconds"))
    limits = {
        "memory": inner.size("memory"),
        "processes": inner.number("processes", least=1, most=1 << 22),
        "log": inner.size("log"),
        "disk": inner.size("disk"),
        "seconds": inner.seconds("seconds"),
    }
    return _built(inner, Limits, **{name: value for name, value in limits.items() if value is not None})


def _decoder(words: str, text: str) -> str:
    """A decoder's words, with the line itself before the position. What follows a ``=`` may be a secret, and is not shown."""
    what, at, position = words.partition(" (at ")
    if re.match(r"Cannot (?:overwrite|mutate|declare|define|redefine|update|append)|Duplicate", what):
        what = "a name comes twice"
    lines = text.split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    number = int(found[1]) if (found := re.match(r"line (\d+)", position)) else len(lines)
    shown = lines[number - 1].partition("=")[0].strip() if at and number <= len(lines) else ""
    return f"line {number}{f', {shown[:60]!a}' if shown else ''}: {what[:1].lower()}{what[1:]}"
