"""Mirroring by rules: what is new is copied, an image that fails is a row."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.copy import NULL_LISTENER, BlobCounts, BlobHolders, CopiedImage, CopyListener, copy_all
from registry_tool.content.copy.jobs import make_jobs
from registry_tool.content.copy.places import Places
from registry_tool.content.sync.files import load, sources
from registry_tool.content.sync.rules import HostAccess, SyncRule, SyncRules

__all__ = ["HostAccess", "SyncRule", "SyncRules", "SyncedRepository", "load", "sync"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedRepository:
    """What became of one rule. ``error``: why none of its images could be copied."""

    JSON_MEMBERS: ClassVar = "source destination copied unchanged failed blobs images error?"
    source: str
    destination: str
    blobs: BlobCounts = field(default_factory=BlobCounts)
    images: tuple[CopiedImage, ...] = ()
    error: RegistryToolError | None = None

    @property
    def copied(self) -> int:
        """Images that were copied, or would be."""
        return sum(image.status in ("copied", "planned") for image in self.images)

    @property
    def unchanged(self) -> int:
        """Images that were there."""
        return sum(image.status == "unchanged" for image in self.images)

    @property
    def failed(self) -> int:
        """Images that were not copied, and one more where their list could not be read."""
        return sum(image.status == "failed" for image in self.images) + (self.error is not None)

    def joined(self, other: SyncedRepository) -> SyncedRepository:
        """The same repository with what became of another rule's images."""
        return replace(
            self,
            blobs=BlobCounts(
                **{each.name: getattr(self.blobs, each.name) + getattr(other.blobs, each.name) for each in fields(BlobCounts)}
            ),
            images=(*self.images, *other.images),
            error=self.error or other.error,
        )

    @property
    def failures(self) -> tuple[RegistryToolError, ...]:
        """All errors."""
        own = (self.error,) if self.error is not None else ()
        return (*own, *(image.error for image in self.images if image.error is not None))


def sync(
    rules: SyncRules, places: Places, *, dry_run: bool = False, listener: CopyListener = NULL_LISTENER
) -> tuple[SyncedRepository, ...]:
    """Copy what is new by each rule, one after the other; a row for each repository and its destination.

    Of what is there only digests are requested.
    """
    holders: BlobHolders = {}
    done: dict[tuple[str, str], SyncedRepository] = {}
    for rule in rules.rules:
        key = rule.name, rule.destination.store
        repository = _sync_repository(rule, places, dry_run=dry_run, listener=listener, holders=holders)
        done[key] = done[key].joined(repository) if key in done else repository
    return tuple(done.values())


def _sync_repository(rule: SyncRule, places: Places, *, dry_run: bool, listener: CopyListener, holders: BlobHolders) -> SyncedRepository:
    source, destination = rule.name, rule.destination.store
    try:
        jobs = make_jobs(places, sources(rule), rule.destination, tags=rule.tags, options=rule.options)
        result = copy_all(jobs, dry_run=dry_run, listener=listener, holders=holders)
    except RegistryToolError as error:
        return SyncedRepository(source=source, destination=destination, error=error)
    return SyncedRepository(source=source, destination=destination, blobs=result.blobs, images=result.images)
