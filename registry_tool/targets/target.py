"""The one port: where a repository's content lives, whatever is behind it; and content that is checked as it is read."""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager
from typing import Any, Protocol

from registry_tool.base.errors import Mismatch
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest

__all__ = ["Hash", "Mismatch", "Readable", "Target", "verified"]

_HINT = "Look with regctl check: what is stored there may be damaged, or something on the way changes it."


class Readable(Protocol):
    """What bytes are read from: up to ``size`` of them, all there are where it is negative, none at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Hash(Protocol):
    """A hash on its way, as hashlib makes them."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Target(Protocol):
    """The content of one repository: in a registry, a folder, an archive.

    Each may raise what its kind of place does when it cannot be reached or refuses: the Unreachable and RegistryError trees.
    """

    def resolve(self, reference: str) -> Descriptor:
        """What a tag, or a digest (``sha256:…``), stands for now. Raises NotFound."""

    def manifest(self, reference: str | Digest) -> Manifest:
        """The exact bytes, read and understood. Raises NotFound, Mismatch, InvalidManifest."""

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> AbstractContextManager[Readable]:
        """Content, from ``offset`` on, checked as it is read (see :func:`verified`). Raises NotFound, and Mismatch while it is read."""

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether the place says that it has this; what it has may still be damaged."""

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        """Put content there. Raises Mismatch where ``stream`` is not what ``descriptor`` says; nothing is there then."""

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        """Put a manifest there, byte for byte, and let ``tag`` stand for it."""

    def tags(self) -> tuple[str, ...]:
        """Every tag; none is not a failure. Raises NotFound where there is no such repository."""

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """What has it as its subject, with artifact types and annotations; none is not a failure."""

    def delete(self, descriptor: Descriptor) -> None:
        """Delete a manifest, and with it every tag that stands for it. Raises NotFound."""


def verified(stream: Readable, descriptor: Descriptor, *, offset: int = 0, hashed: Hash | None = None) -> io.RawIOBase:
    """``stream``, which is ``descriptor``'s content from ``offset`` on, as a file that raises Mismatch where it is not.

    Nobody gets the last byte before size and digest are known to be right, and no more than one byte too many is ever
    asked for: an endless stream ends. ``hashed`` has seen what is before ``offset``; without it there is nothing to
    compare a digest with, and only the size is checked. Closing the file closes ``stream``.
    """
    if offset > descriptor.size:
        raise ValueError(f"{offset} is beyond the end of {descriptor.size} bytes")
    if hashed is None and offset == 0:
        hashed = hashlib.new(descriptor.digest.algorithm)
    return _Verified(stream, descriptor, offset, hashed)


class _Verified(io.RawIOBase):
    def __init__(self, stream: Readable, descriptor: Descriptor, offset: int, hashed: Hash | None) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._left = descriptor.size - offset
        self._hashed = hashed

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
        if self._hashed is not None:
            self._hashed.update(chunk)
        if not self._left:
            self._check_end()
        room[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()

    def _check_end(self) -> None:
        if self._stream.read(1):
            raise self._mismatch(f"more than {self._descriptor.size} bytes")
        found = self._hashed.hexdigest() if self._hashed is not None else None
        if found not in (None, self._descriptor.digest.hex):
            raise self._mismatch(f"its digest is {self._descriptor.digest.algorithm}:{found}")

    def _mismatch(self, why: str) -> Mismatch:
        return Mismatch(f"{self._descriptor.digest} is not what is read: {why}", hint=_HINT)
