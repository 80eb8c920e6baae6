"""TOML from a stranger, decoded into a mapping whose errors say where."""

from __future__ import annotations

import re
import sys
from typing import Any

from registry_tool.base.errors import UsageError
from registry_tool.base.reader import Source, decode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def source(file: str) -> Source:
    """How the errors of ``file`` read."""
    return Source(
        error=UsageError,
        position=lambda path: f"{file}: ",
        kinds={str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"},
        hints={
            str: 'Text is written in quotes: {key} = "…"',
            list: "A list is written in brackets: {key} = […]",
            dict: "A table of a list begins with [[{key}]].",
        },
    )


def read(content: bytes, *, file: str, max_size: int, source: Source) -> dict[str, Any]:
    """Read ``content``, which messages call ``file``. Raises UsageError."""
    text = decode(content, what=file, max_size=max_size, source=source)
    try:
        members: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{file}: nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{file}: {_syntax_error(str(error), text)}", hint="See https://toml.io for how it is written.") from None
    return members


def _syntax_error(message: str, text: str) -> str:
    """The decoder's message after the line's number and its key. What follows a ``=`` may be a secret, and is not shown."""
    what, at, position = message.partition(" (at ")
    if re.match(r"Cannot (?:overwrite|mutate|declare|define|redefine|update|append)|Duplicate", what):
        what = "a name appears twice"
    lines = text.split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    match = re.match(r"line (\d+)", position)
    number = int(match[1]) if match else len(lines)
    shown = lines[number - 1].partition("=")[0].strip() if at and number <= len(lines) else ""
    return f"line {number}{f', {shown[:60]!a}' if shown else ''}: {what[:1].lower()}{what[1:]}"
