"""A JSON document from a stranger, read with suspicion: manifests and image configs.

Two readers of one document must never see two things in it, so names that come twice are refused, as is what is not
JSON at all (NaN, other encodings). What would cost too much is refused before it does: size, depth, endless numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from registry_tool.base.errors import InvalidManifest

Value = TypeVar("Value")

MAX_DEPTH = 100
"""Arrays and objects inside each other. A manifest needs four."""
MAX_DIGITS = 19
"""Of a whole number: as many as 64 bits have."""


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object and where it stands. Every reader raises InvalidManifest, which says where: ``layers[2].digest: …``.

    A member that is ``null`` counts as one that is not there: so Go writes what is empty.
    """

    members: Mapping[str, Any]
    where: str = ""

    @classmethod
    def read(cls, raw: bytes, *, what: str, max_size: int) -> Document:
        """``what`` it should be (``manifest``) is the beginning of every complaint. ``max_size`` is in bytes."""
        if len(raw) > max_size:
            raise InvalidManifest(f"{what}: {len(raw)} bytes are too many, {max_size} are allowed")
        try:
            found = json.loads(raw.decode(), object_pairs_hook=_once, parse_int=_whole_number, parse_constant=_no_number)
            _check_depth_and_text(found)
        except UnicodeError:
            raise InvalidManifest(f"{what}: not UTF-8") from None
        except RecursionError:
            raise InvalidManifest(f"{what}: nested too deeply") from None
        except ValueError as error:
            # A decoder's own words end in "line 1 column 5 (char 4)"; nothing of the document is in them.
            raise InvalidManifest(f"{what}: not JSON as it should be: {error}") from None
        if not isinstance(found, dict):
            raise InvalidManifest(f"{what}: a JSON object is wanted, not {_kind(found)}")
        return cls(found)

    def has(self, key: str) -> bool:
        return self.members.get(key) is not None

    def text(self, key: str) -> str | None:
        """A string; None where there is none."""
        value: str | None = self._typed(self.members.get(key), str, self._at(key))
        return value

    def required_text(self, key: str) -> str:
        """A string that is there and not empty."""
        return self.text(key) or self.refuse(key, "missing")

    def truth(self, key: str) -> bool:
        """A boolean; False where there is none."""
        return bool(self._typed(self.members.get(key), bool, self._at(key)))

    def number(self, key: str) -> int:
        """A whole number that is there and not negative."""
        value = self.members.get(key)
        # True is an int to Python, and none to anybody else.
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, "missing" if value is None else f"a whole number is wanted, not {_kind(value)}")
        return value if value >= 0 else self.refuse(key, f"{value} is less than nothing")

    def decimal(self, key: str) -> float:
        """A number that is there and not negative."""
        value = self.members.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(key, "missing" if value is None else f"a number is wanted, not {_kind(value)}")
        return float(value) if value >= 0 else self.refuse(key, f"{value} is less than nothing")

    def required(self, key: str, parse: Callable[[str], Value]) -> Value:
        """A string that is there, as ``parse`` takes it; its ValueError says what is wrong."""
        try:
            return parse(self.required_text(key))
        except ValueError as error:
            self.refuse(key, str(error))

    def inner(self, key: str) -> Document | None:
        """An object; None where there is none."""
        value = self._typed(self.members.get(key), dict, self._at(key))
        return None if value is None else Document(value, self._at(key))

    def objects(self, key: str) -> tuple[Document, ...]:
        """An array of objects; empty where there is none."""
        return tuple(Document(self._typed(item, dict, where) or {}, where) for where, item in self._items(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings; empty where there is none."""
        return tuple(self._typed(item, str, where) or "" for where, item in self._items(key))

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are strings; empty where there is none."""
        inner = self.inner(key)
        return {name: inner.text(name) or "" for name in inner.members} if inner else {}

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raise InvalidManifest: what is wrong is at ``key``."""
        raise InvalidManifest(f"{self._at(key)}: {why}")

    def _at(self, key: str) -> str:
        name = key if key.isprintable() and len(key) <= 80 else ascii(key[:80])
        return f"{self.where}.{name}" if self.where else name

    def _items(self, key: str) -> list[tuple[str, Any]]:
        where = self._at(key)
        return [(f"{where}[{index}]", item) for index, item in enumerate(self._typed(self.members.get(key), list, where) or ())]

    @staticmethod
    def _typed(value: Any, wanted: type, where: str) -> Any:
        if value is not None and not isinstance(value, wanted):
            raise InvalidManifest(f"{where}: {_KINDS[wanted]} is wanted, not {_kind(value)}")
        return value


_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KINDS[type(value)]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{twice[:80]!a} comes twice")
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
