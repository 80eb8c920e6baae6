"""Copying images from one place to another: push, mirror, export and import are all this.

First a plan, which reads manifests and writes nothing; then blobs in parallel, manifests, and tags at the very end: a copy that
is killed leaves no tag that stands for something incomplete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from registry_tool.content.copy.planner import make_plan, planned_images
from registry_tool.content.copy.transfer import Copier
from registry_tool.content.copy.values import (
    NULL_LISTENER,
    Action,
    BlobCounts,
    BlobHolders,
    CopiedImage,
    CopyJob,
    CopyListener,
    CopyOptions,
    CopyPlan,
    CopyResult,
    NullCopyListener,
    PlannedImage,
    references_of,
)
from registry_tool.targets.target import Target

__all__ = [
    "NULL_LISTENER",
    "Action",
    "BlobCounts",
    "BlobHolders",
    "CopiedImage",
    "CopyJob",
    "CopyListener",
    "CopyOptions",
    "CopyPlan",
    "CopyResult",
    "NullCopyListener",
    "PlannedImage",
    "copy",
    "copy_all",
]


def copy(
    source: Target,
    destination: Target,
    references: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    options: CopyOptions = CopyOptions(),  # noqa: B008 - frozen
    dry_run: bool = False,
    threads: int | None = None,
    listener: CopyListener = NULL_LISTENER,
) -> CopyResult:
    """Copy images between two repositories.

    ``references`` are tags, which keep their names, and digests, which get none; or a mapping of them to the tags at the
    destination. Each is resolved once: a tag that moves meanwhile does not matter. ``threads``: blobs under way at a time; with 1
    they are sent in a fixed order. Raises the first failure of an image, after the others were copied.
    """
    job = CopyJob(source=source, destination=destination, references=references_of(references), options=options)
    result = copy_all([job], dry_run=dry_run, threads=threads, listener=listener)
    if result.failures:
        raise result.failures[0]
    return result


def copy_all(
    jobs: Sequence[CopyJob],
    *,
    dry_run: bool = False,
    threads: int | None = None,
    listener: CopyListener = NULL_LISTENER,
    check: Callable[[CopyPlan], None] | None = None,
    together: bool = False,
    holders: BlobHolders | None = None,
) -> CopyResult:
    """Copy the images of several repositories, each blob once; an image that fails is a row with an error, and ends no other.

    ``check`` gets the plan before anything is written, and may raise. ``together``: the first failure of an image is raised, and
    no tag is written where there is one. ``holders`` is shared by copies one after the other: a blob that one of them found or
    sent is mounted by the next.
    """
    holders = {} if holders is None else holders
    started = time.monotonic()
    plan = make_plan(jobs, holders)
    if check is not None:
        check(plan)
    listener.planned(plan)
    if dry_run:
        images, counts = planned_images(plan), plan.counts
    else:
        transfer = Copier(plan, listener, threads=threads, holders=holders, together=together)
        images = transfer.run()
        counts = transfer.counts
    return CopyResult(images=images, blobs=counts, seconds=time.monotonic() - started)
