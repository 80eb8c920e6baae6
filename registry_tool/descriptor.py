"""A descriptor says what content is, how large it is and what it is called (OCI image specification 1.1, descriptor.md)."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """``size`` is in bytes."""

    media_type: str
    digest: Digest
    size: int
