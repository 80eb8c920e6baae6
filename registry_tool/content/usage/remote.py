"""What of any registry can be accounted through its interface: what tags lead to. Only GET and HEAD are sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registry_tool.base.concurrency import REPOSITORIES, map_unordered
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.graph import attempt, read_node, traverse
from registry_tool.content.listing.contents import Contents
from registry_tool.content.tag_reader import GetSavings
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, RepositoryStorage, TagFolder
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_foreign
from registry_tool.targets.cache import Cache
from registry_tool.targets.registry import Registry

NOT_SEEN = "untagged manifests and their referrers, unreferenced blobs, incomplete uploads and links cannot be seen through its interface"


@dataclass(slots=True)
class _RemoteRepository:
    tags: dict[str, Digest] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    errors: list[RegistryToolError] = field(default_factory=list)


def read_registry(
    registry: Registry, names: Iterable[str], *, cache: Cache | None = None, observer: Observer = SILENT
) -> tuple[RegistryStorage, StoredManifests, dict[str, tuple[RegistryToolError, ...]]]:
    """Read the repositories ``names`` as a storage that has no links, with the failures of each repository.

    Raises what concerns the whole registry: RegistryUnreachable, TooManyRequests, CredentialsError.
    """
    savings = GetSavings()
    chosen = sorted(set(names))
    observer.start("du", "reading the repositories", len(chosen))
    read: dict[str, _RemoteRepository] = {}
    threads = min(REPOSITORIES, len(chosen)) or 1
    for name, repository in map_unordered(lambda name: _read(registry, name, cache, savings), chosen, threads=threads):
        read[name] = repository
        observer.advance("du", len(read))
    observer.finish("du", "read the repositories")
    blobs: dict[Digest, int] = {}
    manifests: dict[Digest, Manifest] = {}
    for repository in read.values():
        manifests |= repository.manifests
    for manifest in manifests.values():
        blobs[manifest.digest] = manifest.descriptor.size
        for blob in (manifest.config, *manifest.layers):
            if blob is not None and not (blob.urls or is_foreign(blob)):
                blobs[blob.digest] = blob.size
    storage = RegistryStorage(
        blobs=blobs,
        repositories={name: _as_storage(read[name]) for name in chosen},
        own=0,
        undo=0,
        own_files=0,
        undo_files=0,
        other=(),
        total=sum(blobs.values()),
        files=len(blobs),
        allocated=0,
        links_are_files=False,
    )
    errors = {name: tuple(read[name].errors) for name in chosen if read[name].errors}
    return storage, StoredManifests(manifests, {}, {}), errors


def _read(registry: Registry, name: str, cache: Cache | None, savings: GetSavings) -> _RemoteRepository:
    result = _RemoteRepository()
    contents = Contents(registry.repository(name), cache, savings=savings)
    threads = contents.source.limiter.helpful_requests
    tags = attempt(contents.tags)
    if isinstance(tags, NotFound):
        return result  # distribution lists what never had a tag, and then does not know it
    if isinstance(tags, RegistryToolError):
        result.errors.append(tags)
        return result
    roots = []
    found = map_unordered(lambda tag: attempt(lambda: contents.resolve(tag, with_manifest=True)), tags, threads=threads)
    for tag, descriptor in sorted(found, key=lambda pair: pair[0]):
        if isinstance(descriptor, RegistryToolError):
            result.errors.append(descriptor)
        else:
            result.tags[tag] = descriptor.digest
            roots.append(descriptor)
    for node in traverse(roots, lambda each: read_node(each, contents.kept_manifest), lambda node: node.children, threads=threads):
        if node.manifest is not None:
            result.manifests[node.descriptor.digest] = node.manifest
        if node.error is not None:
            result.errors.append(node.error)
    return result


def _as_storage(repository: _RemoteRepository) -> RepositoryStorage:
    return RepositoryStorage(
        revisions=dict.fromkeys(repository.manifests, 0),
        layers={},
        tag_folders={tag: TagFolder(None, {}, digest) for tag, digest in repository.tags.items()},
        uploads=(),
    )
