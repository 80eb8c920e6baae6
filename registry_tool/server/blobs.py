"""Blobs, as distribution serves them (registry/storage/blobserver.go on Go's net/http ServeContent)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from registry_tool.oci.digest import Digest
from registry_tool.server.messages import PIECE, PLAIN, Request, ServerResponse, refusal
from registry_tool.server.storage import Storage

_RANGE = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)


class Blobs:
    """``sizes`` is what the server believes: like distribution's descriptor cache it is never told of content that vanishes."""

    def __init__(self, storage: Storage, *, delete: bool) -> None:
        self._storage = storage
        self._delete = delete
        self._sizes: dict[Digest, int] = {}

    def stat(self, repository: str, digest: Digest) -> tuple[Digest, int] | None:
        """(sha256 digest, size) of a blob of ``repository``, None where it has none of this digest."""
        target = self._storage.linked(repository, "layer", digest)
        if target is None:
            return None
        size = self.size(target)
        return None if size is None else (target, size)

    def size(self, target: Digest) -> int | None:
        """Bytes of the content, as far as we believe."""
        known = self._sizes.get(target)
        if known is None:
            known = self._storage.size(target)
            if known is not None:
                self._sizes[target] = known
        return known

    def get(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """GET and HEAD."""
        wanted = _parsed(reference)
        found = self.stat(repository, wanted)
        if found is None:
            raise refusal("BLOB_UNKNOWN", str(wanted))
        target, size = found
        etag = f'"{target}"'
        headers = [("Cache-Control", "max-age=31536000"), ("Docker-Content-Digest", str(target)), ("Etag", etag)]
        if any(tag.strip() in (etag, "*") for tag in request.header("If-None-Match").split(",")):
            return ServerResponse(status=304, headers=tuple(headers))
        first, last, status = 0, size - 1, 200
        asked = request.header("Range")
        # Several ranges at once get the whole: that is allowed, and nobody asks a registry for them.
        if asked and "," not in asked and request.header("If-Range") in ("", etag):
            try:
                first, last = _range(asked, size)
            except ValueError as error:
                return _unsatisfiable(str(error), headers, size)
            status = 206
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
        headers += [("Accept-Ranges", "bytes"), ("Content-Type", "application/octet-stream"), ("Content-Length", str(last - first + 1))]
        content = self._storage.open(target) if request.method == "GET" else None
        return ServerResponse(status=status, headers=tuple(headers), body=_read(content, first, last) if content else ())

    def delete(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE: the repository's link goes."""
        wanted = _parsed(reference)
        if not self._delete:
            raise refusal("UNSUPPORTED")
        if self.stat(repository, wanted) is None:
            raise refusal("BLOB_UNKNOWN")
        self._storage.unlink(repository, "layer", wanted)
        return ServerResponse(status=202)


def _parsed(digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except ValueError as error:
        raise refusal("DIGEST_INVALID", {}) from error


def _range(asked: str, size: int) -> tuple[int, int]:
    """First and last byte; ValueError in Go's words."""
    unit, _, said = asked.partition("=")
    match = _RANGE.fullmatch(said.strip()) if unit == "bytes" else None
    if match is None or not any(match.groups()):
        raise ValueError("invalid range")
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    if int(first) >= size:
        raise ValueError("invalid range: failed to overlap")
    if last and int(last) < int(first):
        raise ValueError("invalid range")
    return int(first), min(int(last), size - 1) if last else size - 1


def _unsatisfiable(why: str, headers: list[tuple[str, str]], size: int) -> ServerResponse:
    """distribution promises the blob's length here, and sends a few words: the client sees the answer break off."""
    if "overlap" in why:
        headers.append(("Content-Range", f"bytes */{size}"))
    headers += [("Content-Type", PLAIN), ("Content-Length", str(size))]
    return ServerResponse(status=416, headers=tuple(headers), body=(f"{why}\n".encode(),))


def _read(content: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    with content:
        content.seek(first)
        left = last - first + 1
        while left and (piece := content.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
