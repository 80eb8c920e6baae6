"""An answer as it comes: never waited for without end, never larger than it may be."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

from registry_tool.base.errors import ConnectionLost, RegistryError, RegistryToolError
from registry_tool.transport.responses import Response

SLOWEST = 1024
"""Bytes a second, on the average of two read time-outs. What comes more slowly than that does not come."""
PATIENCE = 4
"""Read time-outs that a whole answer has, where it is to be had as a whole."""
MAX_HEAD = 1 << 20
"""Bytes of a status line and headers, those of interim answers included."""

_PIECE = 1 << 16
_WORTH_READING = 1 << 16


class TooSlow(TimeoutError):
    """What comes, comes so slowly that it is not waited for."""


class _Paced(io.RawIOBase):
    """The bytes of ``raw``, as long as they come fast enough. Only the time spent waiting for them counts, not the reader's own."""

    def __init__(self, raw: io.RawIOBase, timeout: float | None) -> None:
        self._raw = raw
        self._window = 2 * timeout if timeout else float("inf")
        self._waited = 0.0
        self._came = 0
        self.head_left = float(MAX_HEAD)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        begun = time.monotonic()
        came = self._raw.readinto(buffer)
        self._waited += time.monotonic() - begun
        self._came += came or 0
        self.head_left -= came or 0
        if self.head_left < 0:
            raise OSError("its headers have no end")
        if self._waited > self._window:
            if self._came < SLOWEST * self._window:
                raise TooSlow(f"less than {SLOWEST} bytes a second")
            self._waited, self._came = 0.0, 0
        return int(came or 0)

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """The standard library's reader of an answer, on paced bytes."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method=method, url=url)
        self._paced = _Paced(self.fp.detach(), sock.gettimeout())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.head_left = float("inf")


class ByteSource(Protocol):
    """Where the rest of an answer comes from: urllib3's response."""

    def read(self, amt: int | None = None, /) -> bytes: ...

    def close(self) -> None: ...


class ResponseStream:
    """An answer whose body is still to be read. ``answer`` is all but that. Close it: its connection is then free for others, or hung up.

    ``failures`` are what ``source`` raises where it breaks off, and ``explain`` puts that into our own words.
    """

    def __init__(
        self,
        answer: Response,
        source: ByteSource,
        failures: tuple[type[Exception], ...],
        explain: Callable[[Exception], RegistryToolError],
        patience: float,
    ) -> None:
        self.answer = answer
        self._source = source
        self._failures = failures
        self._explain = explain
        self._patience = patience

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; all there are where it is negative. Raises BrokenOff, RegistryUnreachable."""
        try:
            return self._source.read(size if size >= 0 else None)
        except self._failures as error:
            raise self._explain(error) from error

    def read_whole(self, limit: int) -> None:
        """Put the body into ``answer``; one of more than ``limit`` bytes is a RegistryError. Raises as :meth:`read` does.

        A refusal is one however little of its words came: distribution's 416 promises a whole blob, and sends a line.
        """
        pieces: list[bytes] = []
        with self:
            try:
                self._collect(pieces, limit)
            except ConnectionLost:
                if self.answer.status < 400:
                    raise
        if pieces:
            self.answer = replace(self.answer, body=b"".join(pieces))

    def _collect(self, pieces: list[bytes], limit: int) -> None:
        deadline = time.monotonic() + self._patience
        came = 0
        while came <= limit and (piece := self.read(min(_PIECE, limit + 1 - came))):
            pieces.append(piece)
            came += len(piece)
            if time.monotonic() > deadline:
                raise self._explain(TooSlow(f"not all of it within {self._patience:g} s"))
        if came > limit:
            raise RegistryError(
                f"the answer to {self.answer.method} {self.answer.path} is larger than {limit} bytes: not read",
                hint=f"Look at it: curl {self.answer.url}",
            )

    def discard(self) -> None:
        """Be done with an answer whose body says nothing: a small one is read, so that its connection can go on."""
        length = self.answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:9]) <= _WORTH_READING:
            self.read()
        self.close()

    def close(self) -> None:
        # Hangs up unless all was read: then urllib3 has put the connection back already.
        self._source.close()
