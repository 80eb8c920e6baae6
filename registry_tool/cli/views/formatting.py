"""Values as a person reads them: times, sizes, columns, safe text. Pure: nothing here prints or knows a terminal."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from registry_tool.base import units

UNKNOWN = "-"
"""Cell of a table for a value that is not known."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LONG_DIGEST = re.compile(r"((?:sha256|sha384|sha512):[0-9a-f]{12})[0-9a-f]{52,}")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def age(time: str | datetime | None, now: datetime | None = None) -> str:
    """``3 hours ago``, in docker's words. Up to a day in the future is ``just now``, as a clock may be ahead; beyond, it is the date."""
    then = _datetime(time) if isinstance(time, str) else time
    if then is None:
        return UNKNOWN if time is None else "N/A"
    span = (now or datetime.now(timezone.utc)) - then
    if span < timedelta(days=-1):
        return then.date().isoformat()
    return f"{_span(span)} ago".replace("just now ago", "just now")


def json_time(timestamp: str) -> str | None:
    """An engine's time for JSON: RFC 3339 in UTC, whole seconds; None where it is not known."""
    from registry_tool.base.codec import rfc3339

    then = _datetime(timestamp)
    return rfc3339(then) if then else None


def docker_time(timestamp: str) -> str:
    """An engine's time as docker's ``CreatedAt``: ``2024-05-06 07:08:09 +0000 UTC``; empty where it is not known."""
    then = _datetime(timestamp)
    return f"{then.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S %z} UTC" if then else ""


def size(count: int | None) -> str:
    """``12.3kB``; ``-`` where it is not known."""
    return UNKNOWN if count is None else units.size(count)


def _datetime(timestamp: str) -> datetime | None:
    """Parse an engine's RFC 3339 time without its nanoseconds; None where it has none, or year one."""
    match = _RFC3339.fullmatch(timestamp)
    if match is None or match[1].startswith("0001-"):
        return None
    return datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))


def seconds(value: float) -> str:
    """A duration: ``0.3 s``, ``12 s``, ``2 min 5 s``."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def seconds_column(value: float) -> str:
    """A duration in a column of seven: ``0.3 s``, ``12 s``, ``2m 05s``."""
    whole = round(value)
    return f"{seconds(value) if whole < 60 else f'{whole // 60}m {whole % 60:02}s':>7}"


def short_id(identifier: str) -> str:
    """The first twelve hex digits, as docker prints ids."""
    return identifier.removeprefix("sha256:")[:12]


def printable(text: str) -> str:
    """``text`` with control characters replaced: names, labels and messages are untrusted."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(document: str) -> str:
    """A JSON document with control characters as JSON escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def one_line(text: str) -> str:
    """``text`` on one line without control characters, for a cell of a table."""
    return printable(" ".join(text.split()))


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters; ``…`` is the last where some were cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fitted(text: str, width: int | None) -> str:
    """``text`` with the first twelve digits of its digests where it is longer than ``width`` (None: any length fits)."""
    return text if width is None or _width(text) <= width else _LONG_DIGEST.sub(r"\1", text)


def wrapped(head: str, text: str, width: int | None) -> list[str]:
    """``head`` and ``text`` on lines of ``width`` (None: one line), broken between words; a word too long beside ``head`` goes below."""
    if width is None or _width(head + text) <= width:
        return [head + text]
    beside = max(map(_width, text.split()), default=0) <= width - _width(head)
    margin = " " * (_width(head) if beside else 4)
    parts = textwrap.wrap(text, max(width - len(margin), 1), break_long_words=False, break_on_hyphens=False)
    lines = [margin + part for part in parts]
    return [head + parts[0], *lines[1:]] if beside else [head.rstrip(), *lines]


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: columns as wide as their content, three blanks between, nothing cut."""
    lines = [list(heads), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(heads))]
    return ["   ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _span(span: timedelta) -> str:
    """A duration in docker's words (go-units HumanDuration)."""
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
