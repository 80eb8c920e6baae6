"""What collections keep on the volume to restore it: ``registry-tool/undo/ID``, an OCI image layout of hard links, and a record.

The record (``undo.json``) is written last: a folder without one is that of a collection that died before it removed anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, ClassVar

from registry_tool.base import units
from registry_tool.base.errors import EngineError, NotFound
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import OWN_FOLDER, UNDO_FOLDER, RegistryStorage, blob_path, layer_path, revision_path
from registry_tool.engine import Engine
from registry_tool.local.collection.plan import CollectionPlan
from registry_tool.local.collection.worker import Worker
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import is_repository

RECORD = "undo.json"
INDEX = f"{OWN_FOLDER}/undo-index.json"
"""The ids of all entries, so that they are listed without running anything."""
_VERSION = 1
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionUndo:
    """What one collection removed: blobs with their bytes, and links (repository, digest). Times are Unix seconds."""

    JSON_MEMBERS: ClassVar = "id created=created_at until=until_at bytes=size manifests"
    id: str
    created: int
    until: int
    blobs: Mapping[Digest, int]
    revisions: tuple[tuple[str, Digest], ...]
    layers: tuple[tuple[str, Digest], ...]

    @property
    def created_at(self) -> datetime:
        """When it was removed."""
        return datetime.fromtimestamp(self.created, timezone.utc)

    @property
    def until_at(self) -> datetime:
        """Until when it can be restored; the next collection then removes it."""
        return datetime.fromtimestamp(self.until, timezone.utc)

    @property
    def size(self) -> int:
        """The bytes of the content."""
        return sum(self.blobs.values())

    @property
    def manifests(self) -> tuple[str, ...]:
        """``REPOSITORY@DIGEST`` of each manifest."""
        return tuple(f"{name}@{digest}" for name, digest in self.revisions)

    def to_record(self) -> bytes:
        """The content of the record."""
        document = {
            "version": _VERSION,
            "id": self.id,
            "created": self.created,
            "until": self.until,
            "blobs": {str(digest): size for digest, size in self.blobs.items()},
            "revisions": [[name, str(digest)] for name, digest in self.revisions],
            "layers": [[name, str(digest)] for name, digest in self.layers],
        }
        return json.dumps(document).encode() + b"\n"

    @classmethod
    def parse(cls, content: str) -> CollectionUndo:
        """Parse a record. Raises ValueError."""
        document = json.loads(content)
        try:
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']}")
            return cls(
                id=str(document["id"]),
                created=int(document["created"]),
                until=int(document["until"]),
                blobs={Digest.parse(digest): int(size) for digest, size in document["blobs"].items()},
                revisions=tuple(_pairs(document["revisions"])),
                layers=tuple(_pairs(document["layers"])),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record: {error}") from error


def folder(id: str) -> str:
    """The folder of an entry, relative to the volume's root."""
    return f"{UNDO_FOLDER}/{id}"


def keep(worker: Worker, plan: CollectionPlan, manifests: StoredManifests, *, id: str, created: int, seconds: float) -> CollectionUndo:
    """Keep what ``plan`` removes for ``seconds``. Raises EngineError where that is not possible: nothing is left of it then."""
    undo = CollectionUndo(
        id=id,
        created=created,
        until=created + round(seconds),
        blobs=plan.blobs,
        revisions=tuple((each.repository, each.digest) for each in plan.manifests if each.size is not None),
        layers=plan.layer_links,
    )
    try:
        worker.write({f"{folder(id)}/oci-layout": b'{"imageLayoutVersion":"1.0.0"}\n', f"{folder(id)}/index.json": _index(undo, manifests)})
        worker.link({_kept_blob(id, digest): blob_path(digest) for digest in undo.blobs})
        kept = int(worker.run(f"find {folder(id)}/blobs -type f 2>/dev/null | wc -l" if undo.blobs else "echo 0").split()[-1])
        if kept != len(undo.blobs):
            raise EngineError(f"{units.count(len(undo.blobs) - kept, 'blob')} could not be linked")
        worker.write({f"{folder(id)}/{RECORD}": undo.to_record()})
        _write_index(worker)
    except EngineError as error:
        with suppress(EngineError):  # a full disk has no room for the index either, which does not have it yet
            discard(worker, [id])
        raise EngineError(
            f"what the collection removes cannot be kept: {error.message}", hint="Nothing was removed. To go on without: --no-undo"
        ) from error
    return undo


def entries(engine: Engine, container: str, folder_inside: str) -> tuple[CollectionUndo, ...]:
    """What can be restored in the volume that ``container`` has at ``folder_inside``, oldest first. Nothing is run for it."""
    content = engine.get_file(container, f"{folder_inside}/{INDEX}")
    try:
        ids = [id for id in json.loads(content or b"[]") if isinstance(id, str) and id.isalnum()]
    except (ValueError, TypeError, RecursionError):
        ids = []
    readable: list[CollectionUndo] = []
    for id in ids:
        record = engine.get_file(container, f"{folder_inside}/{folder(id)}/{RECORD}")
        with suppress(ValueError):
            readable.append(CollectionUndo.parse((record or b"").decode(errors="replace")))
    return tuple(sorted(readable, key=lambda undo: (undo.created, undo.id)))


def entry(worker: Worker, id: str) -> CollectionUndo:
    """The entry ``id``. Raises NotFound."""
    undo = _read(worker).get(id)
    if undo is None:
        raise NotFound(f"nothing can be restored by the id {id}", hint="See: regctl undo")
    return undo


def expired(worker: Worker, *, now: int) -> tuple[str, ...]:
    """Ids of entries whose time is over, and of folders without a record. A record that cannot be read, as of a newer version, stays."""
    records = _records(worker)
    known = _parsed(records)
    return tuple(name for name, content in records.items() if not content or (name in known and known[name].until <= now))


def discard(worker: Worker, ids: Iterable[str]) -> None:
    """Remove entries. The record goes first: a part of an entry cannot be restored."""
    chosen = [id for id in ids if id.isalnum()]
    for id in chosen:
        worker.run(f'rm -f "$1/{RECORD}" && rm -rf "$1"', folder(id))
    if chosen:
        _write_index(worker)


def restore(worker: Worker, id: str, storage: RegistryStorage) -> CollectionUndo:
    """Restore an entry beside the content of ``storage``, while the registry runs. Raises NotFound; EngineError, and can be repeated."""
    undo = entry(worker, id)
    worker.link({blob_path(digest): _kept_blob(id, digest) for digest in undo.blobs if digest not in storage.blobs})
    present = storage.repositories
    # The manifests last: as soon as one is there, all of it is.
    for links, path in ((undo.layers, layer_path), (undo.revisions, revision_path)):
        kind = "layers" if path is layer_path else "revisions"
        files = {
            path(name, digest): str(digest).encode()
            for name, digest in links
            if name not in present or digest not in getattr(present[name], kind)
        }
        if files:
            worker.write(files)
    return undo


def _kept_blob(id: str, digest: Digest) -> str:
    return f"{folder(id)}/blobs/{digest.algorithm}/{digest.hex}"


def _index(undo: CollectionUndo, manifests: StoredManifests) -> bytes:
    """The layout's index (OCI image specification 1.1, image-layout.md): the manifests, with their repositories as names."""
    entries = [
        {
            "mediaType": manifests.read[digest].descriptor.media_type,
            "digest": str(digest),
            "size": undo.blobs[digest],
            "annotations": {"org.opencontainers.image.ref.name": f"{name}@{digest}"},
        }
        for name, digest in undo.revisions
        if digest in manifests.read and digest in undo.blobs
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}).encode() + b"\n"


def _write_index(worker: Worker) -> None:
    worker.replace(INDEX, json.dumps(sorted(_read(worker))).encode() + b"\n")


def _read(worker: Worker) -> dict[str, CollectionUndo]:
    """The entries with a record that can be read, by id, which is also their folder's name."""
    return _parsed(_records(worker))


def _records(worker: Worker) -> dict[str, str]:
    """The record of each entry's folder; empty where there is none. Raises EngineError where one that is there cannot be read."""
    names = worker.run(f"if [ -d {UNDO_FOLDER} ]; then ls {UNDO_FOLDER}; fi").split()
    script = f'if [ -e "$1/{RECORD}" ]; then cat "$1/{RECORD}"; fi'
    return {name: worker.run(script, folder(name)) for name in names if name.isalnum()}


def _parsed(records: Mapping[str, str]) -> dict[str, CollectionUndo]:
    parsed: dict[str, CollectionUndo] = {}
    for name, content in records.items():
        with suppress(ValueError):
            undo = CollectionUndo.parse(content)
            if undo.id == name:
                parsed[name] = undo
    return parsed


def _pairs(links: Iterable[Any]) -> Iterator[tuple[str, Digest]]:
    for name, digest in links:
        if not isinstance(name, str) or not is_repository(name):
            raise TypeError("not a repository's name")
        yield name, Digest.parse(digest)
