"""Untrusted documents, read strictly: JSON here, TOML and YAML once they are decoded.

Two readers of one document must never see two things in it, so names that come twice are refused, as is what is not
JSON at all (NaN, other encodings). What would cost too much is refused before it does: size, depth, endless numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from registry_tool.base.errors import InvalidManifest, RegistryToolError

Value = TypeVar("Value")

MAX_DEPTH = 100
"""Arrays and objects inside each other. A manifest needs four."""
MAX_DIGITS = 19
"""Of a whole number: as many as 64 bits have."""
_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How a document's errors read: their class, what types are called in it, and how each is written (``{key}`` is the member).

    ``position`` is what a message begins with, for the path of a member: the file, or the file and the line. ``expand`` fills in
    variables; its ValueError says what is wrong.
    """

    error: type[RegistryToolError] = InvalidManifest
    hint: str | None = None
    position: Callable[[str], str] = lambda path: ""
    kinds: Mapping[type, str] = field(default_factory=lambda: _KINDS)
    hints: Mapping[type, str] = field(default_factory=dict)
    expand: Callable[[str], str] | None = None


JSON = Source()


@dataclass(frozen=True, slots=True)
class Document:
    """One object and its path. Raises the source's error, which says where: ``layers[2].digest: …``. Null counts as absent, as to Go."""

    members: Mapping[str, Any]
    path: str = ""
    source: Source = JSON

    @classmethod
    def read(cls, raw: bytes, *, what: str, max_size: int, source: Source = JSON) -> Document:
        """Read JSON of at most ``max_size`` bytes. Messages about it as a whole begin with ``what`` it should be (``manifest``)."""
        text = decode(raw, what=what, max_size=max_size, source=source)
        try:
            document = json.loads(text, object_pairs_hook=_once, parse_int=_whole_number, parse_constant=_no_number)
            _check_depth_and_text(document)
        except UnicodeError:
            raise source.error(f"{what}: not UTF-8", hint=source.hint) from None
        except RecursionError:
            raise source.error(f"{what}: nested too deeply", hint=source.hint) from None
        except ValueError as error:
            # A decoder's own words end in "line 1 column 5 (char 4)"; nothing of the document is in them.
            raise source.error(f"{what}: not JSON as it should be: {error}", hint=source.hint) from None
        if not isinstance(document, dict):
            raise source.error(f"{what}: a JSON object is required, not {_KINDS[type(document)]}", hint=source.hint)
        return cls(document, source=source)

    def has(self, key: str) -> bool:
        """Whether there is such a member."""
        return self.members.get(key) is not None

    def only(self, known: Collection[str], *, reasons: Mapping[str, str] | None = None, extensions: bool = False) -> None:
        """Refuse members that are not ``known``; ``reasons`` are why some are not. ``extensions``: those called ``x-…`` may be there."""
        import difflib  # noqa: PLC0415 - for what is refused

        reasons = reasons or {}
        for key in self.members:
            if key not in known and not (extensions and key.startswith("x-")):
                close = [] if key in reasons else difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean: {close[0]}?" if close else f"Supported: {', '.join(known)}."
                self.refuse(key, f"not supported: {reasons[key]}" if key in reasons else "not supported", hint=hint)

    def text(self, key: str, *, empty: bool = True) -> str | None:
        """A string, which may be ``empty``; None where there is none."""
        value = self._text(self.members.get(key), key)
        return self.refuse(key, "it is empty") if value == "" and not empty else value

    def required_text(self, key: str) -> str:
        """A string that is there and not empty."""
        return self.text(key) or self.refuse(key, "missing")

    def parsed(self, key: str, parse: Callable[[str], Value]) -> Value | None:
        """A string that is not empty, as ``parse`` takes it, whose ValueError says what is wrong; None where there is none."""
        text = self.text(key, empty=False)
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            self.refuse(key, str(error))

    def required(self, key: str, parse: Callable[[str], Value]) -> Value:
        """The same of a string that must be there."""
        value = self.parsed(key, parse)
        return self.refuse(key, "missing") if value is None else value

    def texts(self, key: str, *, empty: bool = True) -> tuple[str, ...]:
        """An array of strings, which may be ``empty``; none where there is no array."""
        items = self._items(key)
        return tuple(self._text(item, each) or ("" if empty else self.refuse(each, "it is empty")) for each, item in items)

    def truth(self, key: str) -> bool:
        """A boolean; False where there is none."""
        return bool(self._typed(self.members.get(key), bool, key))

    def number(self, key: str, *, least: int = 0, most: int | None = None) -> int | None:
        """A whole number in these bounds; None where there is none."""
        value: int | None = self._typed(self.members.get(key), int, key)
        if value is not None and most is not None and not least <= value <= most:
            self.refuse(key, f"{value if abs(value) < 10**12 else 'it'} is not between {least} and {most}")
        return self.refuse(key, f"{value} is less than {least}") if value is not None and value < least else value

    def required_number(self, key: str) -> int:
        """A whole number that is there and not negative."""
        value = self.number(key)
        return self.refuse(key, "missing") if value is None else value

    def decimal(self, key: str) -> float:
        """A number that is there and not negative."""
        value = self.members.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(key, "missing" if value is None else f"a number is required, not {self.describe(value)}")
        return float(value) if value >= 0 else self.refuse(key, f"{value} is less than 0")

    def inner(self, key: str) -> Document:
        """An object; an empty one where there is none."""
        return Document(self._typed(self.members.get(key), dict, key) or {}, self._at(key), self.source)

    def objects(self, key: str) -> tuple[Document, ...]:
        """An array of objects; empty where there is none."""
        return tuple(Document(self._typed(item, dict, each) or {}, self._at(each), self.source) for each, item in self._items(key))

    def items(self, key: str) -> tuple[Document | str, ...]:
        """An array of objects and strings; empty where there is none."""
        return tuple(
            Document(item, self._at(each), self.source) if isinstance(item, dict) else self._text(item, each) or ""
            for each, item in self._items(key)
        )

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are strings; empty where there is none."""
        if not self.has(key):
            return {}
        inner = self.inner(key)
        return {name: inner.text(name) or "" for name in inner.members}

    def refuse(self, key: str | None, why: str, *, hint: str | None = None) -> NoReturn:
        """Raise the source's error: ``why`` the member ``key`` is wrong, or the object itself where that is None."""
        path = self.path if key is None else self._at(key)
        raise self.source.error(f"{self.source.position(path)}{path}{': ' if path else ''}{why}", hint=hint or self.source.hint)

    def describe(self, value: object) -> str:
        """What the type of ``value`` is called in this document."""
        return self.source.kinds.get(type(value), "a date or a time")

    def _at(self, key: str) -> str:
        return join(self.path, key)

    def _items(self, key: str) -> list[tuple[str, Any]]:
        values = self._typed(self.members.get(key), list, key)
        return [(f"{key}[{index}]", item) for index, item in enumerate(values)] if values else []

    def _text(self, value: Any, key: str) -> str | None:
        text: str | None = self._typed(value, str, key)
        if text is None or self.source.expand is None:
            return text
        try:
            return self.source.expand(text)
        except ValueError as error:
            self.refuse(key, str(error))

    def _typed(self, value: Any, wanted: type, key: str) -> Any:
        # True is an int to Python, and none to anybody else.
        if value is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            name = "a whole number" if wanted is int else self.source.kinds[wanted]
            hint = self.source.hints.get(wanted) if (wanted is dict) == key.endswith("]") else None
            self.refuse(key, f"{name} is required, not {self.describe(value)}", hint=hint and hint.format(key=key.partition("[")[0]))
        return value


def join(path: str, key: str) -> str:
    """The path of the member ``key``: on one line, printable and short."""
    name = key if key.isprintable() and len(key) <= 80 else ascii(key[:80])
    return f"{path}.{name}" if path else name


def decode(raw: bytes, *, what: str, max_size: int, source: Source) -> str:
    """``raw`` as text. Raises the source's error where there is too much of it, or where it is not UTF-8."""
    if len(raw) > max_size:
        raise source.error(f"{what}: {len(raw)} bytes are too many, {max_size} are allowed", hint=source.hint)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise source.error(f"{what}: not UTF-8", hint=source.hint) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{twice[:80]!a} appears twice")
    return members


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check_depth_and_text(document: object) -> None:
    """Half of a surrogate pair can be written in JSON's escapes, and cannot be printed or written anywhere."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise ValueError(f"nested more than {MAX_DEPTH} deep")
