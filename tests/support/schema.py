"""A JSON schema against a document: the words of draft 2020-12 that our schemas use. A word that is not known here is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}
SAY_NOTHING = {"$schema", "$defs", "title", "description"}


def fits(value: Any, schema: Schema) -> bool:
    return not list(faults(value, schema, schema))


def faults(value: Any, schema: Schema, root: Schema, path: str = "") -> Iterator[str]:
    """What is wrong with ``value``, each with the way to it."""
    for word, message in schema.items():
        if word not in SAY_NOTHING:
            yield from RULES[word](value, message, schema, root, path)


def _type(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if not any(TYPES[name](value) for name in ([message] if isinstance(message, str) else message)):
        yield f"{path}: not {message}"


def _is(right: Callable[[Any, Any], bool], kind: str) -> Callable[..., Iterator[str]]:
    def rule(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if TYPES[kind](value) and not right(value, message):
            yield f"{path}: not as {message!r}"

    return rule


def _same(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if value not in (message if isinstance(message, list) else [message]) or isinstance(value, bool):
        yield f"{path}: not {message!r}"


def _properties(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() & message.keys():
            yield from faults(value[name], message[name], root, f"{path}.{name}")


def _others(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            yield from [f"{path}.{name}: not known"] if message is False else faults(value[name], message, root, f"{path}.{name}")


def _names(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value:
            yield from faults(name, message, root, f"{path}.{name}")


def _items(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from faults(each, message, root, f"{path}[{index}]")


def _reference(value: Any, message: str, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    yield from faults(value, root["$defs"][message.removeprefix("#/$defs/")], root, path)


def _counted(right: Callable[[int], bool]) -> Callable[..., Iterator[str]]:
    def rule(value: Any, message: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if not right(sum(not list(faults(value, each, root, path)) for each in message)):
            yield f"{path}: fits none of the ways, or several"

    return rule


RULES: Mapping[str, Callable[..., Iterator[str]]] = {
    "type": _type,
    "const": _same,
    "enum": _same,
    "pattern": _is(lambda value, message: re.search(message, value) is not None, "string"),
    "minLength": _is(lambda value, message: len(value) >= message, "string"),
    "minimum": _is(lambda value, message: value >= message, "number"),
    "maximum": _is(lambda value, message: value <= message, "number"),
    "exclusiveMinimum": _is(lambda value, message: value > message, "number"),
    "minItems": _is(lambda value, message: len(value) >= message, "array"),
    "uniqueItems": _is(lambda value, message: len(set(map(repr, value))) == len(value), "array"),
    "required": _is(lambda value, message: set(message) <= set(value), "object"),
    "properties": _properties,
    "additionalProperties": _others,
    "propertyNames": _names,
    "items": _items,
    "$ref": _reference,
    "anyOf": _counted(lambda count: count > 0),
    "oneOf": _counted(lambda count: count == 1),
}
