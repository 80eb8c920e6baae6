"""What a repository holds at one moment, as far as a deletion must know it: every tag, and all that tags and referrers lead to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, cast

from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound
from registry_tool.content.delete.selection import Selection
from registry_tool.content.graph import Each, Graph, Node, walk
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, Manifest, is_foreign
from registry_tool.targets.target import Target

AT_ONCE = 8
"""Requests under way."""

_LIST = re.compile(r"(sha256|sha512)-([0-9a-f]+)")


class Deletable(Target, Protocol):
    """A repository that things can be deleted from. Threads may share it."""

    def can_delete(self) -> bool:
        """Whether manifests may be deleted; found out without changing anything. Raises AuthenticationFailed."""

    def can_untag(self) -> bool:
        """Whether a tag may be deleted alone, by the interface."""

    def untag(self, tag: str) -> None:
        """Delete the tag alone. Raises NotFound."""

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        """Delete a manifest, and with it every tag that stands for it; take it from the list of ``subject``'s referrers. NotFound."""


@dataclass(frozen=True, kw_only=True)
class RepositorySnapshot:
    """``tags`` are those that stand for something, unfinished deletions (:attr:`tombstones`) among them.

    ``named`` is the digest that was asked for, where it is there. ``unread`` is why a manifest could not be read;
    ``doubtful`` are those of them that may need something.
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
        return {tag: found for tag, found in self.tags.items() if self._is_tombstone(found.digest)}

    @cached_property
    def live(self) -> dict[str, Descriptor]:
        """The tags that are tags to a person."""
        return {tag: found for tag, found in self.tags.items() if not self._is_tombstone(found.digest)}

    def tags_on(self, digest: Digest) -> tuple[str, ...]:
        """In the order of the alphabet."""
        return tuple(self._by_digest.get(digest, ()))

    @cached_property
    def _by_digest(self) -> dict[Digest, list[str]]:
        found: dict[Digest, list[str]] = {}
        for tag in sorted(self.tags):
            found.setdefault(self.tags[tag].digest, []).append(tag)
        return found

    def children(self, digest: Digest) -> list[Digest]:
        return [edge.descriptor.digest for edge in self.graph.edges.get(digest, ()) if edge.role == "child" and edge.is_manifest]

    def indexes(self, digest: Digest) -> set[Digest]:
        """Those that contain it."""
        return {holder for holder, edge in self.graph.named_by(digest) if edge.role == "child"}

    def referrers(self, digest: Digest) -> set[Digest]:
        """What says that it is its subject, or is listed so."""
        listed = {edge.descriptor.digest for edge in self.graph.edges.get(digest, ()) if edge.role == "referrer"}
        return listed | {holder for holder, edge in self.graph.named_by(digest) if edge.role == "subject"}

    def subject(self, digest: Digest) -> Descriptor | None:
        """What it is a referrer of."""
        manifest = self.manifests.get(digest)
        return manifest.subject if manifest is not None else None

    def reached(self, roots: Iterable[Digest], *, by_subject: bool, without: frozenset[Digest] = frozenset()) -> dict[Digest, None]:
        """``roots`` and all below them by way of indexes; ``by_subject``: of subjects and referrers, too. In the order of discovery."""
        found: dict[Digest, None] = {}
        waiting = list(roots)[::-1]
        while waiting:
            digest = waiting.pop()
            if digest in found or digest in without:
                continue
            found[digest] = None
            below = self.children(digest)
            if by_subject:
                subject = self.subject(digest)
                below += [*self.referrers(digest), *([subject.digest] if subject else [])]
            waiting += below[::-1]
        return found

    def blobs(self, digest: Digest) -> Iterator[Descriptor]:
        """Config and layers, as far as the registry should have them; what an index lists that is no manifest."""
        for edge in self.graph.edges.get(digest, ()):
            if edge.role in ("config", "layer", "child") and not edge.is_manifest and not is_foreign(edge.descriptor):
                yield edge.descriptor

    def _is_tombstone(self, digest: Digest) -> bool:
        manifest = self.manifests.get(digest)
        return manifest is not None and manifest.is_tombstone


def listed_subject(tag: str) -> Digest | None:
    """Whose list of referrers a tag is (OCI distribution specification 1.1, "Referrers Tag Schema")."""
    match = _LIST.fullmatch(tag)
    if match is None:
        return None
    try:
        return Digest.parse(f"{match[1]}:{match[2]}")
    except ValueError:
        return None


def look(
    repository: Deletable, selection: Selection, *, known: Sequence[Manifest] = (), about: Iterable[Digest] = ()
) -> RepositorySnapshot:
    """Look at a repository: each tag is asked, each manifest read once, and not at all where it is ``known``.

    Who refers to something is asked of what is selected, and of ``about``, and of what these contain.
    A tag that goes while we look is left out. Raises NotFound where there is no such repository.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        named = _resolved(repository, str(selection.digest)) if selection.digest is not None else None
        names = _tags(repository, has_content=bool(named or known))
        tags = {tag: found for tag, found in zip(names, pool.map(lambda tag: _resolved(repository, tag), names), strict=True) if found}
        holdings = RepositorySnapshot(tags=tags, manifests={manifest.digest: manifest for manifest in known}, named=named)
        # Walking reads manifests and nothing else.
        source = cast(Target, _Remembering(repository, holdings.manifests))
        roots = [*tags.values(), *([named] if named else [])]
        for node in walk(source, roots, follow=("child",), each=cast(Each, pool.map)):
            _keep(holdings, node)
        chosen = [tags[tag] for tag in selection.matching(tags)] if selection.digest is None else roots[-1:] if named else []
        chosen += [holdings.manifests[digest].descriptor for digest in about if digest in holdings.manifests]
        for node in walk(source, chosen, referrers=repository.referrers, each=cast(Each, pool.map)):
            _keep(holdings, node, again=True)
    return holdings


class _Remembering:
    """A target whose manifests are read once."""

    def __init__(self, target: Target, known: dict[Digest, Manifest]) -> None:
        self._target = target
        self._known = known

    def manifest(self, digest: Digest) -> Manifest:
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = self._target.manifest(digest)
        return found


def _tags(repository: Target, *, has_content: bool) -> tuple[str, ...]:
    try:
        return repository.tags()
    except NotFound:
        # So registry:2 says where no tag ever was, whatever else there is.
        if has_content:
            return ()
        raise


def _resolved(repository: Target, reference: str) -> Descriptor | None:
    try:
        return repository.resolve(reference)
    except NotFound:
        return None


def _keep(holdings: RepositorySnapshot, node: Node, *, again: bool = False) -> None:
    digest = node.descriptor.digest
    if node.manifest is not None and node.error is not None:
        # Who refers to it is not known, so that it must not be touched.
        raise node.error
    if node.manifest is None:
        holdings.unread[digest] = f"{digest}: {node.error}"
        damaged_image = isinstance(node.error, (Mismatch, InvalidManifest)) and node.descriptor.media_type in IMAGES
        if not (isinstance(node.error, NotFound) or damaged_image):
            holdings.doubtful.add(digest)
    if node.is_last:
        holdings.doubtful.add(digest)
    known = holdings.graph.edges.get(digest)
    found = node.edges if known is None else tuple(edge for edge in node.edges if edge.role == "referrer")
    if found or not again:
        holdings.graph.connect(digest, found)
