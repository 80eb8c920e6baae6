"""Making a bundle: everything is collected in a folder beside it, ``.NAME.part``, with which a run that was killed goes on.

The same things make the same bytes, and nothing is at the bundle's path until all of it is on the disk.
"""

from __future__ import annotations

import base64
import errno
import filecmp
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar

import registry_tool
from registry_tool.base import files
from registry_tool.base.errors import Conflict, InvalidArchive, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.bundle.contents import (
    CHECKSUM,
    CONTENTS,
    FORMAT,
    SIGNATURE,
    BundleBase,
    BundleContents,
    BundledFile,
    BundledImage,
    WheelSet,
    blob_path,
)
from registry_tool.bundle.reader import END, Bundle, checksum_line, padded, signature_text, tar_header, tar_order
from registry_tool.bundle.volumes import others_at, write_list
from registry_tool.content.archives.exporting import export_images, export_jobs
from registry_tool.content.copy import NULL_LISTENER, BlobCounts, CopyListener, CopyOptions
from registry_tool.content.copy.location import Location, join_name
from registry_tool.content.copy.places import Places
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import CONFIGS, IMAGES, INDEXES, is_foreign
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference
from registry_tool.targets.archive.volumes import VolumeWriter, volume, volumes_at
from registry_tool.targets.layout import Layout, LayoutIndex
from registry_tool.targets.target import verified

BILL = "bundle.cdx.json"
"""The bill of materials."""
_PIECE = 1 << 20
_BLOBS = "blobs"
_LAYOUT = ("oci-layout", "index.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleParts:
    """What a bundle is made of. ``roles`` are images that this tool needs itself, on ``platform``; ``files`` path -> file or content."""

    images: Sequence[Location]
    roles: Mapping[str, Location] = field(default_factory=dict)
    platform: str = ""
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    wheels: tuple[WheelSet, ...] = ()
    sample_wheels: str = ""
    """The key of the sample app's wheels, which are among the files."""
    options: CopyOptions = CopyOptions()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCreated:
    """What was written: ``files`` are the bundle's folder, its file or its volumes, ``size`` bytes in all."""

    JSON_MEMBERS: ClassVar = "path files size sha256 images blobs base? seconds"
    path: Path
    files: tuple[Path, ...]
    size: int
    sha256: str
    """Of ``bundle.json``: it stands for all of the bundle."""
    images: tuple[BundledImage, ...] = field(repr=False)
    blobs: BlobCounts
    seconds: float
    base: str | None = None
    """The same of the bundle that a delta needs."""


def create_bundle(
    path: Path,
    parts: BundleParts,
    places: Places,
    *,
    since: Bundle | None = None,
    volume_size: int | None = None,
    sign_with: bytes | None = None,
    parity: bool = False,
    listener: CopyListener = NULL_LISTENER,
) -> BundleCreated:
    """Make a bundle at ``path``: a folder, or one file where it ends in ``.tar``. What ``since`` has, an earlier bundle, is left out.

    ``sign_with`` is a private key of ed25519; ``parity`` is of volumes: one of ten that is lost can be made anew.

    Raises:
        Conflict: there is something at ``path``, two images have one name, or another process makes the same bundle.
        UsageError: an image has no name, or ``since`` is a delta itself.
        RegistryToolError: an image cannot be read, or the bundle cannot be written; run again, it goes on.
    """
    signer = _signer(sign_with) if sign_with is not None else None
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link at the path itself
    part = path.parent / f".{path.name}.part"
    is_file = path.suffix == ".tar"
    if parity and volume_size is None:
        raise UsageError("parity is of volumes", hint="Give their size, too: --volume-size 4GB")
    # What a run that was killed moved there is compared with what is moved there now.
    if part.is_symlink():
        raise Conflict(f"{part} is a link, and what it points to is not this tool's", hint="Remove the link.")
    is_continued = is_file and part.is_dir()
    _check_destination(path, since, is_file=is_file, volume_size=volume_size, is_continued=is_continued)
    with _failing(path), _BundleLayout(part, _known(since)) as layout:
        _remove_damaged(part)
        jobs = export_jobs(places, [*parts.roles.values(), *parts.images], layout, options=parts.options)
        result = export_images(jobs, layout, listener=listener).copied
        if result.failures:
            failures = tuple(f"{image.source}: {image.error.message}" for image in result.images if image.error is not None)
            raise RegistryToolError(f"{path} was not written: {failures[0]}", hint="Run it again to go on.", excerpt=failures[1:20])
        contents = _collect(part, layout, parts, since, signer)
        signature = _sign(part, contents, sign_with)
    with _failing(path):
        if is_file:
            written = _move_files(part, path, _write_files(part, path, contents, signature, volume_size, parity=parity))
        else:
            files.sync_folder(part)
            part.rename(path)
            files.sync_folder(path.parent)
            written = (path,)
    size = (
        sum(file.size for file in contents.files if not file.in_base)
        + len(contents.raw)
        + len(checksum_line(contents.raw))
        + len(signature)
    )
    return BundleCreated(
        path=path,
        files=written,
        size=sum(file.stat().st_size for file in written) if is_file else size,
        sha256=contents.sha256,
        images=contents.images,
        blobs=result.blobs,
        seconds=result.seconds,
        base=contents.base.sha256 if contents.base is not None else None,
    )


# --- inside ---


class _BundleLayout(Layout):
    """The images; ``known`` layers are left out. What an interrupted run collected stays, what it meant to write does not count."""

    def __init__(self, folder: Path, known: frozenset[Digest]) -> None:
        super().__init__(folder)
        self.hint = "What was read is kept: run it again to go on."
        self._known = known
        self._begin()
        self._write_index(LayoutIndex())

    def __enter__(self) -> _BundleLayout:
        return self

    def exists(self, descriptor: Descriptor) -> bool:
        return super().exists(descriptor) or self.is_left_out(descriptor)

    def is_left_out(self, descriptor: Descriptor) -> bool:
        """Whether it is a layer that the earlier bundle has."""
        return descriptor.digest in self._known and descriptor.media_type not in (*CONFIGS, *IMAGES, *INDEXES)


def _check_destination(path: Path, since: Bundle | None, *, is_file: bool, volume_size: int | None, is_continued: bool) -> None:
    if since is not None and since.contents.base is not None:
        raise UsageError(f"{since.path} is a delta itself", hint=f"Name the whole bundle before it: --since {since.path.name}")
    if volume_size is not None and not is_file:
        raise UsageError("volumes are of a bundle in a file", hint=f"Name a file: -o {path.name}.tar")
    if not is_continued and (os.path.lexists(path) or (is_file and volumes_at(path))):
        if not path.is_dir() or is_file or any(path.iterdir()):
            raise _taken(path)
        path.rmdir()
    if not path.parent.is_dir():
        raise NotFound(f"there is no folder {path.parent}", hint="Make it, or name another one.")


def _known(since: Bundle | None) -> frozenset[Digest]:
    return (
        frozenset(Digest.parse(digest) for image in since.contents.images for digest in image.blobs) if since is not None else frozenset()
    )


def _remove_damaged(part: Path) -> None:
    """Remove what an interrupted run left with another digest than its name: a disk may have lost what was written last."""
    for blob in part.glob(f"{_BLOBS}/*/*"):
        with blob.open("rb") as stream:
            digest = hashlib.new(blob.parent.name)
            while piece := stream.read(_PIECE):
                digest.update(piece)
        if digest.hexdigest() != blob.name:
            blob.unlink()


def _collect(part: Path, layout: _BundleLayout, parts: BundleParts, since: Bundle | None, signer: str | None) -> BundleContents:
    """Write all other files, and ``bundle.json``."""
    roles = {_engine_or_registry_name(location): role for role, location in parts.roles.items()}
    before = {file.path: file for file in since.contents.files} if since is not None else {}
    images: list[BundledImage] = []
    blobs: dict[Digest, Descriptor] = {}
    for entry in layout.images:
        if entry.name is None:
            raise UsageError(f"the image {entry.descriptor.digest} has no name", hint="Name it with its tag.")
        content = _content(layout, entry.descriptor)
        blobs |= content
        images.append(
            BundledImage(
                name=entry.name,
                role=roles.get(entry.name, ""),
                digest=entry.descriptor.digest,
                media_type=entry.descriptor.media_type,
                size=entry.descriptor.size,
                blobs=tuple(sorted(map(str, content))),
            )
        )
    listed = [_listed_blob(part, descriptor, before, is_left_out=layout.is_left_out(descriptor)) for descriptor in blobs.values()]
    written = {file.path for file in listed if not file.in_base}
    documents: dict[str, Path | bytes] = {**parts.files, **{name: (part / name).read_bytes() for name in _LAYOUT}}
    documents[BILL] = _bill(images, parts.files)
    for name, source in documents.items():
        raw = source if isinstance(source, bytes) else source.read_bytes()
        file = BundledFile(path=name, size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
        if name not in _LAYOUT and before.get(name) == file and not name.endswith(".sh"):
            listed.append(BundledFile(path=name, size=file.size, sha256=file.sha256, in_base=True))
            continue
        listed.append(file)
        written.add(name)
        if name not in _LAYOUT:
            files.atomic_write(part / name, raw)
    contents = BundleContents(
        format=FORMAT,
        tool_version=registry_tool.__version__,
        platform=parts.platform,
        images=tuple(images),
        wheels=parts.wheels,
        sample_wheels=parts.sample_wheels,
        files=tuple(sorted(listed, key=lambda file: file.path)),
        base=BundleBase(sha256=since.contents.sha256) if since is not None else None,
        signer=signer,
    )
    # What is written is what can be read.
    BundleContents.parse(contents.raw)
    files.atomic_write(part / CONTENTS, contents.raw)
    files.atomic_write(part / CHECKSUM, checksum_line(contents.raw))
    _remove_others(part, written | {CONTENTS, CHECKSUM})
    return contents


def _bill(images: Sequence[BundledImage], sources: Mapping[str, Path | bytes]) -> bytes:
    from registry_tool.bundle.bill import bill_of_materials  # noqa: PLC0415 - its library takes long to load

    wheels = {
        path: source if isinstance(source, bytes) else source.read_bytes() for path, source in sources.items() if path.endswith(".whl")
    }
    listed = [BundledFile(path=path, size=len(raw), sha256=hashlib.sha256(raw).hexdigest()) for path, raw in wheels.items()]
    return bill_of_materials(images, listed)


def _signer(private_key: bytes) -> str:
    """The public key as ``bundle.json`` has it. Raises UsageError."""
    from registry_tool.base.crypto import signatures  # noqa: PLC0415 - of signed bundles only

    try:
        return base64.b64encode(signatures.public_key_of(private_key)).decode()
    except signatures.InvalidKey as error:
        raise UsageError(f"the key cannot sign: {error}", hint="Make one: openssl genpkey -algorithm ed25519 -out key.pem") from None


def _sign(part: Path, contents: BundleContents, private_key: bytes | None) -> bytes:
    """Write the signature; returns its text, which is empty without a key."""
    if private_key is None:
        return b""
    from registry_tool.base.crypto import signatures  # noqa: PLC0415 - of signed bundles only

    text = signature_text(signatures.sign(private_key, contents.raw))
    files.atomic_write(part / SIGNATURE, text)
    return text


def _engine_or_registry_name(location: Location) -> str:
    """The name that an exported image gets."""
    if location.kind == "engine":
        return str(Reference.parse(location.name or "", default_host=DOCKER_HUB).or_latest())
    return join_name(location.store, location.tag or DEFAULT_TAG) if location.reference is not None else location.name or ""


def _content(layout: _BundleLayout, root: Descriptor) -> dict[Digest, Descriptor]:
    """All content of an image, by digest. Raises InvalidArchive where something is missing."""
    content: dict[Digest, Descriptor] = {}
    waiting = [root]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.digest in content:
            continue
        if not layout.exists(descriptor):
            if is_foreign(descriptor):
                continue
            raise InvalidArchive(f"{descriptor.digest} is missing, which an image needs: no bundle is written", hint="Run it again.")
        content[descriptor.digest] = descriptor
        if descriptor.media_type in (*IMAGES, *INDEXES):
            manifest = layout.manifest(descriptor.digest)
            waiting += [*manifest.children, *manifest.layers, *([manifest.config] if manifest.config is not None else [])]
    return content


def _listed_blob(part: Path, descriptor: Descriptor, before: Mapping[str, BundledFile], *, is_left_out: bool) -> BundledFile:
    path = blob_path(descriptor.digest)
    is_here = (part / path).is_file() and not is_left_out
    if descriptor.digest.algorithm == "sha256":
        sha256 = descriptor.digest.hex
    elif is_here:
        sha256 = hashlib.sha256((part / path).read_bytes()).hexdigest()
    else:
        sha256 = before[path].sha256
    return BundledFile(path=path, size=descriptor.size, sha256=sha256, in_base=not is_here)


def _remove_others(part: Path, wanted: set[str]) -> None:
    """Remove what an interrupted run with other words left."""
    for parent, folders, names in os.walk(part, topdown=False):
        for name in names:
            path = Path(parent, name)
            if path.relative_to(part).as_posix() not in wanted:
                path.unlink()
        for name in folders:
            folder = Path(parent, name)
            if not any(folder.iterdir()):
                folder.rmdir()


def _write_files(
    part: Path, path: Path, contents: BundleContents, signature: bytes, volume_size: int | None, *, parity: bool
) -> dict[Path, Path]:
    """Write the file, or the volumes with their list and parity, to the disk: where each will be -> where it is."""
    scratch = part / ".writing"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    if volume_size is None:
        temporary = scratch / "bundle"
        with temporary.open("wb") as stream:
            _write_tar(stream, part, contents, signature)
            stream.flush()
            os.fsync(stream.fileno())
        return {path: temporary}
    with VolumeWriter(scratch, volume_size) as volumes:
        _write_tar(volumes, part, contents, signature)
    named = {volume(path, number): written for number, written in enumerate(volumes.paths, 1)}
    return named | write_list(named, path, scratch, parity=parity)


def _move_files(part: Path, path: Path, written: Mapping[Path, Path]) -> tuple[Path, ...]:
    """Move files to their places: the list of volumes and parity first, so that volumes that are missing then are named.

    Raises Conflict where something else is there.
    """
    for final in [path, *volumes_at(path)]:
        if os.path.lexists(final) and not (final in written and _is_same(final, written[final])):
            _remove_part(part)
            raise _taken(path)
    for earlier in others_at(path):
        if earlier not in written:
            earlier.unlink()
    for final, temporary in reversed(list(written.items())):
        temporary.replace(final)
    files.sync_folder(path.parent)
    _remove_part(part)
    return tuple(written)


def _remove_part(part: Path) -> None:
    """Remove the folder; what makes it a layout goes last, so that a run after one that was killed here knows it."""
    for path in part.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LAYOUT[0]:
            path.unlink()
    shutil.rmtree(part)


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and not one.is_symlink() and filecmp.cmp(one, other, shallow=False)


def _taken(path: Path) -> Conflict:
    return Conflict(f"there is {path} already", hint="Remove it, or name another one with -o.")


def _write_tar(stream: BinaryIO | VolumeWriter, part: Path, contents: BundleContents, signature: bytes) -> None:
    documents = {CONTENTS: contents.raw, CHECKSUM: checksum_line(contents.raw), **({SIGNATURE: signature} if signature else {})}
    for name, raw in documents.items():
        _add(stream, name, len(raw), io.BytesIO(raw))
    for file in tar_order(contents):
        with (part / file.path).open("rb") as content:
            descriptor = Descriptor(media_type="", digest=Digest("sha256", file.sha256), size=file.size)
            with verified(content, descriptor) as checked:
                _add(stream, file.path, file.size, checked)
    stream.write(END)


def _add(stream: BinaryIO | VolumeWriter, name: str, size: int, content: io.IOBase) -> None:
    stream.write(tar_header(name, size))
    while piece := content.read(_PIECE):
        stream.write(piece)
    stream.write(bytes(padded(size) - size))


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Raise a failure of the file system as one of this program."""
    try:
        yield
    except OSError as error:
        is_large = error.errno == errno.EFBIG
        hint = "What was read is kept: run it again to go on."
        raise RegistryToolError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="The disk takes no file of this size, as FAT: --volume-size 4GB" if is_large else hint,
        ) from error
    except Mismatch as error:
        raise Mismatch(error.message, hint="What was damaged is removed when it is run again.") from error
