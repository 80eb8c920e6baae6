from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.cli.views import formatting

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


def ago(**span: float) -> str:
    return (NOW - timedelta(**span)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"days": -800}, "2028-05-09"),
        ({"hours": -25}, "2026-03-02"),
        ({"hours": -5}, "just now"),
        ({"seconds": 0}, "just now"),
        ({"seconds": 1}, "1 second ago"),
        ({"seconds": 59}, "59 seconds ago"),
        ({"seconds": 61}, "about a minute ago"),
        ({"minutes": 3}, "3 minutes ago"),
        ({"minutes": 50}, "about an hour ago"),
        ({"hours": 3}, "3 hours ago"),
        ({"hours": 47}, "47 hours ago"),
        ({"days": 5}, "5 days ago"),
        ({"days": 20}, "2 weeks ago"),
        ({"days": 100}, "3 months ago"),
        ({"days": 800}, "2 years ago"),
    ],
)
def test_age_has_dockers_words_and_the_future_is_a_date(span: dict[str, float], expected: str) -> None:
    assert formatting.age(ago(**span), NOW) == expected


@pytest.mark.parametrize("text", ["", "0001-01-01T00:00:00Z", "yesterday", "2026-03-01"])
def test_age_of_an_invalid_time_is_not_available(text: str) -> None:
    assert formatting.age(text, NOW) == "N/A"
    assert formatting.json_time(text) is None


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2026-03-01T12:00:00.123456789Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z"),
    ],
)
def test_json_time_is_utc_in_whole_seconds(given_: str, expected: str) -> None:
    assert formatting.json_time(given_) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.04, "  0.0 s"), (59.4, "   59 s"), (59.6, " 1m 00s"), (125, " 2m 05s"), (3599, "59m 59s")]
)
def test_duration_in_a_column_has_its_width(value: float, expected: str) -> None:
    assert formatting.seconds_column(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.97, "10 s"), (59.4, "59 s"), (125, "2 min 5 s")])
def test_durations(value: float, expected: str) -> None:
    assert formatting.seconds(value) == expected


def test_columns_are_as_wide_as_their_content() -> None:
    wide = "x" * 300
    assert formatting.columns(("A", "BB"), [("1", wide), ("四四", "2")]) == ["A      BB", f"1      {wide}", "四四   2"]


def test_cell_is_one_line_without_control_characters() -> None:
    (_, line) = formatting.columns(("A",), [("a\nb\x1b[31m",)])
    assert line == "a b\N{REPLACEMENT CHARACTER}[31m"


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    assert not set(formatting.printable(text)) & {"\x1b", "\x9b", "\x07", "\r", "\x08", "\u202e"}


LONG = f"sha256:{'a1' * 32}"


def test_digest_is_short_only_where_its_line_does_not_fit() -> None:
    line = f"  untag v1; image {LONG} stays"
    assert formatting.fitted(line, 80) == "  untag v1; image sha256:a1a1a1a1a1a1 stays"
    assert formatting.fitted(line, 120) == formatting.fitted(line, None) == line
    assert formatting.fitted(f"{LONG} {LONG[:30]}", 80) == f"sha256:a1a1a1a1a1a1 {LONG[:30]}"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two", None, ["  name   one two"]),
        ("one two", 16, ["  name   one two"]),
        ("one two three", 16, ["  name   one two", "         three"]),
        ("long-name four", 14, ["  name", "    long-name", "    four"]),
        (LONG, 80, [f"  name   {LONG}"]),
        (LONG, 79, ["  name", f"    {LONG}"]),
        ("", 3, ["  name"]),
    ],
)
def test_text_is_wrapped_beside_its_name_or_below_it(text: str, width: int | None, lines: list[str]) -> None:
    assert formatting.wrapped("  name   ", text, width) == lines
