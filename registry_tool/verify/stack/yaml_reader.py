"""YAML from a stranger, each value with its line: what is wrong is refused with the place where it stands.

Nothing is made of what is read but text, lists and mappings. Aliases are refused, so that no small file is a large one, and so
are tags, keys that are there twice, and more than a person would write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from registry_tool.base.errors import UsageError

MAX_BYTES = 128 * 1024
MAX_DEPTH = 16

_NULL = "tag:yaml.org,2002:null"
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<colon>:?)-(?P<default>[^{}]*))?\})", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of a file. ``at`` is the way to it (``services.web.ports``), ``variables`` what stands for ``${…}`` in texts."""

    node: Node
    line: int
    """From 1 on; its key's, where it has one."""
    file: str
    at: str
    variables: Mapping[str, str]

    @property
    def is_nothing(self) -> bool:
        return isinstance(self.node, ScalarNode) and self.node.tag == _NULL

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, MappingNode)

    def wrong(self, what: str, *, hint: str | None = None) -> UsageError:
        """The refusal of this value, with its line."""
        return refusal(self.file, self.line, f"{self.at} {what}" if self.at else what, hint=hint)

    def members(self, *, known: Collection[str] | None = None, refused: Mapping[str, str] = {}) -> dict[str, Value]:
        """Key -> value, in their order. ``known`` None takes any key; ``refused`` says why what is often wanted is not taken.

        Keys that begin with ``x-`` are notes of somebody's and left out. Raises UsageError.
        """
        if not isinstance(self.node, MappingNode):
            raise self.wrong("should be a mapping, KEY: VALUE")
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            line = _line(key_node)
            if not isinstance(key_node, ScalarNode):
                raise refusal(self.file, line, f"a key in {self.at or 'the file'} is no text")
            key = str(key_node.value)
            at = f"{self.at}.{key}" if self.at else key
            if key in found:
                raise refusal(self.file, line, f"{at} is there twice")
            found[key] = Value(node=node, line=line, file=self.file, at=at, variables=self.variables)
            if known is not None and key not in known and not key.startswith("x-"):
                raise refusal(self.file, line, _unknown(at, key, refused), hint=_known(key, known, refused))
        return {key: value for key, value in found.items() if known is None or key in known}

    def items(self) -> tuple[Value, ...]:
        """The values of a list. Raises UsageError."""
        if not isinstance(self.node, SequenceNode):
            raise self.wrong("should be a list")
        return tuple(Value(node=node, line=_line(node), file=self.file, at=self.at, variables=self.variables) for node in self.node.value)

    def text(self) -> str:
        """A scalar as it is written (``yes`` stays ``yes``, ``4000:80`` no number), its variables filled in. Raises UsageError."""
        if not isinstance(self.node, ScalarNode) or self.node.tag == _NULL:
            raise self.wrong("should be a text")
        return _VARIABLE.sub(self._filled, str(self.node.value))

    def number(self, least: int, most: int) -> int:
        """A whole number. Raises UsageError."""
        text = self.text()
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise self.wrong(f"is {_shown(text)}, and should be a number from {least} to {most}")
        return int(text)

    def _filled(self, match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["name"] or match["braced"]
        value = self.variables.get(name)
        if value is None or (match["colon"] and not value):
            if match["default"] is None:
                raise self.wrong(f"needs the variable {name}, which is not set", hint=f"Set it, or write ${{{name}:-DEFAULT}}.")
            return match["default"]
        return value


def read(content: bytes, *, file: str, variables: Mapping[str, str]) -> Value:
    """The one document in ``content``; ``file`` is what it is called in refusals. Raises UsageError."""
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file} has {len(content)} bytes, {MAX_BYTES} are read", hint="Is this the file you meant?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(file, content[: error.start].count(b"\n") + 1, "this is not UTF-8") from error
    try:
        _look_through(text, file)
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.problem, error.context) if part)
        raise refusal(file, mark.line + 1 if mark else 1, f"this is no YAML: {problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A character that may not be there; a number in an escape that is none.
        raise UsageError(f"{file} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if node is None:
        raise UsageError(f"{file} is empty")
    return Value(node=node, line=_line(node), file=file, at="", variables=variables)


def refusal(file: str, line: int, what: str, *, hint: str | None = None) -> UsageError:
    """``FILE:LINE: what``, on one line whatever stands in the file."""
    return UsageError(f"{file}:{line}: {' '.join(what.split())}", hint=hint)


def _look_through(text: str, file: str) -> None:
    """Refuse, before anything is built of it, what could be built into more than a person wrote."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise refusal(file, line, "aliases (*NAME) are not read", hint="Write out what it stands for.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise refusal(file, line, f"more than {MAX_DEPTH} levels inside each other")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in (None, "!"):
            raise refusal(file, line, f"tags ({_shown(event.tag)}) are not read")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _unknown(at: str, key: str, refused: Mapping[str, str]) -> str:
    return f"{at} is not supported{f': {refused[key]}' if key in refused else ''}"


def _known(key: str, known: Collection[str], refused: Mapping[str, str]) -> str:
    near = [] if key in refused else difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Supported here: {', '.join(sorted(known))}."


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
