"""Frozen values are written as JSON and read again by the same members."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import ClassVar, Literal

import pytest

from registry_tool.base.codec import AnyText, from_json, rfc3339, to_json
from registry_tool.base.errors import InvalidManifest, RegistryToolError
from registry_tool.base.reader import Document
from registry_tool.oci.digest import Digest

DIGEST = Digest.of(b"")
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Part:
    size: int
    note: AnyText = ""


@dataclass(frozen=True, kw_only=True)
class Whole:
    JSON_MEMBERS: ClassVar = "ok kind digest made parts words about seconds other=another?"

    kind: Literal["a", "b"] = "a"
    digest: Digest | None = DIGEST
    made: datetime = NOON
    parts: tuple[Part, ...] = (Part(size=0),)
    words: tuple[str, ...] = ("", "x")
    about: Mapping[str, object] = field(default_factory=lambda: {"exact": 0.123456})
    seconds: float = 1.23456
    another: Part | None = None

    @property
    def ok(self) -> bool:
        return bool(self.parts)


def read(document: object) -> Whole:
    return from_json(Whole, Document.read(json.dumps(document).encode(), what="document", max_size=1 << 20))


def test_members_are_written_in_their_order_and_optional_ones_left_out() -> None:
    document = to_json(Whole())
    assert json.dumps(document) == (
        f'{{"ok": true, "kind": "a", "digest": "{DIGEST}", "made": "2026-01-31T12:00:00Z", "parts": [{{"size": 0, "note": ""}}], '
        '"words": ["", "x"], "about": {"exact": 0.123456}, "seconds": 1.235}'
    )
    assert to_json(Whole(another=Part(size=1)))["other"] == {"size": 1, "note": ""}


def test_error_is_written_as_every_command_prints_it() -> None:
    assert to_json(RegistryToolError("gone")) == {"code": "failed", "message": "gone", "hint": None}
    document = to_json(RegistryToolError("gone", hint="Start it.", excerpt=("line",)))
    assert json.dumps(document) == '{"code": "failed", "message": "gone", "hint": "Start it.", "excerpt": ["line"]}'


@pytest.mark.parametrize("value", [Whole(seconds=0.5), Whole(kind="b", digest=None, parts=(), words=(), seconds=2.0, another=Part(size=9))])
def test_value_that_was_written_is_read_again(value: Whole) -> None:
    assert read(to_json(value)) == value


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("ok", False, "ok: it contradicts the other members"),
        ("ok", 1, "ok: true or false is required, not a number"),
        ("kind", "c", "kind: 'c' is not one of a, b"),
        ("digest", "sha256:0", "digest: not 64 lower-case hexadecimal digits: '0'"),
        ("made", "2026-01-31T12:00:60", "made: not a time in UTC, as 2026-01-31T12:00:00Z"),
        ("made", "2026-1-31T12:00:00Z", "made: not a time in UTC, as 2026-01-31T12:00:00Z"),
        ("parts", [{"size": -1, "note": ""}], "parts[0].size: -1 is less than 0"),
        ("parts", [{"note": ""}], "parts[0].size: missing"),
        ("words", [1], "words[0]: a string is required, not a number"),
        ("about", [], "about: an object is required, not an array"),
        ("about", None, "about: missing"),
        ("seconds", "1", "seconds: a number is required, not a string"),
        ("seconds", -0.5, "seconds: -0.5 is less than 0"),
        ("other", {}, "other.size: missing"),
    ],
)
def test_member_that_is_wrong_is_refused_by_its_name(member: str, value: object, message: str) -> None:
    with pytest.raises(InvalidManifest) as refused:
        read({**to_json(Whole()), member: value})
    assert refused.value.message == message


def test_times_are_written_in_utc_with_whole_seconds() -> None:
    assert rfc3339(datetime(2026, 1, 31, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-31T12:00:00Z"
    assert rfc3339(datetime(900, 1, 1, tzinfo=timezone.utc)) == "0900-01-01T00:00:00Z"
