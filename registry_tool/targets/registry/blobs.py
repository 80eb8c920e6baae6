"""Reading content: taken up again where it broke off, and looked at from its end.

OCI distribution specification 1.1, "Pulling blobs"; RFC 9110, 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, RegistryError
from registry_tool.transport import Response, ResponseStream, Transport

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>[0-9]{1,18})-[0-9]{1,18}|\*)/(?P<size>[0-9]{1,18}|\*)", re.ASCII)
_MAX_RESUMED = 50
_PIECE = 1 << 16


class Presence(Enum):
    """What a registry has of content whose size is known. Only WHOLE is true."""

    WHOLE = "whole"
    MISSING = "missing"
    SHORT = "shorter than it should be"
    LONG = "longer than it should be"

    def __bool__(self) -> bool:
        return self is Presence.WHOLE


def look_at_end(transport: Transport, path: str, size: int) -> Presence:
    """Ask for the last byte of what should have ``size``: a HEAD is answered from memory for content that is gone."""
    end = {"Range": f"bytes={size - 1}-{size - 1}"} if size else _NO_HEADERS
    found = _look(transport, path, size, end)
    if found is None and size > 1:
        # Of content that is cut short it has the first byte.
        first = _look(transport, path, size, {"Range": "bytes=0-0"})
        found = first if first in (None, Presence.MISSING) else Presence.SHORT
    return found if found is not None else Presence.MISSING


def _look(transport: Transport, path: str, size: int, headers: Mapping[str, str]) -> Presence | None:
    """None where bytes are promised, from memory, and do not come. Where there is no answer at all, BrokenOff is raised."""
    try:
        stream = transport.stream(path, headers=headers)
    except NotFound:
        return Presence.MISSING
    except RegistryError as error:
        if error.refusal is not None and error.refusal.status == 416:
            return Presence.SHORT
        raise
    with stream:
        answer = stream.answer
        total = _range(answer)[1]
        try:
            if answer.status != 206:
                # It knows no ranges: all has to be read.
                return _compared(_count(stream, size), size)
            if len(stream.read(2)) != 1:
                return Presence.SHORT
        except ConnectionLost:
            return None
    return Presence.WHOLE if total is None else _compared(total, size)


def _compared(found: int, size: int) -> Presence:
    if found == size:
        return Presence.WHOLE
    return Presence.SHORT if found < size else Presence.LONG


def _count(stream: ResponseStream, size: int) -> int:
    count = 0
    while count <= size and (piece := stream.read(_PIECE)):
        count += len(piece)
    return count


def _range(answer: Response) -> tuple[int | None, int | None]:
    """(first byte, whole size) of ``Content-Range``, None for what it does not say."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    if match is None:
        return None, None
    first, size = match["first"], match["size"]
    return int(first) if first else None, int(size) if size != "*" else None


class Resumed:
    """The bytes at ``path`` from ``offset`` on. Where the line breaks after some came, it goes on from there.

    Where none came since the last time, asking the same again would get the same. Raises NotFound, BrokenOff,
    RegistryUnreachable, RegistryError; Mismatch where the registry says at once that it has not ``size`` bytes.
    """

    def __init__(self, transport: Transport, path: str, *, size: int, offset: int, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        self._transport = transport
        self._path = path
        self._size = size
        self._at = offset
        self._headers = headers
        self._left = _MAX_RESUMED
        self._came = False
        self._stream: ResponseStream | None = self._open() if offset < size or size == 0 else None

    def read(self, size: int = -1, /) -> bytes:
        while self._stream is not None:
            try:
                piece = self._stream.read(size)
            except ConnectionLost:
                self.close()
                if not self._came or not self._left:
                    raise
                self._left -= 1
            else:
                self._came = self._came or bool(piece)
                self._at += len(piece)
                return piece
            self._came = False
            self._stream = self._open()
        return b""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> ResponseStream | None:
        headers = {**self._headers, "Range": f"bytes={self._at}-"} if self._at else self._headers
        try:
            stream = self._transport.stream(self._path, headers=headers)
        except RegistryError as error:
            if error.refusal is not None and error.refusal.status == 416:
                return None  # there is no more of it
            raise
        try:
            self._check(stream)
        except BaseException:
            stream.close()
            raise
        return stream

    def _check(self, stream: ResponseStream) -> None:
        answer = stream.answer
        if answer.status == 206:
            first, size = _range(answer)
            if first != self._at:
                raise RegistryError(
                    f"{self._transport.host} answers {answer.method} {answer.path} from byte {first}, not {self._at}",
                    hint="Look at the registry's proxy, if it has one.",
                )
        else:
            length = answer.headers.get("content-length", "")
            size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
        if size is not None and size != self._size:
            raise Mismatch(
                f"{self._transport.host} has {size} bytes where {self._size} should be: {answer.path}", hint="Look with regctl check."
            )
        left = self._at if answer.status != 206 else 0
        while left and (piece := stream.read(min(left, _PIECE))):
            left -= len(piece)
