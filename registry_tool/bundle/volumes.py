"""Volumes of a bundle: a list with their checksums, ``NAME.volumes.json``, and parity, with which one of ten that is lost is made anew.

A parity volume is the exclusive or of up to ten volumes, each followed by zeros: any one of the eleven follows from the others.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
    checksum: str = ""
    """The sha256 of the document with an empty one."""

    @property
    def raw(self) -> bytes:
        """The bytes of the document; the same volumes give the same ones."""
        unsigned = json.dumps(to_json(replace(self, checksum="")), indent=1).encode() + b"\n"
        return json.dumps(to_json(replace(self, checksum=hashlib.sha256(unsigned).hexdigest())), indent=1).encode() + b"\n"

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
    try:
        raw = file.read_bytes()[: 1 << 20]
    except OSError as error:
        raise RegistryToolError(f"{file} cannot be read: {error.strerror or error}", hint="Is the stick still there?") from error
    document = Document.read(raw, what=str(file), max_size=1 << 20, source=source)
    if document.required_number("format") > FORMAT:
        raise InvalidBundle(f"{file} is of a newer version", hint="Use the regctl that is in the bundle.")
    listed = from_json(VolumeList, document)
    names = {volume.name for volume in listed.volumes}
    for volume in (*listed.volumes, *listed.parity):
        if not _NAME.fullmatch(volume.name) or not volume.name.startswith(f"{base.name}.") or not names.issuperset(volume.covers):
            raise InvalidBundle(f"{file}: {volume.name[:140]!a} is not a volume of {base.name}", hint="It is damaged, or made to do harm.")
    if listed.raw != raw:
        raise InvalidBundle(f"{file} is damaged: it does not have its checksum", hint="Copy it again: the volumes may be whole.")
    return listed


def others_at(path: Path) -> tuple[Path, ...]:
    """The list of the volumes of ``path``, and its parity volumes, as far as they are there."""
    names = re.compile(rf"{re.escape(path.name)}(?:\.p[0-9]{{2,3}}|{re.escape(LIST)})")
    return tuple(sorted(file for file in path.parent.iterdir() if names.fullmatch(file.name) and file.is_file()))


def write_list(volumes: Mapping[Path, Path], path: Path, scratch: Path, *, parity: bool) -> dict[Path, Path]:
    """Write to ``scratch`` the parity and the list of the volumes of ``path``, each where it will be -> where it is.

    Returns the same of what was written. Raises OSError.
    """
    listed = [_listed(written, final.name) for final, written in volumes.items()]
    paths = list(volumes.values())
    named: dict[Path, Path] = {}
    listed_parity: list[ListedVolume] = []
    for first in range(0, len(paths) if parity else 0, GROUP):
        final = path.with_name(f"{path.name}.p{first // GROUP + 1:02}")
        named[final] = scratch / final.name
        group = listed[first : first + GROUP]
        _combine(paths[first : first + GROUP], named[final], max(volume.size for volume in group))
        listed_parity.append(_listed(named[final], final.name, covers=tuple(volume.name for volume in group)))
    final = path.with_name(f"{path.name}{LIST}")
    named[final] = scratch / final.name
    document = VolumeList(format=FORMAT, volumes=tuple(listed), parity=tuple(listed_parity))
    files.atomic_write(named[final], document.raw)
    return named


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
    """Listed volumes as one file that is read by position.

    A volume that is lost is made of the others and parity as it is read, one of ten; of any other a read ends where it does.
    """

    def __init__(self, folder: Path, listed: VolumeList) -> None:
        self._stack = ExitStack()
        self._listed = listed
        self._groups = {volume.name: group for group in listed.groups for volume in group}
        self._files: dict[str, tuple[int, int]] = {}
        """Name -> (file descriptor, bytes that are there)."""
        self._lost: dict[str, str] = {}
        """Name -> what is wrong, of volumes and parity."""
        self._parts: list[tuple[int, int, ListedVolume]] = []
        """(begin, end, volume)."""
        self.size = 0
        for volume in listed.volumes:
            self._parts.append((self.size, self.size + volume.size, volume))
            self.size += volume.size
        for volume in (*listed.volumes, *listed.parity):
            try:
                file = self._stack.enter_context((folder / volume.name).open("rb"))
                size = os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                self._lost[volume.name] = "missing"
            except OSError as error:
                self._lost[volume.name] = f"cannot be read: {error.strerror or error}"
            else:
                self._files[volume.name] = file.fileno(), min(size, volume.size)
                if size != volume.size:
                    self._lost[volume.name] = f"it has {size:,} bytes, not {volume.size:,}"

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """(name, what is wrong) of volumes and parity, as far as it is known."""
        return tuple(self._lost.items())

    @property
    def parity(self) -> tuple[str, ...]:
        """Names of parity volumes."""
        return tuple(volume.name for volume in self._listed.parity)

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Volumes that are made of the others as they are read."""
        return tuple(volume.name for volume in self._listed.volumes if self._is_rebuilt(volume.name))

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there, or can be made."""
        return self.available(0, self.size) == self.size

    def check(self, *, parity_only: bool = False) -> bool:
        """Compare the volumes with their checksums; whether one is made of the others now that was not before.

        Without parity nothing is read.
        """
        if not self._listed.parity:
            return False
        before = self.rebuilt
        for volume in self._listed.parity if parity_only else (*self._listed.volumes, *self._listed.parity):
            if volume.name in self._lost:
                continue
            try:
                is_intact = self._sha256(volume) == volume.sha256
            except OSError as error:
                self._lost[volume.name] = f"cannot be read: {error.strerror or error}"
            else:
                if not is_intact:
                    self._lost[volume.name] = "damaged: it has another sha256"
        return not set(self.rebuilt) <= set(before)

    def available(self, offset: int, size: int) -> int:
        """Bytes from ``offset`` up to the first hole, ``size`` at most."""
        end = offset
        for begin, after, volume in self._parts:
            if begin <= end < after and end < offset + size:
                present = self._present(volume)
                end = max(end, min(begin + present, offset + size))
                if begin + present < min(after, offset + size):
                    break
        return end - offset

    def read_at(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset``, less before a hole and at the end. Raises OSError."""
        pieces = []
        size = self.available(offset, size)
        for begin, after, volume in self._parts:
            if begin <= offset < after and size:
                piece = self._read(volume, min(size, after - offset), offset - begin)
                pieces.append(piece)
                offset, size = offset + len(piece), size - len(piece)
                if not piece:
                    break
        return b"".join(pieces)

    def _is_rebuilt(self, name: str) -> bool:
        group = self._groups.get(name, ())
        return name in self._lost and bool(group) and all(other.name == name or other.name not in self._lost for other in group)

    def _present(self, volume: ListedVolume) -> int:
        return volume.size if self._is_rebuilt(volume.name) else self._files.get(volume.name, (-1, 0))[1]

    def _read(self, volume: ListedVolume, size: int, offset: int) -> bytes:
        if not self._is_rebuilt(volume.name):
            try:
                return self._pread(volume.name, size, offset)
            except OSError as error:
                self._lost.setdefault(volume.name, f"cannot be read: {error.strerror or error}")
                if not self._is_rebuilt(volume.name):
                    raise OSError(error.errno, error.strerror, volume.name) from error
        value = 0
        for other in self._groups[volume.name]:
            if other.name != volume.name:
                try:
                    piece = self._pread(other.name, max(0, min(size, other.size - offset)), offset)
                except OSError as error:
                    self._lost.setdefault(other.name, f"cannot be read: {error.strerror or error}")
                    raise OSError(error.errno, error.strerror, other.name) from error
                value ^= int.from_bytes(piece, "little")
        return value.to_bytes(size, "little")

    def _pread(self, name: str, size: int, offset: int) -> bytes:
        if name not in self._files:
            # It was made of the others a moment ago, until another thread found that one of these is lost, too.
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return os.pread(self._files[name][0], size, offset)

    def _sha256(self, volume: ListedVolume) -> str:
        digest = hashlib.sha256()
        for offset in range(0, volume.size, _PIECE):
            digest.update(os.pread(self._files[volume.name][0], min(_PIECE, volume.size - offset), offset))
        return digest.hexdigest()


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
