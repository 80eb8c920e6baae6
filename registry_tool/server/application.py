"""The registry as a WSGI application: distribution 2.8.2, quirks included (``tests/contract/``); no schema 1, proxying, notifications."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from urllib.parse import quote, urlencode

from registry_tool.server.blobs import Blobs, Uploads
from registry_tool.server.manifests import Manifests
from registry_tool.server.messages import (
    JSON,
    PLAIN,
    Environ,
    ErrorEntry,
    HttpError,
    Request,
    ServerResponse,
    StartResponse,
    as_json,
    http_error,
)
from registry_tool.server.storage import Storage

MAX_PAGE = 1000
PAGE = 100
"""Repositories on a page of the catalog: at most, and by default."""
MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = rf"(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
_REFERENCE = r"(?P<reference>\w[\w.-]{0,127}|[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:\w+)"
_BLOB = r"(?P<reference>[a-zA-Z0-9-_+.]+:[a-zA-Z0-9]+)"
_READS = ("GET", "HEAD")

Handler = Callable[..., ServerResponse]


class Application:
    """One registry over ``storage``. Another application over the same storage is the same registry after a restart.

    ``delete`` and ``read_only`` are distribution's settings; ``authorize(user, password)`` is whether a user may do
    anything (None: everybody may); ``realm`` is the challenge's; ``foreign_urls`` see :class:`Manifests`; ``secret`` see
    :class:`Uploads`.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        delete: bool = True,
        read_only: bool = False,
        authorize: Callable[[str, str], bool] | None = None,
        realm: str = "registry-tool",
        foreign_urls: bool = False,
        secret: bytes | None = None,
    ) -> None:
        self.storage = storage
        self._authorize = authorize
        self._realm = realm
        blobs = Blobs(storage, delete=delete)
        manifests = Manifests(storage, blobs, delete=delete, foreign_urls=foreign_urls)
        uploads = Uploads(storage, blobs, secret=secret)
        table: dict[str, dict[str, Handler]] = {
            rf"/v2/{_NAME}/manifests/{_REFERENCE}": {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
            rf"/v2/{_NAME}/tags/list": {"GET": self._tags},
            rf"/v2/{_NAME}/blobs/{_BLOB}": {"GET": blobs.get, "DELETE": blobs.delete},
            rf"/v2/{_NAME}/blobs/uploads/(?P<reference>[a-zA-Z0-9-_.=]*)": {
                "GET": uploads.status,
                "POST": uploads.begin,
                "PATCH": uploads.append,
                "PUT": uploads.finish,
                "DELETE": uploads.cancel,
            },
            r"/v2/_catalog": {"GET": self._catalog},
        }
        self._routes = [(re.compile(path, re.ASCII), _allowed(handlers, read_only=read_only)) for path, handlers in table.items()]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._respond(request)
        except HttpError as error:
            response = error.response()
        headers = list(response.headers)
        if request.path != "/":
            headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        if request.path != "/" and response.status != 301:
            headers.append(("X-Content-Type-Options", "nosniff"))
        if isinstance(response.body, bytes) and response.status not in (204, 304) and "Content-Length" not in dict(headers):
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        if request.method == "HEAD":
            return ()
        return (response.body,) if isinstance(response.body, bytes) else response.body

    def _respond(self, request: Request) -> ServerResponse:
        path = request.path
        if path == "/":
            return ServerResponse(status=200, headers=(("Cache-Control", "no-cache"),))
        cleaned = _cleaned(path)
        if cleaned != path:
            return _redirect(request, cleaned)
        if path == "/v2/":
            self._authenticate(request, ())
            return ServerResponse(status=200, headers=(("Content-Type", JSON),), body=b"{}")
        for pattern, handlers in self._routes:
            if match := pattern.fullmatch(path):
                return self._handle(request, handlers, match.groupdict())
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        if other == "/v2/" or any(pattern.fullmatch(other) for pattern, _ in self._routes):
            return _redirect(request, other, with_body=request.method in _READS)
        return ServerResponse(status=404, headers=(("Content-Type", PLAIN),), body=b"404 page not found\n")

    def _handle(self, request: Request, handlers: Mapping[str, Handler], parts: Mapping[str, str]) -> ServerResponse:
        name = parts.get("repository", "")
        self._authenticate(request, _required_access(request, name))
        if len(name) > MAX_NAME:
            raise http_error("UNKNOWN", {"Name": name, "Reason": {}})
        handler = handlers.get(request.method)
        if handler is not None:
            return handler(request, **parts)
        allow = ("Allow", ", ".join(sorted(handlers)))
        if request.method == "OPTIONS":
            return ServerResponse(status=200, headers=(allow,))
        return ServerResponse(status=405, headers=(allow, ("Content-Type", PLAIN)), body=b"Method not allowed\n")

    def _authenticate(self, request: Request, access: Iterable[Mapping[str, str]]) -> None:
        if self._authorize is None:
            return
        scheme, _, value = request.header("Authorization").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                user = password = ""
            if self._authorize(user, password):
                return
        challenge = ("Www-Authenticate", f'Basic realm="{self._realm}"')
        raise HttpError(ErrorEntry(code="UNAUTHORIZED", detail=list(access) or None), headers=(challenge,))

    def _tags(self, request: Request, repository: str) -> ServerResponse:
        """All tags in one response; ``n`` and ``last`` are ignored."""
        tags = self.storage.tags(repository)
        if tags is None:
            raise http_error("NAME_UNKNOWN", {"name": repository})
        return ServerResponse(status=200, headers=(("Content-Type", JSON),), body=as_json({"name": repository, "tags": list(tags) or None}))

    def _catalog(self, request: Request) -> ServerResponse:
        """A page of the repositories, ``a/b`` before ``a-b``: ordered part by part."""
        count = _page_size(request.query.get("n", ""))
        last = request.query.get("last", "")
        names = sorted(self.storage.repositories(), key=_components)
        following = [name for name in names if not last or _components(name) > _components(last)]
        page = following[:count]
        headers = [("Content-Type", JSON)]
        if page and len(following) > count:
            headers.append(("Link", f'</v2/_catalog?{urlencode({"last": page[-1], "n": count})}>; rel="next"'))
        return ServerResponse(status=200, headers=tuple(headers), body=as_json({"repositories": page}))


def _allowed(handlers: Mapping[str, Handler], *, read_only: bool) -> Mapping[str, Handler]:
    """The handlers that are allowed: only GET where ``read_only``; HEAD with GET, except on lists."""
    allowed = {method: handler for method, handler in handlers.items() if method == "GET" or not read_only}
    return {**allowed, "HEAD": handlers["GET"]} if len(handlers) > 1 else allowed


def _page_size(value: str) -> int:
    """``n`` of a catalog request; the default where it is no number or negative."""
    try:
        count = int(value)
    except ValueError:
        return PAGE
    if count > MAX_PAGE:
        raise http_error("PAGINATION_NUMBER_INVALID", {"n": count})
    return count if count >= 0 else PAGE


def _components(name: str) -> list[str]:
    return name.split("/")


def _required_access(request: Request, repository: str) -> list[dict[str, str]]:
    """The access that a request requires, as in a token's scope."""
    if not repository:
        return [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]
    actions = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}.get(request.method, ("pull", "push"))
    needed = [(repository, action) for action in actions]
    source = request.query.get("from")
    if request.method == "POST" and source:
        needed.append((source, "pull"))
    return [{"Type": "repository", "Class": "", "Name": name, "Action": action} for name, action in needed]


def _cleaned(path: str) -> str:
    """``path`` without doubled slashes and dots, as Go's path.Clean leaves it."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return f"{cleaned}/" if path.endswith("/") and cleaned != "/" else cleaned


def _redirect(request: Request, path: str, *, with_body: bool = False) -> ServerResponse:
    query = request.environ.get("QUERY_STRING", "")
    location = quote(path, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    body = f'<a href="{location}">Moved Permanently</a>.\n\n'.encode() if with_body else b""
    headers = (("Location", location), *((("Content-Type", "text/html; charset=utf-8"),) if with_body else ()))
    return ServerResponse(status=301, headers=headers, body=body)
