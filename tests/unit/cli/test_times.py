"""docker's ``--since``."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.cli.views.times import since

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "m", "10 m", "10d", "1h 30m", "2024-13-01", "2024-05-06 07:08", "2024-05-06T25:00:00Z", "07:08", "-", "."),
        *("2024-05-06T07:08:09+2", "yesterday", "nan", "inf", "1e9", "１m"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time|month must|hour must|isoformat"):
        since(text, NOW)


@given(st.text("0123456789hms.-:TZ+nuµ", max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        value = since(text, NOW)
    except (ValueError, OverflowError):
        return
    assert math.isfinite(float(value))
    assert float(value) >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", 10),
        ("10m", NOW - 600),
        ("9" * 40 + "h", 0),
        ("1h30m", NOW - 5400),
        ("1.5h", NOW - 5400),
        ("500ms", NOW - 0.5),
        ("-10s", NOW + 10),
        ("1136073600.000000001", 1136073600.000000001),
        ("2024-05-06T07:08:09Z", 1714979289),
        ("2024-05-06T07:08:09.5Z", 1714979289.5),
        ("2024-05-06T09:08:09+02:00", 1714979289),
        ("2024-05-06Z", 1714953600),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert float(since(text, NOW)) == pytest.approx(expected, abs=1e-3)


def test_no_digit_is_lost() -> None:
    assert since("2024-05-06T07:08:09.123456789Z", NOW) == "1714979289.123456789"
    assert since("1714979289.123456789", NOW) == "1714979289.123456789"


def test_without_a_zone_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert since("2024-05-06T09:08", NOW) == "1714979280"
    finally:
        monkeypatch.undo()
        time.tzset()
