"""Requests to one registry: authentication, redirects, retries and pages."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

from registry_tool.base.address import HostPort, is_loopback
from registry_tool.base.errors import (
    AuthenticationFailed,
    NotFound,
    RegistryError,
    RegistryToolError,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.transport import retry, tracing
from registry_tool.transport.pool import TIMEOUTS, Content, HttpPool, nothing_answers
from registry_tool.transport.responses import Response, error_from
from registry_tool.transport.stream import ResponseStream

if TYPE_CHECKING:
    from registry_tool.auth.credentials import Credential
    from registry_tool.transport.authentication import Authenticator, Purpose, TokenRequest

MAX_BODY = 32 << 20
"""Bytes of a body that is read whole, unless another limit is given: a list of 200,000 long tags."""
MAX_PAGES = 10_000
MAX_REDIRECTS = 5
TRIAL_TIMEOUT = 1.0
"""Seconds that a server has for its part of the handshake. One that says nothing to it is waiting for HTTP."""

_MAX_REPEATED = 3
"""Refusals in a row, other than 404 and 405, that are repeated by GET for their words."""
_MAX_TOKEN = 1 << 20
_NOTHING: Mapping[str, str] = MappingProxyType({})
_REDIRECTS = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)
_SAFE = ("GET", "HEAD")
_NO_METHOD = (405, 501)
_HUB = {"docker.io": "registry-1.docker.io"}
_ASK = "Ask who runs the registry."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """``path`` is a path on the registry, or a whole URL that it named."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Content | None = None
    limit: int = MAX_BODY
    streamed: bool = False

    @property
    def is_repeatable(self) -> bool:
        return self.body is None or isinstance(self.body, bytes)


def log_warning(message: str) -> None:
    """Log a warning to the logger ``registry_tool``."""
    logging.getLogger("registry_tool").warning(message)


class Transport:
    """Requests to the registry at ``host``, over pooled connections. Threads may share it.

    ``plain_http`` None detects TLS for a registry on loopback and requires it for any other. ``insecure``: the certificate of
    the host itself is not checked. ``credential`` may be a function of the repository ("" for what concerns none): it is
    called once for each, and only after a challenge, so that a registry without authentication needs no credential store
    and does not mind a broken one. ``timeouts`` are as :data:`TIMEOUTS`. ``on_warning`` gets each warning
    once, by default for the log.

    Each method returns a response below 400, or raises NotFound, AuthenticationFailed, TooManyRequests, RegistryError,
    NotARegistry, ConnectionLost, RegistryUnreachable; CredentialsError where a password is needed and its store fails.
    What an error response said is in ``error.response``.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        insecure: bool = False,
        credential: Credential | Callable[[str], Credential | None] | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
        on_warning: Callable[[str], None] = log_warning,
    ) -> None:
        self.host = host
        self.plain_http = plain_http
        self.timeouts = timeouts
        self.rate_limit_remaining: int | None = None
        """Requests left, as the registry said last; None where it does not count them."""
        self._name = _HUB.get(host, host)
        self._origin: str | None = None
        self._is_registry = False
        # "manifests" and "blobs", as far as it is known.
        self._kinds_with_head: set[str] = set()
        self._kinds_without_head: set[str] = set()
        self._refusals_in_a_row = 0
        self._credential = credential
        self._authenticator: Authenticator | None = None
        self._on_warning = on_warning
        self._warnings: set[str] = set()
        self.incomplete_lists: set[str] = set()
        """Paths of lists that may have more entries than could be requested."""
        self._pool = HttpPool(timeouts, unverified=self._name if insecure else None)
        self._lock = threading.Lock()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def authenticated(self) -> bool:
        """Whether the registry asked for authentication and was answered."""
        return self._authenticator is not None and self._authenticator.authenticated

    @property
    def latency(self) -> float | None:
        """Seconds that a response takes at least; None until some have come."""
        return self._pool.latency

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def get(
        self, path: str, *, headers: Mapping[str, str] = _NOTHING, params: Mapping[str, str] = _NOTHING, limit: int = MAX_BODY
    ) -> Response:
        """GET ``path`` (``/v2/…``), a body of ``limit`` bytes at most."""
        return self._send(_Request(method="GET", path=_with_query(path, params), headers=headers, limit=limit)).response

    def head(self, path: str, *, headers: Mapping[str, str] = _NOTHING, may_be_missing: bool = False) -> Response:
        """HEAD ``path``; where the registry supports none there, GET: of a manifest with its body, of a blob without.

        An error is that of the same request by GET, whose body has the registry's words. ``may_be_missing``: they are not
        needed of a 404.
        """
        kind = path.rpartition("/")[0].rpartition("/")[2]
        if kind in self._kinds_without_head:
            return self._head_by_get(path, headers, kind)
        try:
            response = self._send(_Request(method="HEAD", path=path, headers=headers)).response
        except RegistryToolError as error:
            if error.response is None or isinstance(error, TooManyRequests):
                raise
            is_missing, status = isinstance(error, NotFound), error.response.status
            if is_missing and may_be_missing and kind in self._kinds_with_head:
                raise
            if not is_missing and status not in _NO_METHOD and self._refusals_in_a_row >= _MAX_REPEATED:
                raise
        else:
            self._kinds_with_head.add(kind)
            self._refusals_in_a_row = 0
            return response
        try:
            response = self._head_by_get(path, headers, kind, repeatable=status < 500)
        except RegistryToolError as error:
            if is_missing and isinstance(error, NotFound):
                self._kinds_with_head.add(kind)
            self._refusals_in_a_row += not is_missing
            raise
        self._refusals_in_a_row = 0
        # Where another HEAD was answered, only this one thing is refused.
        if status in _NO_METHOD or (status < 500 and kind not in self._kinds_with_head):
            self._kinds_without_head.add(kind)
        return response

    def _head_by_get(self, path: str, headers: Mapping[str, str], kind: str, *, repeatable: bool = True) -> Response:
        with self._send(_Request(method="GET", path=path, headers=headers, streamed=True), repeatable=repeatable) as stream:
            if kind == "manifests":
                stream.read_body(MAX_BODY)
            return stream.response

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        params: Mapping[str, str] = _NOTHING,
        body: Content | None = None,
    ) -> Response:
        """POST, PUT, PATCH or DELETE. ``path`` may be the ``Location`` of a response (:meth:`location`).

        A body that is not bytes is read once, so that nothing is retried; without a ``Content-Length`` among
        ``headers`` it is sent in chunks.
        """
        return self._send(_Request(method=method, path=_with_query(path, params), headers=headers, body=body)).response

    def stream(self, path: str, *, headers: Mapping[str, str] = _NOTHING) -> ResponseStream:
        """GET ``path``, with its body still to be read; to be closed."""
        return self._send(_Request(method="GET", path=path, headers=headers, streamed=True))

    def pages(
        self, path: str, *, params: Mapping[str, str] = _NOTHING, on_incomplete: Callable[[str], object] | None = None
    ) -> Iterator[Response]:
        """GET ``path`` and each next page that a ``Link`` names, until one was there already.

        Where there may be more, ``on_incomplete`` gets a note of that; by default it is a warning.
        """
        seen: set[str] = set()
        following: str | None = _with_query(path, params)
        while following is not None and following not in seen:
            if len(seen) == MAX_PAGES:
                raise RegistryError(f"{self.host} has no end of pages for {path}", hint="The registry is broken: look at its log.")
            seen.add(following)
            response = self.get(following)
            yield response
            following, is_unread = response.next_page(self._find_origin())
            if is_unread or following in seen:
                self.incomplete_lists.add(path)
                note = f"{self.host} names no next page that can be requested: the list of {path} may be incomplete"
                (on_incomplete or self._warn)(note)

    def location(self, response: Response) -> str:
        """The ``Location`` of a response, as :meth:`send` takes it: a path on the registry, or a whole URL elsewhere."""
        origin = self._find_origin()
        return self._redirect_target(response.url, response.headers.get("location", ""), origin).removeprefix(origin)

    def _warn(self, message: str) -> None:
        with self._lock:
            is_new = message not in self._warnings
            self._warnings.add(message)
        if is_new:
            self._on_warning(message)

    # --- one request ---

    def _send(self, request: _Request, *, repeatable: bool = True) -> ResponseStream:
        repeatable = repeatable and request.is_repeatable
        try:
            stream = self._retry(request.method, request.path, lambda: self._attempt(request), repeatable=repeatable)
        except AuthenticationFailed as error:
            explained = self._challenged().explained(error, _purpose(request))
            if explained is error:
                raise
            raise explained from error
        self._is_registry = True
        failure = self._authenticator.failure if self._authenticator is not None else None
        if failure is not None:
            self._warn(f"{failure.message}: going on without credentials")
        return stream

    def _retry(self, method: str, path: str, attempt: Callable[[], ResponseStream], *, repeatable: bool = True) -> ResponseStream:
        """The result of ``attempt``, repeated as :mod:`registry_tool.transport.retry` says. Raises what an error response stands for."""
        attempts = 0
        while True:
            attempts += 1
            error: RegistryToolError | None
            response = None
            try:
                stream = attempt()
                response = stream.response
                error = error_from(self.host, response, is_registry=self._is_registry)
                if error is None:
                    return stream
                stream.close()
            except RegistryUnreachable as unreachable:
                error = unreachable
            delay = retry.retry_delay(attempts, method, response, error) if repeatable else None
            if delay is None:
                raise error
            tracing.log_retry(method, path, delay)
            time.sleep(delay)

    def _attempt(self, request: _Request) -> ResponseStream:
        sent = self._authenticator.header(_purpose(request)) if self._authenticator is not None else None
        stream = self._follow(request, sent)
        if request.is_repeatable and self._is_challenge(stream):
            stream = self._authenticate(request, stream, sent)
        remaining = stream.response.rate_limit_remaining
        if remaining is not None:
            self.rate_limit_remaining = remaining
        if not request.streamed or stream.response.status >= 300:
            stream.read_body(request.limit)
        return stream

    def _is_challenge(self, stream: ResponseStream) -> bool:
        # Where a redirect led elsewhere, the challenge is not the registry's.
        return stream.response.status == 401 and stream.response.url.startswith(f"{self._find_origin()}/")

    def _authenticate(self, request: _Request, stream: ResponseStream, sent: str | None) -> ResponseStream:
        """Send the request again, with each header that may meet the challenge, until one does."""
        stream.read_body(_MAX_TOKEN)
        for header in self._challenged().headers(_purpose(request), stream.response, sent=sent):
            stream = self._follow(request, header)
            if not self._is_challenge(stream):
                break
            stream.read_body(_MAX_TOKEN)
        return stream

    def _challenged(self) -> Authenticator:
        """What answers the registry's challenges. Most on this machine make none: it is not even imported before the first."""
        from registry_tool.transport.authentication import Authenticator  # noqa: PLC0415

        with self._lock:
            if self._authenticator is None:
                self._authenticator = Authenticator(self.host, self._credential, self._request_token, plain_http=bool(self.plain_http))
            return self._authenticator

    def _follow(self, request: _Request, authorization: str | None) -> ResponseStream:
        """Send the request, and again to where a redirect leads; only the registry gets ``authorization``."""
        method, path, origin = request.method, request.path, self._find_origin()
        shown = path if path.isprintable() and "?" not in path else tracing.redacted(path)
        url = origin + path if path.startswith("/") else path
        for _ in range(MAX_REDIRECTS + 1):
            is_own = url.startswith(f"{origin}/")
            headers = {**request.headers, "Authorization": authorization} if is_own and authorization else request.headers
            try:
                stream = self._pool.send(method, url, headers, request.body, path=shown, host=self._name if is_own else None)
            except RegistryUnreachable:
                # TLS was detected before anything answered: a container that is starting accepts and closes.
                self._origin = None
                raise
            location = stream.response.headers.get("location")
            if stream.response.status not in _REDIRECTS or not location:
                return stream
            stream.discard()
            url = self._redirect_target(url, location, origin)
            may_follow = url.startswith(f"{origin}/") and stream.response.status in _SAME_METHOD and request.is_repeatable
            if method not in _SAFE and not may_follow:
                # What changes something goes to no other server, and is not turned into a GET.
                raise RegistryError(f"{self.host} redirects {method} {path} to {tracing.redacted(url)}: not followed", hint=_ASK)
        raise RegistryError(f"{self.host} redirects {method} {shown} without end", hint="Look at the registry's proxy, if it has one.")

    def _redirect_target(self, url: str, location: str, origin: str) -> str:
        try:
            target = urlsplit(urljoin(url, location))
            hostname = target.hostname
        except ValueError:
            raise RegistryError(f"{self.host} redirects to what is no address: {location[:200]!r}", hint=_ASK) from None
        scheme = urlsplit(origin).scheme
        # A registry behind a proxy that terminates TLS often believes that it is reached by plain HTTP.
        if target.netloc == self._name and target.scheme in (scheme, "http"):
            return origin + target._replace(scheme="", netloc="", fragment="").geturl()
        if target.scheme not in ("http", "https") or not hostname or (scheme, target.scheme) == ("https", "http"):
            raise RegistryError(f"{self.host} redirects from {scheme} to {target.scheme}://{target.netloc}: not followed", hint=_ASK)
        return target._replace(fragment="").geturl()

    def _find_origin(self) -> str:
        with self._lock:
            if self._origin is None:
                if is_loopback(self.host):
                    try:
                        self._origin = find_origin(self.host, plain_http=self.plain_http, timeout=self.timeouts[0])
                    except OSError as error:
                        raise nothing_answers(self.host, error.strerror or str(error), error) from error
                else:
                    self._origin = f"{'http' if self.plain_http else 'https'}://{self._name}"
            return self._origin

    def _request_token(self, request: TokenRequest) -> Response:
        body = request.form.encode() if request.form is not None else None
        path = urlsplit(request.url).path

        def attempt() -> ResponseStream:
            stream = self._pool.send(request.method, request.url, request.headers, body, path=path)
            stream.read_body(_MAX_TOKEN)
            return stream

        # Issuing a token changes nothing, whatever the method.
        return self._retry("GET", path, attempt).response


def _purpose(request: _Request) -> Purpose:
    from registry_tool.transport.authentication import purpose  # noqa: PLC0415 - see _challenged

    return purpose(request.method, request.path)


def _with_query(path: str, params: Mapping[str, str]) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode(params)}" if params else path


# --- the origin of a registry on loopback ---


def find_origin(host: str, *, plain_http: bool | None, timeout: float) -> str:
    """``http://127.0.0.1:5000``: where ``host``, a ``HOST[:PORT]`` on loopback, answers, and in what.

    ``plain_http`` None finds out whether it is TLS, True and False say so. ``timeout`` is in seconds for each address.
    Raises OSError, about the first address, where nothing answers on any.
    """
    name = HostPort.parse(host)
    errors: list[OSError] = []
    for port in (name.port,) if name.port else (443, 80):
        for address in name.connect_hosts:
            try:
                tls = speaks_tls(address, port, timeout=timeout)
            except OSError as error:
                errors.append(error)
            else:
                plain = not tls if plain_http is None else plain_http
                return f"{'http' if plain else 'https'}://{HostPort(address, port)}"
    raise errors[0]


def speaks_tls(address: str, port: int, *, timeout: float) -> bool:
    """Whether what listens there speaks TLS, by a handshake that carries nothing of ours. Raises OSError where nothing listens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The engine takes a registry on loopback as it is, and so do we: no certificate is checked.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=timeout) as connection:
        connection.settimeout(TRIAL_TIMEOUT)
        try:
            with context.wrap_socket(connection):
                return True
        except ssl.SSLError as error:
            # An alert is TLS, only refused; anything else is no TLS at all.
            return "ALERT" in (error.reason or "")
        except OSError:
            return False
