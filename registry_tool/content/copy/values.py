"""What is copied, what became of it, and who hears of it: frozen values and the listener."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.copy.location import join_name
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.target import Target

Action = Literal["sent", "mounted", "skipped"]
"""What became of a blob at the destination; ``skipped``: it was there."""
Status = Literal["copied", "unchanged", "planned", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """What of an image is copied.

    ``platforms``: of an index the image of this platform alone, or an index of several; none: all of it. ``referrers``: signatures
    and other referrers, too, by the registry's list, the tag scheme and cosign's tags. ``allow_foreign``: non-distributable
    layers are fetched from the source, if it has them. ``skip_unchanged``: where a tag stands for the same digest at the
    destination, none of its content is looked at.
    """

    platforms: tuple[Platform, ...] = ()
    referrers: bool = False
    allow_foreign: bool = False
    skip_unchanged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CopyJob:
    """Images to copy from one repository to another: ``references`` is tag or digest at the source -> tags at the destination."""

    source: Target
    destination: Target
    references: Mapping[str, tuple[str, ...]]
    options: CopyOptions = CopyOptions()
    source_name: str = ""
    destination_name: str = ""
    """Names of the two for people; a registry's repository knows its own."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of source and destination."""
        own = (getattr(target, "name", "") for target in (self.source, self.destination))
        source, destination = (given or str(name) for given, name in zip((self.source_name, self.destination_name), own, strict=True))
        return source, destination


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image to copy. ``manifests`` has children before parents and ``root`` last; ``tagged`` is what is tagged at the very end.

    ``source`` is what the reference stood for. ``root`` is another manifest where an index is reduced to some platforms, whose
    other entries are ``left_out``. ``missing_tags`` do not stand for ``root`` yet.
    """

    job: CopyJob
    reference: str
    tags: tuple[str, ...]
    source: Descriptor | None = None
    root: Descriptor | None = None
    manifests: tuple[Manifest, ...] = ()
    tagged: tuple[tuple[str, Manifest], ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    foreign: tuple[Descriptor, ...] = ()
    left_out: tuple[str, ...] = ()
    missing_tags: tuple[str, ...] = ()
    stored_list: Digest | None = None
    """What a tag of its own stands for at the destination, where that is a list with more in it than ``root`` has."""
    error: RegistryToolError | None = None

    @property
    def is_tagged(self) -> bool:
        """Whether all of its tags, of which there are some, stand for it already."""
        return bool(self.tags) and not self.missing_tags

    def result(self, status: Status, *, stored_digest: Digest | None = None, error: RegistryToolError | None = None) -> CopiedImage:
        """What became of it."""
        source, destination = self.job.names
        stored = [*self.tags] or ([str(self.root.digest)] if self.root is not None else [])
        return CopiedImage(
            source=join_name(source, self.reference),
            destinations=tuple(join_name(destination, image) for image in stored),
            reference=self.reference,
            tags=self.tags,
            status=status,
            digest=self.source.digest if self.source is not None else None,
            stored_digest=stored_digest,
            left_out=self.left_out,
            foreign=tuple(layer.digest for layer in self.foreign),
            error=error,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCounts:
    """How many blobs were sent, mounted and skipped, and the bytes that were sent; each blob once for each repository."""

    sent: int = 0
    mounted: int = 0
    skipped: int = 0
    bytes_sent: int = 0
    bytes_total: int = 0
    """Bytes of all blobs, each once for each repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedImage:
    """What became of one image. ``digest`` is what its reference stood for, ``stored_digest`` what its tags stand for now.

    ``left_out`` are platforms of an index that were not copied, ``foreign`` layers that were not fetched.
    """

    JSON_MEMBERS: ClassVar = "source destinations status digest stored_digest left_out foreign error?"
    source: str
    """Full name of what was copied."""
    destinations: tuple[str, ...]
    """Full names at the destination, by tag; by digest where it has none."""
    reference: str
    tags: tuple[str, ...]
    status: Status
    digest: Digest | None = None
    stored_digest: Digest | None = None
    left_out: tuple[str, ...] = ()
    foreign: tuple[Digest, ...] = ()
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What became of each image, in the order of jobs and references, and of the blobs; ``seconds`` that it took."""

    images: tuple[CopiedImage, ...]
    blobs: BlobCounts
    seconds: float

    @property
    def failures(self) -> tuple[RegistryToolError, ...]:
        """The errors of images that were not copied."""
        return tuple(image.error for image in self.images if image.error is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobTask:
    """A blob, and where it is missing: (source, destination) of the first image that needs it, for each destination."""

    descriptor: Descriptor
    places: tuple[tuple[Target, Target], ...]
    present: tuple[Target, ...] = ()
    """Destinations that have it."""
    holders: tuple[Target, ...] = ()
    """Others that have it, by an earlier copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """The images and the blobs of a copy. Nothing is written yet."""

    images: tuple[PlannedImage, ...]
    tasks: tuple[BlobTask, ...]
    counts: BlobCounts
    """What is to become of the blobs, as far as it is known: one that cannot be mounted will be sent."""


class CopyListener(Protocol):
    """Receives the events of a copy, from several threads."""

    def planned(self, plan: CopyPlan) -> None:
        """All manifests are read; the blobs follow."""

    def blob_started(self, descriptor: Descriptor) -> None:
        """A blob is being sent; again from its start where an attempt failed."""

    def blob_progress(self, descriptor: Descriptor, sent: int) -> None:
        """``sent`` bytes of a blob were handed over in all."""

    def blob_finished(self, descriptor: Descriptor, action: Action | None) -> None:
        """A blob is at one destination; None: it failed."""

    def image_finished(self, planned: PlannedImage, image: CopiedImage) -> None:
        """All of an image is there and its tags stand for it, or it failed."""


class NullCopyListener:
    """Ignores all events."""

    def planned(self, plan: CopyPlan) -> None: ...
    def blob_started(self, descriptor: Descriptor) -> None: ...
    def blob_progress(self, descriptor: Descriptor, sent: int) -> None: ...
    def blob_finished(self, descriptor: Descriptor, action: Action | None) -> None: ...
    def image_finished(self, planned: PlannedImage, image: CopiedImage) -> None: ...


BlobHolders = dict[Digest, tuple[Target, ...]]
"""Blob -> repositories that earlier copies found or put it in, to be mounted from."""

NULL_LISTENER: CopyListener = NullCopyListener()


def references_of(references: Iterable[str] | Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Source reference -> destination tags. In a mere sequence a tag keeps its name, and a digest has none."""
    if isinstance(references, Mapping):
        return {reference: tuple(tags) for reference, tags in references.items()}
    return {reference: () if ":" in reference else (reference,) for reference in references}
