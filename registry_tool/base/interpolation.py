"""Variables in the texts of a compose file (Compose Specification, ``12-interpolation.md``).

``$NAME``, ``${NAME}``, and with what stands in for it: ``${NAME-DEFAULT}``, ``${NAME+OTHER}``, ``${NAME?MESSAGE}``; with a colon an empty
variable counts as none. They may be nested. ``$$`` is the letter itself. Everything else with a ``$`` is an error, as to compose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_DEPTH = 16

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATOR = re.compile(r":?[-+?]")
_FORMS = "there are $NAME, ${NAME} and ${NAME:-DEFAULT} with -, :-, +, :+, ?, :?; $$ is the letter itself"

Lookup = Callable[[str], str | None]
"""The value of a variable; None where it is not set."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    operator: str
    """``-``, ``+`` or ``?``, with or without a colon before it; empty where there is none."""
    other: tuple[str | _Variable, ...]
    """What follows the operator."""


def expand(text: str, lookup: Lookup) -> str:
    """Return ``text`` with its variables filled in. Raises ValueError where one is not set, or where a ``$`` begins none."""
    if "$" not in text:
        return text
    parts, _ = _parse(text, 0, 0)
    return _evaluate(parts, lookup)


def _parse(text: str, at: int, depth: int) -> tuple[tuple[str | _Variable, ...], int]:
    """The parts of ``text`` from ``at`` to its end, or where ``depth`` is not 0 to the brace that closes them; and where that is."""
    if depth > MAX_DEPTH:
        raise ValueError(f"its variables are nested more than {MAX_DEPTH} deep")
    parts: list[str | _Variable] = []
    begin = at
    while at < len(text):
        if depth and text[at] == "}":
            return (*parts, text[begin:at]), at
        if text[at] != "$":
            at += 1
            continue
        parts.append(text[begin:at])
        if text.startswith("$$", at):
            parts.append("$")
            at += 2
        else:
            variable, at = _parse_variable(text, at + 1, depth)
            parts.append(variable)
        begin = at
    if depth:
        raise ValueError("a ${ has no } that closes it")
    return (*parts, text[begin:]), at


def _parse_variable(text: str, at: int, depth: int) -> tuple[_Variable, int]:
    braced = text.startswith("{", at)
    name = _NAME.match(text, at + braced)
    if name is None:
        raise ValueError(f"a $ begins no variable: {_FORMS}")
    at = name.end()
    if not braced:
        return _Variable(name[0], "", ()), at
    if text.startswith("}", at):
        return _Variable(name[0], "", ()), at + 1
    operator = _OPERATOR.match(text, at)
    if operator is None:
        raise ValueError(f"${{{name[0]} is not followed by a form that compose has: {_FORMS}")
    other, at = _parse(text, operator.end(), depth + 1)
    return _Variable(name[0], operator[0], other), at + 1


def _evaluate(parts: tuple[str | _Variable, ...], lookup: Lookup) -> str:
    return "".join(part if isinstance(part, str) else _value(part, lookup) for part in parts)


def _value(variable: _Variable, lookup: Lookup) -> str:
    value = lookup(variable.name)
    is_set = value is not None and not (variable.operator.startswith(":") and not value)
    kind = variable.operator[-1:]
    if kind == "+":
        return _evaluate(variable.other, lookup) if is_set else ""
    if is_set:
        return value or ""
    if kind == "-":
        return _evaluate(variable.other, lookup)
    if kind == "?":
        message = _evaluate(variable.other, lookup)
        raise ValueError(f"it requires the variable {variable.name}, which is not set{f': {message}' if message else ''}")
    raise ValueError(f"it needs the variable {variable.name}, which is not set: set it, or write ${{{variable.name}:-DEFAULT}}")
