"""The copies of base images that are kept, so that the second time costs nothing and needs no network.

A copy is what the engine itself saved: loaded again, the image has the id that it had (an import of the same files would
have another). A description beside it says what it is; a copy that does not fit its description is thrown away, never loaded.
"""

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
class Copy:
    """A kept image. ``source`` is where it came from: ``docker.io`` or ``packages``; ``size`` and ``sha256`` are the file's."""

    name: str
    id: str
    source: str
    platform: str
    sha256: str
    size: int
    packages: str = ""


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """The folder with the copies: for each role and platform an image, its description and a lock."""

    folder: Path

    def lock(self, role: str) -> Path:
        """The lock file of a role."""
        return self.folder / f"{role}.lock"

    def image(self, role: str, platform: Platform) -> Path:
        return self.folder / f"{_stem(role, platform)}.tar.gz"

    def find(self, role: str, platform: Platform) -> Copy | None:
        """The copy that is there and sound; None where there is none. Raises ValueError for a damaged one."""
        try:
            said: Any = json.loads(self._description(role, platform).read_bytes())
        except FileNotFoundError:
            return None
        try:
            copy = Copy(**said)
            path = self.image(role, platform)
            if path.stat().st_size != copy.size:
                raise ValueError(f"{path} has another size")
            with path.open("rb") as stream:
                if _sha256(stream) != copy.sha256:
                    raise ValueError(f"{path} has another content")
        except (TypeError, FileNotFoundError) as error:
            raise ValueError(str(error)) from error
        return copy

    def has(self, role: str, platform: Platform, image_id: str) -> bool:
        """Whether a sound copy of that very image is there."""
        try:
            copy = self.find(role, platform)
        except ValueError:
            return False
        return copy is not None and copy.id == image_id

    def load(self, engine: Engine, role: str, platform: Platform) -> None:
        """Load the copy into ``engine``. Raises EngineError, OSError."""
        with open_archive(self.image(role, platform)) as stream:
            engine.load_image(stream)

    def keep(self, engine: Engine, role: str, platform: Platform, *, name: str, id: str, source: str, packages: str = "") -> Path:
        """Keep a copy of the engine's image ``name``, in place of the one that was kept before. Raises OSError, EngineError."""
        target = self.image(role, platform)
        with self.working(role) as folder:
            temporary = folder / target.name
            with temporary.open("wb") as stream:
                hashed = _Hashed(stream)
                # Level 1: 76 MB become 28 MB for half a second more.
                with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=cast(BinaryIO, hashed), mtime=0) as packed:
                    engine.save_image([name], cast(BinaryIO, packed))
                stream.flush()
                os.fsync(stream.fileno())
            copy = Copy(
                name=name,
                id=id,
                source=source,
                platform=str(platform),
                packages=packages,
                sha256=hashed.hash.hexdigest(),
                size=temporary.stat().st_size,
            )
            # Between the two the description fits no file, which is noticed: a copy less, never a wrong one.
            temporary.replace(target)
            files.atomic_write(self._description(role, platform), json.dumps(asdict(copy), indent=2).encode() + b"\n")
        return target

    def discard(self, role: str, platform: Platform) -> None:
        self._description(role, platform).unlink(missing_ok=True)
        self.image(role, platform).unlink(missing_ok=True)

    @contextmanager
    def working(self, role: str) -> Iterator[Path]:
        """A folder for unfinished work, for whoever holds the role's lock; those of the dead are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f".{role}.*.part"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f".{role}.", suffix=".part") as folder:
            yield Path(folder)

    def _description(self, role: str, platform: Platform) -> Path:
        return self.folder / f"{_stem(role, platform)}.json"


@dataclass(frozen=True, slots=True)
class ImportedImages:
    """Which images this tool brought to which engine from elsewhere: they alone may be taken away by ``--purge``."""

    file: Path

    def has(self, engine: str, image_id: str) -> bool:
        return image_id in self._read().get(engine, [])

    def add(self, engine: str, image_id: str) -> None:
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
class _Hashed:
    """Writes on, and hashes what goes by."""

    stream: BinaryIO
    hash: Any = field(default_factory=hashlib.sha256)

    def write(self, content: bytes) -> int:
        self.hash.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        self.stream.flush()


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
    known = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        known.update(chunk)
    return known.hexdigest()


def _stem(role: str, platform: Platform) -> str:
    return f"{role}-{str(platform).replace('/', '-')}"
