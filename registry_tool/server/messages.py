"""What goes in and out of the application: requests, answers, and refusals in the specification's form.

The codes and their words are distribution's (registry/api/v2/errors.go), as are the statuses, which the specification
leaves open.
"""

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
"""The words of PEP 3333, for which Python 3.10 has no types at run time."""

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
PIECE = 1 << 16
"""Bytes that are read or written at once."""

_REFUSALS = {
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
NOTHING = object()
"""No ``detail`` at all, which is not the same as ``null``."""


class BrokenBody(OSError):
    """A request's body ended before its time, or is not in the form it should be."""


@dataclass(frozen=True, kw_only=True)
class ServerResponse:
    """Content-Length is added where ``body`` is whole and none was said."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry of an error document."""

    code: str
    detail: object = NOTHING
    message: str | None = None

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"code": self.code, "message": self.message or _REFUSALS[self.code][1]}
        return document if self.detail is NOTHING else {**document, "detail": self.detail}


class HttpError(Exception):
    """The request is refused; the first fault decides the status."""

    def __init__(self, *faults: Fault, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(", ".join(fault.code for fault in faults))
        self.faults = faults
        self.headers = headers

    def answer(self) -> ServerResponse:
        """As it goes out."""
        body = as_json({"errors": [fault.as_json() for fault in self.faults]})
        return ServerResponse(status=_REFUSALS[self.faults[0].code][0], headers=(("Content-Type", JSON), *self.headers), body=body)


def refusal(code: str, detail: object = NOTHING, message: str | None = None) -> HttpError:
    """A refusal with one fault."""
    return HttpError(Fault(code=code, detail=detail, message=message))


def as_json(document: object) -> bytes:
    """As Go writes it: without spaces, with a line break at the end."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True)
class Request:
    """A request, as WSGI (PEP 3333) hands it over."""

    environ: Environ = field(repr=False)

    @property
    def method(self) -> str:
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
        """``http://HOST``: where the client reached us, as far as it and the proxies before us say."""
        pairs = (part.partition("=") for part in self.header("Forwarded").partition(",")[0].split(";"))
        forwarded = {name.strip().lower(): value.strip('" ') for name, _, value in pairs}
        scheme = forwarded.get("proto") or self.header("X-Forwarded-Proto") or str(self.environ["wsgi.url_scheme"])
        host = forwarded.get("host") or self.header("X-Forwarded-Host").partition(",")[0].strip() or self.header("Host")
        return f"{scheme}://{host}"

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises BrokenBody where the client goes away in the middle of it."""
        source = self.environ["wsgi.input"]
        left = None if self.environ.get("wsgi.input_terminated") else int(self.header("Content-Length") or 0)
        while left is None or left:
            piece: bytes = source.read(PIECE if left is None else min(PIECE, left))
            if not piece:
                if left:
                    raise BrokenBody(f"{left} bytes of the body never came")
                return
            left = None if left is None else left - len(piece)
            yield piece
