"""Blob handlers, as in distribution (registry/storage/blobserver.go on Go's net/http ServeContent)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from registry_tool.oci.digest import Digest
from registry_tool.server.messages import CHUNK, PLAIN, Request, ServerResponse, http_error
from registry_tool.server.storage import Storage

_RANGE = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)


class Blobs:
    """Sizes are cached: like distribution's descriptor cache this one does not notice content that vanishes."""

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
        """Bytes of the content, by the cache."""
        known = self._sizes.get(target)
        if known is None:
            known = self._storage.size(target)
            if known is not None:
                self._sizes[target] = known
        return known

    def get(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """GET and HEAD."""
        digest = _parse_digest(reference)
        blob = self.stat(repository, digest)
        if blob is None:
            raise http_error("BLOB_UNKNOWN", str(digest))
        target, size = blob
        etag = f'"{target}"'
        headers = [("Cache-Control", "max-age=31536000"), ("Docker-Content-Digest", str(target)), ("Etag", etag)]
        if any(tag.strip() in (etag, "*") for tag in request.header("If-None-Match").split(",")):
            return ServerResponse(status=304, headers=tuple(headers))
        first, last, status = 0, size - 1, 200
        requested = request.header("Range")
        # Several ranges at once get the whole blob, which is allowed (RFC 9110, 14.2).
        if requested and "," not in requested and request.header("If-Range") in ("", etag):
            try:
                first, last = _range(requested, size)
            except ValueError as error:
                # With the blob's Content-Length and a short body, as distribution does: the connection is lost.
                if "overlap" in str(error):
                    headers.append(("Content-Range", f"bytes */{size}"))
                headers += [("Content-Type", PLAIN), ("Content-Length", str(size))]
                return ServerResponse(status=416, headers=tuple(headers), body=(f"{error}\n".encode(),))
            status = 206
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
        headers += [("Accept-Ranges", "bytes"), ("Content-Type", "application/octet-stream"), ("Content-Length", str(last - first + 1))]
        content = self._storage.open(target) if request.method == "GET" else None
        return ServerResponse(status=status, headers=tuple(headers), body=_read(content, first, last) if content else ())

    def delete(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE: remove the repository's link."""
        digest = _parse_digest(reference)
        if not self._delete:
            raise http_error("UNSUPPORTED")
        if self.stat(repository, digest) is None:
            raise http_error("BLOB_UNKNOWN")
        self._storage.unlink(repository, "layer", digest)
        return ServerResponse(status=202)


def _parse_digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise http_error("DIGEST_INVALID", {}) from error


def _range(requested: str, size: int) -> tuple[int, int]:
    """First and last byte of a Range header. Raises ValueError, with Go's messages."""
    unit, _, spec = requested.partition("=")
    match = _RANGE.fullmatch(spec.strip()) if unit == "bytes" else None
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


def _read(content: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    with content:
        content.seek(first)
        remaining = last - first + 1
        while remaining and (chunk := content.read(min(CHUNK, remaining))):
            remaining -= len(chunk)
            yield chunk
