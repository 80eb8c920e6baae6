"""Files of variables (``env_file`` and ``.env`` of compose): ``NAME=VALUE`` in lines, with quotes, comments and variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from registry_tool.base.errors import UsageError
from registry_tool.base.interpolation import expand
from registry_tool.base.yaml_reader import MAX_BYTES, at_line

_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?P<equals>=)[ \t]*", re.ASCII)
_SKIPPED = re.compile(r"[ \t]*(?:#[^\n]*)?\n")
_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n)")
_BARE = re.compile(r"(?:[^\n#]|(?<=[^ \t])#)*")
_QUOTED = {"'": re.compile(r"'([^']*)'"), '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "$": "$$"}  # a dollar that stays one, also after the variables were filled in


def load(path: Path, variables: Mapping[str, str], *, raw: bool = False) -> dict[str, str]:
    """Read the file at ``path``; ``variables`` go before its own where its values name some. Raises UsageError, OSError."""
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    return parse(content, file=str(path), variables=variables, raw=raw)


def parse(content: bytes, *, file: str, variables: Mapping[str, str], raw: bool = False) -> dict[str, str]:
    """Read ``content``. With ``raw`` values are taken as they are. Raises UsageError: ``FILE:LINE: what``; never with a value."""
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file} has more than {MAX_BYTES} bytes", hint="Is this the file you meant?")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n") + "\n"
    except UnicodeDecodeError as error:
        raise at_line(file, content[: error.start].count(b"\n") + 1, "not UTF-8") from error
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
            continue
        line = text.count("\n", 0, at) + 1
        match = _LINE.match(text, at)
        if match is None:
            raise at_line(file, line, "not a variable with a value", hint="A line is NAME=VALUE, or a comment that begins with #.")
        try:
            value, at = _raw(text, match.end("equals")) if raw else _value(text, match.end(), {**values, **variables})
        except ValueError as error:
            raise at_line(file, line, f"{match['name'][:80]}: {error}") from error
        if "\0" in value:
            raise at_line(file, line, f"{match['name'][:80]}: there is a zero byte in it")
        values[match["name"]] = value
    return values


def _raw(text: str, at: int) -> tuple[str, int]:
    end = text.index("\n", at)
    return text[at:end], end + 1


def _value(text: str, at: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value that begins at ``at``, and where the next line does. Raises ValueError."""
    quote = text[at] if text[at] in _QUOTED else None
    if quote is None:
        bare = _BARE.match(text, at)
        assert bare is not None  # noqa: S101 - it matches nothing, too
        return expand(bare[0].strip(" \t"), variables.get), text.index("\n", bare.end()) + 1
    quoted = _QUOTED[quote].match(text, at)
    if quoted is None:
        raise ValueError("a quote is not closed")
    end = _END.match(text, quoted.end())
    if end is None:
        raise ValueError("something follows the closing quote")
    if quote == "'":
        return quoted[1], end.end() + 1
    unescaped = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted[1])
    return expand(unescaped, variables.get), end.end() + 1
