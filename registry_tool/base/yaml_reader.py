"""YAML from a stranger, decoded into text, lists, mappings and None, each with its line.

Anchors, aliases and merge keys (``<<``) stand for a bounded number of values, so that no small file is a large one. Tags are refused, and
so are keys that are there twice, and more than a person would write. A scalar stays as it is written: ``yes`` is no boolean, and
``22:22`` no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from registry_tool.base.errors import UsageError
from registry_tool.base.reader import Document, Source, join

MAX_BYTES = 128 * 1024
MAX_DEPTH = 16
MAX_VALUES = 20_000
"""Values of a file whose aliases are filled in."""

# libyaml's parser, where PyYAML has it, for what may be megabytes.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


def read(content: bytes, *, file: str, expand: Callable[[str], str] | None = None) -> tuple[Document, Mapping[str, int]]:
    """Read the one mapping in ``content``, and the line of each path in it.

    ``file`` is what messages call it; ``expand`` fills in the variables of its texts. Raises UsageError.
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
        members = None if node is None else _Decoder(file, lines).decode(node, "")
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
        raise at_line(file, 1, "a mapping is required, KEY: VALUE")

    def position(path: str) -> str:
        while path and path not in lines:
            path = path.rpartition(".")[0]
        return f"{file}:{lines.get(path, 1)}: "

    source = Source(
        error=UsageError,
        position=position,
        kinds={str: "text", list: "a list", dict: "a mapping", type(None): "nothing"},
        expand=expand,
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
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise at_line(file, line, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in (None, "!"):
            raise at_line(file, line, f"tags ({event.tag[:80]!r}) are not read")


class _Decoder:
    """Decodes nodes; the lines of what is in them go into ``lines``."""

    def __init__(self, file: str, lines: dict[str, int]) -> None:
        self._file, self._lines = file, lines
        self._values = 0

    def decode(self, node: Node, path: str, depth: int = 0) -> Any:
        """The value of ``node``, which is at ``path``. Raises UsageError."""
        self._count(node)
        if depth > MAX_DEPTH:
            raise at_line(self._file, _line(node), f"nested more than {MAX_DEPTH} deep")
        if isinstance(node, ScalarNode):
            return None if node.tag == _NULL else str(node.value)
        if isinstance(node, SequenceNode):
            return [self._item(item, f"{path}[{index}]", depth) for index, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)  # noqa: S101 - there are no other nodes
        members: dict[str, Any] = {}
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        for key_node, value in own:
            key, key_path = self._key(key_node, path)
            if key in members:
                raise at_line(self._file, _line(key_node), f"{key_path}: appears twice")
            self._lines[key_path] = _line(key_node)
            members[key] = self.decode(value, key_path, depth + 1)
        for source in self._merged(node, path):
            for key_node, value in source.value:
                key, key_path = self._key(key_node, path)
                if key not in members:
                    self._lines[key_path] = _line(key_node)
                    members[key] = self.decode(value, key_path, depth + 1)
        return members

    def _count(self, node: Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise at_line(self._file, _line(node), f"its aliases stand for more than {MAX_VALUES} values")

    def _item(self, item: Node, path: str, depth: int) -> Any:
        self._lines[path] = _line(item)
        if item.tag == _NULL:
            raise at_line(self._file, _line(item), f"{path}: nothing stands there")
        return self.decode(item, path, depth + 1)

    def _key(self, node: Node, path: str) -> tuple[str, str]:
        """A key, and the path of its member."""
        if not isinstance(node, ScalarNode):
            raise at_line(self._file, _line(node), f"a key in {path or 'the file'} is not text")
        return str(node.value), join(path, str(node.value))

    def _merged(self, node: MappingNode, path: str, depth: int = 0) -> Iterator[MappingNode]:
        """The mappings that ``<<`` names, and those that they name, the preferred ones first (YAML merge key 1.1)."""
        merges = [value for key, value in node.value if key.tag == _MERGE]
        if len(merges) > 1:
            raise at_line(self._file, _line(merges[1]), f"{join(path, '<<')}: appears twice")
        for merge in merges:
            for source in merge.value if isinstance(merge, SequenceNode) else [merge]:
                if not isinstance(source, MappingNode):
                    raise at_line(self._file, _line(source), f"{join(path, '<<')}: a mapping is required, or a list of them")
                if depth > MAX_DEPTH:
                    raise at_line(self._file, _line(source), f"nested more than {MAX_DEPTH} deep")
                self._count(source)
                yield MappingNode(
                    tag=source.tag, value=[pair for pair in source.value if pair[0].tag != _MERGE], start_mark=source.start_mark
                )
                yield from self._merged(source, path, depth + 1)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def texts_at(content: bytes, key: str, *, file: str, max_size: int, inner: str | None = None) -> tuple[str, ...]:
    """The texts that stand at ``key``, or in a mapping there at ``inner``, anywhere in any of the documents in ``content``, each once.

    Raises UsageError.
    """
    if len(content) > max_size:
        raise UsageError(f"{file} has {len(content)} bytes, {max_size} are read", hint="Is this the file you meant?")
    texts: dict[str, None] = {}
    try:
        text = content.decode("utf-8-sig")
        _check_depth(text, file)
        for document in yaml.compose_all(text, Loader=_LOADER):
            # Of one document: a node of the next one may be where one of the last one was.
            seen: set[int] = set()
            waiting: list[Node | None] = [document]
            while waiting:
                node = waiting.pop()
                # An alias is the node that it stands for.
                if node is None or id(node) in seen:
                    continue
                seen.add(id(node))
                if isinstance(node, MappingNode):
                    for value in _values_at(node, key):
                        texts |= dict.fromkeys(
                            str(text.value)
                            for text in ([value] if inner is None or isinstance(value, ScalarNode) else _values_at(value, inner))
                            if isinstance(text, ScalarNode) and text.tag != _NULL
                        )
                    waiting += [each for pair in reversed(node.value) for each in reversed(pair)]
                elif isinstance(node, SequenceNode):
                    waiting += reversed(node.value)
    except UnicodeDecodeError as error:
        raise at_line(file, content[: error.start].count(b"\n") + 1, "not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise at_line(file, mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from error
    return tuple(texts)


def _values_at(node: Node, key: str) -> list[Node]:
    """The values of a mapping at ``key``: it may be there twice."""
    if not isinstance(node, MappingNode):
        return []
    return [value for name, value in node.value if isinstance(name, ScalarNode) and name.value == key]


def _check_depth(text: str, file: str) -> None:
    """Refuse what is nested deeper than any object of Kubernetes: the parser calls itself for each level."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 100:
            raise at_line(file, event.start_mark.line + 1 if event.start_mark else 1, "nested more than 100 deep")
