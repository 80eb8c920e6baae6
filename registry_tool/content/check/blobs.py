"""Configs and layers: whether a registry has one, all of it, and in the bytes that its digest says.

That it has one is asked with the last byte, by range: registry:2 answers HEAD from its memory for what is gone or cut
short. Where sizes differ there is a doubt who is wrong, and there the bytes are read and decide.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from registry_tool.base.errors import ConnectionLost, InvalidManifest, Mismatch, NotFound, RegistryError, TooManyRequests
from registry_tool.content.check.decompress import UNKNOWN, Content, Inside
from registry_tool.oci import config as configs
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Presence, Repository
from registry_tool.targets.target import Readable, verified

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStatus:
    """What a repository has of a blob: ``size`` bytes. ``trouble`` is ``missing``, ``truncated-blob``, ``unreadable`` or none.

    ``in_doubt``: that is another size than was said of it.
    """

    size: int = 0
    trouble: str | None = None
    detail: str = ""
    in_doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """What counts of an image's config."""

    platform: Platform | None
    diff_ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobContent:
    """What the bytes showed. ``trouble`` is ``corrupt-blob``, ``unreadable`` or none; the rest is known where there is none.

    ``config`` is an image's config or what is wrong with it; None where nobody wanted one.
    """

    trouble: str | None = None
    detail: str = ""
    inside: Content = UNKNOWN
    config: ConfigFacts | str | None = None


def look(repository: Repository, descriptor: Descriptor) -> BlobStatus:
    """What is there, in one small request where all is well. Raises what concerns more than this blob."""
    try:
        presence = repository.last_byte(descriptor)
        if presence is Presence.WHOLE:
            return BlobStatus(size=descriptor.size)
        if presence is Presence.MISSING:
            return BlobStatus(trouble="missing")
        return _look_closer(repository, descriptor)
    except TooManyRequests:
        raise
    except (RegistryError, ConnectionLost, NotFound) as error:
        return BlobStatus(trouble="unreadable", detail=error.message)


def _look_closer(repository: Repository, descriptor: Descriptor) -> BlobStatus:
    size = repository.said_size(descriptor)
    if not size:
        # Of nothing there is no last byte: what was emptied is lost whole.
        return BlobStatus(trouble="missing")
    if size == descriptor.size:
        return BlobStatus(size=size, trouble="truncated-blob", detail=f"the registry believes in all {size} bytes, and has no last one")
    # What was said to be empty has been read just now.
    return BlobStatus(size=size, in_doubt=descriptor.size > 0)


def read(repository: Repository, descriptor: Descriptor, *, as_config: bool, unpack: bool, came: Callable[[int], None]) -> BlobContent:
    """Read every byte, and hold none but a config's. ``came`` hears how many came. Raises what concerns more than this blob."""
    inside = Inside()
    kept = bytearray()
    try:
        with _opened(repository, descriptor) as content:
            while piece := content.read(_PIECE):
                came(len(piece))
                if unpack:
                    inside.update(piece)
                if as_config:
                    kept += piece
    except TooManyRequests:
        raise
    except Mismatch:
        return BlobContent(trouble="corrupt-blob")
    except (RegistryError, ConnectionLost, NotFound) as error:
        return BlobContent(trouble="unreadable", detail=error.message)
    return BlobContent(inside=inside.finish(), config=_facts(bytes(kept)) if as_config else None)


def _opened(repository: Repository, descriptor: Descriptor) -> AbstractContextManager[Readable]:
    if descriptor.size:
        return repository.fetch(descriptor)
    # All of it was read when it was looked at.
    return verified(io.BytesIO(), descriptor)


def _facts(raw: bytes) -> ConfigFacts | str:
    try:
        config = configs.parse_config(raw)
    except InvalidManifest as error:
        return error.message
    return ConfigFacts(platform=config.platform, diff_ids=config.diff_ids)
