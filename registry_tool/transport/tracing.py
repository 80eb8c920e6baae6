"""What ``--debug`` shows of requests: every one of them, and no secret in any.

The lines go to the logger ``registry_tool.transport``, which nobody hears unless they ask.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from registry_tool.transport.responses import Response

LOG = logging.getLogger("registry_tool.transport")

_BLANK = "***"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
# Parts of a query that are all ASCII and harmless. Others are blanked: a redirect to a storage carries its signature
# there, under a name of the storage's own.
_HARMLESS = frozenset({"n", "last", "digest", "mount", "from", "service", "scope", "artifacttype", "tag"})


def asked(method: str, url: str, headers: Mapping[str, str]) -> None:
    """Log a request that goes out."""
    if LOG.isEnabledFor(logging.DEBUG):
        LOG.debug("> %s %s %s", method, address(url), _shown(headers))


def answered(answer: Response, seconds: float) -> None:
    """Log an answer that came."""
    if LOG.isEnabledFor(logging.DEBUG):
        LOG.debug("< %s %s %s (%.3f s) %s", answer.status, answer.method, address(answer.url), seconds, _shown(answer.headers))


def failed(method: str, url: str, why: str) -> None:
    """Log that no answer came."""
    LOG.debug("< nothing for %s %s: %s", method, address(url), why)


def waiting(method: str, path: str, seconds: float) -> None:
    """Log that a request is going to be made again."""
    LOG.debug("  %s %s again in %.1f s", method, address(path), seconds)


def address(url: str) -> str:
    """``url`` without what may be secret in it, in one line."""
    parts = urlsplit(url)
    netloc = f"{_BLANK}@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    query = [(name, value if name.lower() in _HARMLESS else _BLANK) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    return _one_line(parts._replace(netloc=netloc, query=urlencode(query, safe=":/,*"), fragment="").geturl())


def _shown(headers: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_value(name.lower(), value)!r}" for name, value in headers.items())


def _value(name: str, value: str) -> str:
    if name in _SECRET_HEADERS:
        scheme, space, _ = value.partition(" ")
        return f"{scheme} {_BLANK}" if space and scheme.isalpha() else _BLANK
    if name == "location":
        return address(value)
    return value[:300]


def _one_line(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:500]
