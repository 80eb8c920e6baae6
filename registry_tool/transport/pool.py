"""One request, one answer, over connections that are kept: the only module that imports urllib3 and requests.

The connections are urllib3's, on which requests stands, too: threads may share them, and they cost half of what a
session of requests does. What requests knows of proxies and authorities is used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests.utils
import urllib3
import urllib3.connection

from registry_tool.base.address import is_loopback
from registry_tool.base.errors import ConnectionLost, NotARegistry, RegistryError, RegistryUnreachable
from registry_tool.base.page_client import USER_AGENT
from registry_tool.transport import tls, tracing
from registry_tool.transport.responses import Response
from registry_tool.transport.stream import PATIENCE, PacedResponse, ResponseStream, TooSlow

TIMEOUTS = (3.05, 30.0)
"""Seconds to connect, and seconds to wait for the next bytes of an answer."""
CONNECTIONS = 16
"""As many are kept for each origin; more threads than that open more, which are not kept."""

Content = bytes | Iterable[bytes]

_FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_LOG = "Look at the registry's log."


class _Patient:
    """A server that is busy with its disk may take its time for what it is sent: urllib3 gives it no longer than for a connection."""

    sock: socket.socket | None
    response_class = PacedResponse

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(TIMEOUTS[1])
        super().send(data)  # type: ignore[misc]


class _PlainConnection(_Patient, urllib3.connection.HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Patient, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class HttpPool:
    """Threads may share it. ``timeouts`` are as :data:`TIMEOUTS`."""

    def __init__(self, timeouts: tuple[float, float]) -> None:
        self._timeouts = timeouts
        self._timeout = urllib3.Timeout(connect=timeouts[0], read=timeouts[1])
        self._pools: dict[str, tuple[urllib3.HTTPConnectionPool, bool]] = {}
        self._lock = threading.Lock()
        # On loopback nobody's certificate is checked, as the engine does not; there is no news in a warning of it.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            for pool, _ in self._pools.values():
                pool.close()
            self._pools.clear()

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Content | None = None, *, path: str, host: str | None = None
    ) -> ResponseStream:
        """Send a request and take the head of its answer, whatever it says; no redirect is followed.

        ``host`` is what the other side calls itself, where that is not in ``url``; ``path`` is what was asked for, for
        messages. Raises BrokenOff, NotARegistry, RegistryUnreachable; RegistryError where the answer is packed.
        """
        scheme, _, address = url.partition("://")
        netloc, _, rest = address.partition("/")
        other = host or netloc
        pool, by_proxy = self._pools.get(f"{scheme}://{netloc}") or self._connect(f"{scheme}://{netloc}", netloc, other)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if host is not None:
            sent["Host"] = host
        tracing.asked(method, url, sent)
        begun = time.monotonic()
        asked = f"{method} {path}"
        try:
            response = pool.urlopen(
                method,
                url if by_proxy else f"/{rest}",
                body=body,
                headers=sent,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except _FAILURES as error:
            lost = self._lost(other, asked, error)
            tracing.failed(method, url, lost.message)
            raise lost from error
        answer = Response(method=method, path=path, url=url, status=response.status, headers=response.headers, body=b"")
        tracing.answered(answer, time.monotonic() - begun)
        stream = ResponseStream(answer, response, _FAILURES, lambda error: self._lost(other, asked, error), PATIENCE * self._timeouts[1])
        _check_packing(other, stream)
        return stream

    # --- connections ---

    def _connect(self, origin: str, netloc: str, host: str) -> tuple[urllib3.HTTPConnectionPool, bool]:
        """Connections to ``origin``, and whether they go through a proxy that wants whole addresses. Nothing is connected yet."""
        with self._lock:
            if origin not in self._pools:
                local = is_loopback(netloc)
                proxy = None if local else _proxy(origin)
                settings: dict[str, Any] = {"maxsize": CONNECTIONS}
                if origin.startswith("https:"):
                    settings["ssl_context"] = tls.context(host, checked=not local, bundle=requests.utils.DEFAULT_CA_BUNDLE_PATH)
                manager = _manager(host, proxy, settings)
                manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
                pool = manager.connection_from_url(origin)
                self._pools[origin] = pool, proxy is not None and origin.startswith("http:")
            return self._pools[origin]

    # --- why nothing came ---

    def _lost(self, host: str, asked: str, error: Exception) -> RegistryUnreachable:
        root = _root(error)
        why = (isinstance(root, OSError) and root.strerror) or str(root) or type(root).__name__
        kinds = urllib3.exceptions
        if isinstance(root, ssl.SSLCertVerificationError):
            return _not_trusted(host, root)
        if isinstance(error, kinds.SSLError):
            return RegistryUnreachable(f"{host} does not speak TLS as it should: {why}", hint="If it speaks plain HTTP, say --plain-http.")
        if isinstance(error, kinds.ProxyError):
            hint = "Look at HTTPS_PROXY and HTTP_PROXY; NO_PROXY names what is reached without one."
            return RegistryUnreachable(f"the proxy before {host} does not let us through: {why}", hint=hint)
        if isinstance(root, http.client.BadStatusLine) and not isinstance(root, OSError):
            return NotARegistry(f"what answers at {host} is no registry: it does not speak HTTP", hint=f"Find out what listens at {host}.")
        if isinstance(error, (kinds.NewConnectionError, kinds.ConnectTimeoutError)):
            return nothing_answers(host, why)
        if isinstance(root, TooSlow):
            return RegistryUnreachable(f"{host} answers {asked} too slowly: {why}", hint=_LOG)
        if isinstance(root, TimeoutError) or isinstance(error, kinds.ReadTimeoutError):
            return RegistryUnreachable(f"{host} did not answer {asked} within {self._timeouts[1]:g} s", hint=_LOG)
        return ConnectionLost(f"{host} broke off its answer to {asked}: {why}", hint=_LOG)


def nothing_answers(host: str, why: str) -> RegistryUnreachable:
    """The failure where nobody listens at ``host``."""
    hint = "Start the local registry: regctl up" if is_loopback(host) else "Check the address, and the network."
    return RegistryUnreachable(f"no registry answers at {host}: {why}", hint=hint)


def _not_trusted(host: str, error: ssl.SSLCertVerificationError) -> RegistryUnreachable:
    hint = "Name a file with the certificate of its authority in SSL_CERT_FILE, or put it into docker's certs.d."
    if "mismatch" in error.verify_message.lower():
        hint = "Its certificate is another server's: check the address, and who answers there."
    return RegistryUnreachable(f"{host} cannot be trusted: {error.verify_message}", hint=hint)


def _root(error: BaseException) -> BaseException:
    """What began it: urllib3's errors wrap the system's."""
    while True:
        cause = error.__cause__ or error.__context__
        if cause is None:
            return error
        error = cause


def _check_packing(host: str, stream: ResponseStream) -> None:
    """Refuse what is packed: nobody asked for it, and a few bytes of it may unpack to a disk full."""
    answer = stream.answer
    packing = answer.headers.get("content-encoding", "identity").strip().lower()
    if packing in ("", "identity") or answer.method == "HEAD" or answer.status >= 300:
        return
    stream.close()
    raise RegistryError(
        f"{host} packs its answer to {answer.method} {answer.path} ({packing[:40]!r}), which was not asked for: refused",
        hint="Look at the registry's proxy, if it has one.",
    )


# --- proxies ---


def _proxy(origin: str) -> str | None:
    """The proxy that the environment names for ``origin``, by requests' reading, which knows networks in NO_PROXY."""
    named = requests.utils.select_proxy(origin, requests.utils.get_environ_proxies(origin, no_proxy=None))
    if not named:
        return None
    return named if "://" in named else f"http://{named}"


def _manager(host: str, proxy: str | None, settings: dict[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**settings)
    try:
        username, password = requests.utils.get_auth_from_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=f"{username}:{password}") if username else {}
        return urllib3.ProxyManager(_without_user(proxy), proxy_headers=headers, **settings)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        hint = "HTTPS_PROXY and HTTP_PROXY look like http://HOST:PORT; NO_PROXY names what is reached without one."
        raise RegistryUnreachable(f"the proxy before {host} is not one that can be used: {error}", hint=hint) from error


def _without_user(proxy: str) -> str:
    parts = urlsplit(proxy)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
