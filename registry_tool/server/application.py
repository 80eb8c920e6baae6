"""The registry as a WSGI application (PEP 3333): what distribution 2.8.2 answers, its odd ways included.

``tests/contract/`` asks this and the real one the same things. Not here: schema 1, proxying, notifications.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlencode

from registry_tool.server.blobs import Blobs
from registry_tool.server.manifests import Manifests
from registry_tool.server.messages import JSON, PLAIN, Environ, Fault, HttpError, Request, ServerResponse, StartResponse, as_json, refusal
from registry_tool.server.storage import Storage
from registry_tool.server.uploads import Uploads

MAX_PAGE = 1000
PAGE = 100
"""Repositories on a page of the catalog: the most, and as many as come unasked."""
MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = rf"(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
_REFERENCE = r"(?P<reference>\w[\w.-]{0,127}|[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:\w+)"
_BLOB = r"(?P<reference>[a-zA-Z0-9-_+.]+:[a-zA-Z0-9]+)"
_READS = ("GET", "HEAD")

Handler = Callable[..., ServerResponse]


@dataclass(frozen=True, kw_only=True)
class _Route:
    path: re.Pattern[str]
    handlers: Mapping[str, Handler]


class Application:
    """One registry over ``storage``. Another application over the same storage is the same registry after a restart.

    ``delete`` and ``read_only`` are distribution's settings of these names; ``let_in(user, password)`` says who may do
    everything (None: anyone); ``realm`` names the registry to those who may not; ``foreign_urls`` see :class:`Manifests`;
    ``secret`` see :class:`Uploads`.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        delete: bool = True,
        read_only: bool = False,
        let_in: Callable[[str, str], bool] | None = None,
        realm: str = "registry-tool",
        foreign_urls: bool = False,
        secret: bytes | None = None,
    ) -> None:
        self.storage = storage
        self._let_in = let_in
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
        self._routes = [
            _Route(path=re.compile(path, re.ASCII), handlers=_allowed(handlers, read_only=read_only)) for path, handlers in table.items()
        ]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer = self._answer(request)
        except HttpError as refused:
            answer = refused.answer()
        headers = list(answer.headers)
        if request.path != "/":
            headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        if request.path != "/" and answer.status != 301:
            headers.append(("X-Content-Type-Options", "nosniff"))
        if isinstance(answer.body, bytes) and answer.status not in (204, 304) and "Content-Length" not in dict(headers):
            headers.append(("Content-Length", str(len(answer.body))))
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        if request.method == "HEAD":
            return ()
        return (answer.body,) if isinstance(answer.body, bytes) else answer.body

    def _answer(self, request: Request) -> ServerResponse:
        path = request.path
        if path == "/":
            return ServerResponse(status=200, headers=(("Cache-Control", "no-cache"),))
        clean = _clean(path)
        if clean != path:
            return _moved(request, clean)
        if path == "/v2/":
            self._check_user(request, ())
            return ServerResponse(status=200, headers=(("Content-Type", JSON),), body=b"{}")
        for route in self._routes:
            match = route.path.fullmatch(path)
            if match is not None:
                return self._handle(request, route.handlers, match.groupdict())
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        if other == "/v2/" or any(route.path.fullmatch(other) for route in self._routes):
            return _moved(request, other, words=request.method in _READS)
        return ServerResponse(status=404, headers=(("Content-Type", PLAIN),), body=b"404 page not found\n")

    def _handle(self, request: Request, handlers: Mapping[str, Handler], parts: Mapping[str, str]) -> ServerResponse:
        name = parts.get("repository", "")
        self._check_user(request, _access(request, name))
        if len(name) > MAX_NAME:
            raise refusal("UNKNOWN", {"Name": name, "Reason": {}})
        handler = handlers.get(request.method)
        if handler is not None:
            return handler(request, **parts)
        allow = ("Allow", ", ".join(sorted(handlers)))
        if request.method == "OPTIONS":
            return ServerResponse(status=200, headers=(allow,))
        return ServerResponse(status=405, headers=(allow, ("Content-Type", PLAIN)), body=b"Method not allowed\n")

    def _check_user(self, request: Request, access: Iterable[Mapping[str, str]]) -> None:
        if self._let_in is None:
            return
        scheme, _, said = request.header("Authorization").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(said, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                user = password = ""
            if self._let_in(user, password):
                return
        challenge = ("Www-Authenticate", f'Basic realm="{self._realm}"')
        raise HttpError(Fault(code="UNAUTHORIZED", detail=list(access) or None), headers=(challenge,))

    def _tags(self, request: Request, repository: str) -> ServerResponse:
        """All tags in one answer: ``n`` and ``last`` are not looked at."""
        tags = self.storage.tags(repository)
        if tags is None:
            raise refusal("NAME_UNKNOWN", {"name": repository})
        return ServerResponse(status=200, headers=(("Content-Type", JSON),), body=as_json({"name": repository, "tags": list(tags) or None}))

    def _catalog(self, request: Request) -> ServerResponse:
        """A page of the repositories, ``a/b`` before ``a-b``: ordered part by part."""
        count = _count(request.query.get("n", ""))
        last = request.query.get("last", "")
        names = sorted(self.storage.repositories(), key=_parts)
        following = [name for name in names if not last or _parts(name) > _parts(last)]
        page = following[:count]
        headers = [("Content-Type", JSON)]
        if page and len(following) > count:
            headers.append(("Link", f'</v2/_catalog?{urlencode({"last": page[-1], "n": count})}>; rel="next"'))
        return ServerResponse(status=200, headers=tuple(headers), body=as_json({"repositories": page}))


def _allowed(handlers: Mapping[str, Handler], *, read_only: bool) -> Mapping[str, Handler]:
    """Without what writes, if need be; HEAD goes with GET where one thing is asked for, not a list."""
    allowed = {method: handler for method, handler in handlers.items() if method == "GET" or not read_only}
    return {**allowed, "HEAD": handlers["GET"]} if len(handlers) > 1 else allowed


def _count(said: str) -> int:
    """What is no number, or a negative one, is as if nothing was said."""
    try:
        count = int(said)
    except ValueError:
        return PAGE
    if count > MAX_PAGE:
        raise refusal("PAGINATION_NUMBER_INVALID", {"n": count})
    return count if count >= 0 else PAGE


def _parts(name: str) -> list[str]:
    return name.split("/")


def _access(request: Request, repository: str) -> list[dict[str, str]]:
    """What a request needs, in the words of a token's scope."""
    if not repository:
        return [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]
    actions = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}.get(request.method, ("pull", "push"))
    needed = [(repository, action) for action in actions]
    source = request.query.get("from")
    if request.method == "POST" and source:
        needed.append((source, "pull"))
    return [{"Type": "repository", "Class": "", "Name": name, "Action": action} for name, action in needed]


def _clean(path: str) -> str:
    """``path`` without doubled slashes and dots, as Go's path.Clean leaves it."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _moved(request: Request, path: str, *, words: bool = False) -> ServerResponse:
    query = request.environ.get("QUERY_STRING", "")
    location = quote(path, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    body = f'<a href="{location}">Moved Permanently</a>.\n\n'.encode() if words else b""
    headers = (("Location", location), *((("Content-Type", "text/html; charset=utf-8"),) if words else ()))
    return ServerResponse(status=301, headers=headers, body=body)
