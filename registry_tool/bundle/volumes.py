"""Volumes of a bundle: a list with their checksums, ``NAME.volumes.json``, and parity, with which one of ten that is lost is made anew.

A parity volume is the exclusive or of up to ten volumes, each followed by zeros: any one of the eleven follows from the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from registry_tool.base import files
from registry_tool.base.codec import from_json, to_json
from registry_tool.base.errors import InvalidBundle, NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.reader import Document, Source

GROUP = 10
"""Volumes that one parity volume is for."""
FORMAT = 1
LIST = ".volumes.json"
_PIECE = 1 << 22
_NAME = re.compile(r"[^/\0]{1,200}\.(?:[0-9]{3}|p[0-9]{2,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVolume:
    """A volume, or a parity volume, which is for the ones that ``covers`` names."""

    JSON_MEMBERS: ClassVar = "name size sha256 covers"
    name: str
    size: int
    sha256: str
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeList:
    """The document: volumes in their order, and parity."""

    format: int
    volumes: tuple[ListedVolume, ...]
    parity: tuple[ListedVolume, ...]

    @property
    def groups(self) -> tuple[tuple[ListedVolume, ...], ...]:
        """Each parity volume with those that it is for."""
        by_name = {volume.name: volume for volume in self.volumes}
        return tuple((parity, *(by_name[name] for name in parity.covers)) for parity in self.parity)


def base_path(path: Path) -> Path:
    """``kit.tar`` for ``kit.tar.001``."""
    return path.with_suffix("") if re.fullmatch(r"\.[0-9]{3}", path.suffix) else path


def read_list(path: Path) -> VolumeList | None:
    """The list of the volumes of ``path``; None where there is none, or the file is not in volumes. Raises InvalidBundle."""
    base = base_path(path)
    file = base.with_name(f"{base.name}{LIST}")
    if base.exists() or not file.is_file():
        return None
    source = Source(error=InvalidBundle, hint="Copy the volumes again.", position=lambda member: f"{file}: ")
    document = Document.read(file.read_bytes()[: 1 << 20], what=str(file), max_size=1 << 20, source=source)
    if document.required_number("format") > FORMAT:
        raise InvalidBundle(f"{file} is of a newer version", hint="Use the regctl that is in the bundle.")
    listed = from_json(VolumeList, document)
    names = {volume.name for volume in listed.volumes}
    for volume in (*listed.volumes, *listed.parity):
        if not _NAME.fullmatch(volume.name) or not volume.name.startswith(f"{base.name}.") or not names.issuperset(volume.covers):
            raise InvalidBundle(f"{file}: {volume.name[:140]!a} is not a volume of {base.name}", hint="It is damaged, or made to do harm.")
    return listed


def write_list(paths: Sequence[Path], path: Path, scratch: Path, *, parity: bool) -> tuple[Path, ...]:
    """Write parity and the list of volumes, which are in ``paths`` and will be those of ``path``; returns the files. Raises OSError."""
    volumes = [_listed(volume, f"{path.name}.{number:03}") for number, volume in enumerate(paths, 1)]
    written: list[Path] = []
    listed: list[ListedVolume] = []
    for first in range(0, len(paths) if parity else 0, GROUP):
        temporary = scratch / "parity"
        _combine(paths[first : first + GROUP], temporary, max(volume.size for volume in volumes[first : first + GROUP]))
        final = path.with_name(f"{path.name}.p{first // GROUP + 1:02}")
        covers = tuple(volume.name for volume in volumes[first : first + GROUP])
        listed.append(_listed(temporary, final.name, covers=covers))
        temporary.replace(final)
        written.append(final)
    file = path.with_name(f"{path.name}{LIST}")
    document = VolumeList(format=FORMAT, volumes=tuple(volumes), parity=tuple(listed))
    files.atomic_write(file, json.dumps(to_json(document), indent=1).encode() + b"\n")
    return (*written, file)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesRepaired:
    """The volumes that were made anew, and how many were looked at."""

    repaired: tuple[str, ...]
    volumes: int


def repair_volumes(path: Path, *, observer: Observer = SILENT) -> VolumesRepaired:
    """Make the volumes of ``path`` anew that are lost or damaged, one of each ten with their parity.

    Raises InvalidBundle where more are lost, NotFound where there is no list or no parity, RegistryToolError where they cannot be written.
    """
    listed = read_list(path)
    base = base_path(path)
    if listed is None:
        raise NotFound(f"{base} has no list of volumes: {base.name}{LIST}", hint="It is written with: --volume-size SIZE --parity")
    try:
        return _repair(base, listed, observer)
    except OSError as error:
        message = f"a volume cannot be made anew: {error.strerror or error}"
        raise RegistryToolError(message, hint="Copy all volumes to a disk that can be written to.") from error


class VolumeSet:
    """Listed volumes as one file that is read by position; what is missing or cut is a hole, before which a read ends."""

    def __init__(self, folder: Path, listed: VolumeList) -> None:
        self._stack = ExitStack()
        self._parts: list[tuple[int, int, int, int]] = []
        """(begin, end, file descriptor, bytes that are there) of each."""
        self.problems: list[tuple[str, str]] = []
        """(name, what is wrong) of volumes."""
        self.size = 0
        for volume in listed.volumes:
            handle, present = -1, 0
            with suppress(FileNotFoundError):
                file = self._stack.enter_context((folder / volume.name).open("rb"))
                handle = file.fileno()
                present = min(os.fstat(handle).st_size, volume.size)
                if os.fstat(handle).st_size != volume.size:
                    self.problems.append((volume.name, f"it has {os.fstat(handle).st_size:,} bytes, not {volume.size:,}"))
            if handle < 0:
                self.problems.append((volume.name, "missing"))
            self._parts.append((self.size, self.size + volume.size, handle, present))
            self.size += volume.size

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def available(self, offset: int, size: int) -> int:
        """Bytes from ``offset`` up to the first hole, ``size`` at most."""
        end = offset
        for begin, after, _, present in self._parts:
            if begin <= end < after and end < offset + size:
                end = max(end, min(begin + present, offset + size))
                if begin + present < min(after, offset + size):
                    break
        return end - offset

    def read_at(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset``, less before a hole and at the end."""
        pieces = []
        size = self.available(offset, size)
        for begin, after, handle, _ in self._parts:
            if begin <= offset < after and size:
                piece = os.pread(handle, min(size, after - offset), offset - begin)
                pieces.append(piece)
                offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)


# --- inside ---


def _listed(path: Path, name: str, *, covers: tuple[str, ...] = ()) -> ListedVolume:
    return ListedVolume(name=name, size=path.stat().st_size, sha256=_sha256(path), covers=covers)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _combine(paths: Sequence[Path], to: Path, size: int) -> None:
    """Write the exclusive or of files, each followed by zeros, to ``size`` bytes of the new file ``to``: no link is followed."""
    to.unlink(missing_ok=True)
    with ExitStack() as stack:
        streams = [stack.enter_context(path.open("rb")) for path in paths]
        out = stack.enter_context(to.open("xb"))
        for offset in range(0, size, _PIECE):
            length = min(_PIECE, size - offset)
            value = 0
            for stream in streams:
                value ^= int.from_bytes(stream.read(length).ljust(length, b"\0"), "little")
            out.write(value.to_bytes(length, "little"))
        out.flush()
        os.fsync(out.fileno())


def _is_intact(path: Path, volume: ListedVolume) -> bool:
    return path.is_file() and path.stat().st_size == volume.size and _sha256(path) == volume.sha256


def _repair(base: Path, listed: VolumeList, observer: Observer) -> VolumesRepaired:
    every = (*listed.volumes, *listed.parity)
    lost = set()
    for number, volume in enumerate(every):
        observer.note(f"Reading {volume.name} ({number + 1} of {len(every)})")
        if not _is_intact(base.with_name(volume.name), volume):
            lost.add(volume.name)
    repaired = []
    for group in listed.groups:
        missing = [volume for volume in group if volume.name in lost]
        if len(missing) != 1:
            continue
        volume = missing[0]
        temporary = base.with_name(f".{volume.name}.part")
        try:
            _combine([base.with_name(each.name) for each in group if each is not volume], temporary, max(each.size for each in group))
            os.truncate(temporary, volume.size)
            if _sha256(temporary) != volume.sha256:
                raise InvalidBundle(f"{volume.name} cannot be made anew: the list of volumes is wrong", hint="Copy the volumes again.")
            temporary.replace(base.with_name(volume.name))
        finally:
            temporary.unlink(missing_ok=True)
        repaired.append(volume.name)
        lost.discard(volume.name)
    if lost:
        why = "there is no parity" if not listed.parity else "parity brings back one of ten"
        raise InvalidBundle(f"{', '.join(sorted(lost))}: lost or damaged, and {why}", hint="Copy these volumes again.")
    return VolumesRepaired(repaired=tuple(repaired), volumes=len(every))
