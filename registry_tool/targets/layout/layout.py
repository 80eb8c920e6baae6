"""An OCI image layout in a folder, for one writer and many readers at a time (image-spec 1.1, image-layout.md).

Content is renamed to its place when all of it is there, and on the disk before the index names it. What a killed writer
left is in one folder, which the next one empties.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from registry_tool.base import files
from registry_tool.base.errors import Conflict, InvalidManifest, Mismatch, NotFound, RegistryToolError
from registry_tool.base.reader import Document
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE, Manifest
from registry_tool.targets.layout.index import LayoutIndex, check_name
from registry_tool.targets.layout.reader import LayoutReader
from registry_tool.targets.target import Readable, verified

MARKER = b'{"imageLayoutVersion":"1.0.0"}'
"""Content of the file ``oci-layout``."""
PARTIAL = ".registry-tool.part"
"""The folder for what is being written."""

_PIECE = 1 << 20


class Layout(LayoutReader):
    """The images in ``folder``. To be made by :meth:`open`; a context manager, which ends the writing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder
        self.hint: str | None = None
        """What to do where it cannot be written."""
        self._lock = threading.RLock()
        self._held = ExitStack()
        self._written: LayoutIndex | None = None
        self._read: tuple[object, LayoutIndex] | None = None
        self._unsynced: set[Path] = set()

    @staticmethod
    def open(folder: Path, *, write: bool = False) -> Layout:
        """Open a folder, to ``write`` to it also one that is empty, or not there yet.

        Raises NotFound, InvalidManifest, Conflict where another process writes to it, or where it is a folder of something else.
        """
        layout = Layout(folder)
        if write:
            layout._begin()
            return layout
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder}", hint=f"For a file: oci-archive:{folder}" if folder.exists() else None)
        layout._check_marker()
        _ = layout.index
        return layout

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """End the writing, and let others write."""
        if self._written is not None:
            self._written = None
            with suppress(OSError):
                (self.folder / PARTIAL).rmdir()
        self._held.close()

    # --- reading ---

    @property
    def index(self) -> LayoutIndex:
        """Its index, as it is now: another process may be writing."""
        with self._lock:
            if self._written is not None:
                return self._written
            with self._failing("read"):
                try:
                    file = (self.folder / "index.json").open("rb")
                except FileNotFoundError:
                    raise InvalidManifest(f"{self.name} has no index.json", hint="It is not an image layout, or not a whole one.") from None
                with file:
                    facts = os.fstat(file.fileno())
                    state = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
                    if self._read is None or self._read[0] != state:
                        self._read = state, LayoutIndex.parse(file.read(MAX_SIZE + 1), f"{self.name}/index.json")
                    return self._read[1]

    @property
    def digests(self) -> frozenset[Digest]:
        """All content that its images have, as far as their manifests can be read and it is there."""
        return frozenset(digest for digest in _digests(self.walk()) if self.stored_size(digest) is not None)

    def open_content(self, digest: Digest) -> BinaryIO | None:
        with self._failing("read"):
            try:
                # What is no file (a pipe) must not make this wait.
                handle = os.open(self._path(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                return None
            return os.fdopen(handle, "rb", buffering=0)

    def stored_size(self, digest: Digest) -> int | None:
        with self._failing("read"):
            try:
                facts = self._path(digest).stat()
            except FileNotFoundError:
                return None
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    # --- writing ---

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        """Store a blob. Raises Mismatch where ``stream`` is not what ``descriptor`` says; nothing is stored then."""
        self._require_writing()
        source = verified(stream, descriptor)
        with self._failing("written"):
            handle, temporary = tempfile.mkstemp(dir=self._partial_folder())
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                # What the source fails with is not ours to name.
                while piece := source.read(_PIECE):
                    with self._failing("written"):
                        file.write(piece)
                with self._failing("written"):
                    os.fchmod(handle, 0o644)
                    os.fsync(handle)
            with self._failing("written"):
                path = self._path(descriptor.digest)
                path.parent.mkdir(parents=True, exist_ok=True)
                Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        with self._lock:
            self._unsynced.add(path.parent)

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        """Store a manifest, byte for byte, as ``tag``: any name. Without one it is listed by its digest, unless an index contains it."""
        if tag is not None:
            check_name(tag)
        descriptor = manifest.descriptor
        self.push(descriptor, BytesIO(manifest.raw))
        with self._lock:
            index = self._require_writing()
            contained = tag is None and any(descriptor.digest in {child.digest for child in other.children} for other in self.walk())
            if not contained:
                self._write_index(index.add(descriptor, tag, children={child.digest for child in manifest.children}))
        return descriptor

    def delete(self, descriptor: Descriptor) -> None:
        """Delete a manifest, all its names, and the content that no other image in the folder has. Raises NotFound.

        Where another manifest cannot be read nobody knows what it has, and no content goes.
        """
        with self._lock:
            index = self._require_writing()
            if index.entry(descriptor.digest) is None and self.stored_size(descriptor.digest) is None:
                raise NotFound(f"the manifest {descriptor.digest} is not in {self.name}")
            # Read before it goes.
            alone = {descriptor.digest, *_digests(self._below(descriptor.digest))}
            self._write_index(index.remove(descriptor.digest))
            self._walked.pop(descriptor.digest, None)
            with self._failing("written"):
                self._path(descriptor.digest).unlink(missing_ok=True)
                with suppress(NotFound, Mismatch, InvalidManifest):
                    for digest in alone - _digests(self.walk(strict=True)):
                        self._path(digest).unlink(missing_ok=True)

    # --- inside ---

    def _path(self, digest: Digest) -> Path:
        return self.folder / "blobs" / digest.algorithm / digest.hex

    def _below(self, digest: Digest) -> Iterator[Manifest]:
        """A manifest and those that it contains, as far as they can be read."""
        try:
            manifest = self._parsed(digest)
        except (NotFound, Mismatch, InvalidManifest):
            return
        yield manifest
        for child in manifest.children:
            # Two deep: an index, and the images in it.
            with suppress(NotFound, Mismatch, InvalidManifest):
                yield self._parsed(child.digest)

    def _begin(self) -> None:
        with self._failing("written"):
            marker = self.folder / "oci-layout"
            if self.folder.exists() and not self.folder.is_dir():
                raise Conflict(f"{self.folder} is a file", hint=f"For an archive: oci-archive:{self.folder}")
            if self.folder.is_dir() and not marker.exists() and any(self.folder.iterdir()):
                raise Conflict(f"{self.folder} is not empty, and not an image layout", hint="Name another folder.")
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._held.enter_context(files.lock(marker, wait=False))
            except BlockingIOError:
                raise Conflict(f"another process writes to {self.name}", hint="Wait until it has ended.") from None
            try:
                self._prepare(marker)
            except BaseException:
                self._held.close()
                raise

    def _prepare(self, marker: Path) -> None:
        # The file is locked: it is written in place, and a writer that is killed meanwhile leaves the beginning of it.
        if MARKER.startswith(marker.read_bytes()):
            marker.write_bytes(MARKER)
            marker.chmod(0o644)
        self._check_marker()
        shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)
        for leftover in self.folder.glob(".index.json.*.part"):
            leftover.unlink(missing_ok=True)
        if (self.folder / "index.json").exists():
            self._written = self.index
        else:
            self._write_index(LayoutIndex())

    def _check_marker(self) -> None:
        with self._failing("read"):
            try:
                raw = (self.folder / "oci-layout").read_bytes()
            except FileNotFoundError:
                raise InvalidManifest(
                    f"{self.name} is not an image layout: it has no file oci-layout", hint="Name another folder."
                ) from None
        version = Document.read(raw, what=f"{self.name}/oci-layout", max_size=1 << 16).text("imageLayoutVersion")
        if version is None or version.partition(".")[0] != "1":
            raise InvalidManifest(f"{self.name} is an image layout of version {version}", hint="This program reads version 1.")

    def _partial_folder(self) -> Path:
        folder = self.folder / PARTIAL
        folder.mkdir(exist_ok=True)
        return folder

    def _require_writing(self) -> LayoutIndex:
        if self._written is None:
            raise ValueError(f"{self.name} is open to be read only")
        return self._written

    def _write_index(self, index: LayoutIndex) -> None:
        """Write it where it differs, after the content that it names is on the disk."""
        if index == self._written:
            return
        with self._failing("written"):
            for folder in self._unsynced:
                files.sync_folder(folder)
            self._unsynced.clear()
            files.atomic_write(self.folder / "index.json", index.raw)
        self._written = index

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Raise a failure of the file system as one of this program."""
        try:
            yield
        except OSError as error:
            raise RegistryToolError(f"{self.name} cannot be {what}: {error.strerror or error}", hint=self.hint) from error


def _digests(walked: Iterable[Manifest]) -> set[Digest]:
    """All content of manifests, they included."""
    digests: set[Digest] = set()
    for manifest in walked:
        digests |= {manifest.digest, *(part.digest for part in (*manifest.layers, *manifest.children))}
        if manifest.config is not None:
            digests.add(manifest.config.digest)
    return digests
