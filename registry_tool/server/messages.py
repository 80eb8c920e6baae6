"""Requests and responses of the application; messages and statuses of error codes are distribution's (registry/api/v2/errors.go)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

Environ = dict[str, Any]
StartResponse = Callable[..., object]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
"""The types of PEP 3333, which Python 3.10 does not have at run time."""

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
CHUNK = 1 << 16
"""Bytes that are read or written at a time."""

_ERRORS = {
    "BLOB_UNKNOWN": (404, "blob unknown to registry"),
    "BLOB_UPLOAD_INVALID": (404, "blob upload invalid"),
    "BLOB_UPLOAD_UNKNOWN": (404, "blob upload unknown to registry"),
    "DIGEST_INVALID": (400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (400, "blob unknown to registry"),
    "MANIFEST_INVALID": (400, "manifest invalid"),
    "MANIFEST_UNKNOWN": (404, "manifest unknown"),
    "NAME_UNKNOWN": (404, "repository name not known to registry"),
    "PAGINATION_NUMBER_INVALID": (400, "invalid number of results requested"),
    "UNAUTHORIZED": (401, "authentication required"),
    "UNKNOWN": (500, "unknown error"),
    "UNSUPPORTED": (405, "The operation is unsupported."),
}
NO_DETAIL = object()
"""No ``detail`` at all, which is not the same as ``null``."""


class IncompleteBody(OSError):
    """A request's body ended too early, or is malformed."""


@dataclass(frozen=True, kw_only=True)
class ServerResponse:
    """A response; Content-Length is added where ``body`` is bytes and ``headers`` have none."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""


@dataclass(frozen=True, kw_only=True)
class ErrorEntry:
    """One entry of an error response (distribution-spec, "Error codes")."""

    code: str
    detail: object = NO_DETAIL
    message: str | None = None

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"code": self.code, "message": self.message or _ERRORS[self.code][1]}
        return document if self.detail is NO_DETAIL else {**document, "detail": self.detail}


class HttpError(Exception):
    """An error response; the first entry decides the status."""

    def __init__(self, *entries: ErrorEntry, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(", ".join(fault.code for fault in entries))
        self.entries = entries
        self.headers = headers

    def response(self) -> ServerResponse:
        """The response to send."""
        body = as_json({"errors": [fault.as_json() for fault in self.entries]})
        return ServerResponse(status=_ERRORS[self.entries[0].code][0], headers=(("Content-Type", JSON), *self.headers), body=body)


def http_error(code: str, detail: object = NO_DETAIL, message: str | None = None) -> HttpError:
    """An error response with one entry."""
    return HttpError(ErrorEntry(code=code, detail=detail, message=message))


def as_json(document: object) -> bytes:
    """JSON as Go writes it: without spaces, with a line break at the end."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True)
class Request:
    """A request, by its WSGI environment (PEP 3333)."""

    environ: Environ = field(repr=False)

    @property
    def method(self) -> str:
        """GET, PUT, …, in capitals."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def path(self) -> str:
        """Decoded, as distribution matches it."""
        return str(self.environ.get("PATH_INFO", "")) or "/"

    @cached_property
    def query(self) -> dict[str, str]:
        """The first value of each name, as Go's FormValue gives it."""
        pairs = parse_qsl(self.environ.get("QUERY_STRING", ""), keep_blank_values=True)
        return dict(reversed(pairs))

    def header(self, name: str) -> str:
        """All values of a header, with commas between them; empty where there is none."""
        key = name.upper().replace("-", "_")
        return str(self.environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))

    @property
    def origin(self) -> str:
        """``http://HOST``: where the client reached this server, by its headers and those of proxies."""
        pairs = (part.partition("=") for part in self.header("Forwarded").partition(",")[0].split(";"))
        forwarded = {name.strip().lower(): value.strip('" ') for name, _, value in pairs}
        scheme = forwarded.get("proto") or self.header("X-Forwarded-Proto") or str(self.environ["wsgi.url_scheme"])
        host = forwarded.get("host") or self.header("X-Forwarded-Host").partition(",")[0].strip() or self.header("Host")
        return f"{scheme}://{host}"

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives. Raises IncompleteBody where the client closes the connection before its end."""
        source = self.environ["wsgi.input"]
        remaining = None if self.environ.get("wsgi.input_terminated") else int(self.header("Content-Length") or 0)
        while remaining is None or remaining:
            chunk: bytes = source.read(CHUNK if remaining is None else min(CHUNK, remaining))
            if not chunk:
                if remaining:
                    raise IncompleteBody(f"{remaining} bytes of the body are missing")
                return
            remaining = None if remaining is None else remaining - len(chunk)
            yield chunk
