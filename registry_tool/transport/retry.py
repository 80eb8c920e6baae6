"""Whether a request is sent again, and after how long; and what is done again from its start, where several requests belong together."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    NotFound,
    NothingListens,
    RegistryError,
    RegistryToolError,
    Unreachable,
)
from registry_tool.transport.responses import Response

ATTEMPTS = 4
"""Attempts that a request has at most."""
FIRST_DELAY = 0.1
"""Seconds before the second attempt; three times as long before each one after it."""
MAX_DELAY = 30.0
"""Seconds. A registry that asks for a longer delay is given up on."""

REPEAT_DELAYS = (0.5, 2.0, 6.0)
"""Seconds before an upload or the push of a manifest is begun again, where its failure may pass: a registry restarts meanwhile."""

PASSING = (500, 502, 503, 504)
"""Statuses that are no answer to an upload: what was sent may be there or not."""
_REPEATED = (408, 425, 429, *PASSING)
_LOST_UPLOAD = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID")
"""Codes of a registry that lost an upload, or bytes of it: what was sent had the right digest."""

Result = TypeVar("Result")

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


def repeated(attempt: Callable[[], Result]) -> Result:
    """The result of ``attempt``, which is begun again after a failure that may pass. Raises what its last time raises."""
    for delay in REPEAT_DELAYS:
        try:
            return attempt()
        except RegistryToolError as error:
            if not is_transient(error):
                raise
        time.sleep(delay)
    return attempt()


def is_transient(error: RegistryToolError) -> bool:
    """Whether what changes something may succeed where it is begun again, in a registry that answered before.

    A lost connection or upload, a registry that is starting again, 429, 5xx, a token that ended under way.
    """
    if isinstance(error, (ConnectionLost, NothingListens)):
        return True
    response = error.response
    if response is None:
        return False
    is_upload = "/blobs/uploads/" in response.path
    if isinstance(error, AuthenticationFailed):
        # A body that is read while it is sent is sent once; a new session has a new token.
        return response.status == 401 and response.method == "PUT" and is_upload
    if isinstance(error, NotFound):
        return is_upload and response.method != "POST"
    return isinstance(error, (RegistryError, Unreachable)) and (
        response.status in _REPEATED or (is_upload and (response.code in _LOST_UPLOAD or response.status == 416))
    )


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
