"""The check of one repository: its tags, all that they lead to, and what is wrong with that."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial

from registry_tool.base import units
from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.content.check import consistency
from registry_tool.content.check.blobs import BlobContent, BlobStatus, blob_status
from registry_tool.content.check.consistency import Named
from registry_tool.content.check.findings import Finding, RepositoryReport, report_order
from registry_tool.content.check.run import CheckRun
from registry_tool.content.graph import MAX_DEPTH, Graph, Node, attempt, read_node, referrer_edges, traverse, without_bytes
from registry_tool.content.protection import is_protection
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import is_foreign
from registry_tool.targets.registry import Repository
from registry_tool.targets.registry.referrers import tag_of

_REFERRERS_TAG = re.compile(r"sha(?:256|512)-[0-9a-f]{64,}")


class RepositoryCheck:
    """The check of one repository, to be :meth:`run` once."""

    def __init__(self, run: CheckRun, repository: Repository) -> None:
        self._run = run
        self._repository = repository
        self._roots: dict[Digest, Descriptor] = {}
        self._tags: dict[Digest, list[str]] = {}
        self._graph = Graph()
        self._nodes: dict[Digest, Node] = {}
        self._referrer_lists: set[Digest] = set()
        self._protections: set[Digest] = set()
        self._contents: dict[Digest, BlobContent] = {}
        self._findings: list[Finding] = []
        self._notes: list[str] = []

    def run(self) -> RepositoryReport:
        """Check everything. Raises NotFound where there is no such repository, and what concerns the whole registry."""
        try:
            with self._run.request():
                tags = self._repository.tags()
        except TooManyRequests:
            raise
        except RegistryError as error:
            self._add("unreadable", self._repository.name, None, (), error.message)
            tags = ()
        lost = self._resolve(tags)
        self._read_manifests()
        self._note_vanished(lost)
        self._connect_referrers()
        self._check_manifests()
        self._check_blobs()
        self._check_images()
        return RepositoryReport(
            name=self._repository.name,
            tags=tuple(sorted(tags)),
            images=len(self._tags.keys() - self._referrer_lists - self._protections),
            findings=tuple(sorted(self._findings, key=report_order)),
            notes=tuple(sorted(self._notes)),
        )

    # --- tags and manifests ---

    def _resolve(self, tags: Collection[str]) -> list[str]:
        """Resolve tags; return those that the registry lists, and does not know."""

        def resolve(tag: str) -> Descriptor | RegistryToolError:
            with self._run.request():
                return attempt(lambda: self._repository.resolve(tag))

        lost = []
        self._run.expect(things=len(tags))
        for tag, descriptor in map_unordered(resolve, tags, threads=self._run.registry.limiter.helpful_requests):
            self._run.checked()
            if isinstance(descriptor, Descriptor):
                self._roots[descriptor.digest] = descriptor
                self._tags.setdefault(descriptor.digest, []).append(tag)
            elif isinstance(descriptor, NotFound):
                lost.append(tag)
            else:
                self._add(_kind_of(descriptor), f"{self._repository.name}:{tag}", None, [tag], descriptor.message)
        return lost

    def _read_manifests(self) -> None:
        referrers = partial(self._run.referrers, self._repository)

        def read(descriptor: Descriptor) -> Node:
            with self._run.request():
                return read_node(descriptor, lambda each: self._repository.manifest(each.digest), referrers)

        roots, threads = self._roots.values(), self._run.registry.limiter.helpful_requests
        for node in traverse(roots, read, lambda node: [*node.children, *node.referrers], threads=threads):
            if node.manifest is not None:
                self._run.received(len(node.manifest.raw))
                if node.manifest.is_tombstone:
                    tags = self._tags.pop(node.descriptor.digest, ())
                    self._notes += [f"{self._repository.name}:{tag}: its deletion was not finished; delete it again" for tag in tags]
                    continue
                if is_protection(node.manifest):
                    self._protections.add(node.descriptor.digest)
                node = replace(node, manifest=without_bytes(node.manifest))  # noqa: PLW2901 - the same, smaller
            self._graph.add(node.descriptor.digest, node.edges)
            self._nodes[node.descriptor.digest] = node

    def _note_vanished(self, lost: list[str]) -> None:
        """Tell tags that were deleted meanwhile, and are not listed any more, from those that lead to nothing."""
        roots = {digest: tags for digest, tags in self._tags.items() if isinstance(self._nodes[digest].error, NotFound)}
        if not lost and not roots:
            return
        with self._run.request():
            listed = set(self._repository.tags())
        for tag in lost:
            if tag in listed:
                self._add(
                    "missing-manifest", f"{self._repository.name}:{tag}", None, [tag], "the tag is listed, but its manifest is missing"
                )
        for digest, tags in roots.items():
            self._tags[digest] = [tag for tag in tags if tag in listed]
            if not self._tags[digest]:
                del self._tags[digest]
                if not self._graph.named_by(digest):
                    del self._nodes[digest]
        for tag in {tag for tags in (lost, *roots.values()) for tag in tags} - listed:
            self._notes.append(f"{self._repository.name}:{tag} was deleted meanwhile")

    def _connect_referrers(self) -> None:
        """Connect lists of referrers under tags with their images (OCI distribution specification 1.1, "Referrers Tag Schema")."""
        subjects = {tag_of(digest): digest for digest in self._nodes}
        for digest, tags in self._tags.items():
            node = self._nodes[digest]
            if node.manifest is None or node.manifest.kind != "index":
                continue
            for tag in filter(_REFERRERS_TAG.fullmatch, tags):
                self._referrer_lists.add(digest)
                if tag in subjects:
                    self._graph.add(subjects[tag], referrer_edges(node.manifest.children))

    def _check_manifests(self) -> None:
        for digest, node in self._nodes.items():
            if node.is_last:
                what = f"it names more manifests, and is nested {MAX_DEPTH} deep"
                self._add("too-deep", f"{self._repository.name}@{digest}", digest, self._affected([digest]), what)
            if node.error is not None:
                self._check_unread(digest, node, node.error)
            if node.manifest is not None:
                for edge in node.edges:
                    if not edge.descriptor.media_type:
                        self._add(
                            "invalid-manifest",
                            f"{self._repository.name}@{digest}",
                            digest,
                            self._affected([digest]),
                            f"{edge.path}.mediaType: missing",
                        )
                for kind, named, detail in consistency.parent_mismatches(node.manifest, self._graph.named_by(digest)):
                    self._blame(kind, digest, [named], detail)

    def _check_unread(self, digest: Digest, node: Node, error: RegistryToolError) -> None:
        if node.manifest is not None:
            reference = f"{self._repository.name}@{digest}"
            self._add("unreadable", reference, digest, self._affected([digest]), f"its list of referrers: {error.message}")
            return
        kind = _kind_of(error)
        if digest in self._tags:
            reference = f"{self._repository.name}:{min(self._tags[digest])}"
            self._add(kind if kind != "missing" else "missing-manifest", reference, digest, self._affected([digest]), error.message)
            return
        holders = self._graph.named_by(digest)
        if kind != "missing":
            self._blame(kind, digest, holders, error.message)
            return
        listed = [(holder, edge) for holder, edge in holders if holder in self._referrer_lists or edge.role == "referrer"]
        entries = [named for named in holders if named not in listed]
        omitted = [(index, edge) for index, edge in entries if self._is_omitted(index, digest)]
        lost = [named for named in entries if named not in omitted]
        for kind, named_by in (("missing-referrer", listed), ("left-out-child", omitted), ("missing-child", lost)):
            if named_by:
                self._blame(kind, digest, named_by, "is missing")

    def _is_omitted(self, index: Digest, child: Digest) -> bool:
        edges = self._graph.edges[index]
        named = (edge.descriptor.digest for edge in edges)
        present = {digest for digest in named if digest in self._nodes and not isinstance(self._nodes[digest].error, NotFound)}
        return child in consistency.omitted_children(edges, present)

    # --- configs and layers ---

    def _check_blobs(self) -> None:
        named: dict[Digest, list[Named]] = {}
        for holder, edges in self._graph.edges.items():
            for edge in edges:
                # Foreign layers are elsewhere: a registry need not have them.
                if not edge.is_manifest and not is_foreign(edge.descriptor) and not edge.descriptor.urls:
                    named.setdefault(edge.descriptor.digest, []).append((holder, edge))
        # Configs of images are read: they say what the image should be.
        configs = {
            node.manifest.config.digest
            for node in self._nodes.values()
            if node.manifest is not None and node.manifest.config is not None and consistency.is_image(node.manifest)
        }
        descriptors = [named_by[0][1].descriptor for named_by in named.values()]
        unread = (each.size for each in descriptors if each.digest not in self._run.blobs)
        self._run.expect(things=len(descriptors), size=sum(unread))

        def examine(descriptor: Descriptor) -> tuple[BlobStatus, BlobContent | None]:
            with self._run.request():
                status = blob_status(self._repository, descriptor)
            self._run.checked(descriptor.digest)
            is_config = descriptor.digest in configs
            if status.problem or not (self._run.deep or status.in_doubt or is_config):
                return status, None
            return status, self._run.read(self._repository, replace(descriptor, size=status.size), as_config=is_config)

        for descriptor, (status, content) in map_unordered(examine, descriptors, threads=self._run.registry.limiter.helpful_requests):
            if content is not None and not content.problem:
                self._contents[descriptor.digest] = content
            self._check_blob(descriptor.digest, status, content, named[descriptor.digest])

    def _check_blob(self, digest: Digest, status: BlobStatus, content: BlobContent | None, named_by: list[Named]) -> None:
        if status.problem == "missing":
            for role in ("config", "layer", "child"):
                in_role = [(holder, edge) for holder, edge in named_by if edge.role == role]
                if in_role:
                    self._blame(f"missing-{role}", digest, in_role, "is missing")
            return
        problem, detail = status.problem, status.detail
        if content is not None and content.problem:
            largest = max(edge.descriptor.size for _, edge in named_by)
            is_truncated = status.in_doubt and content.problem == "corrupt-blob" and status.size < largest
            problem = "truncated-blob" if is_truncated else content.problem
            differs = f"{status.size} bytes of {largest} are there" if is_truncated else "does not match its digest"
            detail = content.detail or differs
        if problem:
            self._blame(problem, digest, named_by, detail)
            return
        for holder, edge in named_by:
            if edge.descriptor.size != status.size:
                self._blame("wrong-size", digest, [(holder, edge)], consistency.size_detail(edge.descriptor.size, status.size))

    def _check_images(self) -> None:
        unverified = 0
        for digest, node in self._nodes.items():
            manifest = node.manifest
            if manifest is None or manifest.config is None or not consistency.is_image(manifest):
                continue
            config = self._contents.get(manifest.config.digest)
            if config is None:
                continue
            for kind, detail in consistency.image_mismatches(manifest, config, self._contents, deep=self._run.deep):
                self._add(kind, f"{self._repository.name}@{digest}", manifest.config.digest, self._affected([digest]), detail)
            for holder, edge in consistency.platform_mismatches(config, self._graph.named_by(digest)):
                detail = f"the index says {edge.descriptor.platform}, the image's config {consistency.platform_of(config)}"
                self._blame("wrong-platform", digest, [(holder, edge)], detail)
            if self._run.deep:
                unverified += consistency.unverified_layers(manifest, config, self._contents)
        if unverified:
            self._notes.append(f"{self._repository.name}: {units.count(unverified, 'layer')}: read, but not unpacked")

    # --- findings ---

    def _blame(self, kind: str, digest: Digest, named_by: Iterable[Named], detail: str) -> None:
        """Add a finding on ``digest``, with a reference to the first of the manifests that name it."""
        ordered = sorted(named_by, key=lambda named: (str(named[0]), named[1].path))
        holder, edge = ordered[0]
        others = len({manifest for manifest, _ in ordered}) - 1
        more = f"; {units.count(others, 'more manifest')} {'names' if others == 1 else 'name'} it, too" if others else ""
        tags = self._affected([manifest for manifest, _ in ordered])
        self._add(kind, f"{self._repository.name}@{holder}", digest, tags, f"{edge.path}: {detail}{more}")

    def _affected(self, manifests: Iterable[Digest]) -> list[str]:
        dependents = set[Digest]().union(*map(self._graph.dependents, manifests))
        return [tag for digest in dependents for tag in self._tags.get(digest, ())]

    def _add(self, kind: str, reference: str, digest: Digest | None, tags: Iterable[str], detail: str) -> None:
        self._findings.append(Finding(kind=kind, reference=reference, digest=digest, tags=tuple(sorted(tags)), detail=detail))


def _kind_of(error: RegistryToolError) -> str:
    if isinstance(error, NotFound):
        return "missing"
    if isinstance(error, Mismatch):
        return "corrupt-manifest"
    return "invalid-manifest" if isinstance(error, InvalidManifest) else "unreadable"
