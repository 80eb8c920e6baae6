"""Whether a bundle is whole: every byte of it is read and compared with ``bundle.json``; what is hit is named with its images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import ClassVar

from registry_tool.base.codec import AnyText
from registry_tool.base.progress import SILENT, Observer
from registry_tool.bundle.contents import BundledFile
from registry_tool.bundle.reader import Bundle

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleProblem:
    """A file that is not as it was written, and the images that need it."""

    JSON_MEMBERS: ClassVar = "path problem images"
    path: str
    problem: str
    images: tuple[str, ...] = ()

    def __str__(self) -> str:
        hit = f" (hits {', '.join(self.images)})" if self.images else ""
        return f"{self.path}: {self.problem}{hit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleVerified:
    """The result. ``needs`` is the sha256 of the bundle before a delta, where that was not given: what it has was not looked at."""

    JSON_MEMBERS: ClassVar = "ok path sha256 format tool_version platform images intact files size signer? needs? problems"
    path: str
    sha256: str
    format: int
    tool_version: str
    platform: AnyText
    images: tuple[str, ...]
    files: int
    size: int
    problems: tuple[BundleProblem, ...] = field(repr=False)
    needs: str | None = None
    signer: str | None = None
    """The key that signed it; only ``--key`` says that it is the one that it should be."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def intact(self) -> tuple[str, ...]:
        """The images that nothing hits."""
        hit = hit_images(self.problems)
        return tuple(name for name in self.images if name not in hit)


def verify_bundle(bundle: Bundle, *, observer: Observer = SILENT) -> BundleVerified:
    """Read all of a bundle, and of its base what it needs. Raises OSError where its disk is gone."""
    contents = bundle.contents
    here = [file for file in contents.files if not file.in_base or bundle.base is not None]
    total = sum(file.size for file in here)
    observer.start("verify", "Verifying", total)
    damaged: dict[str, str] = {}
    done = 0
    for file in here:
        problem = _problem(bundle, file)
        if problem is not None:
            damaged[file.path] = problem
        done += file.size
        observer.advance("verify", done, total)
    others = (*_frame_problems(bundle), *bundle.added_files())
    if damaged or others:
        if bundle.recover():
            again = ((file.path, _problem(bundle, file)) for file in here if file.path in damaged)
            damaged = {path: problem for path, problem in again if problem is not None}
        others = (*_frame_problems(bundle), *bundle.added_files())
    named = [*damaged.items(), *(each for each in (*others, *bundle.volume_problems()) if each[0] not in damaged)]
    problems = [BundleProblem(path=path, problem=problem, images=contents.images_with(path)) for path, problem in named]
    observer.finish("verify", "Verified")
    return BundleVerified(
        path=str(bundle.path),
        sha256=contents.sha256,
        format=contents.format,
        tool_version=contents.tool_version,
        platform=contents.platform,
        images=tuple(image.name for image in contents.images),
        files=len(here),
        size=total,
        problems=tuple(problems),
        signer=contents.signer,
        needs=contents.base.sha256 if contents.base is not None and bundle.base is None else None,
    )


def quick_problems(bundle: Bundle) -> tuple[BundleProblem, ...]:
    """What is seen without reading the blobs: what is missing or has another size, and damage of all other files."""
    contents = bundle.contents
    problems = []
    for file in contents.files:
        if file.in_base and bundle.base is None:
            continue
        problem = _size_problem(bundle, file) if file.path.startswith("blobs/") else _problem(bundle, file)
        if problem is not None:
            problems.append(BundleProblem(path=file.path, problem=problem, images=contents.images_with(file.path)))
    named = {problem.path for problem in problems}
    problems += [
        BundleProblem(path=path, problem=problem, images=contents.images_with(path))
        for path, problem in _frame_problems(bundle)
        if path not in named
    ]
    return tuple(problems)


def hit_images(problems: Iterable[BundleProblem]) -> frozenset[str]:
    """Names of the images that problems hit."""
    return frozenset(name for problem in problems for name in problem.images)


def _frame_problems(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(bundle.frame_problems())
    except OSError as error:
        name = PurePath(error.filename or bundle.path).name
        return ((name, f"cannot be read: {error.strerror or error}"),)


def _size_problem(bundle: Bundle, file: BundledFile) -> str | None:
    size = bundle.size(file)
    if size is None:
        return "missing in the bundle before this delta" if file.in_base else "missing"
    if size < 0:
        return "a link or a device, not a file"
    return f"it has {size:,} bytes, not {file.size:,}" if size != file.size else None


def _problem(bundle: Bundle, file: BundledFile) -> str | None:
    problem = _size_problem(bundle, file)
    if problem is not None:
        return problem
    holder, listed = bundle.holder(file)
    try:
        stream = holder.open_stored(listed) if holder is not None else None
        if stream is None:
            return "missing"
        digest = hashlib.sha256()
        with stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None if digest.hexdigest() == file.sha256 else f"damaged: its sha256 is {digest.hexdigest()}"
