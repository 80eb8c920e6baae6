"""The journal of removals in this user's folder of state: one file for each, written before anything is removed.

``ID.started.json`` is renamed to ``ID.json`` when the removal has ended. One that was killed in between is restored like any other.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from registry_tool.base.codec import from_json, to_json
from registry_tool.base.errors import Conflict, InvalidManifest, NotFound, RegistryToolError
from registry_tool.base.files import atomic_write, sync_folder
from registry_tool.base.reader import Document
from registry_tool.content.delete import Deletable, DeletionPlan
from registry_tool.content.graph import attempt
from registry_tool.content.undo.values import JournalEntry, KeptManifest, KeptTag, UndoEntry
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest

_VERSION = 1
_MAX_SIZE = 1 << 30
_DAMAGED_KEPT_FOR = 30 * 86400.0
_ID = re.compile(r"[0-9a-f]{8}")
_NAME = re.compile(r"(?P<id>[0-9a-f]{8})(?P<started>\.started)?\.json")


class Journal:
    """The entries in ``folder``, which is made when it is needed. Processes may share it."""

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        self._folder = folder
        self._now = now

    @property
    def now(self) -> datetime:
        """The time, in whole seconds."""
        return (self._now or datetime.now(timezone.utc)).replace(microsecond=0)

    # --- writing ---

    def begin(self, plan: DeletionPlan, repository: Deletable, *, command: str, seconds: float) -> JournalEntry:
        """Write what ``plan`` removes, to be kept for ``seconds``; what has expired is removed. Raises RegistryToolError."""
        with suppress(OSError):
            self.expire()
        tags = [KeptTag(tag=tag, digest=removal.digest) for removal in plan.removals for tag in removal.tags]
        lists = [KeptTag(tag=tag, digest=digest) for tag, digest in plan.referrer_lists.items()]
        kept, lost = _read(plan, repository)
        entry = JournalEntry(
            version=_VERSION,
            id=secrets.token_hex(4),
            command=command,
            repository=plan.selection.repository,
            created=self.now,
            until=self.now + timedelta(seconds=seconds),
            tags=tuple(tag for tag in tags if tag.digest in kept),
            lists=tuple(tag for tag in lists if tag.digest in kept),
            manifests=tuple(kept.values()),
            lost=(*lost, *plan.unresolved),
        )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(entry.id, started=True)
            atomic_write(path, json.dumps(to_json(entry)).encode(), mode=0o600)
            os.utime(path, (entry.until.timestamp(), entry.until.timestamp()))
        except OSError as error:
            raise RegistryToolError(
                f"what is removed cannot be kept for undo: {error.strerror or error}: {self._folder}; nothing was removed",
                hint="Make room there, or add --no-undo.",
            ) from error
        return entry

    def end(self, entry: JournalEntry) -> None:
        """Mark a removal as ended, well or not."""
        with suppress(OSError):
            self._path(entry.id, started=True).rename(self._path(entry.id))
            sync_folder(self._folder)

    def remove(self, id: str) -> None:
        """Forget an entry."""
        for started in (False, True):
            with suppress(OSError):
                self._path(id, started=started).unlink(missing_ok=True)

    def expire(self) -> None:
        """Remove the entries whose time is over: those that cannot be read, a month later."""
        now = self.now.timestamp()
        for path, _, _ in self._files():
            with suppress(OSError):
                # The time of the file is that until which it is kept: the others need not be read.
                modified = path.stat().st_mtime
                if modified > now:
                    continue
                try:
                    is_over = _parse(path).until <= self.now
                except InvalidManifest:
                    is_over = modified + _DAMAGED_KEPT_FOR <= now
                if is_over:
                    path.unlink(missing_ok=True)

    # --- reading ---

    def entries(self) -> tuple[UndoEntry, ...]:
        """All entries, newest first; one that cannot be read has a ``problem``."""
        return tuple(sorted(self._entries(), key=lambda entry: (entry.created, entry.id), reverse=True))

    def _entries(self) -> Iterator[UndoEntry]:
        for path, id, is_started in self._files():
            with suppress(FileNotFoundError):
                yield self._summary(path, id, is_started=is_started)

    def _files(self) -> Iterator[tuple[Path, str, bool]]:
        """(file, id, whether the removal has not ended) of each entry."""
        try:
            paths = sorted(self._folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        for path in paths:
            match = _NAME.fullmatch(path.name)
            if match is not None:
                yield path, match["id"], match["started"] is not None

    def _summary(self, path: Path, id: str, *, is_started: bool) -> UndoEntry:
        modified = datetime.fromtimestamp(int(path.stat().st_mtime), timezone.utc)
        try:
            return summary(_parse(path), interrupted=is_started)
        except InvalidManifest as error:
            return UndoEntry(
                id=id,
                command="unknown",
                repositories=(),
                tags=(),
                manifests=0,
                bytes=path.stat().st_size,
                created=modified,
                until=modified,
                interrupted=is_started,
                problem=error.message,
            )

    def read(self, id: str) -> tuple[JournalEntry, bool]:
        """(entry, whether the removal was interrupted). Raises NotFound, InvalidManifest where it is damaged."""
        for started in (False, True) if _ID.fullmatch(id) else ():
            with suppress(FileNotFoundError):
                return _parse(self._path(id, started=started)), started
        raise NotFound(f"nothing is kept for undo under {id}", hint="See: regctl undo")

    def of_repository(self, repository: str) -> Iterator[JournalEntry]:
        """The entries of removals from ``repository`` (``HOST/PATH``), without those that cannot be read."""
        for path, _, _ in self._files():
            try:
                entry = _parse(path)
            except (FileNotFoundError, InvalidManifest):
                continue
            if entry.repository == repository:
                yield entry

    def _path(self, id: str, *, started: bool = False) -> Path:
        return self._folder / f"{id}{'.started' if started else ''}.json"


def summary(entry: JournalEntry, *, interrupted: bool) -> UndoEntry:
    """The entry as it is listed."""
    return UndoEntry(
        id=entry.id,
        command=entry.command,
        repositories=(entry.repository,),
        tags=tuple(tag.tag for tag in entry.tags),
        manifests=sum(manifest.is_deleted for manifest in entry.manifests),
        bytes=sum(len(manifest.content) * 3 // 4 for manifest in entry.manifests),
        created=entry.created,
        until=entry.until,
        interrupted=interrupted,
        lost=entry.lost,
    )


def _parse(path: Path) -> JournalEntry:
    """Read a file. Raises FileNotFoundError, InvalidManifest."""
    hint = f"If nothing of it is needed, remove the file: {path}"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            raw = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidManifest(f"{path.name} cannot be read: {error.strerror or error}", hint=hint) from error
    try:
        document = Document.read(raw, what=path.name, max_size=_MAX_SIZE)
        entry = from_json(JournalEntry, document)
    except InvalidManifest as error:
        raise InvalidManifest(f"{path.name} is damaged: {error.message}", hint=hint) from error
    if entry.version != _VERSION:
        raise InvalidManifest(f"{path.name} is of version {entry.version}, which this program does not read", hint="Use a newer one.")
    if not path.name.startswith(f"{entry.id}."):
        raise InvalidManifest(f"{path.name} is damaged: it is of another entry", hint=hint)
    return entry


def _read(plan: DeletionPlan, repository: Deletable) -> tuple[dict[Digest, KeptManifest], list[str]]:
    """(manifests to keep, digests that cannot be read)."""
    known = {manifest.digest: manifest for manifest in plan.manifests if manifest.raw}
    kept: dict[Digest, KeptManifest] = {}
    lost: list[str] = []
    for descriptor, is_deleted in _descriptors(plan):
        manifest = known.get(descriptor.digest) or attempt(lambda: repository.manifest(descriptor.digest))  # noqa: B023 - called at once
        if isinstance(manifest, Manifest):
            kept[descriptor.digest] = KeptManifest.of(manifest.descriptor, manifest.raw, is_deleted=is_deleted)
        elif isinstance(manifest, InvalidManifest) and manifest.content is not None:
            kept[descriptor.digest] = KeptManifest.of(descriptor, manifest.content, is_deleted=is_deleted)
        else:
            lost.append(str(descriptor.digest))
    return kept, lost


def _descriptors(plan: DeletionPlan) -> Iterable[tuple[Descriptor, bool]]:
    for removal in plan.removals:
        yield removal.descriptor, not removal.untag_only
    deleted = plan.deleted
    for digest in plan.referrer_lists.values():
        if digest not in deleted:
            yield Descriptor(media_type="", digest=digest, size=0), False


def require_one(entries: Iterable[UndoEntry], typed: str) -> UndoEntry:
    """The entry whose id begins with ``typed``. Raises NotFound, Conflict where there are several."""
    found = [entry for entry in entries if entry.id.startswith(typed)]
    if not found:
        raise NotFound(f"nothing is kept for undo under {typed[:80]!r}", hint="See: regctl undo")
    if len(found) > 1:
        raise Conflict(f"{len(found)} entries begin with {typed}: {', '.join(entry.id for entry in found)}", hint="Type the whole id.")
    return found[0]
