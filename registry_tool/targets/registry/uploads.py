"""Putting a blob into a repository: whole, in chunks, or from a repository of the same registry that has it.

OCI distribution specification 1.1, "Pushing blobs". An upload is four steps: begin, write, finish, or give up.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, RegistryError, RegistryToolError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.target import Readable, verified
from registry_tool.transport import Response, Transport

CHUNK = 8 << 20
"""Bytes that are sent at once, and sent again where the line breaks between chunks; storages on S3 want 5 MiB at least."""
WHOLE = 64 << 20
"""Bytes up to which content is sent in one request. What is larger is not to be lost for one broken line."""

_OCTETS = "application/octet-stream"
_PIECE = 1 << 18
_STATUS_TRIES = 3


class Upload:
    """One upload's session. As a context manager it is given up unless it was finished.

    Raises what :class:`registry_tool.transport.Transport` does.
    """

    def __init__(self, transport: Transport, repository: str) -> None:
        self._transport = transport
        answer = transport.send("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        self._location: str | None = self._next(answer)
        least = answer.headers.get("oci-chunk-min-length", "")
        self.chunk = max(CHUNK, int(least[:9]) if least.isascii() and least.isdigit() else 0)
        """Bytes that the registry wants in each chunk but the last, at least."""
        self._at = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.give_up()
        except RegistryToolError:
            # The session ends by itself some day; what went wrong before is what matters.
            if error is None:
                raise

    def write(self, chunk: bytes) -> None:
        """Send the next chunk. Where the line breaks, what of it did not arrive is sent again, if the registry kept the session."""
        rest = memoryview(chunk)
        for tries_left in reversed(range(_STATUS_TRIES)):
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._at}-{self._at + len(rest) - 1}"}
            try:
                answer = self._transport.send("PATCH", self._place(), headers=headers, body=bytes(rest))
            except ConnectionLost as broken:
                if not tries_left:
                    raise
                rest = rest[self._arrived(broken, len(rest)) :]
                if not rest:
                    return
            else:
                self._location = self._next(answer)
                self._at += len(rest)
                return

    def finish(self, digest: Digest, rest: bytes | Iterator[bytes] = b"", *, size: int | None = None) -> None:
        """End with ``rest``, bytes or pieces of ``size`` bytes in all: what was sent is ``digest``."""
        length = len(rest) if isinstance(rest, bytes) else size
        headers = {"Content-Type": _OCTETS, "Content-Length": str(length)}
        answer = self._transport.send("PUT", self._place(), headers=headers, params={"digest": str(digest)}, body=rest)
        self._location = None
        check_digest(self._transport.host, answer, digest)

    def give_up(self) -> None:
        """Have the registry forget it, unless it is finished."""
        location, self._location = self._location, None
        if location is not None:
            _give_up(self._transport, location)

    def _place(self) -> str:
        if self._location is None:
            raise ValueError("this upload has ended")
        return self._location

    def _next(self, answer: Response) -> str:
        if not answer.headers.get("location"):
            raise RegistryError(
                f"{self._transport.host} answers {answer.method} {answer.path} without saying where to go on", hint="Look at its log."
            )
        return self._transport.location(answer)

    def _arrived(self, broken: ConnectionLost, sent: int) -> int:
        """How much of the last chunk arrived; the session is where it says then."""
        try:
            answer = self._transport.get(self._place())
        except (NotFound, RegistryError):
            # registry:2 drops a session that breaks in the middle of a chunk, and knows none by the location before the last.
            raise broken from None
        self._location = self._next(answer)
        # "0-99" of 100 bytes; registry:2 says "0-0" of none, too.
        _, dash, last = answer.headers.get("range", "").partition("-")
        end = int(last) + 1 if dash and last.isascii() and last.isdigit() and len(last) < 19 else 0
        if end == 1 and self._at == 0:
            end = 0
        arrived = end - self._at
        if not 0 <= arrived <= sent:
            raise broken from None
        self._at = end
        return arrived


def push(transport: Transport, repository: str, descriptor: Descriptor, stream: Readable) -> None:
    """Upload what ``stream`` gives. Mismatch where it is not what ``descriptor`` says: then nothing is there."""
    source = verified(stream, descriptor)
    if descriptor.size <= CHUNK:
        content = _read(source, descriptor.size + 1)
        with Upload(transport, repository) as upload:
            upload.finish(descriptor.digest, content)
        return
    with Upload(transport, repository) as upload:
        if descriptor.size <= WHOLE:
            upload.finish(descriptor.digest, _pieces(source), size=descriptor.size)
            return
        while chunk := _read(source, upload.chunk):
            upload.write(chunk)
        upload.finish(descriptor.digest)


def _pieces(source: Readable) -> Iterator[bytes]:
    while piece := _read(source, _PIECE):
        yield piece


def _read(source: Readable, size: int) -> bytes:
    """``size`` bytes, less at the end only."""
    pieces = []
    try:
        while size and (piece := source.read(size)):
            pieces.append(piece)
            size -= len(piece)
    except OSError as error:
        # Not to be taken for the registry's line, which it would be where it is read to be sent.
        raise RegistryToolError(f"what is to be pushed cannot be read: {error.strerror or error}") from error
    return b"".join(pieces)


def mount(transport: Transport, repository: str, digest: Digest, source: str) -> bool:
    """Have a blob of the repository ``source`` in ``repository``, too, without sending it. False where the registry will not."""
    params = {"mount": str(digest), "from": source}
    answer = transport.send("POST", f"/v2/{repository}/blobs/uploads/", params=params, headers={"Content-Length": "0"})
    if answer.status == 201:
        check_digest(transport.host, answer, digest)
        return True
    if answer.headers.get("location"):
        _give_up(transport, transport.location(answer))
    return False


def _give_up(transport: Transport, location: str) -> None:
    """Have an upload forgotten. The specification does not ask registries for it: those that cannot clear up by themselves."""
    try:
        transport.send("DELETE", location)
    except NotFound:
        return
    except RegistryError as error:
        if error.refusal is None or error.refusal.status not in (400, 405, 501):
            raise


def check_digest(host: str, answer: Response, digest: Digest) -> None:
    """Mismatch where the registry says that it took something else."""
    said = answer.headers.get("docker-content-digest")
    if said and said.strip() != str(digest) and said.startswith(f"{digest.algorithm}:"):
        raise Mismatch(f"{host} took {said[:140]!r} for {digest}", hint="Something on the way changes what is sent.")
