"""Pushing a blob, whole or in chunks (OCI distribution specification 1.1, "Pushing blobs")."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, RegistryError, RegistryToolError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry.blobs import parse_number
from registry_tool.targets.target import Readable, verified
from registry_tool.transport import Response, Transport

CHUNK = 8 << 20
"""Bytes that are sent at once, and again where the connection is lost between chunks; storages on S3 want 5 MiB at least."""
WHOLE = 64 << 20
"""Bytes up to which content is sent in one request. What is larger is not to be lost with one connection."""

_OCTETS = "application/octet-stream"
_PIECE = 1 << 18
_NO_CONTENT = {"Content-Length": "0"}
_STATUS_TRIES = 3
_DELAY = 0.1
"""Seconds before the status of a session is requested, more after each failure."""
_TRANSIENT = (500, 502, 503, 504)


class UploadSessions:
    """The uploads under way of one repository, so that an interrupted program can cancel them. Threads may share it."""

    def __init__(self) -> None:
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
        """Cancel all that are under way; a failure of one ends no other."""
        with self._lock:
            uploads = list(self._open)
        for upload in uploads:
            with suppress(RegistryToolError):
                upload.cancel()


class Upload:
    """One upload session; as a context manager, cancelled at the end unless it was finished. Raises what ``Transport`` does.

    ``begun`` is the response that began it; without one a new session is requested.
    """

    def __init__(
        self,
        transport: Transport,
        repository: str,
        sessions: UploadSessions | None = None,
        *,
        begun: Response | None = None,
        chunk: int | None = None,
    ) -> None:
        self._transport = transport
        self._sessions = sessions or UploadSessions()
        response = begun or transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers=_NO_CONTENT)
        self._location: str | None = self._next_location(response)
        minimum = response.headers.get("oci-chunk-min-length", "")
        self.chunk = max(chunk or CHUNK, int(minimum[:9]) if minimum.isascii() and minimum.isdigit() else 0)
        """Bytes of each chunk but the last: at least what the registry wants."""
        self._sent = 0
        self._sessions.add(self)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.cancel()
        except RegistryToolError:
            # The session expires by itself; the first failure is what matters.
            if error is None:
                raise

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

    def finish(self, digest: Digest, content: bytes | Iterator[bytes] = b"", *, size: int | None = None) -> None:
        """End with ``content``, bytes or pieces of ``size`` bytes in all: everything that was sent is ``digest``. Raises Mismatch."""
        length = len(content) if isinstance(content, bytes) else size
        headers = {"Content-Type": _OCTETS, "Content-Length": str(length)}
        response = self._transport.send("PUT", self._open_location(), headers=headers, params={"digest": str(digest)}, body=content)
        self._location = None
        self._sessions.discard(self)
        check_digest(self._transport.host, response, digest)

    def cancel(self) -> None:
        """Cancel the upload, unless it is finished. The specification does not require registries to support that."""
        location, self._location = self._location, None
        self._sessions.discard(self)
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
    return isinstance(error, ConnectionLost) or (error.response is not None and error.response.status in _TRANSIENT)


def mount(transport: Transport, repository: str, digest: Digest, source: str) -> bool:
    """Mount a blob from the repository ``source``; returns whether the registry did (distribution-spec, "Mounting a blob")."""
    params = {"mount": str(digest), "from": source}
    try:
        response = transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers=_NO_CONTENT, params=params)
        if response.status == 201:
            return True
        with Upload(transport, repository, begun=response):
            return False
    except (NotFound, RegistryError):
        # Whoever may not read the other repository may still push to this one.
        return False


def push(transport: Transport, repository: str, descriptor: Descriptor, stream: Readable, sessions: UploadSessions | None = None) -> None:
    """Push what ``stream`` gives. Raises Mismatch where it is not what ``descriptor`` says; nothing is stored then."""
    source = verified(stream, descriptor)
    if descriptor.size <= CHUNK:
        content = _read(source, descriptor.size + 1)
        with Upload(transport, repository, sessions) as upload:
            upload.finish(descriptor.digest, content)
        return
    with Upload(transport, repository, sessions) as upload:
        if descriptor.size <= WHOLE:
            upload.finish(descriptor.digest, iter(lambda: _read(source, _PIECE), b""), size=descriptor.size)
            return
        while chunk := _read(source, upload.chunk):
            upload.write(chunk)
        upload.finish(descriptor.digest)


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
