"""A response's body as it arrives, with a least rate, a time-out and a limit of bytes."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from registry_tool.base.deadline import Deadline
from registry_tool.base.errors import ConnectionLost, RegistryError, RegistryToolError
from registry_tool.transport.responses import Response

MIN_RATE = 1024
"""Bytes a second, on the average of two read time-outs. A slower response is given up."""
BODY_TIMEOUTS = 4
"""The time-out of a whole body, in read time-outs."""
MAX_HEADERS = 1 << 20
"""Bytes of a status line and headers, those of interim responses included."""

_CHUNK = 1 << 16
_MAX_DISCARDED = 1 << 16


class TooSlow(TimeoutError):
    """Bytes arrive, but too slowly to wait for the rest."""


class _PacedReader(io.RawIOBase):
    """The bytes of ``raw``, as long as they arrive fast enough. Only time spent waiting for them counts, not the consumer's."""

    def __init__(self, raw: io.RawIOBase, timeout: float | None) -> None:
        self._raw = raw
        self._window = 2 * timeout if timeout else float("inf")
        self._waited = 0.0
        self._received = 0
        self.headers_left = float(MAX_HEADERS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        started = time.monotonic()
        received = self._raw.readinto(buffer)
        self._waited += time.monotonic() - started
        self._received += received or 0
        self.headers_left -= received or 0
        if self.headers_left < 0:
            raise OSError("its headers have no end")
        if self._waited > self._window:
            if self._received < MIN_RATE * self._window:
                raise TooSlow(f"less than {MIN_RATE} bytes a second")
            self._waited, self._received = 0.0, 0
        return int(received or 0)

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """The standard library's response, read through :class:`_PacedReader`."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method=method, url=url)
        self._reader = _PacedReader(self.fp.detach(), sock.gettimeout())
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        self._reader.headers_left = float("inf")


class ByteSource(Protocol):
    """Where the body comes from: urllib3's response."""

    def read(self, amt: int | None = None, /) -> bytes: ...

    def close(self) -> None: ...


class ResponseStream:
    """A response whose body is unread; to be closed. ``errors`` of ``source`` mean a lost connection; ``to_error`` makes our own of one."""

    def __init__(
        self,
        response: Response,
        source: ByteSource,
        errors: tuple[type[Exception], ...],
        to_error: Callable[[Exception], RegistryToolError],
        timeout: float,
    ) -> None:
        self.response = response
        self._source = source
        self._errors = errors
        self._to_error = to_error
        self._timeout = timeout

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; all of them where it is negative. Raises ConnectionLost, RegistryUnreachable."""
        try:
            return self._source.read(size if size >= 0 else None)
        except self._errors as error:
            raise self._to_error(error) from error

    def read_body(self, limit: int) -> None:
        """Read the body into ``response``. Raises RegistryError where it has more than ``limit`` bytes, and as :meth:`read`."""
        chunks: list[bytes] = []
        received, deadline = 0, Deadline(self._timeout)
        with self:
            try:
                while received <= limit and (chunk := self.read(min(_CHUNK, limit + 1 - received))):
                    chunks.append(chunk)
                    received += len(chunk)
                    if deadline.passed:
                        raise self._to_error(TooSlow(f"not all of it within {self._timeout:g} s"))
            except ConnectionLost:
                # An error response may be cut short: distribution's 416 announces a whole blob, and sends a line.
                if self.response.status < 400:
                    raise
            if received > limit:
                raise RegistryError(
                    f"the response to {self.response.method} {self.response.path} is larger than {limit} bytes: not read",
                    hint=f"Look at it: curl {self.response.url}",
                )
        if chunks:
            self.response = replace(self.response, body=b"".join(chunks))

    def discard(self) -> None:
        """Close a response whose body is not needed; a small one is read first, so that its connection is reused."""
        length = self.response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:9]) <= _MAX_DISCARDED:
            self.read()
        self.close()

    def close(self) -> None:
        """Close the connection, unless all was read: then urllib3 has put it back already."""
        self._source.close()
