"""One repository: its tags, all that they lead to, and what is wrong with that."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

from registry_tool.base import units
from registry_tool.base.errors import ConnectionLost, InvalidManifest, Mismatch, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.content.check import consistency
from registry_tool.content.check.blobs import BlobContent, BlobStatus, look
from registry_tool.content.check.consistency import Named
from registry_tool.content.check.findings import KINDS, Checked, Finding
from registry_tool.content.check.run import CheckRun
from registry_tool.content.graph import MAX_DEPTH, Graph, Node, referrer_edges, walk
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import is_foreign
from registry_tool.targets.registry import Repository
from registry_tool.targets.registry.referrers import tag_of

_LIST_OF_REFERRERS = re.compile(r"sha(?:256|512)-[0-9a-f]{64,}")


class RepositoryCheck:
    """The check of one repository, from :meth:`run` to what it found."""

    def __init__(self, run: CheckRun, repository: Repository) -> None:
        self._run = run
        self._repository = repository
        self._tags: dict[Digest, list[str]] = {}
        self._graph = Graph()
        self._nodes: dict[Digest, Node] = {}
        self._lists: set[Digest] = set()
        self._standings: dict[Digest, BlobStatus] = {}
        self._readings: dict[Digest, BlobContent] = {}
        self._found: list[Finding] = []
        self._notes: list[str] = []

    def run(self) -> Checked:
        """Look at everything. Raises NotFound where there is no such repository, and what concerns the whole registry."""
        try:
            tags = self._run.ask(self._repository.tags)
        except TooManyRequests:
            raise
        except RegistryError as error:
            self._add("unreadable", self._repository.name, None, (), error.message)
            tags = ()
        lost = self._resolve(tags)
        self._walk()
        self._say_what_vanished(lost)
        self._connect_referrers()
        self._judge_manifests()
        self._look_at_blobs()
        self._judge_images()
        return Checked(
            name=self._repository.name,
            tags=tuple(sorted(tags)),
            images=len(self._tags.keys() - self._lists),
            findings=tuple(sorted(self._found, key=_order)),
            notes=tuple(sorted(self._notes)),
        )

    # --- tags and manifests ---

    def _resolve(self, tags: Collection[str]) -> list[str]:
        """Find out what tags stand for; those that the registry lists, and does not know."""

        def resolve(tag: str) -> tuple[str, Descriptor | RegistryToolError]:
            try:
                return tag, self._run.ask(lambda: self._repository.resolve(tag))
            except TooManyRequests:
                raise
            except (NotFound, Mismatch, InvalidManifest, RegistryError, ConnectionLost) as error:
                return tag, error

        self._roots: dict[Digest, Descriptor] = {}
        lost = []
        self._run.expect(things=len(tags))
        for tag, found in self._run.each(resolve, tags):
            self._run.looked_at()
            if isinstance(found, Descriptor):
                self._roots[found.digest] = found
                self._tags.setdefault(found.digest, []).append(tag)
            elif isinstance(found, NotFound):
                lost.append(tag)
            else:
                self._add(_kind_of(found), f"{self._repository.name}:{tag}", None, [tag], found.message)
        return lost

    def _walk(self) -> None:
        def each(read: Callable[[Descriptor], Node], descriptors: Iterable[Descriptor]) -> Iterable[Node]:
            return self._run.each(lambda descriptor: self._run.ask(partial(read, descriptor)), descriptors)

        nodes = walk(self._repository, self._roots.values(), referrers=partial(self._run.referrers, self._repository), each=each)
        for node in nodes:
            manifest = node.manifest
            if manifest is not None:
                self._run.came(len(manifest.raw))
                if manifest.is_tombstone:
                    self._forget_tombstone(node.descriptor.digest)
                    continue
            self._graph.add(node)
            self._nodes[node.descriptor.digest] = consistency.without_bytes(node)

    def _forget_tombstone(self, digest: Digest) -> None:
        for tag in self._tags.pop(digest, ()):
            self._notes.append(f"{self._repository.name}:{tag} is a deletion that was not finished: delete it again")

    def _say_what_vanished(self, lost: list[str]) -> None:
        """A tag that is listed and leads nowhere may have been deleted meanwhile: it is not listed any more then."""
        roots = {digest: tags for digest, tags in self._tags.items() if isinstance(self._nodes[digest].error, NotFound)}
        if not lost and not roots:
            return
        listed = set(self._run.ask(self._repository.tags))
        for tag in lost:
            if tag in listed:
                place = f"{self._repository.name}:{tag}"
                self._add("missing-manifest", place, None, [tag], "the tag is listed, and leads to nothing")
        for digest, tags in roots.items():
            self._tags[digest] = [tag for tag in tags if tag in listed]
            if not self._tags[digest]:
                del self._tags[digest]
                if not self._graph.named_by(digest):
                    del self._nodes[digest]
        for tag in {tag for tags in (lost, *roots.values()) for tag in tags} - listed:
            self._notes.append(f"{self._repository.name}:{tag} was deleted meanwhile")

    def _connect_referrers(self) -> None:
        """A list of referrers that lies under a tag belongs to the image that the tag's name says (OCI distribution specification 1.1)."""
        subjects = {tag_of(digest): digest for digest in self._nodes}
        for digest, tags in self._tags.items():
            node = self._nodes[digest]
            if node.manifest is None or node.manifest.kind != "index":
                continue
            for tag in filter(_LIST_OF_REFERRERS.fullmatch, tags):
                self._lists.add(digest)
                if tag in subjects:
                    self._graph.connect(subjects[tag], referrer_edges(node.manifest.children))

    def _judge_manifests(self) -> None:
        for digest, node in self._nodes.items():
            if node.is_last:
                what = f"it names more manifests, and is {MAX_DEPTH} deep itself"
                self._add("too-deep", f"{self._repository.name}@{digest}", digest, self._hit([digest]), what)
            if node.error is not None:
                self._judge_unread(digest, node, node.error)
            if node.manifest is not None:
                for kind, named, detail in consistency.with_parents(node.manifest, self._graph.named_by(digest)):
                    self._blame(kind, digest, [named], detail)

    def _judge_unread(self, digest: Digest, node: Node, error: RegistryToolError) -> None:
        if node.manifest is not None:
            place = f"{self._repository.name}@{digest}"
            self._add("unreadable", place, digest, self._hit([digest]), f"its list of referrers: {error.message}")
            return
        kind = _kind_of(error)
        if digest in self._tags:
            place = f"{self._repository.name}:{min(self._tags[digest])}"
            self._add(kind if kind != "missing" else "missing-manifest", place, digest, self._hit([digest]), error.message)
            return
        holders = self._graph.named_by(digest)
        if kind != "missing":
            self._blame(kind, digest, holders, error.message)
            return
        listed = [(holder, edge) for holder, edge in holders if holder in self._lists or edge.role == "referrer"]
        entries = [named for named in holders if named not in listed]
        left_out = [(index, edge) for index, edge in entries if self._is_left_out(index, digest)]
        lost = [named for named in entries if named not in left_out]
        for kind, some in (("missing-referrer", listed), ("left-out-child", left_out), ("missing-child", lost)):
            if some:
                self._blame(kind, digest, some, "is not there")

    def _is_left_out(self, index: Digest, child: Digest) -> bool:
        edges = self._graph.edges[index]
        named = (edge.descriptor.digest for edge in edges)
        there = {digest for digest in named if digest in self._nodes and not isinstance(self._nodes[digest].error, NotFound)}
        return child in consistency.left_out(edges, there)

    # --- configs and layers ---

    def _look_at_blobs(self) -> None:
        named: dict[Digest, list[Named]] = {}
        for holder, edges in self._graph.edges.items():
            for edge in edges:
                # What is foreign lies elsewhere: a registry need not have it.
                if not edge.is_manifest and not is_foreign(edge.descriptor) and not edge.descriptor.urls:
                    named.setdefault(edge.descriptor.digest, []).append((holder, edge))
        configs = self._configs()
        descriptors = {digest: holders[0][1].descriptor for digest, holders in named.items()}
        unread = (each.size for each in descriptors.values() if each.digest not in self._run.blobs)
        self._run.expect(things=len(descriptors), size=sum(unread))

        def examine(descriptor: Descriptor) -> tuple[Digest, BlobStatus, BlobContent | None]:
            standing = self._run.ask(partial(look, self._repository, descriptor))
            self._run.looked_at(descriptor.digest)
            is_config = descriptor.digest in configs
            if standing.trouble or not (self._run.deep or standing.in_doubt or is_config):
                return descriptor.digest, standing, None
            sized = replace(descriptor, size=standing.size)
            return descriptor.digest, standing, self._run.read(self._repository, sized, as_config=is_config)

        for digest, standing, reading in self._run.each(examine, descriptors.values()):
            self._standings[digest] = standing
            if reading is not None and not reading.trouble:
                self._readings[digest] = reading
            self._judge_blob(digest, standing, reading, named[digest])

    def _configs(self) -> set[Digest]:
        """Those of images, which are read: they say what the image should be."""
        found = set()
        for node in self._nodes.values():
            if node.manifest is not None and node.manifest.config is not None and consistency.is_image(node.manifest):
                found.add(node.manifest.config.digest)
        return found

    def _judge_blob(self, digest: Digest, standing: BlobStatus, reading: BlobContent | None, holders: list[Named]) -> None:
        if standing.trouble == "missing":
            for role in ("config", "layer", "child"):
                some = [(holder, edge) for holder, edge in holders if edge.role == role]
                if some:
                    self._blame(f"missing-{role}", digest, some, "is not there")
            return
        trouble, detail = standing.trouble, standing.detail
        if reading is not None and reading.trouble:
            said = max(edge.descriptor.size for _, edge in holders)
            cut = standing.in_doubt and reading.trouble == "corrupt-blob" and standing.size < said
            trouble = "truncated-blob" if cut else reading.trouble
            detail = reading.detail or (f"{standing.size} bytes of {said} are there" if cut else "has other bytes than its digest says")
        if trouble:
            self._blame(trouble, digest, holders, detail)
            return
        for holder, edge in holders:
            if edge.descriptor.size != standing.size:
                self._blame("wrong-size", digest, [(holder, edge)], consistency.sizes(edge.descriptor.size, standing.size))

    def _judge_images(self) -> None:
        unknown = 0
        for digest, node in self._nodes.items():
            manifest = node.manifest
            if manifest is None or manifest.config is None or not consistency.is_image(manifest):
                continue
            reading = self._readings.get(manifest.config.digest)
            if reading is None:
                continue
            holders = self._graph.named_by(digest)
            for kind, detail in consistency.image(manifest, reading, self._readings, deep=self._run.deep):
                self._add(kind, f"{self._repository.name}@{digest}", manifest.config.digest, self._hit([digest]), detail)
            for holder, edge in consistency.of_another_platform(reading, holders):
                detail = f"the index says {edge.descriptor.platform}, the image's config {consistency.platform_of(reading)}"
                self._blame("wrong-platform", digest, [(holder, edge)], detail)
            if self._run.deep:
                unknown += consistency.not_looked_into(manifest, reading, self._readings)
        if unknown:
            self._notes.append(f"{self._repository.name}: {units.count(unknown, 'layer')}: read, and not looked into")

    # --- findings ---

    def _blame(self, kind: str, digest: Digest, holders: Iterable[Named], detail: str) -> None:
        """Add a finding on what ``holders`` name, whose places say where it shows."""
        places = sorted(holders, key=lambda named: (str(named[0]), named[1].where))
        holder, edge = places[0]
        others = len({manifest for manifest, _ in places}) - 1
        more = f"; {units.count(others, 'more manifest')} {'names' if others == 1 else 'name'} it, too" if others else ""
        tags = self._hit([manifest for manifest, _ in places])
        self._add(kind, f"{self._repository.name}@{holder}", digest, tags, f"{edge.where}: {detail}{more}")

    def _hit(self, manifests: Iterable[Digest]) -> list[str]:
        above = set[Digest]().union(*map(self._graph.above, manifests))
        return [tag for digest in above for tag in self._tags.get(digest, ())]

    def _add(self, kind: str, reference: str, digest: Digest | None, tags: Iterable[str], detail: str) -> None:
        self._found.append(Finding(kind=kind, reference=reference, digest=digest, tags=tuple(sorted(tags)), detail=detail))


def _kind_of(error: RegistryToolError) -> str:
    if isinstance(error, NotFound):
        return "missing"
    if isinstance(error, Mismatch):
        return "corrupt-manifest"
    return "invalid-manifest" if isinstance(error, InvalidManifest) else "unreadable"


def _order(finding: Finding) -> tuple[int, str, str, str]:
    return list(KINDS).index(finding.kind), finding.reference, str(finding.digest), finding.detail
