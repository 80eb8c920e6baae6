"""Digests (OCI image specification 1.1, descriptor.md#digests)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_GRAMMAR = re.compile(r"(?P<algorithm>[a-z0-9]+(?:[+._-][a-z0-9]+)*):(?P<encoded>[A-Za-z0-9=_-]+)")
_HEX_LENGTH = {"sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``algorithm:hex``, of the registered algorithms sha256 and sha512."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:…`` or ``sha512:…``. Raises ValueError."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise ValueError(f"not a digest: {text[:140]!r}")
        algorithm, encoded = match["algorithm"], match["encoded"]
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            raise ValueError(f"not a digest algorithm this tool knows: {algorithm[:140]!r}")
        if len(encoded) != length or not re.fullmatch(r"[0-9a-f]+", encoded):
            raise ValueError(f"not {length} lower-case hexadecimal digits: {encoded[:140]!r}")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of ``content``."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    @property
    def short(self) -> str:
        """Twelve hexadecimal digits, as docker prints ids."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
