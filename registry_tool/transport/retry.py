"""Whether a request is sent again, and after how long: pure, nothing is sent here."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from registry_tool.base.errors import ConnectionLost, RegistryToolError
from registry_tool.transport.responses import Response

ATTEMPTS = 4
"""Attempts that a request has at most."""
FIRST_DELAY = 0.1
"""Seconds before the second attempt; three times as long before each one after it."""
MAX_DELAY = 30.0
"""Seconds. A registry that asks for a longer delay is given up on."""

_SAFE = ("GET", "HEAD")
# 500 is not among them: registries answer it for damaged content, which a second attempt does not mend.
_TRANSIENT = (429, 502, 503, 504)


def retry_delay(attempt: int, method: str, response: Response | None, error: RegistryToolError | None) -> float | None:
    """Seconds to wait before the next attempt; None where there is to be none. ``attempt`` counts from 1.

    One of ``response`` and ``error`` is how this attempt ended. What changes something is repeated only where the
    registry said that it was not processed (429; 503 with ``Retry-After``). Where nothing answers at all, or no bytes
    arrive within the time-out, another attempt would only take longer to fail.
    """
    if attempt >= ATTEMPTS:
        return None
    backoff: float = FIRST_DELAY * 3 ** (attempt - 1)
    if response is None:
        return backoff if isinstance(error, ConnectionLost) and method in _SAFE else None
    if response.status not in _TRANSIENT:
        return None
    seconds = retry_after(response)
    unprocessed = response.status == 429 or (response.status == 503 and seconds is not None)
    if method not in _SAFE and not unprocessed:
        return None
    if seconds is None:
        return backoff
    return max(seconds, backoff) if seconds <= MAX_DELAY else None


def retry_after(response: Response) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3), if any. A date is compared with the response's own: clocks need not agree."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until, now = _date(text), _date(response.headers.get("date", ""))
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else None
