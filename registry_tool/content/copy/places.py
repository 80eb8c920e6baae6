"""Opening what :class:`Location` names, each place once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NoReturn

from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import NotFound
from registry_tool.content.copy import CopyOptions, copy
from registry_tool.content.copy.location import Location
from registry_tool.content.engine_images import EngineImages, EngineLoader
from registry_tool.engine import Engine, connect
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_foreign
from registry_tool.targets.archive import Archive, ArchiveWriter, check_path, open_archive
from registry_tool.targets.layout import Layout
from registry_tool.targets.registry import Registry
from registry_tool.targets.registry.upload_records import UploadRecords
from registry_tool.targets.target import Readable, Target


class Places:
    """The places of one copy, each opened once; a context manager, which closes them.

    With ``dry_run`` none is made or written to. ``uploads`` is a folder for the uploads under way, with which another run can go on.
    """

    def __init__(
        self,
        open_registry: Callable[[str], Registry],
        *,
        connect_engine: Callable[[], Engine] = connect,
        dry_run: bool = False,
        uploads: Path | None = None,
    ) -> None:
        self._open_registry = open_registry
        self._connect_engine = connect_engine
        self._dry_run = dry_run
        self._records = UploadRecords(uploads) if uploads is not None else None
        self._registries: dict[str, Registry] = {}
        self._targets: dict[tuple[str, bool], Target] = {}
        self._files: dict[str, Layout | Archive | EngineImages] = {}
        self._archives: list[ArchiveWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def source(self, location: Location) -> Target:
        """Open a place to read from."""
        if location.kind == "registry":
            return self._repository(location)
        return self.file(location)

    def file(self, location: Location) -> Layout | Archive | EngineImages:
        """Open an image layout, an archive or the engine to read from."""
        if location.store not in self._files:
            self._files[location.store] = opened = self._read(location)
            self._stack.callback(opened.close)
        return self._files[location.store]

    def destination(self, location: Location) -> Target:
        """Open a place to write to."""
        if location.kind == "registry":
            return self._repository(location)
        key = location.store, True
        if key not in self._targets:
            self._targets[key] = self._written(location)
        return self._targets[key]

    def commit(self) -> None:
        """Write the archives that were collected, where all went well."""
        for archive in self._archives:
            archive.commit()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the registries' responses."""
        return tuple(note for registry in self._registries.values() for note in registry.notes)

    def _repository(self, location: Location) -> Target:
        key = location.store, False
        if key not in self._targets:
            if location.reference is None:
                raise ValueError("no registry")
            host = location.reference.host
            if host not in self._registries:
                self._registries[host] = self._stack.enter_context(self._open_registry(host))
                self._registries[host].upload_records = self._records
            self._targets[key] = self._registries[host].repository(location.reference.path)
        return self._targets[key]

    def _read(self, location: Location) -> Layout | Archive | EngineImages:
        if location.path is None:
            return EngineImages(self._connect_engine())
        return Layout.open(location.path) if location.kind == "oci" else open_archive(location.path)

    def _written(self, location: Location) -> Target:
        if location.path is None:
            if self._dry_run:
                return EmptyTarget()
            loader = self._stack.enter_context(EngineLoader(self._connect_engine()))
            self._archives.append(loader)
            return loader
        if self._dry_run:
            if location.kind != "oci":
                check_path(location.path)
            is_layout = location.kind == "oci" and location.path.is_dir() and any(location.path.iterdir())
            return self.file(location) if is_layout or _has_images(location.path) else EmptyTarget()
        if location.kind == "oci":
            return self._stack.enter_context(Layout.open(location.path, write=True))
        archive = self._stack.enter_context(ArchiveWriter(location.path))
        if _has_images(location.path):
            # As to an image layout, images are added to an archive; it is written anew, with all that it has.
            existing = self.file(location)
            has_foreign = any(is_foreign(layer) and existing.exists(layer) for manifest in existing.walk() for layer in manifest.layers)
            names = {image.name or str(image.descriptor.digest): (image.name,) if image.name else () for image in existing.images}
            copy(existing, archive, names, options=CopyOptions(referrers=True, allow_foreign=has_foreign))
        self._archives.append(archive)
        return archive


def _has_images(path: Path) -> bool:
    """Whether there is an archive, and not an empty file that was only made for its name."""
    return path.is_file() and path.stat().st_size > 0


class EmptyTarget:
    """A place with nothing in it, that stands for one that a copy would make. Nothing can be written to it."""

    limiter = RateLimiter()

    def resolve(self, reference: str) -> Descriptor:
        raise NotFound(f"{reference} is not there")

    def manifest(self, reference: str | Digest) -> Manifest:
        raise NotFound(f"{reference} is not there")

    def fetch(self, descriptor: Descriptor) -> AbstractContextManager[Readable]:
        raise NotFound(f"{descriptor.digest} is not there")

    def exists(self, descriptor: Descriptor) -> bool:
        return False

    def push(self, descriptor: Descriptor, stream: Readable) -> NoReturn:
        raise ValueError("a place of a dry run")

    def push_manifest(self, manifest: Manifest, tag: str | None) -> NoReturn:
        raise ValueError("a place of a dry run")

    def tags(self) -> tuple[str, ...]:
        return ()

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        return ()

    def delete(self, descriptor: Descriptor) -> NoReturn:
        raise ValueError("a place of a dry run")
