"""Layers of docker's classic image store, read from its files: on the engine's machine, by a program that may read them (root).

The engine writes an archive of an image to its disk before it sends the first byte; this reads the layers where they are. Each is a
folder of files (overlay2), and the rest of its tar stream is kept beside them (tar-split, https://github.com/vbatts/tar-split): both
together are the same bytes again. Docker documents none of it, so that callers compare digests, and read the archive where that fails.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from registry_tool.base.errors import EngineError
from registry_tool.engine.values import Image
from registry_tool.oci.digest import Digest

_PIECE = 1 << 18
"""Bytes that are read or joined at a time."""
_FILE, _SEGMENT = 1, 2
"""Types of tar-split's entries: the content of a file, and bytes of the stream that are in no file."""
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW
_REGULAR = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FAILURES = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error, binascii.Error)


class LayerStore:
    """The store of an engine, in the folder ``root`` of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._metadata = root / "image" / "overlay2"

    @classmethod
    def of(cls, image: Image) -> LayerStore | None:
        """The store that has ``image``, if it can be read here."""
        folder = Path(image.layer_folder)
        if not folder.is_absolute() or len(folder.parts) < 4 or (folder.parts[-3], folder.name) != ("overlay2", "diff"):
            return None
        store = cls(folder.parents[2])
        return store if os.access(store._config_path(image.id), os.R_OK) else None

    def config(self, image_id: str) -> bytes:
        """The config of an image. Raises EngineError where it cannot be read, or is another one."""
        try:
            content = self._config_path(image_id).read_bytes()
        except _FAILURES as error:
            raise EngineError(f"the engine's file of {image_id} cannot be read: {error}") from error
        if Digest.of(content) != Digest.parse(image_id):
            raise EngineError(f"the engine's file of {image_id} has other content")
        return content

    def layer(self, diff_ids: Sequence[str]) -> StoredLayer:
        """The layer of the last of ``diff_ids``, which is stored by all those below it. Raises EngineError."""
        folder = self._metadata / "layerdb" / "sha256" / _chain_id(diff_ids).hex
        rest = folder / "tar-split.json.gz"
        try:
            cache_id = (folder / "cache-id").read_text(encoding="ascii").strip()
            if not cache_id.isalnum():
                raise ValueError(f"not the name of a folder: {cache_id[:80]!r}")
            size = sum(entry.size for entry in _entries(rest))
        except _FAILURES as error:
            raise EngineError(f"the engine's files of {diff_ids[-1]} cannot be read: {error}") from error
        return StoredLayer(diff_id=diff_ids[-1], size=size, folder=self._root / "overlay2" / cache_id / "diff", rest=rest)

    def _config_path(self, image_id: str) -> Path:
        return self._metadata / "imagedb" / "content" / "sha256" / Digest.parse(image_id).hex


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as files: ``size`` bytes as a tar stream."""

    diff_id: str
    size: int
    folder: Path
    rest: Path

    def pieces(self) -> Generator[bytes, None, None]:
        """The tar stream, not verified. Raises EngineError where a file is not as it was when the layer was made."""
        try:
            with _Files(self.folder) as files, closing(_entries(self.rest)) as entries:
                yield from _joined(entry.content if entry.path is None else files.read(entry.path, entry.size) for entry in entries)
        except _FAILURES as error:
            raise EngineError(f"the engine's files of {self.diff_id} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Entry:
    """A part of a tar stream: a file's content, or bytes."""

    size: int
    path: bytes | None = None
    content: tuple[bytes, ...] = ()


def _entries(rest: Path) -> Generator[_Entry, None, None]:
    with gzip.open(rest) as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["type"] == _SEGMENT:
                content = binascii.a2b_base64(entry["payload"] or "")
                yield _Entry(len(content), content=(content,))
            elif entry["type"] != _FILE:
                raise ValueError(f"unknown type of entry: {entry['type']!r}")
            elif size := int(entry.get("size", 0)):
                # A name that is no UTF-8 is kept in another member.
                name = binascii.a2b_base64(entry["name_raw"]) if entry.get("name_raw") else entry["name"].encode()
                yield _Entry(size, path=name)


def _joined(parts: Iterator[Sequence[bytes] | Iterator[bytes]]) -> Iterator[bytes]:
    """All bytes of ``parts``, in pieces that are worth handing on."""
    pieces: list[bytes] = []
    length = 0
    for part in parts:
        for piece in part:
            pieces.append(piece)
            length += len(piece)
            if length >= _PIECE:
                yield b"".join(pieces)
                pieces, length = [], 0
    yield b"".join(pieces)


class _Files:
    """Regular files below a folder, by paths on which no link is followed: none leads out of it."""

    def __init__(self, folder: Path) -> None:
        self._open: list[tuple[bytes, int]] = [(b"", os.open(folder, _FOLDER))]
        """The folders of the last path, and their descriptors."""

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close(0)

    def read(self, path: bytes, size: int) -> Iterator[bytes]:
        """The content of a file of ``size`` bytes. Raises OSError, ValueError."""
        *folders, name = (part for part in path.split(b"/") if part not in (b"", b"."))
        descriptor = os.open(name, _REGULAR, dir_fd=self._folder(folders))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                raise ValueError(f"{path!r} is not the file of {size} bytes that it was")
            while size:
                piece = os.read(descriptor, min(size, _PIECE))
                if not piece:
                    raise ValueError(f"{path!r} became shorter")
                size -= len(piece)
                yield piece
        finally:
            os.close(descriptor)

    def _folder(self, names: Sequence[bytes]) -> int:
        """The descriptor of a folder; those that the last path had, too, are open."""
        if b".." in names:
            raise ValueError("a path that climbs")
        same = 0
        for (name, _), wanted in zip(self._open[1:], names, strict=False):
            if name != wanted:
                break
            same += 1
        self._close(same + 1)
        for name in names[same:]:
            self._open.append((name, os.open(name, _FOLDER, dir_fd=self._open[-1][1])))
        return self._open[-1][1]

    def _close(self, keep: int) -> None:
        while len(self._open) > keep:
            with suppress(OSError):
                os.close(self._open.pop()[1])


def _chain_id(diff_ids: Sequence[str]) -> Digest:
    """What the store calls a layer on those below it (OCI image specification, "Layer ChainID")."""
    chain = Digest.parse(diff_ids[0])
    for diff_id in diff_ids[1:]:
        chain = Digest("sha256", hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest())
    return chain
