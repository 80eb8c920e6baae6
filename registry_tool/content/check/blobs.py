"""Configs and layers: presence by the last byte (registry:2 answers HEAD from memory); the bytes where sizes differ, or if wanted."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from registry_tool.base.errors import InvalidManifest, Mismatch, RegistryToolError
from registry_tool.content.check.decompress import UNKNOWN, Decompressor, Unpacked
from registry_tool.content.graph import attempt
from registry_tool.oci import config as configs
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Presence, Repository
from registry_tool.targets.target import verified

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStatus:
    """``size`` bytes of a blob; ``problem``: ``missing``, ``truncated-blob``, ``unreadable``; ``in_doubt``: not its descriptor's size."""

    size: int = 0
    problem: str | None = None
    detail: str = ""
    in_doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """The members of an image's config that are compared."""

    platform: Platform | None
    diff_ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobContent:
    """``problem``: ``corrupt-blob``, ``unreadable`` or none; ``config``: an image's, what is wrong with it, or None if not parsed."""

    problem: str | None = None
    detail: str = ""
    unpacked: Unpacked = UNKNOWN
    config: ConfigFacts | str | None = None


def blob_status(repository: Repository, descriptor: Descriptor) -> BlobStatus:
    """Look up a blob, by one small request where all is well. Raises as :func:`registry_tool.content.graph.attempt`."""
    status = attempt(lambda: _status(repository, descriptor))
    return BlobStatus(problem="unreadable", detail=status.message) if isinstance(status, RegistryToolError) else status


def _status(repository: Repository, descriptor: Descriptor) -> BlobStatus:
    presence = repository.last_byte(descriptor)
    if presence is Presence.WHOLE:
        return BlobStatus(size=descriptor.size)
    size = repository.reported_size(descriptor) if presence is not Presence.MISSING else None
    if not size:
        # Of nothing there is no last byte: what was emptied is missing as a whole.
        return BlobStatus(problem="missing")
    if size == descriptor.size:
        return BlobStatus(size=size, problem="truncated-blob", detail=f"the registry reports {size} bytes, but the last one is missing")
    # What should be empty has been read just now.
    return BlobStatus(size=size, in_doubt=descriptor.size > 0)


def read_blob(
    repository: Repository, descriptor: Descriptor, *, as_config: bool, unpack: bool, received: Callable[[int], None]
) -> BlobContent:
    """Read every byte, keeping none but a config's; ``received`` gets the size of each piece. Raises as :func:`attempt`."""
    decompressor = Decompressor()
    raw = bytearray()

    def read() -> None:
        # An empty blob was read as a whole when its status was looked up.
        with repository.fetch(descriptor) if descriptor.size else verified(io.BytesIO(), descriptor) as content:
            while piece := content.read(_PIECE):
                received(len(piece))
                if unpack:
                    decompressor.update(piece)
                if as_config:
                    raw.extend(piece)

    failure = attempt(read)
    if isinstance(failure, Mismatch):
        return BlobContent(problem="corrupt-blob")
    if failure is not None:
        return BlobContent(problem="unreadable", detail=failure.message)
    return BlobContent(unpacked=decompressor.finish(), config=_facts(bytes(raw)) if as_config else None)


def _facts(raw: bytes) -> ConfigFacts | str:
    try:
        config = configs.parse_config(raw)
    except InvalidManifest as error:
        return error.message
    return ConfigFacts(platform=config.platform, diff_ids=config.diff_ids)
