"""Frozen values as JSON and back, driven by their fields and type hints.

A dataclass is written as an object of its fields, in their order. ``JSON_MEMBERS`` states other members: names of attributes (fields
or properties), ``member=attribute`` where the two differ, and a ``?`` at the end where it is left out while it is None or empty::

    JSON_MEMBERS: ClassVar = "ok points=checks error?"

Written: classes with a ``__str__`` of their own (Digest, Platform, Reference, Path) as strings, times as RFC 3339 in UTC, floats with
three digits after the point, mappings as they are. An exception that has ``JSON_MEMBERS`` is an object, too.

Read: dataclasses of ``str`` (not empty, unless it is ``AnyText``), ``bool``, ``int`` and ``float`` (neither negative), ``datetime``,
``Literal``, classes with ``parse``, other dataclasses, ``X | None``, tuples of strings or dataclasses, and mappings. Members that are
properties must be what the value computes. ``docs/generate_schemas.py`` makes the schemas from the same :func:`members`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, Union

if TYPE_CHECKING:
    from registry_tool.base.reader import Document

T = TypeVar("T")

AnyText = Annotated[str, "may be empty"]
"""A string that may be empty; a ``str`` may not."""


class Member(NamedTuple):
    """A member of an object: its name in JSON, the attribute that holds it, and whether it is left out where that is None or empty."""

    name: str
    attribute: str
    optional: bool


def to_json(value: Any) -> Any:
    """``value`` as ``json.dumps`` takes it."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return [to_json(each) for each in value]
    kind: Any = type(value)
    if not hasattr(kind, "JSON_MEMBERS") and kind.__str__ is not object.__str__:
        return str(value)
    return _object(value, members(kind))


def select(value: Any, names: str) -> dict[str, Any]:
    """The members ``names`` of ``value``'s object; ``names`` is in the form of ``JSON_MEMBERS``."""
    return _object(value, _parse_members(names))


def _object(value: Any, chosen: tuple[Member, ...]) -> dict[str, Any]:
    pairs = ((member, getattr(value, member.attribute)) for member in chosen)
    return {member.name: to_json(inner) for member, inner in pairs if not (member.optional and inner in (None, (), [], ""))}


def rfc3339(moment: datetime) -> str:
    """``moment`` in UTC with whole seconds: ``2026-01-31T12:00:00Z``."""
    # Not strftime, which writes years before 1000 with fewer digits.
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def from_json(kind: type[T], document: Document) -> T:
    """Read a ``kind``. Raises the document's error where a member is missing, of another type, or contradicts the others."""
    dataclass: Any = kind
    hints = type_hints(dataclass)
    values = {member: _read(document, member.name, hints[member.attribute]) for member in members(dataclass)}
    stored = {field.name for field in fields(dataclass)}
    made: T = dataclass(**{member.attribute: value for member, value in values.items() if member.attribute in stored})
    for member, value in values.items():
        if member.attribute not in stored and value != getattr(made, member.attribute):
            document.refuse(member.name, "it contradicts the other members")
    return made


@cache
def members(kind: Any) -> tuple[Member, ...]:
    """The members of ``kind``'s object, in their order."""
    return _parse_members(getattr(kind, "JSON_MEMBERS", None) or " ".join(field.name for field in fields(kind)))


@cache
def _parse_members(names: str) -> tuple[Member, ...]:
    parsed = []
    for text in names.split():
        name, _, attribute = text.rstrip("?").partition("=")
        parsed.append(Member(name, attribute or name, text.endswith("?")))
    return tuple(parsed)


@cache
def type_hints(kind: Any) -> Mapping[str, Any]:
    """The types of ``kind``'s fields and properties."""
    hints = typing.get_type_hints(kind, include_extras=True)
    hints |= {name: typing.get_args(hint)[0] for name, hint in hints.items() if typing.get_origin(hint) is ClassVar}
    getters = {name: value.fget for name, value in vars(kind).items() if isinstance(value, property)}
    return hints | {name: typing.get_type_hints(getter)["return"] for name, getter in getters.items()}


def _read(document: Document, name: str, hint: Any) -> Any:
    """The member ``name`` as a ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        inner = arguments[0]
        return _read(document, name, AnyText if inner is str else inner) if document.has(name) else None
    if origin is tuple:
        inner = arguments[0]
        return document.texts(name) if inner is str else tuple(from_json(inner, each) for each in document.objects(name))
    if origin is Literal:
        text = document.required_text(name)
        return text if text in arguments else document.refuse(name, f"{text[:80]!a} is not one of {', '.join(arguments)}")
    if hint == AnyText:
        return document.text(name) or ""
    if hint is bool:
        return document.truth(name) if document.has(name) else document.refuse(name, "missing")
    if hint in (int, float):
        return document.required_number(name) if hint is int else document.decimal(name)
    if hint is datetime:
        return document.required(name, _moment)
    if hint is str:
        return document.required_text(name)
    if hasattr(hint, "parse"):
        return document.required(name, hint.parse)
    inner = document.inner(name) if document.has(name) else document.refuse(name, "missing")
    return inner.members if origin is Mapping else from_json(hint, inner)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        moment = None
    if moment is None or rfc3339(moment) != text:
        raise ValueError("not a time in UTC, as 2026-01-31T12:00:00Z")
    return moment
