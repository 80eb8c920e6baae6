"""The plan of a collection: what a registry stores that no tag needs. Pure.

A manifest is needed where a tag of its repository points at it, where a needed manifest mentions its digest (an index its children, a
referrer its subject), or where its subject is needed. Where a needed manifest cannot be read, nothing can be collected: what it needs is
not known. A push brings layers, then manifests, the tagged one last: what is young and may still wait for the next of them stays, too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from registry_tool.base.errors import Conflict
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import (
    DamagedLink,
    PendingUpload,
    RegistryStorage,
    RepositoryStorage,
    blob_path,
    layer_path,
    repository_path,
    revision_path,
    upload_path,
)
from registry_tool.content.usage.whatif import needed_blobs
from registry_tool.oci.digest import Digest

_MAX_NAMES = 3
_NONE = StoredManifests({}, {}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnneededManifest:
    """An untagged manifest that nothing needs; ``size`` is None where its content is missing or damaged."""

    JSON_MEMBERS: ClassVar = "repository digest size"
    repository: str
    digest: Digest
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A blob upload that is not complete; ``age`` is in seconds."""

    JSON_MEMBERS: ClassVar = "repository id size age"
    repository: str
    id: str
    size: int
    age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """What a collection removes. ``blobs`` is the content that nothing needs then: digest to bytes; ``kept`` is the content that stays.

    ``layer_links`` are links to content that is not there then, ``history_links`` those of tags to manifests that are not; ``empty``
    are repositories without content, of which folders are left. ``young`` are uploads that may be under way: nothing is removed while
    there are some. ``link_bytes`` is the size of all links that go.

    What a push may have brought before its last manifest stays: ``waiting`` are young blobs that no manifest needs yet,
    ``waiting_links`` all young links to layers that no manifest of their repository names, ``waiting_manifests`` young manifests that
    never had a tag, as those of an index that is yet to come.

    ``damaged_links`` stay, and get their content again: distribution's garbage-collect stops at one of a manifest.
    """

    JSON_MEMBERS: ClassVar = (
        "bytes_freed manifests blobs=blob_count blob_bytes links=link_count link_bytes uploads upload_bytes young empty kept "
        "waiting=waiting_count waiting_bytes waiting_manifests damaged_links"
    )
    manifests: tuple[UnneededManifest, ...] = ()
    blobs: Mapping[Digest, int] = field(default_factory=dict)
    layer_links: tuple[tuple[str, Digest], ...] = ()
    history_links: tuple[tuple[str, str, Digest], ...] = ()
    uploads: tuple[UnfinishedUpload, ...] = ()
    young: tuple[UnfinishedUpload, ...] = ()
    empty: tuple[str, ...] = ()
    link_bytes: int = 0
    kept: int = 0
    waiting: Mapping[Digest, int] = field(default_factory=dict)
    waiting_links: tuple[tuple[str, Digest], ...] = ()
    waiting_manifests: int = 0
    damaged_links: tuple[DamagedLink, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove, and nothing to mend."""
        removed = self.manifests or self.blobs or self.layer_links or self.history_links or self.uploads or self.empty
        return not (removed or self.damaged_links)

    @property
    def bytes_written(self) -> int:
        """The bytes by which links grow that are mended."""
        return sum(len(link.content) - link.size for link in self.damaged_links)

    @property
    def blob_count(self) -> int:
        """How many blobs go."""
        return len(self.blobs)

    @property
    def link_count(self) -> int:
        """How many links go."""
        return len(self.manifests) + len(self.layer_links) + len(self.history_links)

    @property
    def waiting_count(self) -> int:
        """How many blobs wait for a manifest."""
        return len(self.waiting)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the blobs that wait for a manifest."""
        return sum(self.waiting.values())

    @property
    def blob_bytes(self) -> int:
        """The bytes of the content that goes."""
        return sum(self.blobs.values())

    @property
    def upload_bytes(self) -> int:
        """The bytes of the uploads that go."""
        return sum(upload.size for upload in self.uploads)

    @property
    def bytes_freed(self) -> int:
        """The bytes of all files that go."""
        return self.blob_bytes + self.upload_bytes + self.link_bytes

    def link_paths(self) -> Iterator[str]:
        """The files of all links that go, relative to the volume's root."""
        yield from self.revision_paths()
        yield from (layer_path(name, digest) for name, digest in self.layer_links)
        yield from (history_path(name, tag, digest) for name, tag, digest in self.history_links)

    def revision_paths(self) -> Iterator[str]:
        """The links that make the manifests those of their repositories."""
        return (revision_path(each.repository, each.digest) for each in self.manifests)

    def upload_paths(self) -> Iterator[str]:
        """The folders of the uploads that go."""
        return (upload_path(upload.repository, upload.id) for upload in self.uploads)

    def check_young(self) -> None:
        """Raises Conflict where uploads may be under way."""
        if self.young:
            first = self.young[0]
            more = f" and {len(self.young) - 1} more" if len(self.young) > 1 else ""
            raise Conflict(
                f"an upload to {first.repository}{more} may be under way: its last write was {first.age} s ago",
                hint="Wait for the push to end. One that was given up is removed after --grace (1h), or at once with --grace 0.",
            )


def make_plan(
    storage: RegistryStorage,
    manifests: StoredManifests,
    *,
    now: int,
    grace: float,
    live: bool = False,
    deleted: StoredManifests = _NONE,
) -> CollectionPlan:
    """Plan the collection of ``storage``, whose revisions are ``manifests``, as far as they could be read.

    ``now`` is in Unix seconds, by the clock that wrote the files' times. Uploads older than ``grace`` seconds go, and so does what waits
    for a manifest, or what a ``deleted`` manifest of its repository named: that waits for nothing. Raises Conflict where a needed
    manifest, or a tag's link, cannot be read, unless ``live``: such a plan is only to be shown.
    """
    young_since = now - grace if grace else math.inf
    unneeded: list[UnneededManifest] = []
    remaining: dict[str, frozenset[Digest]] = {}
    waiting_manifests = 0
    for name, repository in storage.repositories.items():
        needed_by_tags = kept = _needed(name, repository, manifests, live=live)
        roots = _waiting_manifests(repository, manifests, _Deleted(deleted, repository, storage), needed_by_tags, young_since)
        if roots:
            # What is damaged of them cannot be pushed to its end.
            waiting = _needed(name, repository, manifests, live=True, roots=roots)
            kept = needed_by_tags.union(digest for digest in waiting if digest in manifests)
            waiting_manifests += len(kept) - len(needed_by_tags)
        remaining[name] = kept
        for digest in sorted(repository.revisions.keys() - kept):
            size = storage.blobs.get(digest) if digest in manifests else None
            unneeded.append(UnneededManifest(repository=name, digest=digest, size=size))
    needed = needed_blobs(storage, manifests, frozenset((each.repository, each.digest) for each in unneeded))
    waiting_links = tuple(
        (name, digest)
        for name, repository in storage.repositories.items()
        for digest in _waiting_layers(repository, manifests, _Deleted(deleted, repository, storage), young_since)
        if digest in storage.blobs
    )
    waiting_blobs = {digest: storage.blobs[digest] for _, digest in waiting_links if digest not in needed}
    blobs = {digest: size for digest, size in storage.blobs.items() if digest not in needed and digest not in waiting_blobs}
    uploads, young = _uploads(storage, now=now, grace=grace)
    empty = dict.fromkeys(_empty(storage, remaining, {upload.repository for upload in young} | {name for name, _ in waiting_links}))
    layer_links = tuple(
        (name, digest)
        for name, repository in storage.repositories.items()
        for digest in sorted(repository.layers)
        if digest in blobs or digest not in storage.blobs or name in empty
    )
    history_links = tuple(
        (name, tag, digest)
        for name, repository in storage.repositories.items()
        for tag, folder in repository.tag_folders.items()
        for digest in sorted(folder.index)
        if digest not in remaining[name]
    )
    plan = CollectionPlan(
        manifests=tuple(unneeded),
        blobs=blobs,
        layer_links=layer_links,
        history_links=history_links,
        uploads=uploads,
        young=young,
        empty=tuple(empty),
        link_bytes=sum(storage.repositories[each.repository].revisions[each.digest] for each in unneeded)
        + sum(storage.repositories[name].layers[digest] for name, digest in layer_links)
        + sum(storage.repositories[name].tag_folders[tag].index[digest] for name, tag, digest in history_links),
        kept=sum(storage.blobs.values()) - sum(blobs.values()),
        waiting=waiting_blobs,
        waiting_links=waiting_links,
        waiting_manifests=waiting_manifests,
    )
    gone = set(plan.link_paths())
    return replace(plan, damaged_links=tuple(link for link in storage.damaged_links() if link.path not in gone))


def history_path(repository: str, tag: str, digest: Digest) -> str:
    """The link of a tag to a manifest that it points or pointed at, relative to the volume's root."""
    return f"{repository_path(repository)}/_manifests/tags/{tag}/index/{digest.algorithm}/{digest.hex}/link"


def after(storage: RegistryStorage, plan: CollectionPlan) -> dict[str, int]:
    """What ``storage`` has once ``plan`` is applied: path to bytes of blobs and links, path of an upload's folder to its bytes."""
    files = contents(storage)
    for path in (*map(blob_path, plan.blobs), *plan.link_paths(), *plan.upload_paths()):
        files.pop(path, None)
    return files | {link.path: len(link.content) for link in plan.damaged_links}


def contents(storage: RegistryStorage) -> dict[str, int]:
    """The blobs, links and uploads of ``storage``: path to bytes, of an upload the path of its folder."""
    files = {blob_path(digest): size for digest, size in storage.blobs.items()}
    for name, repository in storage.repositories.items():
        files |= {revision_path(name, digest): size for digest, size in repository.revisions.items()}
        files |= {layer_path(name, digest): size for digest, size in repository.layers.items()}
        files |= {upload_path(name, upload.id): upload.size for upload in repository.uploads}
        for tag, folder in repository.tag_folders.items():
            files |= {history_path(name, tag, digest): size for digest, size in folder.index.items()}
            if folder.current is not None:
                # With what it points at: a tag must not move.
                files[f"{repository_path(name)}/_manifests/tags/{tag}@{folder.digest}"] = folder.current
    return files


def _needed(
    name: str, repository: RepositoryStorage, manifests: StoredManifests, *, live: bool, roots: Iterable[Digest] = ()
) -> frozenset[Digest]:
    """The manifests of a repository that its tags and ``roots`` need. Raises Conflict where one of them cannot be read."""
    unreadable = [tag for tag, folder in repository.tag_folders.items() if folder.current is not None and folder.digest is None]
    if unreadable and not live:
        raise _damaged(f"{name}:{unreadable[0]}: its link cannot be read", len(unreadable) - 1)
    referrers: dict[Digest, list[Digest]] = {}
    for digest in repository.revisions:
        subject = _subject(manifests, digest)
        if subject is not None:
            referrers.setdefault(subject, []).append(digest)
    tags = {digest: tag for tag, digest in repository.tags.items()}
    lost = [tag for digest, tag in tags.items() if digest not in repository.revisions]
    if lost and not live:
        raise _damaged(f"{name}:{lost[0]}: its manifest is missing", len(lost) - 1)
    needed: set[Digest] = set()
    left = [*tags, *roots]
    while left:
        digest = left.pop()
        # What it mentions may be a blob, or a child of an index that was never pushed.
        if digest in needed or digest not in repository.revisions:
            continue
        if digest not in manifests and not live:
            where = f"{name}:{tags[digest]}" if digest in tags else f"{name}@{digest}"
            raise _damaged(f"{where}: its manifest is missing or damaged", 0)
        needed.add(digest)
        left += manifests.references(digest)
        left += referrers.get(digest, ())
        subject = _subject(manifests, digest)
        left += [subject] if subject is not None else []
    return frozenset(needed)


def _waiting_manifests(
    repository: RepositoryStorage,
    manifests: StoredManifests,
    deleted: _Deleted,
    needed: frozenset[Digest],
    young_since: float,
) -> set[Digest]:
    """Manifests that were pushed by digest a short while ago, and that an index, a subject or a tag may still need.

    Not those that had a tag, or that one names which had: they were complete.
    """
    times = repository.revision_times
    young = {digest for digest, modified in times.items() if modified > young_since and digest not in needed and digest in manifests}
    if not young:
        return young
    # The registry writes a tag's history first: without a `current` the push was stopped in between.
    young -= {digest for folder in repository.tag_folders.values() if folder.current is not None for digest in folder.index}
    gone = deleted.digests()
    complete = (repository.revisions.keys() - young) | gone
    named = {digest for parent in complete for digest in (*manifests.references(parent), *deleted.manifests.references(parent))}
    while more := {digest for digest in young if digest in named or _subject(manifests, digest) in complete}:
        young -= more
        complete |= more
        named |= {digest for parent in more for digest in manifests.references(parent)}
    return young


def _waiting_layers(repository: RepositoryStorage, manifests: StoredManifests, deleted: _Deleted, young_since: float) -> Iterator[Digest]:
    """Layers that came a short while ago, and that no manifest of the repository names, nor one that was deleted."""
    young = sorted(digest for digest, modified in repository.layer_times.items() if modified > young_since)
    if not young:
        return
    named = {digest for parent in repository.revisions for digest in manifests.references(parent)}
    named |= {digest for parent in deleted.digests() for digest in deleted.manifests.references(parent)}
    yield from (digest for digest in young if digest not in named)


@dataclass(frozen=True, slots=True)
class _Deleted:
    """The deleted ``manifests`` that were complete in ``repository``: it still has all that they name, or what was deleted with them.

    In which repository a manifest was is not read. One that another lost is no reason not to wait for it here, where it may be pushed; but
    a push of it that has brought all that it names, and not yet the manifest, looks like one that was deleted here, and is not waited for.
    """

    manifests: StoredManifests
    repository: RepositoryStorage
    storage: RegistryStorage

    def digests(self) -> set[Digest]:
        """Their digests."""
        deleted = self.manifests
        # Children first: an index was complete where its children are, or were.
        complete = {digest for digest in (*deleted.read, *deleted.foreign) if not self._children(digest) and self._has_all(digest, set())}
        left = {digest for digest in deleted.read if self._children(digest)}
        while more := {digest for digest in left if self._has_all(digest, complete)}:
            complete |= more
            left -= more
        return complete

    def _children(self, digest: Digest) -> bool:
        manifest = self.manifests.read.get(digest)
        return manifest is not None and bool(manifest.children)

    def _has_all(self, digest: Digest, complete: set[Digest]) -> bool:
        repository, blobs = self.repository, self.storage.blobs
        # What is stored nowhere (of other servers, or never pushed) says nothing.
        return all(
            named in repository.layers or named in repository.revisions or named in complete or named not in blobs
            for named in self.manifests.references(digest)
        )


def _subject(manifests: StoredManifests, digest: Digest) -> Digest | None:
    manifest = manifests.read.get(digest)
    return manifest.subject.digest if manifest is not None and manifest.subject is not None else None


def _damaged(what: str, others: int) -> Conflict:
    more = f" (and {others} more)" if others else ""
    return Conflict(f"{what}{more}; what it needs is not known", hint="See: regctl check. Push the image again, or delete the tag.")


def _uploads(storage: RegistryStorage, *, now: int, grace: float) -> tuple[tuple[UnfinishedUpload, ...], tuple[UnfinishedUpload, ...]]:
    """(those that go, those that may be under way)."""
    old: list[UnfinishedUpload] = []
    young: list[UnfinishedUpload] = []
    for name, repository in storage.repositories.items():
        for upload in repository.uploads:
            # A time in the future is a young one: the clock was set back.
            (old if not grace or now - upload.modified >= grace else young).append(_upload(name, upload, now))
    return tuple(old), tuple(sorted(young, key=lambda upload: upload.age))


def _upload(repository: str, upload: PendingUpload, now: int) -> UnfinishedUpload:
    return UnfinishedUpload(repository=repository, id=upload.id, size=upload.size, age=max(0, now - upload.modified))


def _empty(storage: RegistryStorage, remaining: Mapping[str, frozenset[Digest]], busy: Collection[str]) -> Iterator[str]:
    """Repositories that have neither a manifest nor a tag left, are not ``busy`` with a push, and have no files but the registry's."""
    foreign = [file.path for file in storage.other]
    for name, repository in storage.repositories.items():
        is_empty = not remaining[name] and not repository.tags and name not in busy
        if is_empty and not any(path.startswith(f"{repository_path(name)}/_") for path in foreign):
            yield name
