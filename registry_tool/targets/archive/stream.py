"""A reader of tar streams that nobody vouches for (POSIX.1-2001 pax, GNU tar): one pass, no seeking, nothing is written anywhere."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from registry_tool.base.errors import InvalidArchive
from registry_tool.targets.target import Readable

MAX_MEMBERS = 100_000
"""Of one archive. An image of 127 layers has 400 in the oldest format."""
MAX_PATH = 4096
"""Bytes of a path or a link's target."""

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_MAX_HEADER = 1 << 20
"""Bytes of a pax header or a long name."""
MAX_HEADERS = 1000
"""Headers of a member before its own, global ones among them."""
_SPARSE = "GNU.sparse."
_READ_RECORDS = ("path", "linkpath", "size")
"""Of a pax header; the others (times, owners) are dropped, and whether there is one of a sparse file is kept."""
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarMember:
    """A regular file of ``size`` bytes, or a link to another member. Paths are relative and normalised, within the archive."""

    path: str
    size: int = 0
    offset: int = 0
    """Bytes from the stream's first to the content's first."""
    link: str | None = None
    """The path that a symbolic or hard link points at."""


def read_members(stream: Readable) -> Iterator[tuple[TarMember, Readable]]:
    """Yield files and links with their content, which can be read until the next is taken; what is left of it is skipped.

    Folders are left out. A stream that can seek is not read where its content is not. The end of the archive is two blocks of
    zeros; what follows them in a pipe is read and dropped, so that its writer can finish.

    Raises:
        InvalidArchive: it is cut or damaged; a device or a pipe; a path or a link that leads out of it; a path twice; too many members.
    """
    reader = _TarReader(stream)
    seen: set[str] = set()
    while (header := reader.next_header()) is not None:
        if header.isdir():
            reader.skip(header.size + -header.size % _BLOCK)
            continue
        member = _member(header, reader.offset)
        if member.path in seen:
            raise InvalidArchive(f"the archive has {shown(member.path)} twice")
        seen.add(member.path)
        if len(seen) > MAX_MEMBERS:
            raise InvalidArchive(f"the archive has more than {MAX_MEMBERS:,} members")
        content = _MemberContent(reader, member.path, member.size)
        yield member, content
        content.finish()
    reader.drain()


def shown(path: str) -> str:
    """A path of an archive, printable and short."""
    return path if path.isprintable() and len(path) <= 120 else ascii(path[:120])


def _member(header: tarfile.TarInfo, offset: int) -> TarMember:
    path = _inside(header.name, header.name)
    if header.type in _FILES and not header.issparse():
        return TarMember(path=path, size=header.size, offset=offset)
    if header.type not in _LINKS:
        raise InvalidArchive(f"{shown(path)} in the archive is neither a file, a folder nor a link")
    folder = posixpath.dirname(path) if header.issym() else ""
    return TarMember(path=path, offset=offset, link=_inside(posixpath.join(folder, header.linkname), header.name))


def _inside(path: str, name: str) -> str:
    """``path``, normalised. Raises InvalidArchive where it is absolute, climbs out, or is no path at all."""
    normal = posixpath.normpath(path)
    if not path or "\0" in path or normal.startswith("/") or normal.split("/")[0] in ("..", "."):
        raise InvalidArchive(f"{shown(name)} in the archive leads out of it")
    return normal


class _TarReader:
    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._seekable: Any = stream if isinstance(stream, io.IOBase) and stream.seekable() else None
        self._global: dict[str, str] = {}
        self.offset = 0

    def next_header(self) -> tarfile.TarInfo | None:
        """The next member's header, with what preceding ones say of it; None at the end of the archive."""
        extended: dict[str, str] = {}
        is_extended = False
        count = 0
        while (header := self._header()) is not None:
            count += 1
            if count > MAX_HEADERS:
                raise InvalidArchive(f"the archive has more than {MAX_HEADERS:,} headers before a member")
            if header.type in _LONG_NAMES:
                extended.setdefault(_LONG_NAMES[header.type], _text(self._body(header.size)).rstrip("\0"))
            elif header.type == tarfile.XHDTYPE:
                extended.update(_pax(self._body(header.size)))
            elif header.type == tarfile.XGLTYPE:
                self._global.update(_pax(self._body(header.size)))
            else:
                return _extended(header, {**self._global, **extended})
            is_extended = header.type != tarfile.XGLTYPE
        if is_extended:
            raise InvalidArchive("the archive ends between a member's headers")
        return None

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises InvalidArchive where the stream ends before."""
        pieces = []
        while size:
            piece = self._stream.read(min(size, _PIECE))
            if not piece:
                raise _cut()
            pieces.append(piece)
            size -= len(piece)
            self.offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> None:
        """Skip ``size`` bytes, which must be there."""
        if self._seekable is not None and size > _PIECE:
            try:
                self._seekable.seek(size - 1, io.SEEK_CUR)
            except (OSError, ValueError, OverflowError):
                # No file system has so large a file.
                raise _cut() from None
            self.offset += size - 1
            size = 1
        while size:
            size -= len(self.read(min(size, _PIECE)))

    def drain(self) -> None:
        """Read a pipe to its end."""
        while self._seekable is None and self._stream.read(_PIECE):
            pass

    def _body(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise InvalidArchive(f"a member's header in the archive has {size} bytes")
        body = self.read(size)
        self.read(-size % _BLOCK)
        return body

    def _header(self) -> tarfile.TarInfo | None:
        block = self.read(_BLOCK)
        if not block.strip(b"\0"):
            if self.read(_BLOCK).strip(b"\0"):
                raise InvalidArchive("the archive is damaged: a header follows a block of zeros")
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise InvalidArchive(f"the archive is damaged, or no tar archive: {error}") from None
        if header.size < 0:
            raise InvalidArchive("the archive is damaged: a member of less than no bytes")
        return header


class _MemberContent(io.RawIOBase):
    """The content of one member."""

    def __init__(self, reader: _TarReader, path: str, size: int) -> None:
        self._reader = reader
        self._path = path
        self._left = size
        self._padding = -size % _BLOCK

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        piece = self._reader.read(self._left if size is None or size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def finish(self) -> None:
        """Skip what was not read."""
        left, self._left = self._left, 0
        self._reader.skip(left + self._padding)
        self._padding = 0


def _pax(body: bytes) -> Mapping[str, str]:
    """The records of a pax header: ``LENGTH KEY=VALUE``, and a line feed."""
    records: dict[str, str] = {}
    at = 0
    while at < len(body) and body[at]:
        length, space, _ = body[at : at + 20].partition(b" ")
        record = body[at : at + int(length)] if space and length.isdigit() else b""
        key, equals, value = record[len(length) + 1 : -1].partition(b"=")
        if not record.endswith(b"\n") or len(record) != int(length) or not equals:
            raise InvalidArchive("the archive is damaged: a pax header that is none")
        name = _text(key)
        if name in _READ_RECORDS:
            records[name] = _text(value)
        elif name.startswith(_SPARSE):
            records[_SPARSE] = ""
        at += int(length)
    return records


def _extended(header: tarfile.TarInfo, records: Mapping[str, str]) -> tarfile.TarInfo:
    """``header``, with what a pax header or a long name says in its place."""
    if _SPARSE in records:
        raise InvalidArchive(f"{shown(header.name)} in the archive is sparse, which is not read")
    header.name = records.get("path", header.name)
    header.linkname = records.get("linkpath", header.linkname)
    size = records.get("size")
    if size is not None:
        if not size.isascii() or not size.isdigit() or len(size) > 18:
            raise InvalidArchive("the archive is damaged: a size that is no number")
        header.size = int(size)
    if max(len(header.name), len(header.linkname)) > MAX_PATH:
        raise InvalidArchive(f"a path in the archive is longer than {MAX_PATH} characters")
    if header.type in _LINKS and header.size:
        # POSIX lets a hard link have content; nobody who writes images does that.
        raise InvalidArchive(f"{shown(header.name)} in the archive is a link with content")
    return header


def _cut() -> InvalidArchive:
    return InvalidArchive("the archive is cut: it ends in the middle", hint="Was it written whole?")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
