"""Write the JSON schemas of what the program writes, from the types of its frozen values.

    .venv/bin/python docs/generate_schemas.py

``tests/unit/verify/test_report.py``, ``tests/unit/cli/test_du.py``, ``…/test_prune.py`` and ``tests/unit/bundle/test_schemas.py`` hold the
files equal to it.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Union

from registry_tool.base.codec import AnyText, members, type_hints
from registry_tool.bundle import contents as bundle_contents
from registry_tool.bundle.contents import BundleContents
from registry_tool.bundle.verify import BundleVerified
from registry_tool.content.retention import plan as prune_plan
from registry_tool.content.retention.plan import PrunePlan
from registry_tool.content.usage import report as usage_report
from registry_tool.content.usage.report import UsageReport
from registry_tool.oci.digest import Digest
from registry_tool.verify.report import report
from registry_tool.verify.report.report import VerifyReport

REPORT = Path(report.__file__).with_name("certificate.schema.json")

PRUNE = Path(prune_plan.__file__).with_name("plan.schema.json")
USAGE = Path(usage_report.__file__).with_name("usage.schema.json")
BUNDLE = Path(bundle_contents.__file__).with_name("bundle.schema.json")
VERIFIED = Path(bundle_contents.__file__).with_name("verified.schema.json")

Schema = dict[str, Any]

_SCALARS: Mapping[Any, Schema] = {
    AnyText: {"type": "string"},
    str: {"type": "string", "minLength": 1},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    datetime: {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"},
    Digest: {"type": "string", "pattern": "^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$"},
}


def report_schema() -> Schema:
    """The schema of ``regctl verify --json`` and ``--output``."""
    definitions: dict[str, Schema] = {}
    document = _object(VerifyReport, definitions)
    # The digest is of all other members.
    document["required"].append("digest")
    document["properties"]["digest"] = _SCALARS[Digest]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A certificate of portability",
        "description": "What regctl verify writes. docs/verify.md tells it member by member. Newer versions of the tool may add members.",
        **document,
        "$defs": definitions,
    }


def prune_schema() -> Schema:
    """The schema of a plan, as ``regctl prune --json`` prints and ``--plan`` reads it."""
    definitions: dict[str, Schema] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of regctl prune",
        "description": "What regctl prune --json prints and --plan reads, with other members beside. docs/json.md tells it.",
        **_object(PrunePlan, definitions),
        "$defs": definitions,
    }


def usage_schema() -> Schema:
    """The schema of ``regctl du --json``."""
    definitions: dict[str, Schema] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The account of a registry",
        "description": "What regctl du --json prints. docs/json.md tells it member by member. Newer versions of the tool may add members.",
        **_object(UsageReport, definitions),
        "$defs": definitions,
    }


def bundle_schema() -> Schema:
    """The schema of ``bundle.json``."""
    definitions: dict[str, Schema] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The contents of a bundle",
        "description": "What regctl bundle create writes to bundle.json: every file with its sha256, every image with its blobs.",
        **_object(BundleContents, definitions),
        "$defs": definitions,
    }


def verified_schema() -> Schema:
    """The schema of ``regctl bundle verify --json``."""
    definitions: dict[str, Schema] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Whether a bundle is whole",
        "description": "What regctl bundle verify --json prints. docs/bundle.md tells it. Newer versions of the tool may add members.",
        **_object(BundleVerified, definitions),
        "$defs": definitions,
    }


def as_text(schema: Schema) -> str:
    """The content of a schema's file."""
    return json.dumps(schema, indent=2) + "\n"


def _object(kind: type, definitions: dict[str, Schema]) -> Schema:
    hints = type_hints(kind)
    return {
        "type": "object",
        "required": [member.name for member in members(kind) if not member.optional],
        "properties": {
            member.name: _schema(hints[member.attribute], definitions, nullable=not member.optional) for member in members(kind)
        },
    }


def _schema(hint: Any, definitions: dict[str, Schema], *, nullable: bool = True) -> Schema:
    """The schema of a member, which may be null only if it is ``nullable``; that of another dataclass goes into ``definitions``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin in (Union, types.UnionType):
        inner = _schema(AnyText if arguments[0] is str else arguments[0], definitions)
        return {"anyOf": [inner, {"type": "null"}]} if nullable else inner
    if origin is tuple:
        return {"type": "array", "items": _schema(AnyText if arguments[0] is str else arguments[0], definitions)}
    if origin is Literal:
        return {"enum": list(arguments)}
    if not isinstance(hint, type) or not is_dataclass(hint):
        return {"type": "object"}
    if hint.__name__ not in definitions:
        definitions[hint.__name__] = _object(hint, definitions)
    return {"$ref": f"#/$defs/{hint.__name__}"}


if __name__ == "__main__":
    REPORT.write_text(as_text(report_schema()), encoding="utf-8")
    PRUNE.write_text(as_text(prune_schema()), encoding="utf-8")
    USAGE.write_text(as_text(usage_schema()), encoding="utf-8")
    BUNDLE.write_text(as_text(bundle_schema()), encoding="utf-8")
    VERIFIED.write_text(as_text(verified_schema()), encoding="utf-8")
