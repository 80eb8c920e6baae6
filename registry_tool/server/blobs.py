"""Blob and upload handlers, as in distribution (registry/storage/blobserver.go on Go's ServeContent, registry/handlers/blobupload.go).

An upload's URL carries its signed state: the offset of the next chunk. A URL with another offset than the upload has
(used already, or its request was cut off within a chunk) is answered with BLOB_UPLOAD_INVALID.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from registry_tool.oci.digest import Digest
from registry_tool.server.messages import CHUNK, PLAIN, IncompleteBody, Request, ServerResponse, http_error
from registry_tool.server.storage import Storage, StoredUpload, WrongDigest

_SIGNATURE = hashlib.sha256().digest_size
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


# --- uploads ---


class Uploads:
    """``secret`` signs the state; without one, uploads' URLs do not outlive this object."""

    def __init__(self, storage: Storage, blobs: Blobs, *, secret: bytes | None = None) -> None:
        self._storage = storage
        self._blobs = blobs
        self._secret = secret or secrets.token_bytes(32)

    def begin(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """POST: mount a blob, or start an upload. ``digest`` is ignored: distribution has no upload in one request."""
        if reference:
            self._resume(request, repository, reference)
        mounted = self._mount(repository, request.query.get("mount", ""), request.query.get("from", ""))
        if mounted is not None:
            return _created(request, repository, mounted)
        return self._upload_response(request, repository, self._storage.begin(repository), 202)

    def status(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """GET and HEAD."""
        return self._upload_response(request, repository, self._resume(request, repository, reference), 204)

    def append(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PATCH: append a chunk. Content-Range is ignored: chunks out of order are taken as they arrive."""
        upload = self._resume(request, repository, reference)
        if request.header("Content-Type") not in ("", "application/octet-stream"):
            raise http_error("UNKNOWN", {})
        _write(upload, request)
        return self._upload_response(request, repository, upload, 202)

    def finish(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PUT: append a last chunk, if any, and close the upload with the digest of all."""
        upload = self._resume(request, repository, reference)
        text = request.query.get("digest", "")
        if not text:
            raise http_error("DIGEST_INVALID", "digest missing")
        try:
            digest = Digest.parse(text)
        except ValueError as error:
            raise http_error("DIGEST_INVALID", "digest parsing failed") from error
        _write(upload, request)
        try:
            target = upload.commit(digest)
        except WrongDigest as error:
            raise http_error("DIGEST_INVALID", {"Digest": text, "Reason": {}}) from error
        for name in {digest, target}:
            self._storage.link(repository, "layer", name, target)
        return _created(request, repository, target)

    def cancel(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE: cancel the upload."""
        self._resume(request, repository, reference).cancel()
        return ServerResponse(status=204, headers=(("Docker-Upload-Uuid", reference),))

    def _mount(self, repository: str, digest: str, source: str) -> Digest | None:
        """The digest of the mounted blob; None where it cannot be mounted, for whatever reason: it can still be uploaded."""
        try:
            blob = self._blobs.stat(source, Digest.parse(digest))
        except ValueError:
            return None
        if blob is None:
            return None
        self._storage.link(repository, "layer", blob[0], blob[0])
        return blob[0]

    def _resume(self, request: Request, repository: str, id: str) -> StoredUpload:
        if not id:
            raise http_error("BLOB_UPLOAD_UNKNOWN")
        offset = self._offset(request.query.get("_state", ""), repository, id)
        upload = self._storage.resume(repository, id)
        if upload is None:
            raise http_error("BLOB_UPLOAD_UNKNOWN", {})
        if upload.size != offset:
            raise http_error("BLOB_UPLOAD_INVALID")
        return upload

    def _upload_response(self, request: Request, repository: str, upload: StoredUpload, status: int) -> ServerResponse:
        url = f"{request.origin}/v2/{repository}/blobs/uploads/{upload.id}?_state={quote(self._state(repository, upload), safe='')}"
        last = max(upload.size - 1, 0)  # 0 bytes written and 1 byte written are both 0-0
        return ServerResponse(status=status, headers=(("Docker-Upload-Uuid", upload.id), ("Location", url), ("Range", f"0-{last}")))

    def _state(self, repository: str, upload: StoredUpload) -> str:
        state = json.dumps({"Name": repository, "UUID": upload.id, "Offset": upload.size}).encode()
        return base64.urlsafe_b64encode(self._sign(state) + state).decode()

    def _offset(self, state: str, repository: str, id: str) -> int:
        try:
            signed = base64.urlsafe_b64decode(state)
        except (binascii.Error, ValueError) as error:
            raise http_error("BLOB_UPLOAD_INVALID", {}) from error
        signature, content = signed[:_SIGNATURE], signed[_SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(content)):
            raise http_error("BLOB_UPLOAD_INVALID", {})
        document = json.loads(content)
        if (document["Name"], document["UUID"]) != (repository, id):
            raise http_error("BLOB_UPLOAD_INVALID")
        return int(document["Offset"])

    def _sign(self, content: bytes) -> bytes:
        return hmac.new(self._secret, content, hashlib.sha256).digest()


def _write(upload: StoredUpload, request: Request) -> None:
    try:
        for chunk in request.chunks():
            upload.write(chunk)
    except IncompleteBody as error:
        # What arrived is kept, so the upload has another size than in its URL, and is lost (distribution#2593).
        raise http_error("UNKNOWN", str(error)) from error


def _created(request: Request, repository: str, target: Digest) -> ServerResponse:
    url = f"{request.origin}/v2/{repository}/blobs/{target}"
    return ServerResponse(status=201, headers=(("Location", url), ("Docker-Content-Digest", str(target))))
