"""Docker's ``--format``: the part of Go's templates that people type at listings, with docker's functions. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry_tool.base.errors import UsageError
from registry_tool.cli.views import formatting

Row = Mapping[str, str]

_ACTION = re.compile(r"(?P<left>\s*\{\{- |\{\{)(?P<body>(?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^\"`}]|\}(?!\}))*?)(?P<right> -\}\}\s*|\}\})")
_WORD = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<pipe>\|)|(?P<word>[^\s|"`()]+))')
_FUNCTIONS: Mapping[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "json": lambda text: json.dumps(text, ensure_ascii=False),
    "print": str,
    "println": lambda text: f"{text}\n",
}
_HINT = """Use fields and functions of docker's: --format '{{.ID}}: {{upper .Names}}', 'table {{.Names}}\\t{{.Status}}' or json"""


@dataclass(frozen=True)
class ListFormat:
    """A format of lines: ``parts`` are texts and functions of a row; ``heads`` of a ``table``, one part each."""

    parts: tuple[str | Callable[[Row], str], ...]
    heads: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str, heads: Mapping[str, str]) -> ListFormat | None:
        """Read ``--format``; ``heads`` is field -> its head in a table. None for ``table`` alone, the usual table. Raises UsageError."""
        text = text.strip()
        if text == "json":
            text = "{{json .}}"
        is_table = text == "table" or text.startswith("table ")
        if is_table:
            text = text.removeprefix("table").strip()
            if not text:
                return None
        text = text.replace("\\t", "\t").replace("\\n", "\n")
        parts: list[str | Callable[[Row], str]] = []
        named: list[str] = []
        end = 0
        for match in _ACTION.finditer(text):
            parts.append(_literal(text[end : match.start()]))
            function, head = _expression(match["body"], heads)
            parts.append(function)
            named.append(head)
            end = match.end()
        parts.append(_literal(text[end:]))
        return cls(parts=tuple(parts), heads=tuple(named) if is_table else None)

    def lines(self, rows: Sequence[Row]) -> list[str]:
        """A line for each row, after the heads of a table."""
        printed = [self._line(row) for row in rows]
        if self.heads is None:
            return printed
        heads = iter(self.heads)
        head = "".join(part if isinstance(part, str) else next(heads) for part in self.parts)
        return _aligned([head, *printed])

    def _line(self, row: Row) -> str:
        return "".join(part if isinstance(part, str) else part(row) for part in self.parts)


def _aligned(lines: Sequence[str]) -> list[str]:
    """Columns that tabs separate, as wide as their content."""
    cells = [line.split("\t") for line in lines]
    width = max(map(len, cells))
    padded = [[*row, *[""] * (width - len(row))] for row in cells]
    return formatting.columns(padded[0], padded[1:])


def _literal(text: str) -> str:
    if "{{" in text or "}}" in text:
        raise UsageError(f"the format has a brace without its partner: {text[:80]!r}", hint=_HINT)
    return text


def _expression(body: str, heads: Mapping[str, str]) -> tuple[Callable[[Row], str], str]:
    """A function of a row, and the head of its column."""
    stages: list[list[str]] = [[]]
    end = 0
    for match in _WORD.finditer(body):
        if match.start() != end:
            break
        end = match.end()
        if match["pipe"]:
            stages.append([])
        else:
            stages[-1].append(match["text"] or match["word"])
    if body[end:].strip() or not all(stages):
        raise _unsupported(body)
    value, head = _value(stages[0], body, heads)
    for stage in stages[1:]:
        if len(stage) != 1 or stage[0] not in _FUNCTIONS:
            raise _unsupported(body)
        value = _applied(_FUNCTIONS[stage[0]], value)
    return value, head


def _value(words: list[str], body: str, heads: Mapping[str, str]) -> tuple[Callable[[Row], str], str]:
    first, *others = words
    if first == ".Label" and len(others) == 1 and others[0][0] in '"`':
        key = others[0][1:-1]
        return lambda row: _labels(row.get("Labels", "")).get(key, ""), key.rpartition(".")[2].upper()
    if first == "json" and others == ["."]:
        return lambda row: json.dumps(dict(row), ensure_ascii=False), "JSON"
    if first in _FUNCTIONS and len(others) == 1:
        value, head = _value(others, body, heads)
        return _applied(_FUNCTIONS[first], value), head
    if others or not first.startswith("."):
        raise _unsupported(body)
    field = first[1:]
    if field not in heads:
        raise UsageError(f"there is no field {first[:80]!r}", hint=f"Fields: {', '.join(f'.{name}' for name in heads)}")
    return lambda row: row[field], heads[field]


def _applied(function: Callable[[str], str], value: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: function(value(row))


def _labels(text: str) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in text.split(",")]
    return {key: value for key, _, value in pairs}


def _unsupported(body: str) -> UsageError:
    return UsageError(f"{{{{{body[:80]}}}}} in the format is not supported", hint=_HINT)
