"""What the page of the sample app shows (``sample_app/app.py``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

NO_REDIS = "cannot connect to Redis, counter disabled"

_GREETING = re.compile(r"<h3>(Hello .*?)</h3>")
_HOSTNAME = re.compile(r"<b>Hostname:</b> ([^<]+)<br/>")
_VISITS = re.compile(r"<b>Visits:</b> (?:([0-9]{1,15})(?![0-9])|<i>" + re.escape(NO_REDIS) + "</i>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePage:
    """The page's values, each None where the page does not show it. ``has_counter`` is True where ``visits`` is None for want of Redis."""

    greeting: str | None
    hostname: str | None
    visits: int | None
    has_counter: bool

    @classmethod
    def parse(cls, body: str) -> SamplePage:
        """Read the values; of a page of another app all are None."""
        greeting, hostname, visits = (pattern.search(body) for pattern in (_GREETING, _HOSTNAME, _VISITS))
        return cls(
            greeting=greeting[1] if greeting else None,
            hostname=hostname[1] if hostname else None,
            visits=int(visits[1]) if visits and visits[1] else None,
            has_counter=visits is not None,
        )
