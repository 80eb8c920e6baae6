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
    for word, said in schema.items():
        if word not in SAY_NOTHING:
            yield from RULES[word](value, said, schema, root, path)


def _type(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if not any(TYPES[name](value) for name in ([said] if isinstance(said, str) else said)):
        yield f"{path}: not {said}"


def _is(right: Callable[[Any, Any], bool], kind: str) -> Callable[..., Iterator[str]]:
    def rule(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if TYPES[kind](value) and not right(value, said):
            yield f"{path}: not as {said!r}"

    return rule


def _same(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if value not in (said if isinstance(said, list) else [said]) or isinstance(value, bool):
        yield f"{path}: not {said!r}"


def _properties(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() & said.keys():
            yield from faults(value[name], said[name], root, f"{path}.{name}")


def _others(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            yield from [f"{path}.{name}: not known"] if said is False else faults(value[name], said, root, f"{path}.{name}")


def _names(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value:
            yield from faults(name, said, root, f"{path}.{name}")


def _items(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from faults(each, said, root, f"{path}[{index}]")


def _reference(value: Any, said: str, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    yield from faults(value, root["$defs"][said.removeprefix("#/$defs/")], root, path)


def _counted(right: Callable[[int], bool]) -> Callable[..., Iterator[str]]:
    def rule(value: Any, said: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if not right(sum(not list(faults(value, each, root, path)) for each in said)):
            yield f"{path}: fits none of the ways, or several"

    return rule


RULES: Mapping[str, Callable[..., Iterator[str]]] = {
    "type": _type,
    "const": _same,
    "enum": _same,
    "pattern": _is(lambda value, said: re.search(said, value) is not None, "string"),
    "minLength": _is(lambda value, said: len(value) >= said, "string"),
    "minimum": _is(lambda value, said: value >= said, "number"),
    "maximum": _is(lambda value, said: value <= said, "number"),
    "exclusiveMinimum": _is(lambda value, said: value > said, "number"),
    "minItems": _is(lambda value, said: len(value) >= said, "array"),
    "uniqueItems": _is(lambda value, said: len(set(map(repr, value))) == len(value), "array"),
    "required": _is(lambda value, said: set(said) <= set(value), "object"),
    "properties": _properties,
    "additionalProperties": _others,
    "propertyNames": _names,
    "items": _items,
    "$ref": _reference,
    "anyOf": _counted(lambda count: count > 0),
    "oneOf": _counted(lambda count: count == 1),
}
