"""Pushing a blob, whole or in chunks (OCI distribution specification 1.1, "Pushing blobs")."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from registry_tool.base import units
from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, RegistryError, RegistryToolError, RegistryUnreachable
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry.blobs import parse_number
from registry_tool.targets.registry.upload_records import UploadRecord, UploadRecords
from registry_tool.targets.target import Readable, verified
from registry_tool.transport import Response, Transport, retry

CHUNK = 8 << 20
"""Bytes that are sent at once, and again where the connection is lost between chunks; storages on S3 want 5 MiB at least."""
SMALL = 1 << 20
"""Bytes up to which content is read before it is sent, so that the request can be repeated; what is larger takes little memory."""
WHOLE = 64 << 20
"""Bytes up to which content is sent in one request. What is larger is not to be lost with one connection."""
MAX_CHUNK = 64 << 20
"""Bytes of a chunk that is held in memory, whatever the registry wants."""

_OCTETS = "application/octet-stream"
_PIECE = 1 << 18
_NO_CONTENT = {"Content-Length": "0"}
_STATUS_TRIES = 3
_DELAY = 0.1
"""Seconds before the status of a session is requested, more after each failure."""


class UploadSessions:
    """The uploads under way of one repository, so that an interrupted program can cancel them. Threads may share it."""

    def __init__(self, records: UploadRecords | None = None) -> None:
        self.records = records
        self._open: set[Upload] = set()
        self._lock = threading.Lock()

    def add(self, upload: Upload) -> None:
        """Remember an upload that was begun."""
        with self._lock:
            self._open.add(upload)

    def discard(self, upload: Upload) -> None:
        """Forget an upload that ended."""
        with self._lock:
            self._open.discard(upload)

    def cancel(self) -> None:
        """Cancel all that are under way, but what the next run can go on with; a failure of one ends no other."""
        with self._lock:
            uploads = list(self._open)
        for upload in uploads:
            if upload.is_resumable:
                continue
            with suppress(RegistryToolError):
                upload.cancel()


class Upload:
    """One upload session; as a context manager, cancelled at the end unless it was finished. Raises what ``Transport`` does.

    ``begun`` is the response that began it; without one a new session is requested. ``record`` keeps where it goes on: then it is not
    cancelled where the connection is lost after a chunk arrived.
    """

    def __init__(
        self,
        transport: Transport,
        repository: str,
        sessions: UploadSessions | None = None,
        *,
        begun: Response | None = None,
        chunk: int | None = None,
        record: UploadRecord | None = None,
    ) -> None:
        self._transport = transport
        self._sessions = sessions or UploadSessions()
        self._record = record
        response = begun or transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers=_NO_CONTENT)
        self._location: str | None = self._next_location(response)
        minimum = response.headers.get("oci-chunk-min-length", "")
        # Of a number that is longer its beginning is too much already.
        self._chunk = max(chunk or CHUNK, int(minimum[:18]) if minimum.isascii() and minimum.isdigit() else 0)
        self._sent = 0
        self._sessions.add(self)
        self._save()

    @classmethod
    def resume(cls, transport: Transport, repository: str, sessions: UploadSessions, record: UploadRecord, *, most: int) -> Upload | None:
        """Go on with the upload of ``record``; None where the registry does not know it, or has more than ``most`` bytes of it."""
        if record.location is None:
            return None
        try:
            response = transport.get(record.location)
            # registry:2 says "0-0" of no byte and of one.
            end = _end(response) or 0
            if not 1 < end <= most:
                transport.send("DELETE", record.location)
                return None
            upload = cls(transport, repository, sessions, begun=response, record=record)
        except (NotFound, RegistryError):
            return None
        upload._sent = end
        return upload

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, RegistryUnreachable) and self.is_resumable and self._record is not None:
            self._sessions.discard(self)
            self._record.close()
            return
        try:
            self.cancel()
        except RegistryToolError:
            # The session expires by itself; the first failure is what matters.
            if error is None:
                raise

    @property
    def chunk(self) -> int:
        """Bytes of each chunk but the last: at least what the registry wants. Raises RegistryError where that is too much to be held."""
        if self._chunk > MAX_CHUNK:
            message = f"{self._transport.host} wants chunks of {units.size(self._chunk)}: at most {units.size(MAX_CHUNK)} are sent"
            raise RegistryError(message, hint="It says so in the header OCI-Chunk-Min-Length: look at its configuration.")
        return self._chunk

    @property
    def sent(self) -> int:
        """Bytes that the registry has."""
        return self._sent

    @property
    def is_resumable(self) -> bool:
        """Whether it can be gone on with later: something of it has arrived, and where it goes on is kept."""
        return self._record is not None and self._location is not None and self._sent > 0

    def _save(self) -> None:
        if self._record is not None and self._location is not None:
            self._record.save(self._location)

    def write(self, chunk: bytes) -> None:
        """Send the next chunk. What of it the registry does not have is sent again, if it kept the session.

        That is after a lost connection, an error that may pass, and an acknowledgement of less than was sent.
        """
        unsent = memoryview(chunk)
        tries_left = _STATUS_TRIES
        while unsent:
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._sent}-{self._sent + len(unsent) - 1}"}
            try:
                body = chunk if len(unsent) == len(chunk) else bytes(unsent)
                response = self._transport.send("PATCH", self._open_location(), headers=headers, body=body)
            except (ConnectionLost, RegistryError) as error:
                tries_left -= 1
                if not tries_left or not _may_pass(error):
                    raise
                time.sleep(_DELAY * (_STATUS_TRIES - tries_left))
                unsent = unsent[self._arrived(error, len(unsent)) :]
            else:
                self._location = self._next_location(response)
                arrived = self._acknowledged(response, len(unsent))
                tries_left -= not arrived
                if not tries_left:
                    raise RegistryError(
                        f"{self._transport.host} accepts chunks of an upload, and stores nothing of them", hint="Look at its log."
                    )
                unsent = unsent[arrived:]
            self._save()

    def finish(self, digest: Digest, content: bytes | Iterator[bytes] = b"", *, size: int | None = None) -> None:
        """End with ``content``, bytes or pieces of ``size`` bytes in all: everything that was sent is ``digest``. Raises Mismatch."""
        length = len(content) if isinstance(content, bytes) else size
        headers = {"Content-Type": _OCTETS, "Content-Length": str(length)}
        response = self._transport.send("PUT", self._open_location(), headers=headers, params={"digest": str(digest)}, body=content)
        self._location = None
        self._sessions.discard(self)
        if self._record is not None:
            self._record.remove()
        check_digest(self._transport.host, response, digest)

    def cancel(self) -> None:
        """Cancel the upload, unless it is finished. The specification does not require registries to support that."""
        location, self._location = self._location, None
        self._sessions.discard(self)
        if self._record is not None:
            self._record.remove()
        if location is None:
            return
        try:
            self._transport.send("DELETE", location)
        except NotFound:
            return
        except RegistryError as error:
            if error.response is None or error.response.status not in (400, 405, 501):
                raise

    def _open_location(self) -> str:
        if self._location is None:
            raise ValueError("this upload has ended")
        return self._location

    def _next_location(self, response: Response) -> str:
        if not response.headers.get("location"):
            raise RegistryError(
                f"{self._transport.host} responds to {response.method} {response.path} without a Location header", hint="Look at its log."
            )
        return self._transport.location(response)

    def _acknowledged(self, response: Response, sent: int) -> int:
        """How many of ``sent`` bytes the registry has by a response of its that accepts them; the session goes on behind them."""
        end = _end(response)
        if end is not None and self._sent <= end < self._sent + sent:
            # Some report the chunk's own range, or nothing that makes sense: the session's status decides.
            with suppress(RegistryToolError):
                return self._arrived(RegistryError("no status"), sent)
        self._sent += sent
        return sent

    def _arrived(self, error: RegistryToolError, sent: int) -> int:
        """How many bytes of the last chunk arrived; the session goes on behind them. Raises ``error`` where that is unknown."""
        try:
            response = self._transport.get(self._open_location())
        except (NotFound, RegistryError):
            # registry:2 drops a session that breaks in the middle of a chunk, and knows none by the location before the last.
            raise error from None
        end = _end(response)
        # registry:2 says "0-0" of none, too.
        end = 0 if end is None or (end == 1 and self._sent == 0) else end
        arrived = end - self._sent
        if not 0 <= arrived <= sent:
            raise error from None
        self._location = self._next_location(response)
        self._sent = end
        return arrived


def _end(response: Response) -> int | None:
    """Bytes that a session has, by its ``Range``: "0-99" is 100; None where it does not say."""
    _, dash, last = response.headers.get("range", "").partition("-")
    end = parse_number(last) if dash else None
    return None if end is None else end + 1


def _may_pass(error: RegistryToolError) -> bool:
    return isinstance(error, ConnectionLost) or (error.response is not None and error.response.status in retry.PASSING)


def mount(transport: Transport, repository: str, digest: Digest, source: str) -> bool:
    """Mount a blob from the repository ``source``; returns whether the registry did (distribution-spec, "Mounting a blob")."""
    params = {"mount": str(digest), "from": source}
    try:
        response = transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers=_NO_CONTENT, params=params)
        if response.status == 201:
            return True
        with Upload(transport, repository, begun=response):
            return False
    except (NotFound, RegistryError, ConnectionLost):
        # Whoever may not read the other repository may still push to this one. A POST that was lost is not repeated: the blob is sent.
        return False


def push(transport: Transport, repository: str, descriptor: Descriptor, stream: Readable, sessions: UploadSessions | None = None) -> None:
    """Push what ``stream`` gives. Raises Mismatch where it is not what ``descriptor`` says; nothing is stored then."""
    source = verified(stream, descriptor)
    sessions = sessions or UploadSessions()
    if descriptor.size <= min(SMALL, CHUNK):
        content = _read(source, descriptor.size + 1)
        with _begin(transport, repository, descriptor, sessions) as upload:
            upload.finish(descriptor.digest, content)
        return
    with _begin(transport, repository, descriptor, sessions) as upload:
        if descriptor.size <= WHOLE:
            upload.finish(descriptor.digest, iter(lambda: _read(source, _PIECE), b""), size=descriptor.size)
            return
        unread = upload.sent
        while unread and (piece := _read(source, min(unread, _PIECE))):
            unread -= len(piece)
        while chunk := _read(source, upload.chunk):
            upload.write(chunk)
        upload.finish(descriptor.digest)


def _begin(transport: Transport, repository: str, descriptor: Descriptor, sessions: UploadSessions) -> Upload:
    """A new upload, or one that an earlier program left in the middle of content that is sent in chunks."""
    record = sessions.records.open(transport.host, repository, descriptor.digest) if sessions.records is not None else None
    if record is None:
        return Upload(transport, repository, sessions)
    try:
        # Of what is sent in one request nothing can be gone on with.
        most = descriptor.size if descriptor.size > WHOLE else 0
        return Upload.resume(transport, repository, sessions, record, most=most) or Upload(transport, repository, sessions, record=record)
    except BaseException:
        record.close()
        raise


def cancel_leftovers(transport: Transport, repository: str, records: UploadRecords) -> None:
    """Cancel the uploads that programs left which live no more."""
    for record in records.leftovers(transport.host, repository):
        if record.location is not None:
            with suppress(RegistryToolError):
                transport.send("DELETE", record.location)
        record.remove()


def _read(source: Readable, size: int) -> bytes:
    """Exactly ``size`` bytes, less at the end only."""
    pieces = []
    try:
        while size and (piece := source.read(size)):
            pieces.append(piece)
            size -= len(piece)
    except OSError as error:
        # Not to be taken for a failure of the connection, which it would be where it is read to be sent.
        raise RegistryToolError(f"what is to be pushed cannot be read: {error.strerror or error}") from error
    return b"".join(pieces)


def check_digest(host: str, response: Response, digest: Digest) -> None:
    """Raises Mismatch where the registry reports that it stored something else."""
    reported = response.headers.get("docker-content-digest")
    if reported and reported.strip() != str(digest) and reported.startswith(f"{digest.algorithm}:"):
        raise Mismatch(f"{host} stored {reported[:140]!r} in place of {digest}", hint="It is changed in transit.")
