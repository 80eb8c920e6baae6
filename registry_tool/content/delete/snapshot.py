"""What a repository holds at one moment, as far as a deletion must know it: every tag, and all that tags and referrers lead to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol

from registry_tool.base.concurrency import MAX_REQUESTS, map_ordered
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound
from registry_tool.content.delete.plan import Selection
from registry_tool.content.graph import Graph, Node, read_node, traverse
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, Manifest, is_foreign
from registry_tool.targets.target import Target

_REFERRERS_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]+)")


class Deletable(Target, Protocol):
    """A repository from which things can be deleted. Threads may share it."""

    def can_delete(self) -> bool:
        """Whether manifests may be deleted; changes nothing. Raises AuthenticationFailed."""

    def can_untag(self) -> bool:
        """Whether a tag may be deleted alone, by the interface."""

    def untag(self, tag: str) -> None:
        """Delete the tag alone. Raises NotFound."""

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        """Delete a manifest and its tags, and its entry in the list of ``subject``'s referrers. Raises NotFound."""


@dataclass(frozen=True, kw_only=True)
class RepositorySnapshot:
    """What a repository holds. ``tags`` stand for something, unfinished deletions (:attr:`tombstones`) among them.

    ``named`` is what the selected digest stands for. ``unread`` is why a manifest could not be read; those of them that
    may need something are ``doubtful``.
    """

    tags: dict[str, Descriptor]
    manifests: dict[Digest, Manifest]
    named: Descriptor | None = None
    graph: Graph = field(default_factory=Graph)
    unread: dict[Digest, str] = field(default_factory=dict)
    doubtful: set[Digest] = field(default_factory=set)

    @cached_property
    def tombstones(self) -> dict[str, Descriptor]:
        """Tags whose deletion was begun and not finished."""
        tombstones = {digest for digest, manifest in self.manifests.items() if manifest.is_tombstone}
        return {tag: descriptor for tag, descriptor in self.tags.items() if descriptor.digest in tombstones}

    @cached_property
    def live(self) -> dict[str, Descriptor]:
        """All other tags."""
        return {tag: descriptor for tag, descriptor in self.tags.items() if tag not in self.tombstones}

    def tags_on(self, digest: Digest) -> tuple[str, ...]:
        """The tags on ``digest``, sorted."""
        return tuple(self._by_digest.get(digest, ()))

    @cached_property
    def _by_digest(self) -> dict[Digest, list[str]]:
        tags: dict[Digest, list[str]] = {}
        for tag in sorted(self.tags):
            tags.setdefault(self.tags[tag].digest, []).append(tag)
        return tags

    def children(self, digest: Digest) -> list[Digest]:
        """The manifests that the index ``digest`` contains."""
        return [edge.descriptor.digest for edge in self.graph.edges.get(digest, ()) if edge.role == "child" and edge.is_manifest]

    def indexes(self, digest: Digest) -> set[Digest]:
        """The indexes that contain ``digest``."""
        return {holder for holder, edge in self.graph.named_by(digest) if edge.role == "child"}

    def referrers(self, digest: Digest) -> set[Digest]:
        """The manifests that have ``digest`` as their subject, or are listed so."""
        listed = {edge.descriptor.digest for edge in self.graph.edges.get(digest, ()) if edge.role == "referrer"}
        return listed | {holder for holder, edge in self.graph.named_by(digest) if edge.role == "subject"}

    def subject(self, digest: Digest) -> Descriptor | None:
        """The manifest's ``subject`` descriptor, if any."""
        manifest = self.manifests.get(digest)
        return manifest.subject if manifest is not None else None

    def linked(self, digest: Digest) -> list[Digest]:
        """The children, referrers and subject of ``digest``."""
        subject = self.subject(digest)
        return [*self.children(digest), *self.referrers(digest), *([subject.digest] if subject else [])]

    def blobs(self, digest: Digest) -> Iterator[Descriptor]:
        """Config and layers that the registry should have; entries of an index that are no manifests."""
        for edge in self.graph.edges.get(digest, ()):
            if edge.role in ("config", "layer", "child") and not edge.is_manifest and not is_foreign(edge.descriptor):
                yield edge.descriptor


def listed_subject(tag: str) -> Digest | None:
    """The image whose list of referrers a tag is (OCI distribution specification 1.1, "Referrers Tag Schema")."""
    match = _REFERRERS_TAG.fullmatch(tag)
    if match is None:
        return None
    try:
        return Digest.parse(f"{match[1]}:{match[2]}")
    except ValueError:
        return None


def take_snapshot(
    repository: Deletable, selection: Selection, *, known: Sequence[Manifest] = (), about: Iterable[Digest] = ()
) -> RepositorySnapshot:
    """Read a repository: resolve each tag, read each manifest once, and none that is ``known``.

    Referrers are listed of what is selected, of ``about``, and of what these contain. Tags that vanish meanwhile are
    left out. Raises NotFound where there is no such repository.
    """
    manifests = {manifest.digest: manifest for manifest in known}

    def resolve(reference: str) -> Descriptor | None:
        try:
            with repository.limiter:
                return repository.resolve(reference)
        except NotFound:
            return None

    def manifest(descriptor: Descriptor) -> Manifest:
        if descriptor.digest not in manifests:
            with repository.limiter:
                manifests[descriptor.digest] = repository.manifest(descriptor.digest)
        return manifests[descriptor.digest]

    def referrers(descriptor: Descriptor) -> tuple[Descriptor, ...]:
        with repository.limiter:
            return repository.referrers(descriptor)

    named = resolve(str(selection.digest)) if selection.digest is not None else None
    try:
        with repository.limiter:
            names = repository.tags()
    except NotFound:
        # So registry:2 answers where no tag ever was, whatever else there is.
        if not (named or known):
            raise
        names = ()
    tags = {tag: descriptor for tag, descriptor in zip(names, map_ordered(resolve, names), strict=True) if descriptor}
    snapshot = RepositorySnapshot(tags=tags, manifests=manifests, named=named)
    roots = [*tags.values(), *([named] if named else [])]
    for node in traverse(roots, lambda each: read_node(each, manifest), lambda node: node.children, threads=MAX_REQUESTS):
        _add(snapshot, node)
    selected = [tags[tag] for tag in selection.matching(tags)] if selection.digest is None else roots[-1:] if named else []
    selected += [manifests[digest].descriptor for digest in about if digest in manifests]
    with_referrers = partial(read_node, manifest=manifest, referrers=referrers)
    for node in traverse(selected, with_referrers, lambda node: [*node.children, *node.referrers], threads=MAX_REQUESTS):
        _add(snapshot, node, again=True)
    return snapshot


def _add(snapshot: RepositorySnapshot, node: Node, *, again: bool = False) -> None:
    digest = node.descriptor.digest
    if node.manifest is not None and node.error is not None:
        # Its referrers are unknown, so that it must not be touched.
        raise node.error
    if node.manifest is None:
        snapshot.unread[digest] = f"{digest}: {node.error}"
        damaged_image = isinstance(node.error, (Mismatch, InvalidManifest)) and node.descriptor.media_type in IMAGES
        if not (isinstance(node.error, NotFound) or damaged_image):
            snapshot.doubtful.add(digest)
    if node.is_last:
        snapshot.doubtful.add(digest)
    known = snapshot.graph.edges.get(digest)
    edges = node.edges if known is None else tuple(edge for edge in node.edges if edge.role == "referrer")
    if edges or not again:
        snapshot.graph.add(digest, edges)
