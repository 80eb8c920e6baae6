"""GET of a web page with one deadline for all of it. The standard library alone: it is imported fast."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from registry_tool.base import USER_AGENT
from registry_tool.base.address import NO_SUCH_ADDRESS, HostPort, is_loopback
from registry_tool.base.deadline import Deadline

MAX_BYTES = 1 << 20
"""As much of a page as is read."""


class NoResponse(OSError):
    """No response, or not the whole of one, came in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A web server's response, whatever its status. ``headers`` has lower-case names."""

    JSON_MEMBERS: ClassVar = "url status body"
    url: str
    status: int
    body: str
    headers: Mapping[str, str]


def get_page(url: str, *, timeout: float) -> Page:
    """GET ``url`` within ``timeout`` seconds, without proxy or redirects: for pages on this machine or the engine's. Raises NoResponse."""
    parts = urlsplit(url)
    deadline = Deadline(timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Connection": "close"}

    def get(host: str) -> Page:
        connection = http.client.HTTPConnection(host, parts.port or 80)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if is_loopback(parts.netloc):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, parts.port or 443, context=context)
        with closing(connection):
            return _get(connection, url, target, headers, deadline)

    first, *others = HostPort(parts.hostname or "").connect_hosts
    try:
        try:
            return get(first)
        except ConnectionRefusedError:
            if not others:
                raise
            try:
                return get(others[0])
            except OSError as error:
                if error.errno not in NO_SUCH_ADDRESS:
                    raise
            raise
    except ConnectionRefusedError as error:
        raise NoResponse(f"connection refused: {url}") from error
    except TimeoutError as error:
        raise NoResponse(f"no response from {url} within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise NoResponse(f"incomplete response from {url}: {str(error) or type(error).__name__}") from error


class PageClient:
    """GETs from one server over one connection, which is opened again where the server closed it."""

    def __init__(self, connect: Callable[[float], socket.socket], *, name: str = "localhost") -> None:
        """``connect`` opens a connection within so many seconds; ``name`` is the server's in requests (``Host``)."""
        self._connect = connect
        self._connection = http.client.HTTPConnection(name)
        self._url = f"http://{name}"
        self._headers = {"Host": name, "User-Agent": USER_AGENT}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def connect(self, timeout: float) -> None:
        """Connect ahead of the next request. Raises NoResponse."""
        try:
            self._connection.sock = self._connect(timeout)
        except TimeoutError as error:
            raise NoResponse(f"no connection within {timeout:g} s") from error
        except OSError as error:
            raise NoResponse(f"no connection: {error.strerror or error}") from error

    def get(self, path: str, *, timeout: float) -> Page:
        """GET ``path`` within ``timeout`` seconds. Raises NoResponse; the next request opens a new connection then."""
        deadline = Deadline(timeout)
        get = partial(_get, self._connection, f"{self._url}{path}", path, self._headers, deadline)
        try:
            if self._connection.sock is not None:
                # The server may have closed a connection that was idle.
                with suppress(ConnectionError):
                    return get()
            self.connect(_left(deadline))
            return get()
        except NoResponse:
            raise
        except TimeoutError as error:
            raise NoResponse(f"no response within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise NoResponse(f"incomplete response: {str(error) or type(error).__name__}") from error


def _get(connection: http.client.HTTPConnection, url: str, target: str, headers: Mapping[str, str], deadline: Deadline) -> Page:
    """One exchange; the connection stays open if it went well and the page was read to its end."""
    try:
        if connection.sock is None:
            connection.timeout = _left(deadline)
            connection.connect()
        connection.response_class = partial(_Response, deadline=deadline)  # type: ignore[assignment]
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as response:
            body = _body(response)
    except BaseException:
        connection.close()
        raise
    if len(body) == MAX_BYTES:
        connection.close()
    charset = response.headers.get_content_charset() or "utf-8"
    try:
        text = body.decode(charset, errors="replace")
    except LookupError:
        text = body.decode(errors="replace")
    return Page(url=url, status=response.status, body=text, headers={name.lower(): value for name, value in response.getheaders()})


def _body(response: http.client.HTTPResponse) -> bytes:
    body = b""
    while len(body) < MAX_BYTES:
        piece = response.read1(MAX_BYTES - len(body))
        if not piece:
            if response.length:
                raise http.client.IncompleteRead(body, response.length)
            break
        body += piece
    return body


def _left(deadline: Deadline) -> float:
    # Looked at once: a time-out of 0 would make the socket one that does not wait.
    left = deadline.left
    if not left:
        raise TimeoutError
    return left


class _Response(http.client.HTTPResponse):
    """A response that is read, its status line and headers too, until ``deadline`` and no longer."""

    def __init__(self, sock: socket.socket, method: str | None = None, *, deadline: Deadline) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline. Of what trickles in each piece is in time and only the whole is late."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._bytes = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()
