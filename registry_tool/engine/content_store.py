"""Content of docker's containerd image store, read from its files: on the engine's machine, by a program that may read them (root)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from registry_tool.oci.digest import Digest

ROOTS = (Path("/var/lib/docker/containerd/daemon"), Path("/var/lib/containerd"))
"""Where containerd keeps its data: one that dockerd starts, and one of the system's."""

_BLOBS = Path("io.containerd.content.v1.content") / "blobs"


class ContentStore:
    """Blobs by digest, which may be damaged, in whichever of the folders ``roots`` has them."""

    def __init__(self, roots: tuple[Path, ...] = ROOTS) -> None:
        self._roots = roots

    def open(self, digest: Digest) -> BinaryIO | None:
        """Open a blob; None where there is none, or it cannot be read."""
        for path in self._paths(digest):
            try:
                return path.open("rb")
            except OSError:
                continue
        return None

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None where there is none, or it cannot be read."""
        for path in self._paths(digest):
            if os.access(path, os.R_OK):
                try:
                    return path.stat().st_size
                except OSError:
                    continue
        return None

    def _paths(self, digest: Digest) -> tuple[Path, ...]:
        return tuple(root / _BLOBS / digest.algorithm / digest.hex for root in self._roots)
