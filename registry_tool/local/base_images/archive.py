"""The record of imported base images, and copies as the engine saved them (same ids); one unlike its JSON description is discarded."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from registry_tool.base import files
from registry_tool.base.errors import EngineError
from registry_tool.engine import Engine, Platform

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedImage:
    """Description of a copy. ``source`` is ``docker.io`` or ``packages``; ``size`` (bytes) and ``sha256`` are of the file."""

    name: str
    id: str
    source: str
    platform: str
    sha256: str
    size: int
    packages: str = ""


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """The folder with the copies: for each role and platform the image and its description, for each role a lock."""

    folder: Path

    def lock(self, role: str) -> Path:
        """Path of the lock for a role's copies."""
        return self.folder / f"{role}.lock"

    def path(self, role: str, platform: Platform) -> Path:
        """Path of a copy."""
        return self.folder / f"{_stem(role, platform)}.tar.gz"

    def find(self, role: str, platform: Platform) -> ArchivedImage | None:
        """The description of a copy, which is checked; None where there is none. Raises ValueError for a damaged one."""
        try:
            document: Any = json.loads(self._description(role, platform).read_bytes())
        except FileNotFoundError:
            return None
        try:
            copy = ArchivedImage(**document)
            path = self.path(role, platform)
            if path.stat().st_size != copy.size:
                raise ValueError(f"{path} has another size")
            with path.open("rb") as stream:
                if _sha256(stream) != copy.sha256:
                    raise ValueError(f"{path} has another content")
        except (TypeError, FileNotFoundError) as error:
            raise ValueError(str(error)) from error
        return copy

    def has(self, role: str, platform: Platform, image_id: str) -> bool:
        """Whether there is an intact copy of the image with that id."""
        try:
            copy = self.find(role, platform)
        except ValueError:
            return False
        return copy is not None and copy.id == image_id

    def load(self, engine: Engine, role: str, platform: Platform) -> None:
        """Load the copy into ``engine``. Raises EngineError, OSError."""
        with open_archive(self.path(role, platform)) as stream:
            engine.load_image(stream)

    def save(self, engine: Engine, role: str, platform: Platform, *, name: str, id: str, source: str, packages: str = "") -> Path:
        """Archive the engine's image ``name`` in place of an earlier copy; returns its path. Raises OSError, EngineError."""
        target = self.path(role, platform)
        with work_folder(self.folder, role) as folder:
            temporary = folder / target.name
            with temporary.open("wb") as stream:
                hashed = _HashingWriter(stream)
                # Level 1: half a second for 28 MB instead of 76 MB.
                with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=cast(BinaryIO, hashed), mtime=0) as packed:
                    engine.save_image([name], cast(BinaryIO, packed))
                stream.flush()
                os.fsync(stream.fileno())
            copy = ArchivedImage(
                name=name,
                id=id,
                source=source,
                platform=str(platform),
                packages=packages,
                sha256=hashed.hash.hexdigest(),
                size=temporary.stat().st_size,
            )
            # A process killed between the two leaves a description of another file, which find() notices.
            temporary.replace(target)
            files.atomic_write(self._description(role, platform), json.dumps(asdict(copy), indent=2).encode() + b"\n")
        return target

    def discard(self, role: str, platform: Platform) -> None:
        """Remove a copy."""
        self._description(role, platform).unlink(missing_ok=True)
        self.path(role, platform).unlink(missing_ok=True)

    def _description(self, role: str, platform: Platform) -> Path:
        return self.folder / f"{_stem(role, platform)}.json"


@dataclass(frozen=True, slots=True)
class ImportedImages:
    """Which images this tool brought to which engine: ``--purge`` removes no others."""

    file: Path

    def has(self, engine: str, image_id: str) -> bool:
        """Whether the image was brought to the engine with the id ``engine``."""
        return image_id in self._read().get(engine, [])

    def add(self, engine: str, image_id: str) -> None:
        """Record an image."""
        with files.lock(self.file.with_suffix(".lock")):
            known = self._read()
            ids = known.setdefault(engine, [])
            if image_id not in ids:
                ids.append(image_id)
                files.atomic_write(self.file, json.dumps(known, indent=2).encode() + b"\n")

    def _read(self) -> dict[str, list[str]]:
        try:
            known: Any = json.loads(self.file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


@dataclass(slots=True)
class _HashingWriter:
    """Hashes what is written to ``stream``."""

    stream: BinaryIO
    hash: Any = field(default_factory=hashlib.sha256)

    def write(self, content: bytes) -> int:
        """Write and hash ``content``."""
        self.hash.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


@contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder in ``parent`` for the holder of the lock of ``name``; those that killed processes left are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f".{name}.*.part"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}.", suffix=".part") as folder:
        yield Path(folder)


def compress(tar: Path) -> Path:
    """Replace ``tar`` by a gzip of it; returns its path. Raises OSError."""
    target = tar.with_name(f"{tar.name}.gz")
    with tar.open("rb") as source, target.open("wb") as stream, gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
        shutil.copyfileobj(source, packed, _CHUNK)
    tar.unlink()
    return target


@contextmanager
def open_archive(path: Path) -> Iterator[BinaryIO]:
    """Open a copy to read what the engine saved: podman's API takes no compressed tar (4.3). Raises EngineError, OSError."""
    with gzip.open(path) as stream:
        try:
            stream.peek(1)
        except gzip.BadGzipFile as error:
            raise EngineError(f"{path} is not compressed") from error
        yield cast(BinaryIO, stream)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _stem(role: str, platform: Platform) -> str:
    return f"{role}-{str(platform).replace('/', '-')}"
