"""Reading blobs, resumed where the connection is lost, and checking a last byte (distribution-spec 1.1, "Pulling blobs"; RFC 9110, 14)."""

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
    """What a registry has of content whose size is known."""

    WHOLE = "whole"
    MISSING = "missing"
    SHORT = "shorter than it should be"
    LONG = "longer than it should be"


def check_last_byte(transport: Transport, path: str, size: int) -> Presence:
    """Request the last byte of what should have ``size`` bytes: a HEAD is answered from memory for content that is gone."""
    end = {"Range": f"bytes={size - 1}-{size - 1}"} if size else _NO_HEADERS
    presence = _presence(transport, path, size, end)
    if presence is None and size > 1:
        # Of content that is truncated it has the first byte.
        first = _presence(transport, path, size, {"Range": "bytes=0-0"})
        presence = first if first in (None, Presence.MISSING) else Presence.SHORT
    return presence if presence is not None else Presence.MISSING


def _presence(transport: Transport, path: str, size: int, headers: Mapping[str, str]) -> Presence | None:
    """None where bytes are promised, from memory, and do not follow. Raises ConnectionLost where there is no response at all."""
    try:
        stream = transport.stream(path, headers=headers)
    except NotFound:
        return Presence.MISSING
    except RegistryError as error:
        if error.response is not None and error.response.status == 416:
            return Presence.SHORT
        raise
    with stream:
        response = stream.response
        total = _range(response)[1]
        try:
            if response.status != 206:
                # It supports no ranges: all has to be read.
                count = 0
                while count <= size and (piece := stream.read(_PIECE)):
                    count += len(piece)
                return _compared(count, size)
            if len(stream.read(2)) != 1:
                return Presence.SHORT
        except ConnectionLost:
            return None
    return Presence.WHOLE if total is None else _compared(total, size)


def _compared(count: int, size: int) -> Presence:
    if count == size:
        return Presence.WHOLE
    return Presence.SHORT if count < size else Presence.LONG


def _range(response: Response) -> tuple[int | None, int | None]:
    """(first byte, whole size) of ``Content-Range``, None for what it does not say."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if match is None:
        return None, None
    first, size = match["first"], match["size"]
    return int(first) if first else None, int(size) if size != "*" else None


def parse_number(text: str) -> int | None:
    """The number in a header, None where there is none; longer ones than any storage needs are none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


class ResumingReader:
    """The bytes at ``path``. Where the connection is lost after some arrived, a new request goes on from there.

    Where none arrived since the last request, another one would get no more. Raises NotFound, ConnectionLost,
    RegistryUnreachable, RegistryError; Mismatch where the registry reports another size at once.
    """

    def __init__(self, transport: Transport, path: str, *, size: int, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        self._transport = transport
        self._path = path
        self._size = size
        self._headers = headers
        self._offset = 0
        self._retries_left = _MAX_RESUMED
        self._received = False
        self._stream = self._open()

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        while self._stream is not None:
            try:
                piece = self._stream.read(size)
            except ConnectionLost:
                self.close()
                if not self._received or not self._retries_left:
                    raise
                self._retries_left -= 1
            else:
                self._received = self._received or bool(piece)
                self._offset += len(piece)
                return piece
            self._received = False
            self._stream = self._open()
        return b""

    def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> ResponseStream | None:
        headers = {**self._headers, "Range": f"bytes={self._offset}-"} if self._offset else self._headers
        try:
            stream = self._transport.stream(self._path, headers=headers)
        except RegistryError as error:
            if error.response is not None and error.response.status == 416:
                return None  # there is no more of it
            raise
        try:
            self._check(stream)
        except BaseException:
            stream.close()
            raise
        return stream

    def _check(self, stream: ResponseStream) -> None:
        response = stream.response
        if response.status == 206:
            first, size = _range(response)
            if first != self._offset:
                raise RegistryError(
                    f"{self._transport.host} responds to {response.method} {response.path} from byte {first}, not {self._offset}",
                    hint="Look at the registry's proxy, if it has one.",
                )
        else:
            size = parse_number(response.headers.get("content-length", ""))
        if size is not None and size != self._size:
            raise Mismatch(
                f"{self._transport.host} has {size} bytes where {self._size} should be: {response.path}", hint="See: regctl check"
            )
        skipped = self._offset if response.status != 206 else 0
        while skipped and (piece := stream.read(min(skipped, _PIECE))):
            skipped -= len(piece)
