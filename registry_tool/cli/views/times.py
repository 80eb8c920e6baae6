"""Times as docker's ``--since`` takes them. Pure."""

from __future__ import annotations

import re
from datetime import datetime

_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SPAN = re.compile(rf"[+-]?(?:{_NUMBER}(?:{'|'.join(sorted(_UNITS, key=len, reverse=True))}))+", re.ASCII)
_PART = re.compile(rf"({_NUMBER})({'|'.join(sorted(_UNITS, key=len, reverse=True))})", re.ASCII)
_UNIX = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:T(?P<hour>[0-9]{2})(?P<minute>:[0-9]{2})?(?P<second>:[0-9]{2})?(?P<part>\.[0-9]{1,9})?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)


def span(text: str) -> float:
    """Seconds of Go's duration: ``10m``, ``1h30m``. Raises ValueError."""
    if not _SPAN.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a duration")
    seconds: float = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds


def since(text: str, now: float) -> str:
    """Unix seconds of ``text``: Go's duration before ``now``, RFC 3339 or its beginning, Unix seconds. Raises ValueError, OverflowError.

    With all its digits, as those of a line of a log are.
    """
    if _SPAN.fullmatch(text):
        value = now - span(text)
        if value > 1e12:
            raise ValueError(f"{text[:80]!r} is not a time")
        return f"{max(value, 0.0):.9f}"
    if _UNIX.fullmatch(text):
        return text
    match = _TIME.fullmatch(text)
    if match is None or (match["second"] and not match["minute"]) or (match["part"] and not match["second"]):
        raise ValueError(f"{text[:80]!r} is not a time")
    written = f"{match['date']}T{match['hour'] or '00'}{match['minute'] or ':00'}{match['second'] or ':00'}"
    moment = datetime.fromisoformat(written + (match["zone"] or "").replace("Z", "+00:00"))
    # Without a zone it is the machine's own.
    return f"{max(int(moment.timestamp()), 0)}{match['part'] or ''}"
