"""What is asked of one registry: who we are to it, where it leads us, and when it is asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from urllib.parse import urlencode, urljoin, urlsplit

from registry_tool.auth.credentials import Credential
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import RegistryError, RegistryToolError, RegistryUnreachable
from registry_tool.transport import retry
from registry_tool.transport import tracing as trace
from registry_tool.transport.authentication import Authenticator, purpose
from registry_tool.transport.origin import find_origin
from registry_tool.transport.pool import TIMEOUTS, Content, HttpPool, nothing_answers
from registry_tool.transport.responses import Response, error_from
from registry_tool.transport.stream import ResponseStream
from registry_tool.transport.tokens import TokenRequest

MAX_ANSWER = 32 << 20
"""Bytes of an answer that is wanted whole, where nothing else is said: a list of 200,000 long tags."""
MAX_PAGES = 10_000
MAX_REDIRECTS = 5

_MAX_TOKEN = 1 << 20
_NOTHING: Mapping[str, str] = MappingProxyType({})
_REDIRECTS = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)
_SAFE = ("GET", "HEAD")
_HUB = {"docker.io": "registry-1.docker.io"}
_ASK = "Ask who runs the registry."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """``path`` is one of the registry's, or a whole address that it gave us."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Content | None = None
    limit: int = MAX_ANSWER
    streamed: bool = False

    @property
    def is_repeatable(self) -> bool:
        return self.body is None or isinstance(self.body, bytes)


class Transport:
    """Requests to the registry at ``host``, over connections that are kept. Threads may share it.

    ``plain_http`` None lets a registry on loopback speak what it speaks and wants TLS from any other.
    ``credential`` may be a function: it is called once, and only if the registry asks who we are, so that a registry
    without authentication costs no look into a credential store and does not mind a broken one.
    ``timeouts`` are as :data:`TIMEOUTS`.

    What asks gives an answer below 400, or raises NotFound, AuthenticationFailed, TooManyRequests, RegistryError,
    NotARegistry, BrokenOff, RegistryUnreachable; CredentialsError where a password is wanted and its store fails.
    A refusal carries what was answered (``error.refusal``).
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        credential: Credential | Callable[[], Credential | None] | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
    ) -> None:
        self.host = host
        self.plain_http = plain_http
        self.timeouts = timeouts
        self.rate_limit_remaining: int | None = None
        """Requests that the registry will still answer, as it said last; None where it does not count them."""
        self._name = _HUB.get(host, host)
        self._origin: str | None = None
        self._is_registry = False
        self._identity = Authenticator(host, credential, self._ask_for_token, plain_http=bool(plain_http))
        self._wire = HttpPool(timeouts)
        self._lock = threading.Lock()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def was_asked(self) -> bool:
        """Whether the registry wanted to know who we are, and was told."""
        return self._identity.was_asked

    def close(self) -> None:
        """Give the connections back."""
        self._wire.close()

    def get(
        self, path: str, *, headers: Mapping[str, str] = _NOTHING, params: Mapping[str, str] = _NOTHING, limit: int = MAX_ANSWER
    ) -> Response:
        """GET ``path`` (``/v2/…``), a body of ``limit`` bytes at most."""
        return self._ask(_Request(method="GET", path=_with_query(path, params), headers=headers, limit=limit)).answer

    def head(self, path: str, *, headers: Mapping[str, str] = _NOTHING) -> Response:
        """HEAD ``path``."""
        return self._ask(_Request(method="HEAD", path=path, headers=headers)).answer

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        params: Mapping[str, str] = _NOTHING,
        body: Content | None = None,
    ) -> Response:
        """POST, PUT, PATCH or DELETE. ``path`` may be the ``Location`` of an answer (:meth:`location`).

        A body that is not bytes is read once, so that nothing is tried again; without a ``Content-Length`` among
        ``headers`` it is sent in chunks.
        """
        return self._ask(_Request(method=method, path=_with_query(path, params), headers=headers, body=body)).answer

    def stream(self, path: str, *, headers: Mapping[str, str] = _NOTHING) -> ResponseStream:
        """GET ``path``, its body still to be read. To be closed."""
        return self._ask(_Request(method="GET", path=path, headers=headers, streamed=True))

    def pages(self, path: str, *, params: Mapping[str, str] = _NOTHING) -> Iterator[Response]:
        """GET ``path`` and what each answer's ``Link`` calls the next one; ends where that leads back."""
        seen: set[str] = set()
        following: str | None = _with_query(path, params)
        while following is not None and following not in seen:
            if len(seen) == MAX_PAGES:
                raise RegistryError(f"{self.host} has no end of pages for {path}", hint="The registry is broken: look at its log.")
            seen.add(following)
            answer = self.get(following)
            yield answer
            following = answer.next_path

    def location(self, answer: Response) -> str:
        """Where an answer's ``Location`` leads, as :meth:`send` takes it: a path of the registry's, or a whole address elsewhere."""
        origin = self._find_origin()
        there = self._redirected(answer.url, answer.headers.get("location", ""), origin)
        return there.removeprefix(origin)

    # --- one request ---

    def _ask(self, request: _Request) -> ResponseStream:
        stream = self._insist(request.method, request.path, lambda: self._once(request), repeatable=request.is_repeatable)
        self._is_registry = True
        return stream

    def _insist(self, method: str, path: str, once: Callable[[], ResponseStream], *, repeatable: bool = True) -> ResponseStream:
        """What ``once`` gives, done again where that is right (:mod:`registry_tool.transport.retry`); a refusal is raised."""
        attempt = 0
        while True:
            attempt += 1
            error: RegistryToolError | None
            answer = None
            try:
                stream = once()
                answer = stream.answer
                error = error_from(self.host, answer, is_registry=self._is_registry)
                if error is None:
                    return stream
            except RegistryUnreachable as lost:
                error = lost
            pause = retry.pause(attempt, method, answer, error) if repeatable else None
            if pause is None:
                raise error
            trace.waiting(method, path, pause)
            time.sleep(pause)

    def _once(self, request: _Request) -> ResponseStream:
        what_for = purpose(request.method, request.path)
        shown = self._identity.header(what_for)
        stream = self._follow(request, shown)
        if stream.answer.status == 401 and self._is_own(stream.answer.url) and request.is_repeatable:
            # Where a redirect led elsewhere, it is not the registry that asks who we are.
            stream.discard()
            stream = self._follow(request, self._identity.meet(what_for, stream.answer, shown=shown))
        left = stream.answer.rate_limit_remaining
        if left is not None:
            self.rate_limit_remaining = left
        if not request.streamed or stream.answer.status >= 300:
            stream.read_whole(request.limit)
        return stream

    def _follow(self, request: _Request, authorization: str | None) -> ResponseStream:
        method, path, origin = request.method, request.path, self._find_origin()
        shown = path if path.isprintable() and "?" not in path else trace.address(path)
        url = path if "://" in path.partition("?")[0] else origin + path
        for _ in range(MAX_REDIRECTS + 1):
            own = url.startswith(f"{origin}/")
            identified = {**request.headers, "Authorization": authorization} if own and authorization else request.headers
            try:
                stream = self._wire.exchange(method, url, identified, request.body, path=shown, host=self._name if own else None)
            except RegistryUnreachable:
                # What is spoken there was a guess if it never answered: a container that is starting accepts and hangs up.
                self._origin = None
                raise
            location = stream.answer.headers.get("location")
            if stream.answer.status not in _REDIRECTS or not location:
                return stream
            stream.discard()
            url = self._redirected(url, location, origin)
            self._check_may_follow(request, stream.answer, url, origin)
        raise RegistryError(f"{self.host} redirects {method} {shown} without end", hint="Look at the registry's proxy, if it has one.")

    def _is_own(self, url: str) -> bool:
        return url.startswith(f"{self._find_origin()}/")

    def _redirected(self, url: str, location: str, origin: str) -> str:
        try:
            there = urlsplit(urljoin(url, location))
            hostname = there.hostname
        except ValueError:
            raise RegistryError(f"{self.host} redirects to what is no address: {location[:200]!r}", hint=_ASK) from None
        scheme = urlsplit(origin).scheme
        # A proxy that ends TLS before the registry often leaves it in the belief that it is spoken to in the open.
        if there.netloc == self._name and there.scheme in (scheme, "http"):
            return origin + there._replace(scheme="", netloc="", fragment="").geturl()
        if there.scheme not in ("http", "https") or not hostname or (scheme, there.scheme) == ("https", "http"):
            raise RegistryError(f"{self.host} redirects from {scheme} to {there.scheme}://{there.netloc}: not followed", hint=_ASK)
        return there._replace(fragment="").geturl()

    def _check_may_follow(self, request: _Request, answer: Response, url: str, origin: str) -> None:
        """What changes something is not sent to anybody else, nor turned into a GET."""
        if request.method in _SAFE:
            return
        if not url.startswith(f"{origin}/") or answer.status not in _SAME_METHOD or not request.is_repeatable:
            raise RegistryError(f"{self.host} redirects {request.method} {request.path} to {trace.address(url)}: not followed", hint=_ASK)

    def _find_origin(self) -> str:
        origin = self._origin
        if origin is not None:
            return origin
        with self._lock:
            if self._origin is None:
                if is_loopback(self.host):
                    try:
                        self._origin = find_origin(self.host, plain_http=self.plain_http, timeout=self.timeouts[0])
                    except OSError as error:
                        raise nothing_answers(self.host, error.strerror or str(error)) from error
                else:
                    self._origin = f"{'http' if self.plain_http else 'https'}://{self._name}"
            return self._origin

    def _ask_for_token(self, wanted: TokenRequest) -> Response:
        body = wanted.form.encode() if wanted.form is not None else None
        path = urlsplit(wanted.url).path

        def once() -> ResponseStream:
            stream = self._wire.exchange(wanted.method, wanted.url, wanted.headers, body, path=path)
            stream.read_whole(_MAX_TOKEN)
            return stream

        # Making a token changes nothing, whatever the method.
        return self._insist("GET", path, once).answer


def _with_query(path: str, params: Mapping[str, str]) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode(params)}" if params else path
