"""What docker's ``run`` and ``exec`` take as text: volumes, mounts, sizes, files of variables (docker's command line reference). Pure."""

from __future__ import annotations

import csv
import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from registry_tool.base.errors import UsageError
from registry_tool.engine.specs import Mount

_MEMORY = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?P<unit>[kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::[0-9]{1,6})?", re.ASCII)
_PLAIN = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_TYPES = ("bind", "volume", "tmpfs")
_MOUNT_HINT = "It looks like --mount type=bind,source=/srv/data,target=/data,readonly"
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def volume(text: str) -> str:
    """``[NAME|/HOST/PATH:]/PATH[:OPTIONS]`` of ``-v``; a path that begins with a dot is made absolute. Raises UsageError."""
    source, colon, others = text.partition(":")
    target = others.partition(":")[0] if colon else source
    if text.count(":") > 2 or not source or not target.startswith("/") or text.endswith(":"):
        raise UsageError(f"{text[:80]!r} is not a volume", hint="It looks like -v data:/data, -v /srv/data:/data:ro or -v /data.")
    if not target.strip("/"):
        raise UsageError(f"{text[:80]!r}: a volume cannot be mounted at /", hint="Choose a folder of the container: -v data:/data")
    if not colon:
        return text
    if source.startswith("."):
        source = os.path.abspath(source)  # noqa: PTH100 - Path.resolve would follow links
    elif "/" in source and not source.startswith("/"):
        raise UsageError(
            f"{source[:80]!r} is neither a volume's name nor an absolute path", hint=f"For the folder here: -v ./{source}:{others}"
        )
    return f"{source}:{others}"


def mount(text: str) -> Mount:
    """``type=bind,source=/srv,target=/data,readonly`` of ``--mount``. Raises UsageError."""
    values: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}
    for key, value in _mount_fields(text):
        if key in ("type", "source", "target", "readonly"):
            values[key] = value
        elif key in _OPTIONS:
            kind, member, read = _OPTIONS[key]
            options.setdefault(kind, {})[member] = read(key, value)
        else:
            raise UsageError(f"--mount has no {key[:80]!r}", hint=_MOUNT_HINT)
    kind, source, target = values.get("type", "volume").lower(), values.get("source", ""), values.get("target", "")
    if source == "." or source.startswith("./"):
        source = os.path.abspath(source)  # noqa: PTH100 - as docker
    if problem := _mount_problem(kind, source, target, options):
        raise UsageError(f"{text[:80]!r} is not a mount: {problem}", hint=_MOUNT_HINT)
    read_only = _flag("readonly", values.get("readonly", "false"))
    return Mount(type=kind, source=source, target=target, read_only=read_only, options=options.get(kind, {}))


def _mount_fields(text: str) -> Iterator[tuple[str, str]]:
    try:
        (fields,) = list(csv.reader([text], strict=True))
    except (csv.Error, ValueError):
        raise UsageError(f"{text[:80]!r} is not a mount", hint=_MOUNT_HINT) from None
    for field in fields:
        key, equals, value = field.partition("=")
        key = _ALIASES.get(key, key)
        if not equals and key not in ("readonly", "volume-nocopy", "bind-nonrecursive"):
            raise UsageError(f"{field[:80]!r} in --mount is not KEY=VALUE", hint=_MOUNT_HINT)
        yield key, value if equals else "true"


def _mount_problem(kind: str, source: str, target: str, options: Iterable[str]) -> str | None:
    if kind not in _TYPES:
        return f"its type is one of {', '.join(_TYPES)}"
    if not target.startswith("/") or not target.strip("/"):
        return "target is an absolute path below /"
    if other := next((other for other in options if other != kind), None):
        return f"it has options of a {other}"
    if kind == "bind" and not source.startswith("/"):
        return "source is an absolute path"
    return "a tmpfs has no source" if kind == "tmpfs" and source else None


def _flag(key: str, value: str) -> bool:
    if value.lower() not in _PLAIN:
        raise UsageError(f"{key} in --mount is true or false, not {value[:80]!r}")
    return _PLAIN[value.lower()]


def _mode(key: str, value: str) -> int:
    if not re.fullmatch(r"[0-7]{1,5}", value, re.ASCII):
        raise UsageError(f"{key} is not a mode: {value[:80]!r}", hint="It is octal: tmpfs-mode=1777")
    return int(value, 8)


_OPTIONS: Mapping[str, tuple[str, str, Callable[[str, str], Any]]] = {
    "bind-propagation": ("bind", "Propagation", lambda key, value: value.lower()),
    "bind-nonrecursive": ("bind", "NonRecursive", _flag),
    "volume-nocopy": ("volume", "NoCopy", _flag),
    "tmpfs-size": ("tmpfs", "SizeBytes", lambda key, value: memory(value)),
    "tmpfs-mode": ("tmpfs", "Mode", _mode),
}
"""Key -> the type it belongs to, its member in the Engine API, and its parser."""


def memory(text: str) -> int:
    """``512m``, ``1.5g``, ``64MiB``, ``1048576`` in bytes; units are of 1024. Raises UsageError."""
    match = _MEMORY.fullmatch(text.strip())
    size = int(float(match["number"]) * _UNITS[match["unit"].lower()]) if match else 0
    if not 0 < size < 1 << 63:
        raise UsageError(f"{text[:80]!r} is not a size", hint="It looks like 512m or 1g.")
    return size


def restart_policy(text: str) -> str:
    """``no``, ``always``, ``unless-stopped``, ``on-failure[:N]``. Raises UsageError."""
    if not _RESTART.fullmatch(text):
        raise UsageError(f"{text[:80]!r} is not a restart policy", hint="One of: no, always, unless-stopped, on-failure, on-failure:3")
    return text


def env_file(content: bytes, file: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``--env-file``: ``KEY=VALUE`` as it stands, or ``KEY`` from ``environment``; ``#`` begins a comment.

    Raises UsageError, which names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{file}:{number}: not UTF-8", hint="Save the file as UTF-8.") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.removesuffix("\r").lstrip()
        if not entry or entry.startswith("#"):
            continue
        key, equals, value = entry.partition("=")
        if not key or any(letter.isspace() for letter in key) or "\0" in entry:
            raise UsageError(f"{file}:{number}: {entry[:80]!r} is not KEY=VALUE", hint="There are no quotes and no blanks around the '='.")
        if equals:
            values[key] = value
        elif key in environment:
            values[key] = environment[key]
    return values
