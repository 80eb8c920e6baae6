"""``--format``: select one member of a JSON document by a dotted path."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from registry_tool.base.errors import UsageError

_IN_TEMPLATE = re.compile(r"\.([A-Za-z_][\w.]*)")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STEP = re.compile(r"\[(\d+)\]")


def parse(text: str) -> list[str]:
    """Split ``config.labels``, ``layers.0.digest`` or ``layers[0].digest``. Raises UsageError; for a Go template it suggests the path."""
    if "{{" in text:
        match = _IN_TEMPLATE.search(text)
        path = ".".join(_CAPITAL.sub("_", word).lower() for word in match[1].split(".")) if match else "digest"
        hint = f"Use a dotted path into the JSON document: --format {path}"
        raise UsageError("--format does not take Go templates", hint=hint)
    steps = _STEP.sub(r".\1", text.strip().lstrip(".")).split(".")
    if not all(steps):
        raise UsageError(f"{text[:80]!r} is not a path", hint="It looks like config.labels or layers.0.digest.")
    return steps


def pick(document: object, steps: Sequence[str]) -> object:
    """The value at the path. Names of labels contain dots, so the longest matching name is taken. Raises UsageError."""
    if not steps:
        return document
    if isinstance(document, Mapping):
        for length in range(len(steps), 0, -1):
            name = ".".join(steps[:length])
            if name in document:
                return pick(document[name], steps[length:])
        known = list(map(str, document))
    elif isinstance(document, list):
        if steps[0].isascii() and steps[0].isdigit() and len(steps[0]) < 10 and int(steps[0]) < len(document):
            return pick(document[int(steps[0])], steps[1:])
        known = [f"0 to {len(document) - 1}"] if document else []
    else:
        known = []
    hint = f"Available: {', '.join(known)}" if known else "It has no members."
    raise UsageError(f"there is no {steps[0][:80]!r}", hint=hint)


def lines(value: object) -> list[str]:
    """The lines to print for a value: a string as it is, one line for each element of a list, none for null, else JSON."""
    if value is None:
        return []
    if isinstance(value, list):
        return [
            line
            for element in value
            for line in ([json.dumps(element, ensure_ascii=False)] if isinstance(element, list) else lines(element))
        ]
    if isinstance(value, str):
        return [value]
    return [json.dumps(value, ensure_ascii=False)]
