"""Reading archives of images: an image layout in a tar, ``docker save`` of any version; compressed or not, in a file or a pipe.

Nothing is extracted: an archive is indexed once, and content is read where it lies in the file. One that is compressed, or
comes through a pipe, is unpacked to a temporary file without a name, which ends with this process.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from registry_tool.base.compression import HEAD, InvalidCompression, Unpacker, UnsupportedCompression, detect
from registry_tool.base.errors import InvalidArchive, NotFound, RegistryToolError, UsageError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE, Manifest
from registry_tool.targets.archive import docker_save
from registry_tool.targets.archive.checksums import CHECKSUMS, check_sums
from registry_tool.targets.archive.section import ReadAt, Section
from registry_tool.targets.archive.stream import read_members, shown
from registry_tool.targets.archive.volumes import VolumeReader, volumes_of
from registry_tool.targets.layout.index import LayoutIndex
from registry_tool.targets.layout.reader import LayoutReader
from registry_tool.targets.target import Readable

NEEDS = "io.registry-tool.archive.needs"
"""Annotation of the index: digests, with spaces between them, of content that an earlier archive has and this one lacks."""

MAX_UNPACKED = 4 << 30
"""Bytes, or :data:`MAX_RATIO` for each compressed one: an archive that unpacks to more is refused."""
MAX_RATIO = 200
_PIECE = 1 << 20
_BLOCK = 512
_NOT_READ = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
"""Beginnings of files of other compressions."""


class Archive(LayoutReader):
    """The images in an archive, to be read only. A context manager, which closes the file. Threads may share it."""

    def __init__(self, file: BinaryIO, name: str, index: LayoutIndex, contents: Mapping[Digest, Section | bytes]) -> None:
        super().__init__(name)
        self._file = file
        self._index = index
        self._contents = contents

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def index(self) -> LayoutIndex:
        return self._index

    @property
    def needs(self) -> frozenset[Digest]:
        """Content that it lacks on purpose: an earlier archive has it."""
        needs = set()
        for text in self._index.annotations.get(NEEDS, "").split():
            with suppress(ValueError):
                needs.add(Digest.parse(text))
        return frozenset(needs)

    @property
    def digests(self) -> frozenset[Digest]:
        """All content in it."""
        return frozenset(self._contents)

    def open_content(self, digest: Digest) -> BinaryIO | None:
        content = self._contents.get(digest)
        if content is None:
            return None
        # typeshed has no common type for what reads bytes.
        opened: Any = io.BytesIO(content) if isinstance(content, bytes) else content.open()
        return opened  # type: ignore[no-any-return]

    def stored_size(self, digest: Digest) -> int | None:
        content = self._contents.get(digest)
        return None if content is None else len(content)

    def push(self, descriptor: Descriptor, stream: Readable) -> NoReturn:
        """Raise UsageError: an archive is written as a whole, by an ``ArchiveWriter``."""
        raise UsageError(f"{self.name} cannot be changed: it is an archive", hint="Write another one.")

    def push_manifest(self, manifest: Manifest, tag: str | None) -> NoReturn:
        """Raise UsageError."""
        self.push(manifest.descriptor, io.BytesIO())

    def delete(self, descriptor: Descriptor) -> NoReturn:
        """Raise UsageError."""
        self.push(descriptor, io.BytesIO())


def open_archive(source: Path | BinaryIO) -> Archive:
    """Open the archive in a file, in volumes that begin with it (``NAME.001``), or that comes through a pipe.

    Raises:
        NotFound: there is no such file.
        InvalidArchive: it is cut or damaged, or none of the known formats, or has links, devices or paths that lead out of it.
        InvalidManifest: what names its images is damaged.
    """
    name = str(source) if isinstance(source, Path) else "the archive"
    try:
        file = _plain_file(source, name)
    except OSError as error:
        raise RegistryToolError(f"{name} cannot be read: {error.strerror or error}") from error
    try:
        return _index(file, name)
    except InvalidArchive as error:
        file.close()
        if isinstance(file, VolumeReader):
            raise InvalidArchive(error.message, hint="Are its volumes complete, in their order, and of one export?") from error
        raise
    except BaseException:
        file.close()
        raise


# --- the file ---


def _plain_file(source: Path | BinaryIO, name: str) -> BinaryIO:
    """The archive as a regular file, not compressed."""
    if isinstance(source, Path):
        if source.is_dir():
            raise UsageError(f"{source} is a folder, not an archive", hint=f"For an image layout: oci:{source}")
        try:
            volumes = volumes_of(source)
            # typeshed has no common type for what reads bytes.
            opened: Any = VolumeReader(volumes) if volumes else source.open("rb")
            stream: BinaryIO = opened
        except FileNotFoundError:
            raise NotFound(f"there is no file {source}") from None
    else:
        stream = source
    if _is_file(stream) and detect(_read_at(stream)(HEAD, 0)) == "plain":
        return stream
    try:
        return _unpacked(stream, name)
    finally:
        if stream is not source:
            stream.close()


def _read_at(file: BinaryIO) -> ReadAt:
    return file.read_at if isinstance(file, VolumeReader) else partial(os.pread, file.fileno())


def _is_file(stream: BinaryIO) -> bool:
    if isinstance(stream, VolumeReader):
        return True
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and stream.tell() == 0
    except (OSError, io.UnsupportedOperation):
        return False


def _unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    unpacker = Unpacker()
    with _storing():
        file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - it is what is returned
    compressed = size = 0
    try:
        while True:
            piece = stream.read(_PIECE)
            compressed += len(piece)
            for unpacked in unpacker.unpack(piece) if piece else unpacker.finish():
                size += len(unpacked)
                if unpacker.compression != "plain" and size > max(MAX_UNPACKED, MAX_RATIO * compressed):
                    raise InvalidArchive(f"{name} unpacks to more than {size:,} bytes, from {compressed:,}", hint="Unpack it by hand.")
                with _storing():
                    file.write(unpacked)
            if not piece:
                with _storing():
                    file.flush()
                file.seek(0)
                return file  # type: ignore[no-any-return]
    except BaseException as error:
        with suppress(OSError):  # what is still to be written
            file.close()
        if isinstance(error, (InvalidCompression, UnsupportedCompression)):
            raise InvalidArchive(f"{name} cannot be unpacked ({unpacker.compression}): {error}") from None
        raise


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the archive cannot be unpacked in {tempfile.gettempdir()}: {error.strerror or error}"
        raise RegistryToolError(message, hint="TMPDIR names another folder.") from error


# --- what is in it ---


def _index(file: BinaryIO, name: str) -> Archive:
    _check_beginning(_read_at(file)(_BLOCK, 0), name)
    sections = _sections(file)
    contents: dict[Digest, Section | bytes]
    if "index.json" in sections and "oci-layout" in sections:
        if CHECKSUMS in sections:
            check_sums(_read(sections[CHECKSUMS]), lambda path: _read(sections[path]) if path in sections else None)
        index = LayoutIndex.parse(_read(sections["index.json"]), f"{name}: index.json")
        contents = {digest: section for path, section in sections.items() if (digest := _digest(path)) is not None}
    elif "manifest.json" in sections:
        index, contents = docker_save.read_images(_read(sections["manifest.json"]), sections)
    else:
        raise InvalidArchive(
            f"{name} has no images: neither index.json nor manifest.json is in it", hint="It should be of docker save, or an image layout."
        )
    return Archive(file, name, index, contents)


def _check_beginning(head: bytes, name: str) -> None:
    """Raise InvalidArchive, which says what it is, where a file cannot be a tar at all."""
    for magic, compression in _NOT_READ.items():
        if head.startswith(magic):
            raise InvalidArchive(f"{name} is compressed with {compression}, which is not read", hint=f"Unpack it first: {compression} -d")
    if len(head) < _BLOCK:
        raise InvalidArchive(f"{name} is no archive of images: it has {len(head)} bytes")


def _sections(file: BinaryIO) -> dict[str, Section]:
    """The members by path; a link to a file is the file."""
    sections: dict[str, Section] = {}
    links: dict[str, str] = {}
    read_at = _read_at(file)
    for member, _ in read_members(file):
        if member.link is None:
            sections[member.path] = Section(read_at, member.offset, member.size)
        else:
            links[member.path] = member.link
    for path, link in links.items():
        if link not in sections or link in links:
            raise InvalidArchive(f"{shown(path)} in the archive is a link to {shown(link)}, which is no file in it")
    return sections | {path: sections[link] for path, link in links.items()}


def _read(section: Section) -> bytes:
    """A small document."""
    with section.open() as content:
        return content.read(MAX_SIZE + 1) or b""


def _digest(path: str) -> Digest | None:
    folder, _, encoded = path.rpartition("/")
    try:
        return Digest.parse(f"{folder.removeprefix('blobs/')}:{encoded}") if folder.startswith("blobs/") else None
    except ValueError:
        return None
