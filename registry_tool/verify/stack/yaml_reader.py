"""YAML from a stranger, decoded into text, lists, mappings and None, each with its line.

Aliases are refused, so that no small file is a large one, and so are tags, keys that are there twice, and more than a person would
write. A scalar stays as it is written: ``yes`` is no boolean, and ``22:22`` no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from registry_tool.base.errors import UsageError
from registry_tool.base.reader import Document, Source, join

MAX_BYTES = 128 * 1024
MAX_DEPTH = 16

_NULL = "tag:yaml.org,2002:null"
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<colon>:?)-(?P<default>[^{}]*))?\})", re.ASCII
)


def read(content: bytes, *, file: str, variables: Mapping[str, str]) -> tuple[Document, Mapping[str, int]]:
    """Read the one mapping in ``content``, whose texts have ``${NAME}`` filled in from ``variables``, and the line of each path in it.

    ``file`` is what messages call it. Raises UsageError.
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file} has {len(content)} bytes, {MAX_BYTES} are read", hint="Is this the file you meant?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise at_line(file, content[: error.start].count(b"\n") + 1, "not UTF-8") from error
    lines: dict[str, int] = {}
    try:
        _check_events(text, file)
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        members = None if node is None else _decoded(node, file, "", lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.problem, error.context) if part)
        raise at_line(file, mark.line + 1 if mark else 1, f"not YAML: {problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A character that may not be there; a number in an escape that is none.
        raise UsageError(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from error
    if members is None:
        raise UsageError(f"{file} is empty")
    if not isinstance(members, dict):
        raise at_line(file, 1, "a mapping is wanted, KEY: VALUE")

    def position(path: str) -> str:
        while path and path not in lines:
            path = path.rpartition(".")[0]
        return f"{file}:{lines.get(path, 1)}: "

    source = Source(
        error=UsageError,
        position=position,
        kinds={str: "text", list: "a list", dict: "a mapping", type(None): "nothing"},
        expand=lambda text: _VARIABLE.sub(lambda match: _value(match, variables), text),
    )
    return Document(members, source=source), lines


def at_line(file: str, line: int, what: str, *, hint: str | None = None) -> UsageError:
    """The error ``FILE:LINE: what``, on one line whatever stands in the file."""
    return UsageError(f"{file}:{line}: {' '.join(what.split())}", hint=hint)


def _check_events(text: str, file: str) -> None:
    """Refuse, before anything is built of it, what could be built into more than a person wrote."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise at_line(file, line, "aliases (*NAME) are not read", hint="Write out what it stands for.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise at_line(file, line, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in (None, "!"):
            raise at_line(file, line, f"tags ({event.tag[:80]!r}) are not read")


def _decoded(node: Node, file: str, path: str, lines: dict[str, int]) -> Any:
    """The value of ``node``; the lines of what is in it go into ``lines``."""
    if isinstance(node, ScalarNode):
        return None if node.tag == _NULL else str(node.value)
    if isinstance(node, SequenceNode):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(node.value)]
        for item_path, item in items:
            lines[item_path] = _line(item)
            if item.tag == _NULL:
                raise at_line(file, _line(item), f"{item_path}: nothing stands there")
        return [_decoded(item, file, item_path, lines) for item_path, item in items]
    assert isinstance(node, MappingNode)  # noqa: S101 - there are no other nodes
    members: dict[str, Any] = {}
    for key_node, value in node.value:
        if not isinstance(key_node, ScalarNode):
            raise at_line(file, _line(key_node), f"a key in {path or 'the file'} is not text")
        key = str(key_node.value)
        key_path = join(path, key)
        if key in members:
            raise at_line(file, _line(key_node), f"{key_path}: comes twice")
        lines[key_path] = _line(key_node)
        members[key] = _decoded(value, file, key_path, lines)
    return members


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    """What stands for a variable. Raises ValueError where that is not known."""
    if match["dollar"]:
        return "$"
    name = match["name"] or match["braced"]
    value = variables.get(name)
    if value is None or (match["colon"] and not value):
        if match["default"] is None:
            raise ValueError(f"it needs the variable {name}, which is not set: set it, or write ${{{name}:-DEFAULT}}")
        return match["default"]
    return value
