"""The log of requests that ``--debug`` shows, without any secret; it goes to the logger ``registry_tool.transport``."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from registry_tool.transport.responses import Response

LOG = logging.getLogger("registry_tool.transport")

_REDACTED = "***"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
# The values of other parameters are redacted: a redirect to a storage carries its signature there, under a name of the
# storage's own.
_PUBLIC_PARAMETERS = frozenset({"n", "last", "digest", "mount", "from", "service", "scope", "artifacttype", "tag"})


def log_request(method: str, url: str, headers: Mapping[str, str]) -> None:
    """Log a request before it is sent."""
    if LOG.isEnabledFor(logging.DEBUG):
        LOG.debug("> %s %s %s", method, redacted(url), _header_texts(headers))


def log_response(response: Response, seconds: float) -> None:
    """Log the head of a response."""
    if LOG.isEnabledFor(logging.DEBUG):
        headers = _header_texts(response.headers)
        LOG.debug("< %s %s %s (%.3f s) %s", response.status, response.method, redacted(response.url), seconds, headers)


def log_failure(method: str, url: str, why: str) -> None:
    """Log that there is no response."""
    LOG.debug("< nothing for %s %s: %s", method, redacted(url), why)


def log_retry(method: str, path: str, seconds: float) -> None:
    """Log that a request is sent again in ``seconds``."""
    LOG.debug("  %s %s again in %.1f s", method, redacted(path), seconds)


def redacted(url: str) -> str:
    """``url`` without what may be secret in it, in one line."""
    parts = urlsplit(url)
    netloc = f"{_REDACTED}@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value if name.lower() in _PUBLIC_PARAMETERS else _REDACTED) for name, value in parameters]
    text = parts._replace(netloc=netloc, query=urlencode(query, safe=":/,*"), fragment="").geturl()
    return re.sub(r"[^ -~]", "?", text)[:500]


def _header_texts(headers: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_header_text(name.lower(), value)!r}" for name, value in headers.items())


def _header_text(name: str, value: str) -> str:
    if name in _SECRET_HEADERS:
        scheme, space, _ = value.partition(" ")
        return f"{scheme} {_REDACTED}" if space and scheme.isalpha() else _REDACTED
    return redacted(value) if name == "location" else value[:300]
