"""Applying a bundle: its images to a registry, and on this machine first what the registry itself needs."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from registry_tool.base import files, units
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Conflict, InvalidArchive, InvalidBundle, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.bundle.contents import BundledImage, blob_path
from registry_tool.bundle.reader import Bundle
from registry_tool.bundle.verify import BundleProblem, hit_images, quick_problems
from registry_tool.bundle.wheels import copy_wheels
from registry_tool.content.archives.importing import check_complete, destinations, engine_jobs, import_images, import_jobs
from registry_tool.content.copy import NULL_LISTENER, BlobCounts, CopyJob, CopyListener, CopyPlan, copy_all
from registry_tool.content.engine_images import EngineLoader
from registry_tool.engine import Engine
from registry_tool.local.bring_up import RegistryUp, registry_up
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference
from registry_tool.targets.layout import LayoutImage
from registry_tool.targets.target import Target

OnConflict = Literal["fail", "skip", "replace"]
AppliedStatus = Literal["copied", "unchanged", "replaced", "skipped", "planned", "failed"]
SAMPLE = "app"
"""The folder with the sample app."""

_Copied = tuple[dict[str, tuple[AppliedStatus, RegistryToolError | None]], BlobCounts]
"""What became of each destination, and the blobs."""
_DIGEST = re.compile(r"sha(?:256|512):[0-9a-f]{64,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedImage:
    """What became of an image. ``before`` is the digest that its tag stood for, where that is another one."""

    JSON_MEMBERS: ClassVar = "name destination status digest before? error?"
    name: str
    destination: str
    status: AppliedStatus
    digest: Digest
    before: Digest | None = None
    error: RegistryToolError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleApplied:
    """The result. ``loaded`` are images that the engine was given; ``problems`` damage that was found before anything was read whole."""

    JSON_MEMBERS: ClassVar = "registry images loaded blobs problems rebuilt seconds"
    registry: str
    images: tuple[AppliedImage, ...]
    blobs: BlobCounts
    seconds: float
    loaded: tuple[str, ...] = ()
    problems: tuple[BundleProblem, ...] = field(default=(), repr=False)
    rebuilt: tuple[str, ...] = ()
    """Volumes that were lost or damaged, and made of the others and parity as they were read."""

    @property
    def failures(self) -> tuple[RegistryToolError, ...]:
        """The errors of images that are not there."""
        return tuple(image.error for image in self.images if image.error is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How a bundle is applied. ``maps`` are prefixes of names and what stands for them; of several that fit the longest counts.

    ``keep_going``: images that are whole and in no conflict are applied although others are not.
    """

    maps: Mapping[str, str] = field(default_factory=dict)
    on_conflict: OnConflict = "fail"
    keep_going: bool = False
    dry_run: bool = False


def parse_map(text: str) -> tuple[str, str]:
    """``OLD=NEW``, two prefixes of names. Raises UsageError."""
    old, equals, new = text.partition("=")
    old, new = old.strip("/"), new.strip("/")
    if not equals or not old:
        raise UsageError(f"{text[:80]!r} is not OLD=NEW", hint="It looks like --map john=class/john.")
    return old, new


def apply_bundle(
    bundle: Bundle,
    host: str,
    open_repository: Callable[[Reference], Target],
    *,
    options: ApplyOptions = ApplyOptions(),
    free_space: Callable[[], int | None] = lambda: None,
    listener: CopyListener = NULL_LISTENER,
) -> BundleApplied:
    """Copy the images to the registry at ``host``; what it has is not sent, so that a second run goes on or changes nothing.

    ``free_space`` are bytes on the registry's disk, where that is known.

    Raises:
        InvalidBundle: something is damaged or missing; no tag was written, unless it is to keep going.
        Conflict: a tag stands for something else; nothing was written.
        RegistryToolError: there is not enough space; nothing was written.
    """
    started = time.monotonic()
    problems = quick_problems(bundle)
    if problems and bundle.recover():
        problems = quick_problems(bundle)
    if problems and not options.keep_going:
        raise _damaged(bundle, problems)
    hit = hit_images(problems)
    named = _destinations(bundle, host, options.maps)
    before = _before(named, open_repository)
    rows = {
        image.name: AppliedImage(name=image.name or "", destination=str(reference), status="planned", digest=image.descriptor.digest)
        for image, reference in named
    }
    for name in hit:
        rows[name] = replace(rows[name], status="failed", error=_hit(bundle, problems, name))
    conflicts = {name: digest for name, digest in before.items() if digest not in (None, rows[name].digest)}
    for name, digest in conflicts.items():
        rows[name] = replace(rows[name], before=digest)
        if options.on_conflict == "skip" and name not in hit:
            rows[name] = replace(rows[name], status="skipped")
        elif options.on_conflict == "fail" and name not in hit:
            rows[name] = replace(rows[name], status="failed", error=_conflict(rows[name]))
    if not options.keep_going and (refused := [row for row in rows.values() if row.error is not None]):
        raise _conflicts(refused)
    wanted = [(image, reference) for image, reference in named if rows[image.name].status == "planned"]
    counts = BlobCounts()
    if wanted:

        def copy() -> _Copied:
            return _copy(bundle, import_jobs(bundle.images, wanted, open_repository), options, free_space, listener)

        copied, counts = _copy_recovering(bundle, copy)
        for image, reference in wanted:
            row = rows[image.name]
            status, error = copied[str(reference)]
            is_replaced = status == "copied" and row.before is not None
            rows[image.name] = replace(row, status="replaced" if is_replaced else status, error=error)
    return BundleApplied(
        registry=host,
        images=tuple(rows.values()),
        blobs=counts,
        seconds=time.monotonic() - started,
        problems=problems,
        rebuilt=bundle.rebuilt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePrepared:
    """The registry that is ready on this machine, and the images that its engine was given."""

    registry: RegistryUp
    loaded: tuple[str, ...]


def prepare_machine(
    bundle: Bundle,
    engine: Engine,
    dirs: AppDirs,
    *,
    name: str = "default",
    port: int | None = None,
    observer: Observer = SILENT,
    listener: CopyListener = NULL_LISTENER,
) -> MachinePrepared:
    """Give the engine the images that this tool needs, and the cache the sample app's wheels; start the registry ``name``.

    Raises Conflict where the bundle is for another platform, InvalidBundle where those images are damaged, and what ``up`` raises.
    """
    check_platform_of(bundle, engine)
    missing = [image for image in bundle.contents.images if image.role and engine.image(_familiar(image.name)) is None]
    missing = [image for image in missing if bundle.size(bundle.file(blob_path(image.digest))) is not None]
    try:
        loaded = _load(bundle, engine, missing, listener) if missing else ()
    except InvalidBundle:
        if not bundle.recover():
            raise
        loaded = _load(bundle, engine, missing, listener)
    unpack_sample_wheels(bundle, dirs.cache)
    return MachinePrepared(registry=registry_up(engine, dirs, name=name, port=port, observer=observer), loaded=loaded)


def check_platform_of(bundle: Bundle, engine: Engine) -> None:
    """Raise Conflict where the bundle's registry runs on another platform than ``engine`` has."""
    platform = str(engine.info.platform)
    if bundle.contents.platform and bundle.contents.platform != platform:
        message = f"the bundle is for {bundle.contents.platform}, and this engine is {platform}"
        raise Conflict(message, hint="Its images go to any registry: regctl bundle apply --to HOST:PORT")


def free_space_of(engine: Engine) -> int | None:
    """Bytes that are free where ``engine`` stores what it has; None where that is not on this machine."""
    folder = engine.data_folder
    with suppress(OSError):
        if folder and engine.endpoint.is_local and Path(folder).is_dir():
            return shutil.disk_usage(folder).free
    return None


def unpack_sample_wheels(bundle: Bundle, cache: Path) -> None:
    """Put the sample app's wheels to where a build looks for them; a bundle without them has none. Raises InvalidBundle."""
    key = bundle.contents.sample_wheels
    prefix = f"{SAMPLE}/wheels/"
    wheels = [file for file in bundle.contents.files if file.path.startswith(prefix)]
    # A folder of wheels is taken for all of them: none is made where some are in a base that is not here.
    if not key or not wheels or any(bundle.size(file) is None for file in wheels):
        return
    with files.temporary_folder() as folder:
        source = folder / "wheels"
        source.mkdir()
        for file in wheels:
            (source / file.path.removeprefix(prefix)).write_bytes(_read_recovering(bundle, file.path))
        copy_wheels(source, cache / "wheels" / key)


# --- inside ---


def _read_recovering(bundle: Bundle, path: str) -> bytes:
    """A small file, verified, of a volume that is made of the others where it is damaged. Raises InvalidBundle."""
    try:
        try:
            return bundle.read(path)
        except (Mismatch, InvalidBundle):
            if not bundle.recover():
                raise
            return bundle.read(path)
    except Mismatch as error:
        raise InvalidBundle(f"{bundle.path}: {path} is damaged", hint="Copy the bundle again.") from error


def _destinations(bundle: Bundle, host: str, maps: Mapping[str, str]) -> list[tuple[LayoutImage, Reference]]:
    # One by one: names that are equal without their hosts may differ after `maps`.
    own = (pair for image in bundle.images.images for pair in destinations([image], host=host, name=None))
    named = [(image, _mapped(image, reference, maps)) for image, reference in own]
    if not named:
        raise NotFound("there is no image in it")
    taken: dict[Reference, LayoutImage] = {}
    for image, reference in named:
        other = taken.setdefault(reference, image)
        if other.descriptor.digest != image.descriptor.digest:
            raise Conflict(
                f"two images would be {reference}: {other.name} and {image.name}", hint="Give one of them another name: --map OLD=NEW"
            )
    return named


def _mapped(image: LayoutImage, reference: Reference, maps: Mapping[str, str]) -> Reference:
    """The name after ``maps``, whose prefixes are of the name with its host, or without."""
    whole = Reference.parse(image.name or "", default_host=DOCKER_HUB).repository
    for old in sorted(maps, key=len, reverse=True):
        for name in (reference.path, whole):
            if name == old or name.startswith(f"{old}/"):
                path = f"{maps[old]}{name.removeprefix(old)}".lstrip("/")
                return Reference.parse(f"{reference.host}/{path}:{reference.tag or DEFAULT_TAG}", default_host=reference.host)
    return reference


def _before(named: Sequence[tuple[LayoutImage, Reference]], open_repository: Callable[[Reference], Target]) -> dict[str, Digest | None]:
    """What each tag stands for now."""
    before: dict[str, Digest | None] = {}
    for image, reference in named:
        before[image.name or ""] = None
        with suppress(NotFound):
            target = open_repository(reference)
            with target.limiter:
                before[image.name or ""] = target.resolve(reference.tag or DEFAULT_TAG).digest
    return before


def _copy_recovering(bundle: Bundle, copy: Callable[[], _Copied]) -> _Copied:
    """Copy, and once more where a volume turned out to be damaged that can be made of the others."""
    try:
        copied, counts = copy()
    except InvalidBundle:
        if not bundle.recover():
            raise
        return copy()
    if any(isinstance(error, (Mismatch, InvalidArchive)) for _, error in copied.values()) and bundle.recover():
        again, counts = copy()
        # What is there since the first time is unchanged the second.
        copied = {destination: row if row[1] is None else again[destination] for destination, row in copied.items()}
    return copied, counts


def _copy(
    bundle: Bundle, jobs: Sequence[CopyJob], options: ApplyOptions, free_space: Callable[[], int | None], listener: CopyListener
) -> _Copied:
    """Copy, and return what became of each destination. Where it is not to keep going, no tag is written unless all images are whole."""
    source = bundle.images

    def check(plan: CopyPlan) -> None:
        needed, free = plan.counts.bytes_sent, free_space()
        if free is not None and needed > free:
            message = f"{units.size(needed)} are needed, and {units.size(free)} are free on the registry's disk: nothing was written"
            raise RegistryToolError(message, hint="Free some space: regctl gc --apply")
        if not options.keep_going:
            check_complete(plan, source)

    try:
        result = copy_all(jobs, dry_run=options.dry_run, listener=listener, check=check, together=not options.keep_going)
    except (Mismatch, InvalidArchive) as error:
        hint = f"Apply the others with --keep-going, or copy {bundle.path.name} again."
        if isinstance(error, InvalidArchive) and bundle.contents.base is not None:
            hint = "It is a delta: apply the bundle before it first, or name it with --base."
        raise InvalidBundle(error.message, hint=hint, excerpt=error.excerpt or tuple(_hit_by(bundle, error.message))) from error
    copied: dict[str, tuple[AppliedStatus, RegistryToolError | None]] = {
        destination: (row.status, row.error) for row in result.images for destination in row.destinations
    }
    return copied, result.blobs


def _hit_by(bundle: Bundle, message: str) -> Iterator[str]:
    for digest in dict.fromkeys(_DIGEST.findall(message)):
        for name in bundle.contents.images_with(blob_path(digest)):
            yield f"hits {name}"


def _damaged(bundle: Bundle, problems: Sequence[BundleProblem]) -> InvalidBundle:
    lines = tuple(map(str, problems))
    excerpt = (*lines[:20], *([f"and {len(lines) - 20} more"] if len(lines) > 20 else []))
    return InvalidBundle(
        f"{bundle.path} is not whole: nothing was applied",
        hint="Copy it again; --keep-going applies the images that are whole.",
        excerpt=excerpt,
    )


def _hit(bundle: Bundle, problems: Sequence[BundleProblem], name: str) -> InvalidBundle:
    first = next(problem for problem in problems if name in problem.images)
    return InvalidBundle(f"{name} is not whole in {bundle.path}: {first.path}: {first.problem}", hint="Copy the bundle again.")


def _conflict(row: AppliedImage) -> Conflict:
    return Conflict(f"{row.destination} stands for {row.before}, not for {row.digest}", hint="Choose: --on-conflict skip or replace")


def _conflicts(refused: Sequence[AppliedImage]) -> RegistryToolError:
    errors = [row.error for row in refused if row.error is not None]
    if len(errors) == 1:
        return errors[0]
    message = f"{len(errors)} tags stand for other images in the registry: nothing was applied"
    return Conflict(message, hint="Choose: --on-conflict skip or replace", excerpt=tuple(error.message for error in errors[:20]))


def _familiar(name: str) -> str:
    return Reference.parse(name, default_host=DOCKER_HUB).familiar


def _load(bundle: Bundle, engine: Engine, missing: Sequence[BundledImage], listener: CopyListener) -> tuple[str, ...]:
    source = bundle.images
    named = [(LayoutImage(name=image.name, descriptor=image.descriptor), _familiar(image.name)) for image in missing]
    free = free_space_of(engine)
    needed = sum(bundle.file(blob_path(digest)).size for digest in {digest for image in missing for digest in image.blobs})
    # It is stored unpacked, and an engine keeps what it is sent until then.
    if free is not None and 3 * needed > free:
        raise RegistryToolError(f"the engine needs {units.size(3 * needed)}, and {units.size(free)} are free on its disk")
    with EngineLoader(engine) as loader:
        try:
            import_images(engine_jobs(source, named, loader), source, listener=listener)
        except (Mismatch, InvalidArchive) as error:
            raise InvalidBundle(
                f"what the registry needs is damaged: {error.message}",
                hint="Copy the bundle again; --to HOST:PORT fills a registry that runs.",
                excerpt=error.excerpt or tuple(_hit_by(bundle, error.message)),
            ) from error
        loader.commit()
        return loader.loaded
