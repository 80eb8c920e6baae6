"""Reading a bundle where it lies: a folder, or one file, which is a tar whose members follow from ``bundle.json``.

Nothing is unpacked. Of a tar no header is trusted: ``bundle.json`` comes first and says what is where, so that a damaged or cut
file is read as far as it goes, and what is hit can be named.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from registry_tool.base.errors import InvalidBundle, NotFound, RegistryToolError
from registry_tool.bundle.contents import CHECKSUM, CONTENTS, MAX_SIZE, OUTSIDE, SIGNATURE, BundleContents, BundledFile, blob_path
from registry_tool.bundle.volumes import LIST, VolumeSet, base_path, read_list
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.archive import Archive
from registry_tool.targets.archive.section import Section
from registry_tool.targets.archive.volumes import VolumeReader, volumes_of
from registry_tool.targets.layout.index import LayoutIndex
from registry_tool.targets.target import verified

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
"""The end of a tar."""
SIGNATURE_TEXT = 89
"""Bytes of the file with the signature."""
_NOT_A_BUNDLE = "A bundle is made by: regctl bundle create -o DIR NAME"


class Bundle(ABC):
    """A bundle to be read; a context manager from :func:`open_bundle`. ``base`` is the bundle before a delta, if it is given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base: Bundle | None = None
        self._stack = ExitStack()
        raw = self._contents()
        self.contents = BundleContents.parse(raw)
        self._check_signature(raw)
        if self.contents.raw != raw:
            raise InvalidBundle(
                f"{path}: {CONTENTS} is not as it was written: nothing in the bundle can be verified", hint="Copy it again."
            )

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, those of the base, too."""
        self._stack.close()
        if self.base is not None:
            self.base.close()

    @abstractmethod
    def stored_size(self, file: BundledFile) -> int | None:
        """Bytes of what is there for a file, None where there is nothing."""

    @abstractmethod
    def open_stored(self, file: BundledFile) -> BinaryIO | None:
        """Open what is there for a file, which may be damaged; None where there is nothing. Raises OSError."""

    def frame_problems(self) -> Iterator[tuple[str, str]]:
        """Damage around the files, (path, what is wrong): headers, padding and the end of a tar."""
        return iter(())

    def added_files(self) -> Iterator[tuple[str, str]]:
        """Files that ``bundle.json`` does not list: (path, what is wrong). A stick may get some from the system it is put into."""
        return iter(())

    def volume_problems(self) -> tuple[tuple[str, str], ...]:
        """Read parity, and return (name, what is wrong) of volumes that are made of the others, and of what hits nothing that is read."""
        return ()

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Volumes that are lost or damaged, and made of the others and parity as they are read; those of the base, too."""
        return self.base.rebuilt if self.base is not None else ()

    def recover(self) -> bool:
        """Look for damaged volumes after something was not as it should be; whether more can be read now."""
        return self.base is not None and self.base.recover()

    @abstractmethod
    def _contents(self) -> bytes:
        """The bytes of ``bundle.json``, which have their checksum. Raises InvalidBundle, NotFound."""

    @abstractmethod
    def _signature(self) -> bytes | None:
        """The content of ``bundle.json.sig``, None where there is none."""

    def require_signer(self, public_key: bytes) -> None:
        """Raise InvalidBundle where the bundle, or its base, is not signed by this key."""
        if self.contents.signer_key is None:
            raise InvalidBundle(f"{self.path} is not signed", hint="Make it with --sign KEY, or leave --key out.")
        if self.contents.signer_key != public_key:
            raise InvalidBundle(f"{self.path} is signed by another key", hint=f"It is of {self.contents.signer}.")
        if self.base is not None:
            self.base.require_signer(public_key)

    def _check_signature(self, raw: bytes) -> None:
        """Raise InvalidBundle where it says that it is signed, and is not."""
        key, signature = self.contents.signer_key, self._signature()
        if key is None and signature is None:
            return
        if key is None or signature is None:
            missing = SIGNATURE if signature is None else f"the signer in {CONTENTS}"
            raise InvalidBundle(f"{self.path}: {missing} is missing: the signature proves nothing", hint="Copy the bundle again.")
        from registry_tool.base.crypto.signatures import is_signed  # noqa: PLC0415 - of signed bundles only

        try:
            decoded = base64.b64decode(signature.removesuffix(b"\n"), validate=True)
        except ValueError:
            decoded = b""
        if signature_text(decoded) != signature or not is_signed(key, decoded, raw):
            raise InvalidBundle(f"{self.path}: the signature is wrong: nothing in the bundle can be trusted", hint="Copy the bundle again.")

    def size(self, file: BundledFile) -> int | None:
        """Bytes of a file here, or in the base; None where it is nowhere."""
        holder, listed = self.holder(file)
        return holder.stored_size(listed) if holder is not None else None

    def open(self, file: BundledFile) -> io.RawIOBase:
        """Open a file, here or in the base, verified as it is read. Raises NotFound; Mismatch while it is read."""
        holder, listed = self.holder(file)
        if holder is None:
            raise NotFound(f"{file.path} is in the bundle before this delta", hint="Name it with --base.")
        try:
            opened = holder.open_stored(listed)
        except OSError as error:
            raise _unreadable(f"{self.path}/{file.path}", error) from error
        if opened is None:
            raise NotFound(f"{file.path} is missing in {self.path}", hint="Copy the bundle again.")
        digest = Digest("sha256", file.sha256)
        return verified(_BundleStream(opened, f"{self.path}/{file.path}"), Descriptor(media_type="", digest=digest, size=file.size))

    def holder(self, file: BundledFile) -> tuple[Bundle | None, BundledFile]:
        """The bundle that has a file, this one or its base, and what it lists there; None where it is in a base that is not given."""
        if not file.in_base:
            return self, file
        if self.base is None:
            return None, file
        for listed in self.base.contents.files:
            if listed.path == file.path and not listed.in_base:
                return self.base, listed
        return None, file

    def read(self, path: str) -> bytes:
        """A small file, verified. Raises NotFound, Mismatch."""
        with self.open(self.file(path)) as content:
            return io.BufferedReader(content).read()

    def file(self, path: str) -> BundledFile:
        """The file at ``path``. Raises NotFound where the bundle has none."""
        for file in self.contents.files:
            if file.path == path:
                return file
        raise NotFound(f"there is no {path} in {self.path}")

    @property
    def images(self) -> BundleImages:
        """The images, as a place to copy from."""
        return BundleImages(self)


class BundleImages(Archive):
    """The images of a bundle; the index is made of ``bundle.json``, which has its own checksum."""

    def __init__(self, bundle: Bundle) -> None:
        index = LayoutIndex()
        for image in bundle.contents.images:
            index = index.add(image.descriptor, image.name)
        super().__init__(io.BytesIO(), str(bundle.path), index, {})
        self._bundle = bundle
        self._files = {file.path: file for file in bundle.contents.files}

    @property
    def digests(self) -> frozenset[Digest]:
        return frozenset(Digest.parse(digest) for image in self._bundle.contents.images for digest in image.blobs)

    def open_content(self, digest: Digest) -> BinaryIO | None:
        file = self._files.get(blob_path(digest))
        if file is None:
            return None
        holder, listed = self._bundle.holder(file)
        name = f"{self.name}/{file.path}"
        try:
            opened = holder.open_stored(listed) if holder is not None else None
        except OSError as error:
            raise _unreadable(name, error) from error
        # typeshed has no common type for what reads bytes.
        reading: Any = _BundleStream(opened, name) if opened is not None else None
        return reading  # type: ignore[no-any-return]

    def stored_size(self, digest: Digest) -> int | None:
        file = self._files.get(blob_path(digest))
        return self._bundle.size(file) if file is not None else None


class _BundleStream(io.RawIOBase):
    """A file of a bundle whose disk may go while it is read, which is a failure of this program then."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._stream.read(len(buffer))
        except OSError as error:
            raise _unreadable(self._name, error) from error
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _unreadable(name: str, error: OSError) -> RegistryToolError:
    return RegistryToolError(f"{name} cannot be read: {error.strerror or error}", hint="Is the stick still there?")


def open_bundle(path: Path, *, base: Path | None = None) -> Bundle:
    """Open a folder, a file, or volumes by the first one's name; ``base`` is the bundle that a delta needs.

    Raises NotFound, and InvalidBundle where it is none, of a newer version, or not the delta of ``base``.
    """
    try:
        bundle: Bundle = BundleFolder(path) if path.is_dir() else BundleTar(path)
    except FileNotFoundError:
        raise NotFound(f"there is no bundle {path}") from None
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be read: {error.strerror or error}") from error
    if base is None:
        return bundle
    try:
        bundle.base = open_bundle(base)
        needed = bundle.contents.base
        if needed is None or needed.sha256 != bundle.base.contents.sha256:
            raise InvalidBundle(f"{path} is not a delta of {base}", hint="Name the bundle that it was made --since.")
    except BaseException:
        bundle.close()
        raise
    return bundle


class BundleFolder(Bundle):
    """A bundle in a folder. Links are no files of it."""

    def __init__(self, path: Path) -> None:
        self._present = dict(_files_in(path))
        super().__init__(path)

    def stored_size(self, file: BundledFile) -> int | None:
        return self._present.get(file.path)

    def open_stored(self, file: BundledFile) -> BinaryIO | None:
        if file.path not in self._present:
            return None
        try:
            handle = os.open(self.path / file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            return None
        return os.fdopen(handle, "rb", buffering=0)

    def added_files(self) -> Iterator[tuple[str, str]]:
        listed = {file.path for file in self.contents.files if not file.in_base} | set(OUTSIDE)
        for path in sorted(self._present.keys() - listed):
            yield path, f"it is not in {CONTENTS}"

    def _contents(self) -> bytes:
        try:
            raw = _read_document(self.path / CONTENTS)
        except FileNotFoundError:
            raise InvalidBundle(f"{self.path} is no bundle: it has no {CONTENTS}", hint=_NOT_A_BUNDLE) from None
        try:
            checksum = _read_document(self.path / CHECKSUM)
        except FileNotFoundError:
            raise InvalidBundle(f"{self.path}: {CHECKSUM} is missing", hint="Copy the bundle again.") from None
        _check_sum(raw, checksum, self.path)
        return raw

    def _signature(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return _read_document(self.path / SIGNATURE)
        return None


class BundleTar(Bundle):
    """A bundle in one file, or in volumes."""

    def __init__(self, path: Path) -> None:
        listed = read_list(path)
        self._volumes = VolumeSet(path.parent, listed) if listed is not None else None
        volumes = volumes_of(path) if self._volumes is None else []
        self._is_split = bool(volumes)
        opened: Any = self._volumes or (VolumeReader(volumes) if volumes else path.open("rb"))

        def read_at(size: int, offset: int) -> bytes:
            try:
                return os.pread(opened.fileno(), size, offset)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error

        self._read_at = opened.read_at if volumes or self._volumes else read_at
        if self._volumes is not None:
            self._end = self._volumes.size
        else:
            self._end = sum(volume.stat().st_size for volume in volumes) if volumes else os.fstat(opened.fileno()).st_size
        self._offsets: dict[str, int] = {}
        try:
            try:
                super().__init__(path)
            except InvalidBundle:
                if self._volumes is None or not self._volumes.check():
                    raise
                super().__init__(path)
        except BaseException:
            opened.close()
            raise
        self._stack.callback(opened.close)
        offset = self._first + (BLOCK + padded(SIGNATURE_TEXT) if self.contents.signer is not None else 0)
        for file in tar_order(self.contents):
            self._offsets[file.path] = offset + len(tar_header(file.path, file.size))
            offset = self._offsets[file.path] + padded(file.size)
        self._length = offset + len(END)

    def stored_size(self, file: BundledFile) -> int | None:
        offset = self._offsets.get(file.path)
        if offset is None or self._volumes is None:
            return None if offset is None else max(0, min(file.size, self._end - offset))
        return self._volumes.available(offset, file.size)

    def open_stored(self, file: BundledFile) -> BinaryIO | None:
        size = self.stored_size(file)
        # typeshed has no common type for what reads bytes.
        opened: Any = Section(self._read_at, self._offsets[file.path], size).open() if size is not None else None
        return opened  # type: ignore[no-any-return]

    def frame_problems(self) -> Iterator[tuple[str, str]]:
        if self._volumes is not None:
            yield from (problem for problem in self._volumes.problems if problem[0] not in (*self._volumes.rebuilt, *self._volumes.parity))
            if not self._volumes.is_whole:
                # What is around the hole is hit by it, and nothing can be said of what is in it.
                return
        for file in tar_order(self.contents):
            offset = self._offsets[file.path]
            padding = self._read_at(padded(file.size) - file.size, offset + file.size)
            header = tar_header(file.path, file.size)
            if self._read_at(len(header), offset - len(header)) != header or padding.strip(b"\0"):
                yield file.path, "its entry in the tar is damaged"
            elif len(padding) < padded(file.size) - file.size:
                yield file.path, "the tar is cut behind it"
        if self._end < self._length or self._read_at(len(END), self._length - len(END)) != END:
            yield self.path.name, f"its end is cut or damaged: it has {self._end:,} bytes of {self._length:,}"
        elif self._end > self._length:
            yield self.path.name, f"{self._end - self._length:,} bytes follow its end"

    def volume_problems(self) -> tuple[tuple[str, str], ...]:
        if self._volumes is None:
            # Volumes are written with a list of them.
            return ((f"{base_path(self.path).name}{LIST}", "missing"),) if self._is_split else ()
        self._volumes.check(parity_only=True)
        rebuilt = self._volumes.rebuilt
        return tuple(
            (name, f"{problem}; it is made of the others and parity as it is read" if name in rebuilt else problem)
            for name, problem in self._volumes.problems
            if name in (*rebuilt, *self._volumes.parity)
        )

    @property
    def rebuilt(self) -> tuple[str, ...]:
        return (*(self._volumes.rebuilt if self._volumes is not None else ()), *super().rebuilt)

    def recover(self) -> bool:
        is_more = self._volumes is not None and self._volumes.check()
        return super().recover() or is_more

    def _contents(self) -> bytes:
        header = self._read_at(BLOCK, 0)
        size = _member_size(header, CONTENTS)
        if size is None and self._volumes is not None and self._volumes.problems:
            name, problem = self._volumes.problems[0]
            raise InvalidBundle(
                f"{name}: {problem}: nothing in the bundle can be verified", hint=f"Try: regctl bundle repair {self.path.name}"
            )
        if size is None:
            raise InvalidBundle(f"{self.path} is no bundle, or its beginning is damaged", hint=_NOT_A_BUNDLE)
        raw = self._read_at(size, BLOCK)
        following = BLOCK + padded(size)
        length = _member_size(self._read_at(BLOCK, following), CHECKSUM)
        if length is None or self._read_at(following - BLOCK - size, BLOCK + size).strip(b"\0"):
            raise InvalidBundle(f"{self.path} is damaged near {CONTENTS}: nothing in it can be verified", hint="Copy the bundle again.")
        _check_sum(raw, self._read_at(padded(length), following + BLOCK).rstrip(b"\0"), self.path)
        self._first = following + BLOCK + padded(length)
        return raw

    def _signature(self) -> bytes | None:
        header = tar_header(SIGNATURE, SIGNATURE_TEXT)
        if self._read_at(BLOCK, self._first) != header:
            return None
        content = self._read_at(padded(SIGNATURE_TEXT), self._first + BLOCK)
        # Padding that is not zeros is part of what is wrong.
        return content[:SIGNATURE_TEXT] + content[SIGNATURE_TEXT:].rstrip(b"\0")


def tar_order(contents: BundleContents) -> list[BundledFile]:
    """The files in a tar after ``bundle.json`` and its checksum: those that a person unpacks first, then the blobs."""
    present = (file for file in contents.files if not file.in_base)
    return sorted(present, key=lambda file: (file.path.startswith("blobs/"), file.path))


def tar_header(path: str, size: int) -> bytes:
    """The header of a member: no time, no owner. A size of 8 GiB and more is in GNU's form."""
    member = tarfile.TarInfo(path)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(size: int) -> int:
    """Bytes that content of ``size`` bytes takes in a tar."""
    return size + -size % BLOCK


def signature_text(signature: bytes) -> bytes:
    """The content of the file with the signature."""
    return base64.b64encode(signature) + b"\n"


def checksum_line(raw: bytes) -> bytes:
    """The content of the file with the checksum of ``bundle.json``."""
    return f"{hashlib.sha256(raw).hexdigest()}  {CONTENTS}\n".encode()


def _member_size(header: bytes, path: str) -> int | None:
    """The size in a header that is exactly as this tool writes it; None of any other."""
    try:
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    return size if 0 < size <= MAX_SIZE and tar_header(path, size) == header else None


def _check_sum(raw: bytes, checksum: bytes, path: Path) -> None:
    if checksum != checksum_line(raw):
        message = f"{path}: {CONTENTS} does not have the checksum in {CHECKSUM}: nothing in the bundle can be verified"
        raise InvalidBundle(message, hint="All of its images are hit: copy the bundle again.")


def _read_document(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return file.read(MAX_SIZE + 1)


def _files_in(folder: Path) -> Iterator[tuple[str, int]]:
    """Path and size of every file below ``folder``; a link is one without content."""
    for parent, folders, names in os.walk(folder):
        for name in (*names, *(each for each in folders if Path(parent, each).is_symlink())):
            facts = Path(parent, name).lstat()
            path = Path(parent, name).relative_to(folder).as_posix()
            yield path, facts.st_size if stat.S_ISREG(facts.st_mode) else -1
