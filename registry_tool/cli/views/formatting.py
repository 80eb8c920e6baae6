"""Values as a person reads them: times, columns, safe text. Pure: nothing here prints or knows a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def age(timestamp: str, now: datetime | None = None) -> str:
    """``3 hours ago``, from an RFC 3339 time. The engine's clock may be ahead of ours: the future is ``just now``."""
    then = moment(timestamp)
    if then is None:
        return "N/A"
    return f"{_span((now or datetime.now(timezone.utc)) - then)} ago".replace("just now ago", "just now")


def moment(timestamp: str) -> datetime | None:
    """An RFC 3339 time as the engine gives it (nanoseconds are cut off); None where it gives none, or year one."""
    match = _RFC3339.fullmatch(timestamp)
    if match is None or match[1].startswith("0001-"):
        return None
    return datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))


def rfc3339(timestamp: str) -> str | None:
    """The same time for JSON: whole seconds, UTC, ``Z``; None where there is none."""
    then = moment(timestamp)
    return then.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if then else None


def seconds(value: float) -> str:
    """A duration for a person: ``0.3 s``, ``12 s``, ``2 min 5 s``."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def short_id(identifier: str) -> str:
    """Twelve digits, as docker prints ids."""
    return identifier.removeprefix("sha256:")[:12]


def printable(text: str) -> str:
    """``text`` without what steers a terminal: names, labels and messages come from strangers."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(document: str) -> str:
    """The same JSON document, what steers a terminal in JSON's own escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def one_line(text: str) -> str:
    """The same on one line, for a cell of a table."""
    return printable(" ".join(text.split()))


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters, the last a ``…`` where some were cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A plain table, a line for each row: columns as wide as their content, three blanks between, nothing cut."""
    lines = [list(heads), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(_cells(line[column]) for line in lines) for column in range(len(heads))]
    return ["   ".join(cell + " " * (width - _cells(cell)) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _span(span: timedelta) -> str:
    """docker's words (go-units HumanDuration)."""
    total = int(span.total_seconds())
    if total < 1:
        return "just now"
    minutes, hours = total // 60, round(total / 3600)
    if total < 60:
        return _count(total, "second")
    if minutes == 1:
        return "about a minute"
    if minutes < 46:
        return f"{minutes} minutes"
    if hours <= 1:
        return "about an hour"
    for limit, divisor, unit in ((48, 1, "hour"), (24 * 7 * 2, 24, "day"), (24 * 30 * 2, 24 * 7, "week"), (24 * 365 * 2, 24 * 30, "month")):
        if hours < limit:
            return _count(hours // divisor, unit)
    return _count(hours // (24 * 365), "year")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
