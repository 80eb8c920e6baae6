"""What a collection would free, to the byte, before anything is removed (pure).

The model is distribution's ``garbage-collect``: it keeps each blob that is the manifest of a revision link in any repository, or that such
a manifest names. It skips a revision whose manifest is missing, and stops at one that it cannot parse: then no blob goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, RepositoryStorage
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """What is removed before the collection."""

    manifests: frozenset[tuple[str, Digest]] = frozenset()
    """(repository, manifest): its link goes, with every tag that points at it, as the registry's DELETE does."""
    tags: frozenset[tuple[str, str]] = frozenset()
    """(repository, tag): the tag's folder alone."""
    uploads: frozenset[tuple[str, str]] = frozenset()
    """(repository, id)."""
    stale_links: bool = False
    """Whether links to layers whose content is not there afterwards go, and entries of tags' histories without a manifest."""
    waiting: frozenset[tuple[str, Digest]] = frozenset()
    """(repository, layer) whose link and content stay though no manifest names them yet; that repository has no leftovers."""
    leftovers: bool = False
    """Whether all links of repositories without a manifest and a tag go. Their uploads go only where they are in ``uploads``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """What goes: the files and their bytes, by kind."""

    blobs: frozenset[Digest]
    blob_bytes: int
    link_files: int
    link_bytes: int
    upload_files: int
    upload_bytes: int
    blocked_by: tuple[tuple[str, Digest], ...] = field(default=())
    """(repository, manifest) that stay, and whose content is damaged: ``garbage-collect`` stops there, and ``blobs`` is empty."""

    @property
    def files(self) -> int:
        """The number of files."""
        return len(self.blobs) + self.link_files + self.upload_files

    @property
    def bytes(self) -> int:
        """The bytes of all of them."""
        return self.blob_bytes + self.link_bytes + self.upload_bytes


def needed_blobs(storage: RegistryStorage, manifests: StoredManifests, removed: frozenset[tuple[str, Digest]] = frozenset()) -> set[Digest]:
    """The blobs that a collection keeps once the manifests ``removed`` (with their repositories) are deleted."""
    needed: set[Digest] = set()
    for name, repository in storage.repositories.items():
        for digest in repository.revisions:
            if (name, digest) not in removed:
                needed.add(digest)
                needed.update(manifests.references(digest))
    return needed


def freed(storage: RegistryStorage, manifests: StoredManifests, removals: Removals) -> Freed:
    """What goes when ``removals`` are done and ``garbage-collect`` runs after them."""
    blocked = tuple(
        (name, digest)
        for name, repository in storage.repositories.items()
        for digest in repository.revisions
        if digest in storage.blobs and digest not in manifests and (name, digest) not in removals.manifests
    )
    gone: frozenset[Digest] = frozenset()
    if not blocked:
        gone = frozenset(storage.blobs) - needed_blobs(storage, manifests, removals.manifests)
        gone -= {digest for _, digest in removals.waiting}
    links = _Links()
    upload_files = upload_bytes = 0
    for name, repository in storage.repositories.items():
        _add_links(links, name, repository, storage, removals, gone)
        for upload in repository.uploads:
            if (name, upload.id) in removals.uploads:
                upload_files += upload.files
                upload_bytes += upload.size
    return Freed(
        blobs=gone,
        blob_bytes=sum(storage.blobs[digest] for digest in gone),
        link_files=links.files,
        link_bytes=links.bytes,
        upload_files=upload_files,
        upload_bytes=upload_bytes,
        blocked_by=blocked,
    )


@dataclass(slots=True)
class _Links:
    files: int = 0
    bytes: int = 0

    def add(self, sizes: Iterable[int]) -> None:
        for size in sizes:
            self.files += 1
            self.bytes += size


def _add_links(
    links: _Links, name: str, repository: RepositoryStorage, storage: RegistryStorage, removals: Removals, gone: frozenset[Digest]
) -> None:
    removed = {digest for digest in repository.revisions if (name, digest) in removals.manifests}
    links.add(repository.revisions[digest] for digest in removed)
    remaining_tags = []
    for tag, folder in repository.tag_folders.items():
        if (name, tag) in removals.tags or folder.digest in removed:
            links.add([] if folder.current is None else [folder.current])
            links.add(folder.index.values())
        else:
            remaining_tags.append(folder)
    remaining = repository.revisions.keys() - removed
    if removals.leftovers and not remaining and not remaining_tags and name not in {waiting for waiting, _ in removals.waiting}:
        links.add(repository.layers.values())
    elif removals.stale_links:
        links.add(size for digest, size in repository.layers.items() if digest in gone or digest not in storage.blobs)
        for folder in remaining_tags:
            links.add(size for digest, size in folder.index.items() if digest not in remaining)
