"""What the page of the sample app shows (``sample_app/app.py``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

NO_REDIS = "cannot connect to Redis, counter disabled"

_GREETING = re.compile(r"<h3>(.*?)</h3>", re.DOTALL)
_HOSTNAME = re.compile(r"<b>Hostname:</b> ([^<]+)<br/>")
_VISITS = re.compile(r"<b>Visits:</b> (?:([0-9]{1,15})(?![0-9])|<i>" + re.escape(NO_REDIS) + "</i>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePage:
    """The page's values, each None where the page does not show it. ``has_counter`` is True where ``visits`` is None for want of Redis.

    ``text`` is the page without host name and visits: the same in each container of one image.
    """

    text: str
    greeting: str | None
    hostname: str | None
    visits: int | None
    has_counter: bool

    @classmethod
    def parse(cls, body: str) -> SamplePage:
        """Read the values; of a page of another app all are None."""
        greeting, hostname, visits = (pattern.search(body) for pattern in (_GREETING, _HOSTNAME, _VISITS))
        return cls(
            text=_VISITS.sub("<b>Visits:</b>", _HOSTNAME.sub("<b>Hostname:</b><br/>", body)),
            greeting=greeting[1] if greeting else None,
            hostname=hostname[1] if hostname else None,
            visits=int(visits[1]) if visits and visits[1] else None,
            has_counter=visits is not None,
        )
