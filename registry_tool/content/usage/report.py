"""What ``du`` reports: the account of a registry as one frozen value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import ClassVar, Literal

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.usage.account import Account, Kind, Part, UploadRow, UsageRow
from registry_tool.content.usage.storage import RegistryStorage
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedManifest:
    """A manifest that a repository has and that cannot be read, and why."""

    repository: str
    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFile:
    """A file in the registry's volume that is none of the registry's and none of this tool's."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFailure:
    """What could not be read of a repository, through the interface; the members of an error."""

    repository: str
    code: str
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """The account of a registry. ``total`` is the sum of the sizes of its ``files``; the bytes of ``parts`` add up to it.

    ``source``: its ``storage`` was listed, or it was asked through its ``interface``, where only what tags lead to can be seen.
    """

    JSON_MEMBERS: ClassVar = "registry source volume total files allocated parts by rows count uploads damaged other errors notes"
    registry: str
    source: Literal["storage", "interface"]
    volume: str | None
    """The volume, or the folder of the engine's machine."""
    total: int
    files: int
    allocated: int
    """What the file system uses for the files, in bytes; 0 where that is not seen."""
    parts: tuple[Part, ...]
    by: Kind
    rows: tuple[UsageRow, ...]
    count: int
    """The number of rows before ``--top`` left some out."""
    uploads: tuple[UploadRow, ...]
    """The oldest first."""
    damaged: tuple[DamagedManifest, ...]
    other: tuple[OtherFile, ...]
    """The largest ones, a hundred at most."""
    errors: tuple[ReadFailure, ...]
    notes: tuple[str, ...]


MAX_OTHER = 100
"""Other files that are named."""


def report(
    account: Account,
    *,
    registry: str,
    source: Literal["storage", "interface"],
    volume: str | None = None,
    by: Kind = "repository",
    within: Collection[str] | None = None,
    top: int | None = None,
    errors: Mapping[str, Iterable[RegistryToolError]] | None = None,
    notes: tuple[str, ...] = (),
) -> UsageReport:
    """Make the report: rows of the kind ``by``, of the repositories ``within`` (None: all), the ``top`` largest ones."""
    storage, manifests = account.storage, account.manifests
    rows = account.rows(by, within)
    damaged = [
        DamagedManifest(repository=name, digest=digest, reason=manifests.damaged.get(digest) or "its content is missing")
        for name, repository in storage.repositories.items()
        for digest in sorted(repository.revisions)
        if digest not in manifests or digest not in storage.blobs
    ]
    uploads = [
        UploadRow(repository=name, id=upload.id, bytes=upload.size, modified=_moment(upload.modified))
        for name, repository in storage.repositories.items()
        for upload in repository.uploads
    ]
    other = sorted(storage.other, key=lambda file: (-file.size, file.path))[:MAX_OTHER]
    return UsageReport(
        registry=registry,
        source=source,
        volume=volume,
        total=storage.total,
        files=storage.files,
        allocated=storage.allocated,
        parts=account.parts,
        by=by,
        rows=rows[:top],
        count=len(rows),
        uploads=tuple(sorted(uploads, key=lambda upload: (upload.modified, upload.repository, upload.id))),
        damaged=tuple(damaged),
        other=tuple(OtherFile(path=_shown(file.path), bytes=file.size) for file in other),
        errors=tuple(
            ReadFailure(repository=name, code=error.code, message=error.message, hint=error.hint)
            for name, failures in (errors or {}).items()
            for error in failures
        ),
        notes=(*notes, *_damaged_links(storage)),
    )


def _damaged_links(storage: RegistryStorage) -> Iterator[str]:
    """A note on links that are empty or cut short."""
    links = list(storage.damaged_links())
    if links:
        first, more = links[0], f" and {len(links) - 1} more" if len(links) > 1 else ""
        yield f"{first.repository}: the link of the {first.link} {first.digest} is damaged{more}; gc --apply mends it"


def _shown(path: str) -> str:
    """A path that may have any bytes, as text that can be written."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace") or "."


def _moment(seconds: int) -> datetime:
    """A time of a file; a disk may have any number there."""
    return datetime.fromtimestamp(min(max(seconds, 0), 253402300799), timezone.utc)
