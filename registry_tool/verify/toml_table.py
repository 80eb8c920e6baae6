"""A table of a settings file, read with clear words: which file, which member, what is wrong, and what was meant."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from registry_tool.base.errors import UsageError
from registry_tool.verify import parsing

Value = TypeVar("Value")
_KINDS: Mapping[type, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class TomlTable:
    """``members`` as they were decoded; ``where`` is the file, and the way to this table. All readers raise UsageError."""

    members: Mapping[str, Any]
    where: str

    def only(self, known: Iterable[str]) -> None:
        """Refuse a member that is none of ``known``."""
        known = list(known)
        for key in self.members:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                hint = f"Did you mean: {near[0]}?" if near else f"There is: {', '.join(known)}."
                self.refuse(key, "this is not known", hint=hint)

    def refuse(self, key: str, why: str, *, hint: str | None = None) -> NoReturn:
        raise UsageError(f"{self._at(key)}: {why}", hint=hint)

    def checked(self, key: str, read: Callable[[str], Value], text: str) -> Value:
        """``text`` as ``read`` takes it, whose ValueError is refused at ``key``."""
        try:
            return read(text)
        except ValueError as error:
            self.refuse(key, str(error))

    def text(self, key: str) -> str | None:
        """Text that is not empty; None where there is none."""
        value: str | None = self._typed(key, str)
        return self.refuse(key, "it is empty") if value == "" else value

    def spelled(self, key: str, read: Callable[[str], Value]) -> Value | None:
        text = self.text(key)
        return None if text is None else self.checked(key, read, text)

    def needed(self, key: str, read: Callable[[str], Value]) -> Value:
        return self.checked(key, read, self.text(key) or self.refuse(key, "missing"))

    def string(self, key: str) -> str:
        """Text that may be empty."""
        value: str | None = self._typed(key, str)
        return value or ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of text; empty where there is none."""
        values: Sequence[Any] = self._typed(key, list) or ()
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value:
                self.refuse(f"{key}[{index}]", f"text is wanted, not {_kind(value)}" if value != "" else "it is empty")
        return tuple(values)

    def text_or_texts(self, key: str) -> tuple[str, ...]:
        value = self.members.get(key)
        if value is not None and not isinstance(value, (str, list)):
            self.refuse(key, f"text or a list of text is wanted, not {_kind(value)}")
        if isinstance(value, list):
            return self.texts(key)
        text = self.text(key)
        return () if text is None else (text,)

    def once(self, key: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """``names``, none of them twice."""
        for name, count in Counter(names).items():
            if count > 1:
                self.refuse(key, f"{name!r} comes twice")
        return names

    def number(self, key: str, *, least: int, most: int) -> int | None:
        value: int | None = self._typed(key, int)
        if value is not None and not least <= value <= most:
            self.refuse(key, f"{value if abs(value) < 10**12 else 'it'} is not between {least} and {most}")
        return value

    def seconds(self, key: str) -> float | None:
        """A time as text (``2s``), or a number of seconds."""
        value = self.members.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            inside = math.isfinite(value) and 0 < value <= parsing.MOST_SECONDS
            return float(value) if inside else self.refuse(key, "not a time: more than 0 seconds, and a day at most")
        if value is not None and not isinstance(value, str):
            self.refuse(key, f'a time is wanted (as "2s"), not {_kind(value)}')
        return self.spelled(key, parsing.seconds)

    def size(self, key: str) -> int | None:
        """A size as text (``512MiB``), or a number of bytes."""
        value = self.members.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return self.number(key, least=1, most=parsing.MOST_BYTES)
        if value is not None and not isinstance(value, str):
            self.refuse(key, f'a size is wanted (as "512MiB"), not {_kind(value)}')
        return self.spelled(key, parsing.size)

    def inner(self, key: str) -> TomlTable:
        """A table; an empty one where there is none."""
        return TomlTable(self._typed(key, dict) or {}, self._at(key))

    def tables(self, key: str) -> tuple[TomlTable, ...]:
        """A list of tables; empty where there is none."""
        values: Sequence[Any] = self._typed(key, list) or ()
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                self.refuse(f"{key}[{index}]", f"a table is wanted, not {_kind(value)}", hint=f"A table of a list begins with [[{key}]].")
        return tuple(TomlTable(value, self._at(f"{key}[{index}]")) for index, value in enumerate(values))

    def _typed(self, key: str, kind: type) -> Any:
        value = self.members.get(key)
        # True is an int to Python, and none to anybody else.
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            self.refuse(key, f"{_KINDS[kind]} is wanted, not {_kind(value)}", hint=_hint(key, kind))
        return value

    def _at(self, key: str) -> str:
        name = key if key.isprintable() and len(key) <= 80 else ascii(key[:80])
        return f"{self.where}: {name}" if self.where.endswith(".toml") else f"{self.where}.{name}"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or a time")


def _hint(key: str, kind: type) -> str | None:
    if kind is str:
        return f'Text is written in quotes: {key} = "…"' if key.isidentifier() else "Text is written in quotes."
    return f"A list is written in brackets: {key} = […]" if kind is list and key.isidentifier() else None
