"""Writing archives of images, which docker, podman and skopeo read alike: an OCI image layout with docker's ``manifest.json``.

The images are collected in an image layout beside the archive. So threads may fill it in any order, a command that was
killed goes on where it was, and the same images make the same bytes: documents first, then blobs by digest, without times.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from registry_tool.base import files
from registry_tool.base.errors import Conflict, InvalidArchive, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import CONFIGS, IMAGES, INDEXES, Manifest, is_foreign, is_platform_image
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.archive.archive import NEEDS
from registry_tool.targets.archive.checksums import CHECKSUMS, checksums_of
from registry_tool.targets.archive.volumes import VolumeWriter, move_volumes
from registry_tool.targets.layout.index import IMAGE_NAME, LayoutIndex
from registry_tool.targets.layout.layout import MARKER, Layout
from registry_tool.targets.target import verified

_PIECE = 1 << 20
_COMPRESSED = (".gz", ".tgz", ".zst", ".tzst", ".xz", ".txz", ".bz2")
_PREFERRED = ("linux", "amd64")
"""The platform of an index whose image old engines load: they know no indexes. The same on every machine, as the bytes have to be."""


class ArchiveWriter(Layout):
    """An archive at ``path``, or for a pipe, that is written by :meth:`commit`. A context manager; without a commit nothing is at ``path``.

    Content that ``known`` has, layers that is, is left out, and named in the archive: it needs another one before it.
    With ``volume_size`` it is in files of so many bytes, ``NAME.001`` and so on, which replace those of an earlier one.

    Raises Conflict where another process writes the same archive, and what :func:`check_path` does.
    """

    def __init__(self, path: Path | BinaryIO, *, known: Iterable[Digest] = (), volume_size: int | None = None) -> None:
        # Of a link the target is replaced.
        path = path.resolve() if isinstance(path, Path) and path.is_symlink() else path
        self._destination = path
        self._known = frozenset(known)
        self._volume_size = volume_size
        self.files: tuple[Path, ...] = ()
        """What was written at ``path``."""
        self._is_file = isinstance(path, Path) and (path.is_file() or not path.exists())
        if isinstance(path, Path):
            check_path(path)
        self._is_removed = False
        self._temporary = ExitStack()
        if isinstance(path, Path) and self._is_file:
            folder = path.absolute().parent / f".{path.name}.part"
        else:
            folder = self._temporary.enter_context(files.temporary_folder()) / "layout"
        super().__init__(folder)
        self.hint = "What was read is kept: run it again to go on." if self._is_file else "TMPDIR names another folder."
        self.name = str(path) if isinstance(path, Path) else "the archive"
        self._begin()
        # What an interrupted command collected stays; what it meant to write does not count.
        self._write_index(LayoutIndex())

    def __enter__(self) -> ArchiveWriter:
        return self

    def close(self) -> None:
        """End without an archive, unless there is one; what was collected for a file is kept for another attempt."""
        if not self._is_removed and (not self._is_file or not any(self.folder.glob("blobs/*/*"))):
            self._remove()
        if self._is_removed:
            # There is nothing left to tidy up; a folder of this name is another writer's.
            self._written = None
        super().close()
        self._temporary.close()

    def exists(self, descriptor: Descriptor) -> bool:
        return super().exists(descriptor) or self._is_left_out(descriptor)

    def commit(self) -> frozenset[Digest]:
        """Write the archive, and return what it needs of an earlier one. Raises InvalidArchive where content is missing.

        The archive is at its path when all of it is on the disk; an earlier one is there until then.
        """
        manifests = list(self.walk())
        if unreadable := {entry.digest for entry in self.index.entries} - {manifest.digest for manifest in manifests}:
            raise InvalidArchive(f"the manifest {min(unreadable)} is missing or damaged: no archive is written")
        needs = self._missing(manifests)
        annotations = {NEEDS: " ".join(sorted(map(str, needs)))} if needs else {}
        index = LayoutIndex(entries=self.index.entries, annotations=annotations)
        documents = {"oci-layout": MARKER, "index.json": index.raw}
        images = list(_docker_images(index, manifests, needs))
        if images:
            documents["manifest.json"] = json.dumps(images, separators=(",", ":")).encode()
        documents[CHECKSUMS] = checksums_of(documents)
        if not isinstance(self._destination, Path):
            try:
                self._write(self._destination, documents, manifests)
            except OSError as error:
                raise RegistryToolError(f"the archive cannot be written to its pipe: {error.strerror or error}") from error
        elif not self._is_file:
            with self._failing("written"), self._destination.open("wb") as stream:
                self._write(stream, documents, manifests)
        elif self._volume_size is not None:
            self._replace_volumes(self._destination, self._volume_size, documents, manifests)
        else:
            self._replace(self._destination, documents, manifests)
        return needs

    # --- inside ---

    def _replace(self, path: Path, documents: dict[str, bytes], manifests: list[Manifest]) -> None:
        with self._failing("written"):
            # In the folder that the next writer empties.
            temporary = self._partial_folder() / "archive"
            try:
                with temporary.open("wb") as stream:
                    self._write(stream, documents, manifests)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(path)
                self.files = (path,)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            files.sync_folder(path.absolute().parent)
            self._remove()

    def _remove(self) -> None:
        """Remove what was collected, once: the next folder of this name is another writer's."""
        files.remove_folder(self.folder / "oci-layout")
        self._is_removed = True

    def _replace_volumes(self, path: Path, size: int, documents: dict[str, bytes], manifests: list[Manifest]) -> None:
        with self._failing("written"):
            # In the folder that the next writer empties.
            folder = self._partial_folder() / "volumes"
            folder.mkdir()
            try:
                with VolumeWriter(folder, size) as stream:
                    self._write(stream, documents, manifests)
                self.files = move_volumes(stream.paths, path)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            files.sync_folder(path.absolute().parent)
            self._remove()

    def _write(self, stream: BinaryIO | VolumeWriter, documents: dict[str, bytes], manifests: list[Manifest]) -> None:
        for path, document in documents.items():
            _add(stream, path, len(document), io.BytesIO(document))
        for descriptor in self._contents(manifests):
            try:
                with self._opened(descriptor) as content:
                    _add(stream, _path(descriptor.digest), descriptor.size, content)
            except Mismatch as error:
                # Left by an interrupted command, on a disk that lost some of it.
                self._path(descriptor.digest).unlink(missing_ok=True)
                raise Mismatch(error.message, hint="What was damaged is removed: run the command again.") from error
        stream.write(bytes(2 * tarfile.BLOCKSIZE))
        stream.flush()

    def _opened(self, descriptor: Descriptor) -> io.RawIOBase:
        content = self.open_content(descriptor.digest)
        if content is None:
            raise InvalidArchive(f"{descriptor.digest} was removed while the archive was written", hint="Run it again.")
        return verified(content, descriptor)

    def _contents(self, manifests: list[Manifest]) -> Iterator[Descriptor]:
        """All that is written, by digest."""
        contents: dict[Digest, Descriptor] = {}
        for manifest in manifests:
            for descriptor in (manifest.descriptor, *_blobs(manifest)):
                contents.setdefault(descriptor.digest, descriptor)
        yield from (contents[digest] for digest in sorted(contents) if self.stored_size(digest) is not None)

    def _missing(self, manifests: list[Manifest]) -> frozenset[Digest]:
        """What is left out because an earlier archive has it."""
        needs = set()
        for manifest in manifests:
            for descriptor in _blobs(manifest):
                if Layout.exists(self, descriptor) or is_foreign(descriptor):
                    continue
                if not self._is_left_out(descriptor):
                    raise InvalidArchive(f"{descriptor.digest} is missing, which {manifest.digest} names: no archive is written")
                needs.add(descriptor.digest)
        return frozenset(needs)

    def _is_left_out(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._known and descriptor.media_type not in (*CONFIGS, *IMAGES, *INDEXES)


def check_path(path: Path) -> None:
    """Raise where no archive can be written to ``path``: NotFound, Conflict, and UsageError where its name promises a compressed one."""
    path = path.resolve() if path.is_symlink() else path
    if path.is_dir():
        raise Conflict(f"{path} is a folder", hint=f"For an image layout: oci:{path}")
    if path.exists() and not path.is_file():
        return
    if not path.absolute().parent.is_dir():
        raise NotFound(f"there is no folder {path.parent}", hint="Make it, or name another one.")
    if path.name.lower().endswith(_COMPRESSED):
        raise UsageError(
            f"{path} would be an archive that is not compressed",
            hint=f"Name it .tar, or compress it: regctl export NAME | gzip > {path.name}",
        )


def _add(stream: BinaryIO | VolumeWriter, path: str, size: int, content: io.IOBase) -> None:
    """Write a member: no time, no owner."""
    member = tarfile.TarInfo(path)
    member.size = size
    stream.write(member.tobuf(tarfile.PAX_FORMAT))
    while piece := content.read(_PIECE):
        stream.write(piece)
    stream.write(bytes(-size % tarfile.BLOCKSIZE))


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _blobs(manifest: Manifest) -> list[Descriptor]:
    return [*([manifest.config] if manifest.config is not None else []), *manifest.layers]


def _docker_images(index: LayoutIndex, manifests: Iterable[Manifest], needs: frozenset[Digest]) -> Iterator[dict[str, object]]:
    """The entries of ``manifest.json``: every image whose layers are all here, once, with its names."""
    by_digest = {manifest.digest: manifest for manifest in manifests}
    names: dict[Digest, list[str]] = {}
    for entry in index.entries:
        image = _image_of(by_digest[entry.digest], by_digest)
        if image is None or image.type != "image" or any(is_foreign(layer) or layer.digest in needs for layer in image.layers):
            continue
        named = names.setdefault(image.digest, [])
        if IMAGE_NAME in entry.annotations:
            named.append(Reference.parse(entry.annotations[IMAGE_NAME], default_host=DOCKER_HUB).familiar)
    for digest, named in names.items():
        config, *layers = (_path(blob.digest) for blob in _blobs(by_digest[digest]))
        yield {"Config": config, "RepoTags": named or None, "Layers": layers}


def _image_of(manifest: Manifest, by_digest: dict[Digest, Manifest]) -> Manifest | None:
    """An image itself; of an index, the one for the preferred platform, or else its first."""
    if manifest.kind == "image":
        return manifest
    children = [child for child in manifest.children if is_platform_image(child) and child.digest in by_digest]
    children.sort(key=lambda child: child.platform is None or (child.platform.os, child.platform.architecture) != _PREFERRED)
    return next((by_digest[child.digest] for child in children if by_digest[child.digest].kind == "image"), None)
