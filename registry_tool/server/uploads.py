"""Uploads, as distribution takes them (registry/handlers/blobupload.go).

An upload's URL carries its state, signed: the offset at which the next piece belongs. A URL with another offset than
the upload has (used already, or its request broke off within a chunk) is answered with BLOB_UPLOAD_INVALID.
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
from registry_tool.server.messages import BrokenBody, Request, ServerResponse, refusal
from registry_tool.server.storage import Storage, StoredUpload, WrongDigest

_SIGNATURE = hashlib.sha256().digest_size


class Uploads:
    """``secret`` signs the state; without one, URLs of uploads do not outlive this object."""

    def __init__(self, storage: Storage, blobs: Blobs, *, secret: bytes | None = None) -> None:
        self._storage = storage
        self._blobs = blobs
        self._secret = secret or secrets.token_bytes(32)

    def begin(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """POST: mount, or begin. A ``digest`` in the query is ignored: there is no upload in one request."""
        if reference:
            self._resume(request, repository, reference)
        mounted = self._mount(repository, request.query.get("mount", ""), request.query.get("from", ""))
        if mounted is not None:
            return _created(request, repository, mounted)
        return self._goes_on(request, repository, self._storage.begin(repository), 202)

    def status(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """GET and HEAD."""
        return self._goes_on(request, repository, self._resume(request, repository, reference), 204)

    def append(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PATCH: the next piece. Content-Range is not looked at, so that pieces out of order are taken as they come."""
        upload = self._resume(request, repository, reference)
        if request.header("Content-Type") not in ("", "application/octet-stream"):
            raise refusal("UNKNOWN", {})
        _write(upload, request)
        return self._goes_on(request, repository, upload, 202)

    def finish(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PUT: the last piece, or nothing, or everything, and the digest of all."""
        upload = self._resume(request, repository, reference)
        said = request.query.get("digest", "")
        if not said:
            raise refusal("DIGEST_INVALID", "digest missing")
        try:
            digest = Digest.parse(said)
        except ValueError as error:
            raise refusal("DIGEST_INVALID", "digest parsing failed") from error
        _write(upload, request)
        try:
            target = upload.commit(digest)
        except WrongDigest as error:
            raise refusal("DIGEST_INVALID", {"Digest": said, "Reason": {}}) from error
        for name in {digest, target}:
            self._storage.link(repository, "layer", name, target)
        return _created(request, repository, target)

    def cancel(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE."""
        self._resume(request, repository, reference).cancel()
        return ServerResponse(status=204, headers=(("Docker-Upload-Uuid", reference),))

    def _mount(self, repository: str, digest: str, source: str) -> Digest | None:
        """Whatever keeps a blob from being mounted, it can still be uploaded."""
        try:
            found = self._blobs.stat(source, Digest.parse(digest))
        except ValueError:
            return None
        if found is None:
            return None
        self._storage.link(repository, "layer", found[0], found[0])
        return found[0]

    def _resume(self, request: Request, repository: str, id: str) -> StoredUpload:
        if not id:
            raise refusal("BLOB_UPLOAD_UNKNOWN")
        offset = self._offset(request.query.get("_state", ""), repository, id)
        upload = self._storage.resume(repository, id)
        if upload is None:
            raise refusal("BLOB_UPLOAD_UNKNOWN", {})
        if upload.size != offset:
            raise refusal("BLOB_UPLOAD_INVALID")
        return upload

    def _goes_on(self, request: Request, repository: str, upload: StoredUpload, status: int) -> ServerResponse:
        url = f"{request.origin}/v2/{repository}/blobs/uploads/{upload.id}?_state={quote(self._state(repository, upload), safe='')}"
        last = max(upload.size - 1, 0)  # nothing written and one byte written look alike
        return ServerResponse(status=status, headers=(("Docker-Upload-Uuid", upload.id), ("Location", url), ("Range", f"0-{last}")))

    def _state(self, repository: str, upload: StoredUpload) -> str:
        state = json.dumps({"Name": repository, "UUID": upload.id, "Offset": upload.size}).encode()
        return base64.urlsafe_b64encode(self._sign(state) + state).decode()

    def _offset(self, state: str, repository: str, id: str) -> int:
        try:
            signed = base64.urlsafe_b64decode(state)
        except (binascii.Error, ValueError) as error:
            raise refusal("BLOB_UPLOAD_INVALID", {}) from error
        signature, content = signed[:_SIGNATURE], signed[_SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(content)):
            raise refusal("BLOB_UPLOAD_INVALID", {})
        document = json.loads(content)
        if (document["Name"], document["UUID"]) != (repository, id):
            raise refusal("BLOB_UPLOAD_INVALID")
        return int(document["Offset"])

    def _sign(self, content: bytes) -> bytes:
        return hmac.new(self._secret, content, hashlib.sha256).digest()


def _write(upload: StoredUpload, request: Request) -> None:
    try:
        for piece in request.pieces():
            upload.write(piece)
    except BrokenBody as error:
        # What came is kept, so the upload has another size than its URL says, and is lost (distribution#2593).
        raise refusal("UNKNOWN", str(error)) from error


def _created(request: Request, repository: str, target: Digest) -> ServerResponse:
    url = f"{request.origin}/v2/{repository}/blobs/{target}"
    return ServerResponse(status=201, headers=(("Location", url), ("Docker-Content-Digest", str(target))))
