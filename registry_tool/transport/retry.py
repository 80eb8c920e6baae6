"""When to try again, and how long to wait before: one function that does nothing else."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from registry_tool.base.errors import ConnectionLost, RegistryToolError
from registry_tool.transport.responses import Response

ATTEMPTS = 4
"""How often a request is made at most."""
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; three times as long before each one after it."""
MAX_PAUSE = 30.0
"""Seconds. A registry that wants more than that is given up on."""

_SAFE = ("GET", "HEAD")
# 500 is not among them: registries say it of content that is damaged, which a second look does not mend.
_PASSING = (429, 502, 503, 504)


def pause(attempt: int, method: str, answer: Response | None, error: RegistryToolError | None) -> float | None:
    """Seconds to wait before the next attempt; None where there is to be none. ``attempt`` counts from 1.

    One of ``answer`` and ``error`` is how this attempt ended. What changes something is repeated only where the
    registry said that it did not look at it (429; 503 with ``Retry-After``). Where nothing answers at all, or nothing
    comes for as long as is waited, another try would only take longer to say so.
    """
    if attempt >= ATTEMPTS:
        return None
    backoff: float = FIRST_PAUSE * 3 ** (attempt - 1)
    if answer is None:
        return backoff if isinstance(error, ConnectionLost) and method in _SAFE else None
    if answer.status not in _PASSING:
        return None
    wanted = retry_after(answer)
    untouched = answer.status == 429 or (answer.status == 503 and wanted is not None)
    if method not in _SAFE and not untouched:
        return None
    if wanted is None:
        return backoff
    return max(wanted, backoff) if wanted <= MAX_PAUSE else None


def retry_after(answer: Response) -> float | None:
    """Seconds that the registry wants us to wait (RFC 9110, 10.2.3); None where it does not say.

    A date is compared with the answer's own: the registry's clock and ours need not agree.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until, now = _date(text), _date(answer.headers.get("date", ""))
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else None
