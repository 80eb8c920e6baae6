"""Pushing a blob, whole or in chunks (OCI distribution specification 1.1, "Pushing blobs")."""

from __future__ import annotations

from collections.abc import Iterator

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
_STATUS_TRIES = 3


class Upload:
    """One upload session; as a context manager, cancelled at the end unless it was finished. Raises what ``Transport`` does."""

    def __init__(self, transport: Transport, repository: str) -> None:
        self._transport = transport
        response = transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        self._location: str | None = self._next_location(response)
        minimum = response.headers.get("oci-chunk-min-length", "")
        self.chunk = max(CHUNK, int(minimum[:9]) if minimum.isascii() and minimum.isdigit() else 0)
        """Bytes of each chunk but the last: at least what the registry wants."""
        self._sent = 0

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
        """Send the next chunk. If the connection is lost, what of it did not arrive is sent again, if the registry kept the session."""
        unsent = memoryview(chunk)
        for tries_left in reversed(range(_STATUS_TRIES)):
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._sent}-{self._sent + len(unsent) - 1}"}
            try:
                response = self._transport.send("PATCH", self._open_location(), headers=headers, body=bytes(unsent))
            except ConnectionLost as lost:
                if not tries_left:
                    raise
                unsent = unsent[self._arrived(lost, len(unsent)) :]
                if not unsent:
                    return
            else:
                self._location = self._next_location(response)
                self._sent += len(unsent)
                return

    def finish(self, digest: Digest, content: bytes | Iterator[bytes] = b"", *, size: int | None = None) -> None:
        """End with ``content``, bytes or pieces of ``size`` bytes in all: everything that was sent is ``digest``. Raises Mismatch."""
        length = len(content) if isinstance(content, bytes) else size
        headers = {"Content-Type": _OCTETS, "Content-Length": str(length)}
        response = self._transport.send("PUT", self._open_location(), headers=headers, params={"digest": str(digest)}, body=content)
        self._location = None
        check_digest(self._transport.host, response, digest)

    def cancel(self) -> None:
        """Cancel the upload, unless it is finished. The specification does not require registries to support that."""
        location, self._location = self._location, None
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

    def _arrived(self, lost: ConnectionLost, sent: int) -> int:
        """How many bytes of the last chunk arrived; the session goes on behind them. Raises ``lost`` where that is unknown."""
        try:
            response = self._transport.get(self._open_location())
        except (NotFound, RegistryError):
            # registry:2 drops a session that breaks in the middle of a chunk, and knows none by the location before the last.
            raise lost from None
        self._location = self._next_location(response)
        # "0-99" of 100 bytes; registry:2 says "0-0" of none, too.
        _, dash, last = response.headers.get("range", "").partition("-")
        end = parse_number(last) if dash else None
        end = 0 if end is None or (end == 0 and self._sent == 0) else end + 1
        arrived = end - self._sent
        if not 0 <= arrived <= sent:
            raise lost from None
        self._sent = end
        return arrived


def push(transport: Transport, repository: str, descriptor: Descriptor, stream: Readable) -> None:
    """Push what ``stream`` gives. Raises Mismatch where it is not what ``descriptor`` says; nothing is stored then."""
    source = verified(stream, descriptor)
    if descriptor.size <= CHUNK:
        content = _read(source, descriptor.size + 1)
        with Upload(transport, repository) as upload:
            upload.finish(descriptor.digest, content)
        return
    with Upload(transport, repository) as upload:
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
