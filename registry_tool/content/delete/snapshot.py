"""What a repository holds at one moment, as far as a deletion must know it: every tag, and all that tags and referrers lead to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, RegistryToolError
from registry_tool.content.delete.plan import Selection
from registry_tool.content.graph import Graph, Node, attempt, closure, read_node, traverse
from registry_tool.content.protection import Protection, Protections, is_protection_tag, protection_of
from registry_tool.content.tag_reader import TagReader
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, SCHEMA_1, Manifest, is_foreign
from registry_tool.targets.cache import Cache, NoCache
from registry_tool.targets.registry.referrers import ATTACHED, tag_of
from registry_tool.targets.target import Target

MAX_FAILURES = 16
"""Tags that may be refused before one was readable: then it is the repository that is refused, not single tags."""

_REFERRERS_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]+)")
_DANGLING = "it is listed, but its manifest is missing"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_WITHOUT_MANIFESTS = frozenset((*IMAGES, *SCHEMA_1))
"""Media types of manifests that contain no other manifest."""


class Deletable(Target, Protocol):
    """A repository from which things can be deleted. Threads may share it."""

    @property
    def has_unlisted_tags(self) -> bool:
        """Whether there may be more tags than those that were listed."""

    def push_manifest(self, manifest: Manifest, tag: str | None, *, add_referrer: bool = True) -> Descriptor:
        """Store a manifest, and let ``tag`` stand for it; ``add_referrer``: add it to its subject's list, if that is kept by a tag."""

    def listed_referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...] | None:
        """The manifests whose subject it is from the registry's own list; None where it keeps none. Raises RegistryError."""

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

    ``unresolved`` is why it is not known what a tag stands for: it may be on any digest. ``dangling`` are tags whose
    manifest is missing. ``named`` is what the selected digest stands for. ``unread`` is why a manifest could not be read (``errors``);
    those of them that may need any other are ``doubtful``, or any that is among their ``mentions``. ``unlisted`` is why a
    manifest's referrers are not known. ``untagged`` are selected manifests without a tag. ``others`` counts the tags that
    were not looked at; ``has_unlisted_tags``: there may be more than the registry lists.
    """

    tags: dict[str, Descriptor]
    manifests: dict[Digest, Manifest]
    unresolved: dict[str, str] = field(default_factory=dict)
    named: Descriptor | None = None
    graph: Graph = field(default_factory=Graph)
    unread: dict[Digest, str] = field(default_factory=dict)
    errors: dict[Digest, RegistryToolError] = field(default_factory=dict)
    doubtful: set[Digest] = field(default_factory=set)
    mentions: dict[Digest, frozenset[Digest]] = field(default_factory=dict)
    unlisted: dict[Digest, str] = field(default_factory=dict)
    dangling: dict[str, str] = field(default_factory=dict)
    untagged: dict[Digest, Descriptor] = field(default_factory=dict)
    others: int = 0
    has_unlisted_tags: bool = False

    @cached_property
    def tombstones(self) -> dict[str, Descriptor]:
        """Tags whose deletion was begun and not finished."""
        tombstones = {digest for digest, manifest in self.manifests.items() if manifest.is_tombstone}
        return {tag: descriptor for tag, descriptor in self.tags.items() if descriptor.digest in tombstones}

    @cached_property
    def protections(self) -> Protections:
        """The repository's protections; one that could not be read protects every tag."""
        unread = {tag: why for tag, why in (*self.unresolved.items(), *self.dangling.items()) if is_protection_tag(tag)}
        protections = [Protection(tag=tag, pattern=None, problem=why) for tag, why in unread.items()]
        for tag, descriptor in self.live.items():
            if is_protection_tag(tag):
                content = self.manifests.get(descriptor.digest) or self.errors.get(descriptor.digest)
                protection = protection_of(tag, content) if content is not None else None
                protections += [protection] if protection is not None else []
        return Protections(entries=tuple(sorted(protections, key=lambda each: each.tag)))

    @cached_property
    def protected_digests(self) -> dict[Digest, Protection]:
        """Manifests that a protected tag needs, and those that refer to them."""
        needed: dict[Digest, Protection] = {}
        for tag, protection in self.protections.protected(self.live).items():
            if tag not in self.protection_tags:
                for digest in closure([self.tags[tag].digest], self.linked):
                    needed.setdefault(digest, protection)
        return needed

    @cached_property
    def protection_tags(self) -> frozenset[str]:
        """The protections' own tags."""
        return frozenset(protection.tag for protection in self.protections.entries)

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
        """The children (of any media type), referrers and subject of ``digest``."""
        subject = self.subject(digest)
        children = [edge.descriptor.digest for edge in self.graph.edges.get(digest, ()) if edge.role == "child"]
        return [*children, *self.referrers(digest), *([subject.digest] if subject else [])]

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


def attached_subject(tag: str) -> Digest | None:
    """The image that a signature, an attestation or an SBOM under cosign's tags is of; None for other tags."""
    name, _, suffix = tag.rpartition(".")
    return listed_subject(name) if suffix in ATTACHED else None


def take_snapshot(
    repository: Deletable,
    selection: Selection,
    *,
    known: Sequence[Manifest] = (),
    about: Iterable[Digest] = (),
    most_tags: int | None = None,
    cache: Cache | None = None,
    choose: Callable[[RepositorySnapshot], Iterable[str]] | None = None,
) -> RepositorySnapshot:
    """Read a repository: resolve each tag, read each manifest once, and none that is ``known`` or in ``cache``.

    Referrers are listed of what is selected, of ``about``, of what these contain, and of what is attached to them. Tags that
    vanish meanwhile are left out. ``choose`` selects the tags by what they lead to; without it, ``selection`` does. With more
    than ``most_tags``, of which fewer are selected, only these are looked at. What single tags and manifests
    fail with is kept. Raises NotFound where there is no such repository, and what concerns all of it.
    """
    return _Reader(repository, selection, known, cache or NoCache()).read(about, most_tags, choose)


class _Reader:
    def __init__(self, repository: Deletable, selection: Selection, known: Sequence[Manifest], cache: Cache) -> None:
        self._repository = repository
        self._cache = cache
        self._names_listed: frozenset[str] = frozenset()
        self._selection = selection
        self._manifests = {manifest.digest: manifest for manifest in known}
        self._is_known = bool(known)
        self._is_named = False
        self._tags: dict[str, Descriptor] = {}
        self._unresolved: dict[str, str] = {}
        self._unlisted: dict[Digest, str] = {}
        self._dangling: dict[str, str] = {}
        self._reader = TagReader(repository, is_kept=self._is_kept, keep=self._keep)

    def read(
        self, about: Iterable[Digest], most_tags: int | None, choose: Callable[[RepositorySnapshot], Iterable[str]] | None
    ) -> RepositorySnapshot:
        selection = self._selection
        named = self._named(selection.digest) if selection.digest is not None else None
        names = self._names(named)
        self._names_listed = frozenset(names)
        selected_names = selection.matching(names)
        is_complete = most_tags is None or len(names) <= most_tags or len(selected_names) > most_tags
        chosen = dict.fromkeys(selected_names)
        wanted = names if is_complete else tuple(chosen | dict.fromkeys(filter(is_protection_tag, names)))
        # Selected ones first: where they can be read, it is not the repository that is refused.
        self._resolve(selected_names)
        self._resolve([name for name in wanted if name not in chosen])
        snapshot = RepositorySnapshot(
            tags={name: self._tags[name] for name in names if name in self._tags},
            manifests=self._manifests,
            unresolved=self._unresolved,
            named=named,
            unlisted=self._unlisted,
            dangling=self._dangling,
            others=len(names) - len(wanted),
            has_unlisted_tags=self._repository.has_unlisted_tags,
        )
        untagged = self._untagged(selection.group.untagged, snapshot) if selection.group is not None else []
        snapshot.untagged.update((each.digest, each) for each in untagged)
        roots = [*snapshot.tags.values(), *untagged, *([named] if named else [])]
        threads = self._repository.limiter.helpful_requests
        for node in traverse(roots, lambda each: read_node(each, self._manifest), lambda node: node.children, threads=threads):
            _add(snapshot, node)
        if selection.group is not None:
            self._add_subjects(snapshot)
        tags = choose(snapshot) if choose is not None else selection.matching(self._tags)
        selected = [self._tags[tag] for tag in tags] if selection.digest is None else roots[-1:] if named else []
        selected += untagged
        selected += [self._manifests[digest].descriptor for digest in about if digest in self._manifests]
        listed: set[Digest] = set()
        while selected:
            for node in traverse(selected, self._with_referrers, lambda node: [*node.children, *node.referrers], threads=threads):
                _add(snapshot, node, again=True)
                listed.add(node.descriptor.digest)
            # What is attached to them is deleted with them.
            attached = [each for tag, each in self._tags.items() if attached_subject(tag) in listed]
            selected = [each for each in attached if each.digest not in listed]
        return snapshot

    def _add_subjects(self, snapshot: RepositorySnapshot) -> None:
        """Read what referrers have as their subject, too: one without a tag may contain what a tag that goes stands for."""
        threads = self._repository.limiter.helpful_requests
        seen: set[Digest] = set()
        while True:
            named = (manifest.subject for manifest in snapshot.manifests.values())
            subjects = {subject.digest: subject for subject in named if subject is not None}
            waiting = [subject for digest, subject in subjects.items() if digest not in seen and digest not in snapshot.graph.edges]
            if not waiting:
                return
            seen |= {subject.digest for subject in waiting}
            for node in traverse(waiting, lambda each: read_node(each, self._manifest), lambda node: node.children, threads=threads):
                # Many outlive their subject: nothing is lost by that.
                if not (isinstance(node.error, NotFound) and node.descriptor.digest in subjects):
                    _add(snapshot, node, again=True)

    def _with_referrers(self, descriptor: Descriptor) -> Node:
        """The node of a manifest with its referrers, also where the manifest itself cannot be read."""
        node = read_node(descriptor, self._manifest, self._referrers)
        if node.manifest is None and not isinstance(node.error, NotFound):
            listed = attempt(lambda: self._referrers(descriptor))
            if isinstance(listed, RegistryToolError):
                self._unlisted[descriptor.digest] = f"the referrers of {descriptor.digest}: {listed.message}"
            else:
                return replace(node, referrers=listed)
        return node

    def _named(self, digest: Digest) -> Descriptor | None:
        with self._repository.limiter:
            named = attempt(lambda: self._repository.resolve(str(digest)))
        if isinstance(named, NotFound):
            return None
        self._is_named = isinstance(named, Descriptor)
        # It can be deleted all the same.
        return named if isinstance(named, Descriptor) else Descriptor(media_type="", digest=digest, size=0)

    def _untagged(self, digests: Sequence[Digest], snapshot: RepositorySnapshot) -> list[Descriptor]:
        """Those of ``digests`` that have no tag, and are there. One that cannot be read may need any other: that is ``doubtful``."""
        tagged = {descriptor.digest for descriptor in self._tags.values()}

        def read(digest: Digest) -> Manifest | RegistryToolError:
            return attempt(lambda: self._manifest(Descriptor(media_type="", digest=digest, size=0)))

        threads = self._repository.limiter.helpful_requests
        untagged: list[Descriptor] = []
        for digest, manifest in map_unordered(read, [each for each in digests if each not in tagged], threads=threads):
            if isinstance(manifest, Manifest):
                untagged.append(manifest.descriptor)
            elif not isinstance(manifest, NotFound):
                snapshot.unread[digest] = f"{digest}: {manifest.message}"
                snapshot.doubtful.add(digest)
        return sorted(untagged, key=lambda each: each.digest)

    def _names(self, named: Descriptor | None) -> tuple[str, ...]:
        try:
            with self._repository.limiter:
                return self._repository.tags()
        except NotFound:
            # So registry:2 answers where no tag ever was, whatever else there is.
            if not (named or self._is_known):
                raise
            return ()

    def _resolve(self, names: Sequence[str]) -> None:
        """Fill in what ``names`` stand for, or why that is not known."""

        def resolve(tag: str) -> Descriptor | RegistryToolError:
            return attempt(lambda: self._reader.resolve(tag))

        lost = []
        for tag, descriptor in map_unordered(resolve, names, threads=self._repository.limiter.helpful_requests):
            if isinstance(descriptor, Descriptor):
                self._tags[tag] = descriptor
            elif isinstance(descriptor, NotFound):
                lost.append(tag)
            else:
                self._unresolved[tag] = descriptor.message
                if not (self._tags or self._is_named) and len(self._unresolved) > MAX_FAILURES:
                    raise descriptor
        # A tag may be listed though its manifest is gone. A selected one can be removed; no other is on what is there.
        listed = self._names(None) if lost and not self._is_known else ()
        dangling = [tag for tag in lost if tag in listed]
        self._unresolved |= dict.fromkeys(self._selection.matching(dangling), _DANGLING)
        self._dangling |= {tag: _DANGLING for tag in dangling if tag not in self._unresolved}

    def _is_kept(self, manifest: Digest) -> bool:
        return manifest in self._manifests or self._cache.get(manifest) is not None

    def _keep(self, manifest: Manifest) -> None:
        self._manifests[manifest.digest] = manifest
        self._cache.put(manifest.digest, manifest.raw)

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        digest = descriptor.digest
        if digest not in self._manifests:
            cached = self._cache.get(digest)
            if cached is not None and descriptor.media_type:
                self._manifests[digest] = manifests.parse(cached, descriptor.media_type, algorithm=digest.algorithm)
            else:
                with self._repository.limiter:
                    self._keep(self._repository.manifest(digest))
        return self._manifests[digest]

    def _referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        with self._repository.limiter:
            is_tagged = tag_of(descriptor.digest) in self._names_listed or self._repository.has_unlisted_tags
            if self._selection.group is not None and not is_tagged:
                # Where the registry keeps no list itself, none is under a tag either: of a thousand images that saves as many requests.
                with suppress(RegistryToolError):
                    return self._repository.listed_referrers(descriptor) or ()
            return self._repository.referrers(descriptor)


def _add(snapshot: RepositorySnapshot, node: Node, *, again: bool = False) -> None:
    digest, error = node.descriptor.digest, node.error
    if node.manifest is not None and error is not None:
        snapshot.unlisted[digest] = f"the referrers of {digest}: {error.message}"
    if node.manifest is None and error is not None:
        snapshot.unread[digest] = f"{digest}: {error.message}"
        snapshot.errors[digest] = error
        damaged_image = isinstance(error, (Mismatch, InvalidManifest)) and node.descriptor.media_type in _WITHOUT_MANIFESTS
        mentioned = _mentioned(error.content) if isinstance(error, InvalidManifest) else None
        if isinstance(error, NotFound) or damaged_image:
            pass
        elif mentioned is not None:
            snapshot.mentions[digest] = mentioned
        else:
            snapshot.doubtful.add(digest)
    if node.is_last:
        snapshot.doubtful.add(digest)
    known = snapshot.graph.edges.get(digest)
    edges = node.edges if known is None else tuple(edge for edge in node.edges if edge.role == "referrer")
    if edges or not again:
        snapshot.graph.add(digest, edges)


def _mentioned(content: bytes | None) -> frozenset[Digest] | None:
    """Every digest that is written anywhere in a JSON document of unknown type: it needs no other. None where it is no JSON."""
    if content is None:
        return None
    try:
        # Once as it is written, as a name may come twice, and once without escapes.
        text = content.decode() + json.dumps(json.loads(content))
    except (ValueError, RecursionError):
        return None
    return frozenset(Digest.parse(match) for match in _DIGEST.findall(text))
