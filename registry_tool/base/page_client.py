"""A look at a page, as a browser would take it, with a deadline. The standard library alone: it starts fast."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from registry_tool import __version__
from registry_tool.base.address import HostPort, is_loopback

MAX_BYTES = 1 << 20
"""As much of a page as is read."""

USER_AGENT = f"registry-tool/{__version__}"


class NoResponse(OSError):
    """Nothing, or no whole answer, came from an address in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a web server answered, whatever the status. ``headers`` has lower-case names."""

    url: str
    status: int
    body: str
    headers: Mapping[str, str]


def get_page(url: str, *, timeout: float) -> Page:
    """GET ``url`` directly, never through a proxy: for pages on this machine or on the engine's. Follows no redirect.

    ``timeout`` is in seconds, for all of it. Raises NoAnswer.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout
    first, *others = HostPort(parts.hostname or "").connect_hosts
    try:
        try:
            return _look(url, parts, first, deadline)
        except ConnectionRefusedError:
            if not others:
                raise
            return _look(url, parts, others[0], deadline)
    except ConnectionRefusedError as error:
        raise NoResponse(f"nothing answers at {url}: connection refused") from error
    except TimeoutError as error:
        raise NoResponse(f"no answer from {url} within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise NoResponse(f"no whole answer from {url}: {str(error) or type(error).__name__}") from error


def _look(url: str, parts: SplitResult, address: str, deadline: float) -> Page:
    connection = _connection(parts, address, _left(deadline))
    try:
        connection.connect()
        connection.response_class = partial(_Answer, deadline=deadline)  # type: ignore[assignment]
        connection.request("GET", _target(parts), headers={"Host": parts.netloc, "User-Agent": USER_AGENT, "Connection": "close"})
        with connection.getresponse() as response:
            return _page(url, response)
    finally:
        connection.close()


def _page(url: str, response: http.client.HTTPResponse) -> Page:
    body = _body(response)
    charset = response.headers.get_content_charset() or "utf-8"
    try:
        text = body.decode(charset, errors="replace")
    except LookupError:
        text = body.decode(errors="replace")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Page(url=url, status=response.status, body=text, headers=headers)


class _InTime(io.RawIOBase):
    """What comes over a line. Of what trickles in, each piece is in time and only the whole is late: each read knows the deadline."""

    def __init__(self, line: socket.socket, deadline: float) -> None:
        self._line, self._deadline = line, deadline
        self._bytes = line.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._line.settimeout(_left(self._deadline))
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is read, its status line and headers too, until ``deadline`` and no longer."""

    def __init__(self, line: socket.socket, method: str | None = None, *, deadline: float) -> None:
        super().__init__(line, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_InTime(line, deadline))


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


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connection(parts: SplitResult, address: str, timeout: float) -> http.client.HTTPConnection:
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if is_loopback(parts.netloc):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(address, parts.port or 443, timeout=timeout, context=context)
    return http.client.HTTPConnection(address, parts.port or 80, timeout=timeout)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class PageClient:
    """Looks at one address over one connection, which is opened again where the server closed it."""

    def __init__(self, host: str, port: int, *, name: str = "localhost") -> None:
        """``name`` is what the server is called in requests."""
        self._connection = http.client.HTTPConnection(host, port)
        self._url = f"http://{name}"
        self._headers = {"Host": name, "User-Agent": USER_AGENT}

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def look(self, path: str, *, timeout: float) -> Page:
        """GET ``path``. ``timeout`` is in seconds, for all of it. Raises NoAnswer; the next look has a connection of its own then."""
        deadline = time.monotonic() + timeout
        try:
            if self._connection.sock is not None:
                # A server may have had enough of a connection that was idle.
                with suppress(ConnectionError):
                    return self._asked(path, deadline)
                self._connection.close()
            return self._asked(path, deadline)
        except TimeoutError as error:
            raise NoResponse(f"no answer within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise NoResponse(f"no whole answer: {str(error) or type(error).__name__}") from error

    def _asked(self, path: str, deadline: float) -> Page:
        connection = self._connection
        try:
            if connection.sock is None:
                connection.timeout = _left(deadline)
                connection.connect()
            connection.response_class = partial(_Answer, deadline=deadline)  # type: ignore[assignment]
            connection.request("GET", path, headers=self._headers)
            with connection.getresponse() as response:
                page = _page(f"{self._url}{path}", response)
                whole = not response.read1(1)
        except BaseException:
            connection.close()
            raise
        if not whole:
            connection.close()
        return page
