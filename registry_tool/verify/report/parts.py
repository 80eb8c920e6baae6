"""The parts of a report beside its checks: the image, what was raised, and what changed since an earlier report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from registry_tool.base.errors import RegistryToolError
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer; ``size`` is in bytes, compressed."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The image as the registry has it; only ``reference`` where the registry did not answer.

    ``digest`` and ``media_type`` are the name's, maybe of an index; ``platform``, ``config``, ``layers`` and ``size`` (bytes of
    manifest, config and layers) are of the image that was taken from it.
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
    """An error as every command prints it (docs/json.md)."""

    JSON_MEMBERS: ClassVar = "code message hint excerpt?"

    code: str
    message: str
    hint: str | None = None
    excerpt: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: RegistryToolError) -> Failure:
        """The failure that ``error`` is."""
        return cls(code=error.code, message=error.message, hint=error.hint, excerpt=error.excerpt)

    @property
    def exit_code(self) -> int:
        """That of the error class with this code; 1 where there is none."""
        return next((kind.exit_code for kind in _kinds(RegistryToolError) if kind.code == self.code), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference from an earlier report. ``where`` is an environment, ``image`` or ``certificate``; None: it was, or is, absent."""

    where: str
    what: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The earlier report that this one was compared with, and what changed since."""

    JSON_MEMBERS: ClassVar = "digest made=created changes"

    digest: Digest
    created: datetime
    changes: tuple[Change, ...]


def _kinds(kind: type[RegistryToolError]) -> Iterator[type[RegistryToolError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
