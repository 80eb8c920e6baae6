"""The engine's times as RFC 3339 text. An inspection gives text, a listing gives seconds."""

from __future__ import annotations

from datetime import datetime, timezone


def of_seconds(seconds: object) -> str:
    """Seconds since 1970 as RFC 3339 in UTC; empty for what is no time at all (an engine's clock may be anything)."""
    if not isinstance(seconds, int | float):
        return ""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
