"""Upload handlers, as in distribution (registry/handlers/blobupload.go).

An upload's URL carries its signed state: the offset of the next chunk. A URL with another offset than the upload has
(used already, or its request was cut off within a chunk) is answered with BLOB_UPLOAD_INVALID.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from urllib.parse import quote

from registry_tool.oci.digest import Digest
from registry_tool.server.blobs import Blobs
from registry_tool.server.messages import IncompleteBody, Request, ServerResponse, http_error
from registry_tool.server.storage import Storage, StoredUpload, WrongDigest

_SIGNATURE = hashlib.sha256().digest_size


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
