"""Checksums of the documents of an archive that have no digest elsewhere, in the form of ``sha256sum``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from registry_tool.base.errors import InvalidArchive

CHECKSUMS = "SHA256SUMS"
"""The member with them. Blobs are called by their digests; the documents that name images are not."""


def checksums_of(documents: Mapping[str, bytes]) -> bytes:
    """The file's content."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in documents.items()).encode()


def check_sums(sums: bytes, read: Callable[[str], bytes | None]) -> None:
    """Raise InvalidArchive where a document does not have its checksum."""
    for line in sums.decode("utf-8", "replace").splitlines():
        expected, _, path = line.partition("  ")
        content = read(path)
        if content is None or hashlib.sha256(content).hexdigest() != expected:
            raise InvalidArchive(f"the archive is damaged: {path[:80]!a} does not have its checksum ({CHECKSUMS})")
