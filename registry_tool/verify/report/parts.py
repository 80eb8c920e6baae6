"""What a certificate tells beside its points: the image, what was raised, and what changed since an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from registry_tool.base.errors import RegistryToolError
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """``size`` is in bytes, as the registry keeps it."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """What the proof is about, as the registry has it. Where it could not be asked, ``reference`` is all there is.

    ``digest`` and ``media_type`` are what the name leads to: an index, maybe. ``platform``, ``config``, ``layers`` and ``size``
    (bytes of manifest, config and layers) are of the image that was taken from it.
    """

    reference: str
    digest: Digest | None = None
    media_type: str | None = None
    size: int | None = None
    platform: str | None = None
    config: Digest | None = None
    layers: tuple[LayerRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was raised, in the form in which every command tells it (docs/json.md)."""

    JSON_MEMBERS: ClassVar = "code message hint excerpt?"

    code: str
    message: str
    hint: str | None = None
    excerpt: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: RegistryToolError) -> Failure:
        return cls(code=error.code, message=error.message, hint=error.hint, excerpt=error.excerpt)

    @property
    def exit_code(self) -> int:
        """Of the class that has this code; 1 where no class has it."""
        return next((kind.exit_code for kind in _kinds(RegistryToolError) if kind.code == self.code), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference from an earlier certificate. ``where`` is a place, or ``image`` or ``certificate``; None: it was, or is, not there."""

    where: str
    what: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The earlier certificate that this one was compared with: its digest, when it was made, and what changed since."""

    JSON_MEMBERS: ClassVar = "digest made=created changes"

    digest: Digest
    created: datetime
    changes: tuple[Change, ...]


def _kinds(kind: type[RegistryToolError]) -> Iterator[type[RegistryToolError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
