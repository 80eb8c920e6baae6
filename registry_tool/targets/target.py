"""The port to a repository's content, whatever stores it; and streams that are verified as they are read."""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import Mismatch
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest

_HINT = "See regctl check: what is stored there may be damaged, or changed in transit."


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, all there are where it is negative, none at the end."""


class Target(Protocol):
    """The content of one repository, wherever it is stored. Threads may share it. Every method may raise Unreachable and RegistryError."""

    @property
    def limiter(self) -> RateLimiter:
        """Bounds the requests of all who use it at a time."""

    def resolve(self, reference: str) -> Descriptor:
        """Return what a tag or a digest (``sha256:…``) stands for now. Raises NotFound."""

    def manifest(self, reference: str | Digest) -> Manifest:
        """Return a manifest, with its exact bytes. Raises NotFound, Mismatch, InvalidManifest."""

    def fetch(self, descriptor: Descriptor) -> AbstractContextManager[Readable]:
        """Open content, :func:`verified` as it is read. Raises NotFound, and Mismatch while it is read."""

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether it is reported to be there; it may still be damaged."""

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        """Store a blob. Raises Mismatch where ``stream`` is not what ``descriptor`` says; nothing is stored then."""

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        """Store a manifest, byte for byte, and let ``tag`` stand for it."""

    def tags(self) -> tuple[str, ...]:
        """Every tag; none is no failure. Raises NotFound where there is no such repository."""

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """The manifests whose subject it is, with artifact types and annotations; none is no failure."""

    def delete(self, descriptor: Descriptor) -> None:
        """Delete a manifest, and with it every tag that stands for it. Raises NotFound."""


@runtime_checkable
class RemoteTarget(Protocol):
    """What a repository of a registry can besides: take blobs over from its other repositories, cancel what was begun."""

    def find(self, reference: str) -> Descriptor | None:
        """Return what ``resolve`` returns, and None of what is not there: why it is not need not be requested. Raises Mismatch."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there to its last byte. ``exists`` may tell of what is gone."""

    def can_mount_from(self, source: Target) -> bool:
        """Whether ``source`` is another repository of the same registry."""

    def mount(self, descriptor: Descriptor, source: Target) -> bool:
        """Take a blob over from ``source``; returns whether that was done. It can be pushed where not, for whatever reason."""

    def cancel_uploads(self) -> None:
        """Cancel the uploads under way that a later run cannot go on with, as far as the registry can. Raises nothing."""

    def cancel_leftovers(self) -> None:
        """Cancel the uploads that programs left which live no more, as far as they are known. Raises nothing."""


def verified(stream: Readable, descriptor: Descriptor) -> io.RawIOBase:
    """Wrap ``stream`` as a file that raises Mismatch where it is not ``descriptor``'s content.

    The last byte is given out when size and digest are right, and at most one byte too many is read: an endless stream
    ends. Closing the file closes ``stream``.
    """
    return _Verified(stream, descriptor)


class _Verified(io.RawIOBase):
    def __init__(self, stream: Readable, descriptor: Descriptor) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._left = descriptor.size
        self._hash = hashlib.new(descriptor.digest.algorithm)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")
        chunk = self._stream.read(min(len(room), self._left)) if self._left else b""
        if self._left and room and not chunk:
            raise self._mismatch(f"{self._left} of {self._descriptor.size} bytes are missing")
        if len(chunk) > self._left:
            raise self._mismatch(f"more than {self._descriptor.size} bytes")
        self._left -= len(chunk)
        self._hash.update(chunk)
        if not self._left and self._stream.read(1):
            raise self._mismatch(f"more than {self._descriptor.size} bytes")
        if not self._left and self._hash.hexdigest() != self._descriptor.digest.hex:
            raise self._mismatch(f"its digest is {self._descriptor.digest.algorithm}:{self._hash.hexdigest()}")
        room[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()

    def _mismatch(self, why: str) -> Mismatch:
        return Mismatch(f"{self._descriptor.digest} is not what is read: {why}", hint=_HINT)
