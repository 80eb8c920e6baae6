"""Carry out a plan: blobs in parallel, each once; then manifests, children before parents; tags at the very end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from typing import TypeVar

from registry_tool.base.concurrency import SingleFlight, map_ordered, map_unordered
from registry_tool.base.errors import ConnectionLost, RegistryToolError, Unreachable
from registry_tool.content.copy.attached import is_mergeable, push_merged
from registry_tool.content.copy.planner import has_content
from registry_tool.content.copy.values import (
    Action,
    BlobCounts,
    BlobHolders,
    BlobTask,
    CopiedImage,
    CopyListener,
    CopyPlan,
    PlannedImage,
)
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT, Manifest
from registry_tool.targets.target import Readable, RemoteTarget, Target
from registry_tool.transport.retry import repeated

BLOBS = 6
"""Blobs under way at a time: more do not fill a line better, and each holds a chunk in memory."""
LOOK_LASTS = 5.0
"""Seconds for which a mount that was looked at vouches for others: a collection may remove a blob that no manifest names yet."""

Result = TypeVar("Result")
Place = tuple[Digest, int]
"""Content and the destination that it is for."""


class Copier:
    """Copies what a plan names."""

    def __init__(
        self, plan: CopyPlan, listener: CopyListener, *, threads: int | None, holders: BlobHolders, together: bool = False
    ) -> None:
        self._plan = plan
        self._listener = listener
        self._holders = holders
        self._threads = threads or BLOBS
        self._together = together
        self._lock = threading.Lock()
        self._actions: list[tuple[Action, int]] = []
        self._changed: set[Place] = set()
        self._failed: dict[Place, RegistryToolError] = {}
        self._unreachable: dict[tuple[int, int], RegistryToolError] = {}
        self._pushed: SingleFlight[Place, Descriptor] = SingleFlight()

    def run(self) -> tuple[CopiedImage, ...]:
        """Copy everything; returns what became of each image, in the plan's order. Raises KeyboardInterrupt, uploads cancelled."""
        try:
            for _ in map_unordered(self._transfer_blob, self._plan.tasks, threads=min(self._threads, BLOBS)):
                pass
            stored = list(map_ordered(self._push_manifests, self._plan.images, threads=self._threads))
            for error in stored:
                if self._together and isinstance(error, RegistryToolError):
                    raise error
            images = tuple(map_ordered(self._tag, zip(self._plan.images, stored, strict=True), threads=self._threads))
        except BaseException:
            for destination in self._remote_destinations():
                destination.cancel_uploads()
            raise
        if all(image.error is None for image in images):
            for destination in self._remote_destinations():
                destination.cancel_leftovers()
        return images

    @property
    def counts(self) -> BlobCounts:
        """What became of the blobs until now."""
        with self._lock:
            numbers = {action: sum(made == action for made, _ in self._actions) for action in ("sent", "mounted", "skipped")}
            sent, total = sum(size for made, size in self._actions if made == "sent"), sum(size for _, size in self._actions)
        return BlobCounts(**numbers, bytes_sent=sent, bytes_total=total)

    def _remote_destinations(self) -> list[RemoteTarget]:
        targets = {id(image.job.destination): image.job.destination for image in self._plan.images}
        return [target for target in targets.values() if isinstance(target, RemoteTarget)]

    # --- blobs ---

    def _transfer_blob(self, task: BlobTask) -> None:
        """Bring a blob to each destination that lacks it: one after the other, so that a later one can mount it."""
        for _ in task.present:
            self._finish(task.descriptor, "skipped")
        mounts = _Mounts(task)
        for source, destination in task.places:
            place = task.descriptor.digest, id(destination)
            try:
                action = self._transfer_to(destination, source, mounts, task.descriptor)
            except RegistryToolError as error:
                self._failed[place] = error
                self._listener.blob_finished(task.descriptor, None)
            else:
                self._changed.add(place)
                self._finish(task.descriptor, action)
        with self._lock:
            self._holders[task.descriptor.digest] = tuple(mounts.holders)

    def _finish(self, descriptor: Descriptor, action: Action) -> None:
        with self._lock:
            self._actions.append((action, descriptor.size))
        self._listener.blob_finished(descriptor, action)

    def _transfer_to(self, destination: Target, source: Target, mounts: _Mounts, descriptor: Descriptor) -> Action:
        if mounts.mount(destination, source, descriptor):
            return "mounted"
        self._send(source, destination, descriptor)
        mounts.add(destination, is_whole=True)
        return "sent"

    def _send(self, source: Target, destination: Target, descriptor: Descriptor) -> None:
        """Send a blob, again where a failure may pass. Where one place turned out to be unreachable, no other blob waits for it."""
        pair = id(source), id(destination)
        attempts = 0

        def send() -> None:
            nonlocal attempts
            attempts += 1
            if pair in self._unreachable:
                raise self._unreachable[pair]
            if attempts > 1 and has_content(destination, descriptor):
                return
            self._listener.blob_started(descriptor)
            with _limited(source, destination), _content(source, descriptor) as stream:
                destination.push(descriptor, _Counted(stream, lambda sent: self._listener.blob_progress(descriptor, sent)))

        self._repeated(pair, send)

    def _repeated(self, places: tuple[int, int], attempt: Callable[[], Result]) -> Result:
        """The result of ``attempt``, repeated, unless one of these places turned out to be unreachable: that is waited for once."""
        if places in self._unreachable:
            raise self._unreachable[places]
        try:
            return repeated(attempt)
        except Unreachable as error:
            if not isinstance(error, ConnectionLost):
                self._unreachable[places] = error
            raise

    # --- manifests and tags ---

    def _push_manifests(self, image: PlannedImage) -> Descriptor | RegistryToolError | None:
        """Push all but what is tagged; returns the descriptor of the root, where it was pushed, or why the image is not complete."""
        place = id(image.job.destination)
        failures = [self._failed[blob.digest, place] for blob in image.blobs if (blob.digest, place) in self._failed]
        if image.error is not None or failures:
            return image.error or failures[0]
        if image.is_tagged and not image.job.options.referrers and not self._is_changed(image):
            return None
        tagged = {manifest.digest for _, manifest in image.tagged}
        try:
            stored: Descriptor | None = None
            for manifest in image.manifests:
                if manifest.digest not in tagged:
                    pushed = self._push(image, manifest)
                    stored = pushed if manifest is image.manifests[-1] else stored
            return stored
        except RegistryToolError as error:
            return error

    def _is_changed(self, image: PlannedImage) -> bool:
        return any((blob.digest, id(image.job.destination)) in self._changed for blob in image.blobs)

    def _push(self, image: PlannedImage, manifest: Manifest, tag: str | None = None) -> Descriptor:
        destination = image.job.destination

        def push() -> Descriptor:
            with destination.limiter:
                if tag is not None and is_mergeable(tag, manifest):
                    return push_merged(destination, tag, manifest)
                return destination.push_manifest(manifest, tag)

        places = id(destination), id(destination)
        if tag is not None:
            return self._repeated(places, push)
        return self._pushed.get((manifest.digest, id(destination)), partial(self._repeated, places, push))

    def _tag(self, pushed: tuple[PlannedImage, Descriptor | RegistryToolError | None]) -> CopiedImage:
        image, stored = pushed
        error = stored if isinstance(stored, RegistryToolError) else None
        root = image.root.digest if image.root is not None else None
        digest = stored.digest if isinstance(stored, Descriptor) else image.stored_list or root
        if error is None:
            try:
                for tag, manifest in image.tagged:
                    tagged = self._push(image, manifest, tag)
                    if image.root is not None and manifest.digest == image.root.digest:
                        digest = tagged.digest
            except RegistryToolError as failure:
                error = failure
        if error is not None:
            copied = image.result("failed", error=error)
        else:
            copied = image.result("unchanged" if image.is_tagged and not self._is_changed(image) else "copied", stored_digest=digest)
        self._listener.image_finished(image, copied)
        return copied


class _Mounts:
    """The mounts of one blob, one after the other, and who holds it by now.

    A registry may mount from memory what is gone, and one may accept a mount and do nothing. So it is looked at where a blob was mounted
    to, but for the next ones of the same registry within :data:`LOOK_LASTS`: a blob that was sent there, or seen there to its last byte,
    is in its storage, and one mount that was seen to work shows that this registry does mount it.
    """

    def __init__(self, task: BlobTask) -> None:
        self.holders = [*task.present, *task.holders]
        self._whole = {id(target) for target in task.present}
        self._looks: list[tuple[Target, float]] = []
        """Where a mount was looked at, and when on the monotonic clock."""

    def add(self, holder: Target, *, is_whole: bool) -> None:
        """Add a destination that has the blob; ``is_whole``: by what was sent or seen, not only by what the registry said."""
        self.holders.append(holder)
        if is_whole:
            self._whole.add(id(holder))

    def mount(self, destination: Target, source: Target, descriptor: Descriptor) -> bool:
        """Mount it from whoever holds it; returns whether it is there."""
        if not isinstance(destination, RemoteTarget):
            return False
        for holder in (*self.holders, source):
            if not destination.can_mount_from(holder):
                continue
            with destination.limiter:
                if not destination.mount(descriptor, holder):
                    continue
                is_known = id(holder) in self._whole and self._was_looked_at(destination)
                if is_known or destination.has(descriptor):
                    self.add(destination, is_whole=not is_known)
                    if not is_known:
                        self._looks.append((destination, time.monotonic()))
                    return True
        return False

    def _was_looked_at(self, destination: RemoteTarget) -> bool:
        """Whether a mount into the registry of ``destination`` was looked at a moment ago."""
        now = time.monotonic()
        return any(now - at < LOOK_LASTS and destination.can_mount_from(target) for target, at in self._looks)


class _Counted:
    """A stream that reports how many bytes were read."""

    def __init__(self, stream: Readable, report: Callable[[int], None]) -> None:
        self._stream = stream
        self._report = report
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size)
        self._count += len(piece)
        if piece:
            self._report(self._count)
        return piece


@contextmanager
def _content(source: Target, descriptor: Descriptor) -> Iterator[Readable]:
    if descriptor.digest == EMPTY.digest:
        # Everybody knows its two bytes, and some sources do not store them.
        yield BytesIO(EMPTY_CONTENT)
        return
    with source.fetch(descriptor) as stream:
        yield stream


@contextmanager
def _limited(source: Target, destination: Target) -> Iterator[None]:
    """Enter both limiters, once where they are the same, and always in one order: two copies must not wait for each other."""
    limiters = {id(limiter): limiter for limiter in (source.limiter, destination.limiter)}
    with ExitStack() as stack:
        for _, limiter in sorted(limiters.items()):
            stack.enter_context(limiter)
        yield
