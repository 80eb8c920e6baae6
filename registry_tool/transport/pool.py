"""Requests and responses over urllib3's pools, half as costly as requests' sessions; requests finds proxies. Nobody else imports them."""

from __future__ import annotations

import http.client
import math
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
import urllib3.connection

from registry_tool.base import USER_AGENT
from registry_tool.base.address import is_loopback
from registry_tool.base.concurrency import FAR_REQUESTS
from registry_tool.base.errors import ConnectionLost, NotARegistry, NothingListens, RegistryError, RegistryUnreachable
from registry_tool.transport import tls, tracing
from registry_tool.transport.responses import Response
from registry_tool.transport.stream import BODY_TIMEOUTS, PacedResponse, ResponseStream, TooSlow

if TYPE_CHECKING:
    from registry_tool.transport.socks import SocksProxy

TIMEOUTS = (3.05, 30.0)
"""Seconds to connect, and seconds to wait for the next bytes of a response."""
CONNECTIONS = FAR_REQUESTS
"""Connections that are kept for each origin; more threads than that open more, which are not kept."""

_LATENCY_SAMPLE = 8
"""Responses of which one was on a connection that was there, and not delayed by what others asked for."""

Content = bytes | Iterable[bytes]

_ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_LOG = "Look at the registry's log."
_PROXY_HINT = "HTTPS_PROXY and HTTP_PROXY look like http://HOST:PORT or socks5://HOST:PORT; NO_PROXY names what is reached without one."


class _ReadTimeoutForSending:
    """Sends with the time-out of reading: urllib3 has that of connecting, too short for a server that is busy with its disk."""

    sock: socket.socket | None
    response_class = PacedResponse

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(TIMEOUTS[1])
        super().send(data)  # type: ignore[misc]


class _PlainConnection(_ReadTimeoutForSending, urllib3.connection.HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_ReadTimeoutForSending, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
    pass


class HttpPool:
    """Connections by origin; threads may share them. ``timeouts`` are as :data:`TIMEOUTS`.

    ``unverified`` is a ``HOST[:PORT]``, whose certificates are not checked, on whatever port.
    """

    def __init__(self, timeouts: tuple[float, float], *, unverified: str | None = None) -> None:
        self._timeouts = timeouts
        self._timeout = urllib3.Timeout(connect=timeouts[0], read=timeouts[1])
        self._unverified = urlsplit(f"//{unverified}").hostname if unverified else None
        self._pools: dict[str, _Route] = {}
        self._latencies = 0
        self._least_latency = math.inf
        self._lock = threading.Lock()
        # On loopback no certificate is verified, as the engine does not; a warning would say nothing new.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    @property
    def latency(self) -> float | None:
        """Seconds to the head of a response at least; None until some have come."""
        return self._least_latency if self._latencies >= _LATENCY_SAMPLE else None

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for route in self._pools.values():
                route.pool.close()
            self._pools.clear()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Content | None = None, *, path: str, host: str | None = None
    ) -> ResponseStream:
        """Send a request and read the head of its response, whatever its status; no redirect is followed.

        ``host`` is the registry's name where ``url`` has another; ``path`` is for messages. Raises ConnectionLost,
        NotARegistry, RegistryUnreachable; RegistryError where the body is compressed.
        """
        scheme, _, address = url.partition("://")
        netloc, _, target = address.partition("/")
        name = host or netloc
        route = self._pools.get(f"{scheme}://{netloc}") or self._connect(f"{scheme}://{netloc}", netloc, name)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if host is not None:
            sent["Host"] = host
        tracing.log_request(method, url, sent)
        started = time.monotonic()

        def to_error(error: Exception) -> RegistryUnreachable:
            return self._error(name, f"{method} {path}", error, route.proxy)

        try:
            raw = route.pool.urlopen(
                method,
                url if route.names_urls else f"/{target}",
                body=body,
                headers=sent,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except _ERRORS as cause:
            error = to_error(cause)
            tracing.log_failure(method, url, error.message)
            raise error from cause
        response = Response(method=method, path=path, url=url, status=raw.status, headers=raw.headers, body=b"")
        seconds = time.monotonic() - started
        tracing.log_response(response, seconds)
        with self._lock:
            self._least_latency = min(self._least_latency, seconds)
            self._latencies += 1
        stream = ResponseStream(response, raw, _ERRORS, to_error, BODY_TIMEOUTS * self._timeouts[1])
        if response.status == 407 and route.proxy is not None:
            stream.close()
            raise _proxy_login_needed(name, route.proxy)
        _check_encoding(name, stream)
        return stream

    # --- connections ---

    def _connect(self, origin: str, netloc: str, host: str) -> _Route:
        """The way to ``origin``. Nothing is connected yet."""
        with self._lock:
            if origin not in self._pools:
                local = is_loopback(netloc)
                proxy = None if local else _proxy(origin)
                settings: dict[str, Any] = {"maxsize": CONNECTIONS}
                if origin.startswith("https:"):
                    verify = not local and (self._unverified is None or urlsplit(origin).hostname != self._unverified)
                    settings["ssl_context"] = tls.ssl_context(host, verify=verify, bundle=_requests_utils().DEFAULT_CA_BUNDLE_PATH)
                socks_proxy = _socks_proxy(host, proxy)
                pool = _manager(host, None if socks_proxy else proxy, settings).connection_from_url(origin)
                kind = _TlsConnection if pool.scheme == "https" else _PlainConnection
                pool.ConnectionCls = _through(socks_proxy, kind) if socks_proxy else kind
                names_urls = proxy is not None and socks_proxy is None and origin.startswith("http:")
                self._pools[origin] = _Route(pool=pool, proxy=proxy, names_urls=names_urls)
            return self._pools[origin]

    # --- errors ---

    def _error(self, host: str, request: str, error: Exception, proxy: str | None) -> RegistryUnreachable:
        root: BaseException = error
        while cause := root.__cause__ or root.__context__:
            # The first one: urllib3's errors wrap the system's.
            root = cause
        why = (isinstance(root, OSError) and root.strerror) or str(root) or type(root).__name__
        kinds = urllib3.exceptions
        if isinstance(root, ssl.SSLCertVerificationError):
            return RegistryUnreachable(f"{host} cannot be trusted: {root.verify_message}", hint=_trust_hint(root.verify_message))
        if isinstance(error, kinds.SSLError):
            return RegistryUnreachable(f"{host} does not speak TLS correctly: {why}", hint="If it speaks plain HTTP, use --plain-http.")
        if isinstance(error, kinds.ProxyError):
            if re.search(r"\b407\b", why) and proxy is not None:
                return _proxy_login_needed(host, proxy)
            hint = "Look at HTTPS_PROXY and HTTP_PROXY; NO_PROXY names what is reached without one."
            return RegistryUnreachable(f"{host} cannot be reached through its proxy: {why}", hint=hint)
        if isinstance(root, http.client.BadStatusLine) and not isinstance(root, OSError):
            return NotARegistry(f"the server at {host} is not a registry: it does not speak HTTP", hint=f"Find out what listens at {host}.")
        if isinstance(error, (kinds.NewConnectionError, kinds.ConnectTimeoutError)):
            return nothing_answers(host, why, root)
        if isinstance(root, TooSlow):
            return RegistryUnreachable(f"{host} responds to {request} too slowly: {why}", hint=_LOG)
        if isinstance(root, TimeoutError) or isinstance(error, kinds.ReadTimeoutError):
            return RegistryUnreachable(f"{host} did not respond to {request} within {self._timeouts[1]:g} s", hint=_LOG)
        return ConnectionLost(f"the connection to {host} was lost during {request}: {why}", hint=_LOG)


def _trust_hint(reason: str) -> str:
    """What to do about a certificate that OpenSSL refuses for ``reason``."""
    if "mismatch" in reason.lower():
        return "Its certificate is another server's: check the address, and who answers there."
    if "expired" in reason:
        return "Who runs it has to renew its certificate (regctl up, on its machine). Or is the clock of this machine fast?"
    if "not yet valid" in reason:
        return "Compare the clock of this machine with that of the registry."
    variable = tls.authorities_variable()
    if variable is not None:
        return f"Put the certificate of its authority into {variable[1]} ({variable[0]}), or into docker's certs.d."
    return "Name a file with the certificate of its authority in SSL_CERT_FILE, or put it into docker's certs.d."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """The pool for an origin; ``proxy`` is a URL with a password; ``names_urls``: requests name whole URLs, for the proxy."""

    pool: urllib3.HTTPConnectionPool
    proxy: str | None = field(repr=False)
    names_urls: bool


def _proxy_login_needed(host: str, proxy: str) -> RegistryUnreachable:
    scheme, _, address = proxy.partition("://")
    _, login, name = address.rpartition("@")
    why = "does not accept the user name or the password" if login else "requires a user name and a password"
    hint = "They are in HTTPS_PROXY and HTTP_PROXY: http://USER:PASSWORD@HOST:PORT."
    return RegistryUnreachable(f"the proxy {scheme}://{name} on the way to {host} {why} (407)", hint=hint)


def nothing_answers(host: str, why: str, cause: BaseException | None = None) -> RegistryUnreachable:
    """The error where nothing answers at ``host``: NothingListens where ``cause`` tells that it was refused."""
    # Reset, where the listener is closed with the connection still in its queue.
    refused = isinstance(cause, (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError))
    hint = "Start the local registry: regctl up" if is_loopback(host) else "Check the address, and the network."
    kind = NothingListens if refused else RegistryUnreachable
    return kind(f"no registry answers at {host}: {why}", hint=hint)


def _check_encoding(host: str, stream: ResponseStream) -> None:
    """Refuse a compressed body: it was not requested, and a few bytes of it may fill a disk.

    A blob is taken as it is, and its digest decides: storage services call a layer's own compression an encoding.
    """
    response = stream.response
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or response.method == "HEAD" or response.status >= 300 or "/blobs/" in response.path:
        return
    stream.close()
    raise RegistryError(
        f"{host} compresses its response to {response.method} {response.path} ({encoding[:40]!r}), which was not requested: refused",
        hint="Look at the registry's proxy, if it has one.",
    )


def _requests_utils() -> Any:
    """``requests.utils``, which takes as long to import as urllib3 does: only proxies and authorities need it."""
    # The package, not its module: where another thread imports it meanwhile, for docker's SDK, Python gives both of them half of it.
    import requests  # noqa: PLC0415

    return requests.utils


# --- proxies ---


def _proxy(origin: str) -> str | None:
    """The proxy that the environment names for ``origin``, as requests reads it: it knows networks in NO_PROXY."""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # elsewhere the system's settings count, too
    utils = _requests_utils()
    proxy = utils.select_proxy(origin, utils.get_environ_proxies(origin, no_proxy=None))
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


def _socks_proxy(host: str, proxy: str | None) -> SocksProxy | None:
    """The proxy, if it is one for SOCKS. Raises RegistryUnreachable where its URL cannot be read."""
    if proxy is None or not proxy.lower().startswith("socks"):
        return None
    from registry_tool.transport.socks import SocksProxy  # noqa: PLC0415 - few have one

    try:
        return SocksProxy.parse(proxy)
    except ValueError as error:
        raise RegistryUnreachable(f"the proxy for {host} cannot be used: {error}", hint=_PROXY_HINT) from None


def _through(proxy: SocksProxy, kind: Any) -> Any:
    """The class of connections of ``kind`` through ``proxy``."""

    class Connection(kind):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            try:
                return proxy.connect(self.host.strip("[]"), self.port, timeout=self.timeout)
            except OSError as error:
                raise urllib3.exceptions.ProxyError("SOCKS", error) from error

    return Connection


def _manager(host: str, proxy: str | None, settings: dict[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**settings)
    try:
        username, password = _requests_utils().get_auth_from_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=f"{username}:{password}") if username else {}
        parts = urlsplit(proxy)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(address, proxy_headers=headers, **settings)
    except urllib3.exceptions.ProxySchemeUnknown as error:
        raise RegistryUnreachable(f"the proxy for {host} cannot be used: {error}", hint=_PROXY_HINT) from error
    except (urllib3.exceptions.HTTPError, ValueError):
        # Not quoted: a password with a '/' in it makes it unreadable.
        raise RegistryUnreachable(f"the proxy for {host} cannot be used: it is no address", hint=_PROXY_HINT) from None
