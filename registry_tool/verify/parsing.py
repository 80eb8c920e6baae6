"""Text of options and of ``portability.toml``: times, sizes, ports, environments. Each function raises ValueError with a message."""

from __future__ import annotations

import re
import shlex

from registry_tool.base.address import HOST

PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
PORTS = rf"({PORT}):({PORT})"
HTTP = rf"{PORTS}(/[!-~]*)?"
SECONDS = r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h)?"
SIZE = r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)"
ENVIRONMENT = r"docker|podman|here|context:[A-Za-z0-9][A-Za-z0-9_.+-]*"
HOST_PORT = f"{HOST}:{PORT}"  # the patterns; `portability.schema.json` has the same

MAX_SECONDS = 86400.0
MAX_BYTES = 1 << 50

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def seconds(text: str) -> float:
    """``2s``, ``500ms``, ``1.5 m``, ``30``, a day at most, in seconds."""
    match = re.fullmatch(SECONDS, text)
    value = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0 < value <= MAX_SECONDS:
        raise ValueError(f"{text[:80]!r} is not a time; it looks like 2s or 500ms, and is a day at most")
    return value


def size(text: str) -> int:
    """``512MiB``, ``10 MB``, in bytes."""
    match = re.fullmatch(SIZE, text)
    value = int(float(match[1]) * _SIZES[match[2]]) if match else 0
    if not 0 < value <= MAX_BYTES:
        raise ValueError(f"{text[:80]!r} is not a size; it looks like 512MiB")
    return value


def ports(text: str) -> tuple[int, int]:
    """``4000:80``: (published port, container's port)."""
    match = re.fullmatch(PORTS, text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a pair of ports; it looks like 4000:80")
    return int(match[1]), int(match[2])


def http(text: str) -> tuple[int, int, str]:
    """``4000:80/PATH``: (published port, container's port, path, ``/`` by default)."""
    match = re.fullmatch(HTTP, text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a page; it looks like 4000:80/PATH, blanks and the like as %20")
    return int(match[1]), int(match[2]), match[3] or "/"


def command(text: str) -> tuple[str, ...]:
    """A command's words, split as by a shell; no shell runs it."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} cannot be split: {str(error).lower()}") from None
    if not words:
        raise ValueError("the command is empty")
    return words


def environment(text: str) -> str:
    """``docker``, ``podman``, ``here`` or ``context:NAME``."""
    if not re.fullmatch(ENVIRONMENT, text):
        raise ValueError(f"{text[:80]!r} is not an environment; there are docker, podman, context:NAME and here")
    return text


def host_port(text: str) -> str:
    """``registry.local:5000``."""
    if not re.fullmatch(HOST_PORT, text):
        raise ValueError(f"{text[:80]!r} is not a registry's address; it looks like 192.168.1.5:5000")
    return text


def is_variable(name: str) -> bool:
    """Whether a variable of the environment may be called ``name``."""
    return bool(name) and "=" not in name and name.isprintable() and not any(map(str.isspace, name))
