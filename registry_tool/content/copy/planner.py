"""Plan a copy: resolve each reference once, read all manifests from there, look which blobs are missing. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from registry_tool.base.concurrency import REPOSITORIES, map_ordered
from registry_tool.base.errors import ConnectionLost, NotFound, RegistryToolError, Unreachable
from registry_tool.content.copy.attached import full_list, is_mergeable
from registry_tool.content.copy.platforms import check_platform, reduce
from registry_tool.content.copy.values import BlobCounts, BlobHolders, BlobTask, CopiedImage, CopyJob, CopyPlan, PlannedImage
from registry_tool.content.graph import MAX_DEPTH, Node, read_node, traverse
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_foreign
from registry_tool.targets.registry.referrers import attached_tags
from registry_tool.targets.target import RemoteTarget, Target


def make_plan(jobs: Sequence[CopyJob], holders: BlobHolders) -> CopyPlan:
    """Plan ``jobs``; an image that cannot be read is one with an ``error``."""
    images = tuple(chain.from_iterable(map_ordered(_plan_job, jobs, threads=REPOSITORIES)))
    tasks, images = _check_blobs(images, holders)
    return CopyPlan(images=images, tasks=tasks, counts=_count(tasks))


def planned_images(plan: CopyPlan) -> tuple[CopiedImage, ...]:
    """What is to become of each image."""
    missing = {(task.descriptor.digest, id(destination)) for task in plan.tasks for _, destination in task.places}

    def planned(image: PlannedImage) -> CopiedImage:
        if image.error is not None:
            return image.result("failed", error=image.error)
        is_unchanged = image.is_tagged and not any((blob.digest, id(image.job.destination)) in missing for blob in image.blobs)
        digest = image.stored_list or (image.root.digest if image.root is not None else None)
        return image.result("unchanged" if is_unchanged else "planned", stored_digest=digest)

    return tuple(map(planned, plan.images))


# --- manifests ---


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """What a reference stands for: ``manifest`` is the reduced one, None where its content need not be read."""

    planned: PlannedImage
    manifest: Manifest | None = None


def _plan_job(job: CopyJob) -> tuple[PlannedImage, ...]:
    threads = job.source.limiter.helpful_requests
    try:
        roots = list(map_ordered(partial(_find_root, job), job.references.items(), threads=threads))
    except Unreachable as error:
        # Each of the others would only meet the same time-out.
        return tuple(PlannedImage(job=job, reference=reference, tags=tags, error=error) for reference, tags in job.references.items())
    made = {root.manifest.digest: root.manifest for root in roots if root.manifest is not None}
    walk = _Walk(job, made)
    walk.read([root.planned.root for root in roots if root.manifest is not None and root.planned.root is not None])
    if job.options.referrers:
        walk.read_attached()
    return tuple(
        root.planned if root.manifest is None else _complete(_collect(root.planned, root.manifest, walk), root.manifest, walk)
        for root in roots
    )


def _complete(image: PlannedImage, root: Manifest, walk: _Walk) -> PlannedImage:
    """``image``; where it is tagged, and a manifest inside of it is not there any more, as one whose tags are still to be written."""
    if image.error is not None or not image.is_tagged or image.job.options.referrers:
        return image
    destination = image.job.destination

    def is_there(manifest: Manifest) -> bool:
        return _digest_of(destination, str(manifest.digest)) == manifest.digest

    try:
        if all(list(map_ordered(is_there, image.manifests[:-1], threads=destination.limiter.helpful_requests))):
            return image
    except Unreachable as error:
        return replace(image, error=error)
    return _collect(replace(image, missing_tags=image.tags), root, walk)


def _find_root(job: CopyJob, entry: tuple[str, tuple[str, ...]]) -> _Root:
    """Resolve a reference, and the tags it is to have; read its manifest, unless all is there already."""
    reference, tags = entry
    planned = PlannedImage(job=job, reference=reference, tags=tags)
    options = job.options
    try:
        with job.source.limiter:
            source = job.source.resolve(reference)
        root, manifest = source, None
        left_out: tuple[str, ...] = ()
        if options.platforms:
            reduced = reduce(_read(job.source, source), options.platforms)
            root, left_out, manifest = reduced.descriptor, reduced.left_out, reduced.manifest
        missing = tuple(tag for tag in tags if _digest_of(job.destination, tag) != root.digest)
        if missing or options.referrers or not options.skip_unchanged:
            manifest = manifest or _read(job.source, root)
        lists = {tag: _full_list(job.destination, tag, manifest) for tag in missing} if manifest is not None else {}
        missing = tuple(tag for tag in missing if lists.get(tag) is None)
        stored = next((digest for digest in lists.values() if digest is not None), None)
        planned = replace(planned, source=source, root=root, left_out=left_out, missing_tags=missing, stored_list=stored)
        if planned.is_tagged and options.skip_unchanged and not options.referrers:
            return _Root(planned=planned)
        manifest = manifest or _read(job.source, root)
        if options.platforms and manifest.digest == source.digest:
            with job.source.limiter:
                check_platform(job.source, manifest, options.platforms)
        return _Root(planned=planned, manifest=manifest)
    except RegistryToolError as error:
        if isinstance(error, Unreachable) and not isinstance(error, ConnectionLost):
            raise
        return _Root(planned=replace(planned, error=error))


def _read(target: Target, descriptor: Descriptor) -> Manifest:
    with target.limiter:
        return target.manifest(descriptor.digest)


def _digest_of(destination: Target, tag: str) -> Digest | None:
    """What a tag stands for at the destination, if that can be known. Raises Unreachable."""
    try:
        with destination.limiter:
            if isinstance(destination, RemoteTarget):
                descriptor = destination.find(tag)
                return descriptor.digest if descriptor is not None else None
            return destination.resolve(tag).digest
    except Unreachable:
        raise
    except RegistryToolError:
        # Who may push need not be allowed to read, and some registries refuse what is not there.
        return None


def _full_list(destination: Target, tag: str, manifest: Manifest) -> Digest | None:
    """Where a tag is a list of what is attached to an image, and has all at the destination that ``manifest`` lists: its digest there."""
    if not is_mergeable(tag, manifest):
        return None
    try:
        with destination.limiter:
            return full_list(destination, tag, manifest)
    except Unreachable:
        raise
    except RegistryToolError:
        # It is written, and fails where it cannot be read.
        return None


class _Walk:
    """The manifests of a job, each read once."""

    def __init__(self, job: CopyJob, made: Mapping[Digest, Manifest]) -> None:
        self._job = job
        self._made = made
        self.nodes: dict[Digest, Node] = {}
        self.attached: dict[Digest, list[tuple[str, Descriptor]]] = {}
        """Subject -> cosign's tags of it and what they stand for."""
        self.error: RegistryToolError | None = None
        """Why cosign's tags are not known."""

    def read(self, roots: Iterable[Descriptor]) -> None:
        """Read ``roots`` and all manifests below them and referring to them."""
        unread = [root for root in roots if root.digest not in self.nodes]
        for node in traverse(unread, self._node, self.follow, threads=self._job.source.limiter.helpful_requests):
            self.nodes[node.descriptor.digest] = node

    def follow(self, node: Node) -> list[Descriptor]:
        """The manifests that go with one."""
        return [*node.children, *node.referrers]

    def read_attached(self) -> None:
        """Read what cosign's tags attach to the manifests."""
        source = self._job.source
        try:
            with source.limiter:
                tags = set(source.tags())
            for digest in list(self.nodes):
                for tag in attached_tags(digest):
                    if tag in tags:
                        with source.limiter:
                            self.attached.setdefault(digest, []).append((tag, source.resolve(tag)))
            self.read([descriptor for named in self.attached.values() for _, descriptor in named])
        except NotFound:
            return
        except RegistryToolError as error:
            self.error = error

    def _node(self, descriptor: Descriptor) -> Node:
        source = self._job.source
        made = self._made.get(descriptor.digest)

        def manifest(descriptor: Descriptor) -> Manifest:
            return made or _read(source, descriptor)

        def referrers(descriptor: Descriptor) -> tuple[Descriptor, ...]:
            if not self._job.options.referrers:
                return ()
            with source.limiter:
                return source.referrers(descriptor)

        try:
            return read_node(descriptor, manifest, referrers)
        except RegistryToolError as error:
            return Node(descriptor=descriptor, error=error)


def _collect(planned: PlannedImage, root: Manifest, walk: _Walk) -> PlannedImage:
    """All of one image: its manifests, children first, and their blobs."""
    manifests: dict[Digest, Manifest] = {}
    attached: list[tuple[str, Manifest]] = []
    blobs: dict[Digest, Descriptor] = {}
    foreign: dict[Digest, Descriptor] = {}
    errors: list[RegistryToolError] = [walk.error] if walk.error is not None else []
    seen: set[Digest] = set()

    def visit(descriptor: Descriptor) -> None:
        if descriptor.digest in seen:
            return
        seen.add(descriptor.digest)
        node = walk.nodes.get(descriptor.digest)
        if node is None or node.is_last:
            errors.append(RegistryToolError(f"{descriptor.digest} is nested too deep: more than {MAX_DEPTH} manifests inside each other"))
            return
        if node.error is not None:
            errors.append(node.error)
        if node.manifest is None:
            return
        for child in node.children:
            visit(child)
        for edge in node.edges:
            if edge.role not in ("config", "layer") and not (edge.role == "child" and not edge.is_manifest):
                continue
            kind = foreign if is_foreign(edge.descriptor) and not planned.job.options.allow_foreign else blobs
            kind.setdefault(edge.descriptor.digest, edge.descriptor)
        manifests[descriptor.digest] = node.manifest
        for referrer in node.referrers:
            visit(referrer)
        for tag, attachment in walk.attached.get(descriptor.digest, ()):
            visit(attachment)
            if attachment.digest in manifests:
                attached.append((tag, manifests[attachment.digest]))

    visit(root.descriptor)
    manifests.pop(root.digest, None)
    return replace(
        planned,
        manifests=(*manifests.values(), root),
        tagged=(*attached, *((tag, root) for tag in planned.missing_tags)),
        blobs=tuple(blobs.values()),
        foreign=tuple(foreign.values()),
        error=planned.error or (errors[0] if errors else None),
    )


# --- blobs ---


def _check_blobs(images: tuple[PlannedImage, ...], holders: BlobHolders) -> tuple[tuple[BlobTask, ...], tuple[PlannedImage, ...]]:
    """The blobs of all images, each once, with the destinations that lack it; images whose destination cannot say have an ``error``."""
    needed: dict[tuple[Digest, int], tuple[Descriptor, Target, Target]] = {}
    for image in images:
        if image.error is None:
            for blob in image.blobs:
                needed.setdefault((blob.digest, id(image.job.destination)), (blob, image.job.source, image.job.destination))
    first = next(iter(needed.values()), None)
    threads = first[2].limiter.helpful_requests if first is not None else 1
    answers = dict(zip(needed, map_ordered(_is_present, needed.values(), threads=threads), strict=True))
    tasks: dict[Digest, BlobTask] = {}
    for key, (descriptor, source, destination) in needed.items():
        task = tasks.get(descriptor.digest)
        if task is None:
            task = BlobTask(descriptor=descriptor, places=(), holders=holders.get(descriptor.digest, ()))
        if answers[key] is True:
            task = replace(task, present=(*task.present, destination))
        elif answers[key] is False:
            task = replace(task, places=(*task.places, (source, destination)))
        tasks[descriptor.digest] = task

    def checked(image: PlannedImage) -> PlannedImage:
        keys = ((blob.digest, id(image.job.destination)) for blob in image.blobs)
        errors = [answer for answer in map(answers.get, keys) if isinstance(answer, RegistryToolError)]
        return replace(image, error=image.error or errors[0]) if errors else image

    return tuple(tasks.values()), tuple(map(checked, images))


def _is_present(place: tuple[Descriptor, Target, Target]) -> bool | RegistryToolError:
    descriptor, _, destination = place
    try:
        with destination.limiter:
            return has_content(destination, descriptor)
    except RegistryToolError as error:
        return error


def _count(tasks: Iterable[BlobTask]) -> BlobCounts:
    """What is to become of the blobs: one that the source or a destination before can be mounted from is not sent."""
    sent = mounted = skipped = bytes_sent = bytes_total = 0
    for task in tasks:
        size = task.descriptor.size
        holders = [*task.present, *task.holders]
        for source, destination in task.places:
            is_mounted = any(can_mount(destination, holder) for holder in (*holders, source))
            holders.append(destination)
            mounted, sent, bytes_sent = mounted + is_mounted, sent + (not is_mounted), bytes_sent + (0 if is_mounted else size)
        skipped += len(task.present)
        bytes_total += size * (len(task.present) + len(task.places))
    return BlobCounts(sent=sent, mounted=mounted, skipped=skipped, bytes_sent=bytes_sent, bytes_total=bytes_total)


def has_content(target: Target, descriptor: Descriptor) -> bool:
    """Whether content is at a place; in a registry to its last byte, as its HEAD may tell of what was collected."""
    return target.has(descriptor) if isinstance(target, RemoteTarget) else target.exists(descriptor)


def can_mount(destination: Target, holder: Target) -> bool:
    """Whether ``destination`` may take a blob over from ``holder`` without its bytes."""
    return isinstance(destination, RemoteTarget) and destination.can_mount_from(holder)
