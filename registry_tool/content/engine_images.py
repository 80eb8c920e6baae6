"""Images of an engine as targets: to be read from its archive of them, and to be loaded into it."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from registry_tool.base import files, gzip_blocks
from registry_tool.base.errors import EngineError, InvalidArchive, NotFound, RegistryToolError, UsageError
from registry_tool.engine import Engine
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_CONFIG, DOCKER_IMAGE, DOCKER_LAYER, Manifest
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.archive import Archive, ArchiveWriter, open_archive
from registry_tool.targets.layout.index import LayoutIndex
from registry_tool.targets.layout.reader import LayoutReader
from registry_tool.targets.target import Readable

_PLAIN = ".tar"
"""The end of the media type of a layer that is not compressed."""


class EngineImages(LayoutReader):
    """Images of ``engine``, to be read only; a context manager. Each is saved to a temporary file when its name is resolved.

    Layers that the engine keeps uncompressed are compressed, with the digests that a direct push gives them: the image keeps its id,
    and its manifest is docker's. Others are as they are stored, as are their manifests.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__("the engine")
        self._engine = engine
        self._index = LayoutIndex()
        self._stack = ExitStack()
        self._archives: list[Archive] = []
        self._files: dict[Digest, Path] = {}
        """Compressed layers."""
        self._layers: dict[Digest, Descriptor] = {}
        """Diff id -> the compressed layer."""
        self._documents: dict[Digest, bytes] = {}
        self._temporary: Path | None = None
        self._saving = threading.Lock()

    def __enter__(self) -> EngineImages:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was saved."""
        self._stack.close()

    @property
    def index(self) -> LayoutIndex:
        return self._index

    def tags(self) -> tuple[str, ...]:
        """Every name of an image in the engine, saved or not."""
        return tuple(name for image in self._engine.images() for name in image.names)

    def resolve(self, reference: str) -> Descriptor:
        """Return what a name stands for; the image is saved. Raises NotFound, EngineError."""
        with self._saving:
            if not reference.startswith("sha256:") and self._index.find(reference) is None:
                self._save(reference)
        return super().resolve(reference)

    def open_content(self, digest: Digest) -> BinaryIO | None:
        opened: Any
        if digest in self._documents:
            # typeshed has no common type for what reads bytes.
            opened = io.BytesIO(self._documents[digest])
            return opened  # type: ignore[no-any-return]
        if digest in self._files:
            return self._files[digest].open("rb")
        return next((content for archive in self._archives if (content := archive.open_content(digest)) is not None), None)

    def stored_size(self, digest: Digest) -> int | None:
        if digest in self._documents:
            return len(self._documents[digest])
        if digest in self._files:
            return self._files[digest].stat().st_size
        return next((size for archive in self._archives if (size := archive.stored_size(digest)) is not None), None)

    def push(self, descriptor: Descriptor, stream: Readable) -> NoReturn:
        """Raise UsageError: images are loaded as a whole, by an :class:`EngineLoader`."""
        raise UsageError("images of the engine cannot be changed here", hint="Load an archive into it.")

    def push_manifest(self, manifest: Manifest, tag: str | None) -> NoReturn:
        """Raise UsageError."""
        raise UsageError("images of the engine cannot be changed here", hint="Load an archive into it.")

    def delete(self, descriptor: Descriptor) -> NoReturn:
        """Raise UsageError."""
        raise UsageError("images of the engine cannot be changed here", hint="See: regctl rmi")

    # --- inside ---

    def _save(self, name: str) -> None:
        image = self._engine.image(name)
        if image is None:
            raise NotFound(f"no such image in the engine: {name}", hint="See: regctl images")
        file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - the archive closes it
        try:
            # By its name: containerd's store has no manifest in the archive of an id.
            self._engine.save_image([name], file)
            file.flush()
            file.seek(0)
            archive = self._stack.enter_context(open_archive(file))
            descriptor = archive.only().descriptor
            if not image.in_containerd_store:
                manifest = archive.manifest(descriptor.digest)
                if any(layer.media_type.endswith(_PLAIN) for layer in manifest.layers):
                    descriptor = self._compressed(archive, manifest)
        except OSError as error:
            file.close()
            message = f"{name} cannot be saved in {tempfile.gettempdir()}: {error.strerror or error}"
            raise RegistryToolError(message, hint="TMPDIR names another folder.") from error
        except InvalidArchive as error:
            file.close()
            raise EngineError(f"the engine's archive of {name}: {error.message}", hint="Is the engine's store damaged?") from error
        except BaseException:
            file.close()
            raise
        self._archives.append(archive)
        self._index = self._index.add(descriptor, name)

    def _compressed(self, archive: Archive, manifest: Manifest) -> Descriptor:
        """The same image with compressed layers."""
        if manifest.config is None:
            return manifest.descriptor
        layers = []
        for layer in manifest.layers:
            if layer.digest not in self._layers:
                with archive.fetch(layer) as content:
                    self._layers[layer.digest] = self._compress(content, layer.size)
            layers.append(self._layers[layer.digest])
        config = Descriptor(media_type=DOCKER_CONFIG, digest=manifest.config.digest, size=manifest.config.size)
        compressed = manifests.image(config, layers, media_type=DOCKER_IMAGE)
        self._documents[compressed.digest] = compressed.raw
        return compressed.descriptor

    def _compress(self, content: Readable, size: int) -> Descriptor:
        digest = hashlib.sha256()
        path = self._folder() / f"{len(self._layers)}"
        try:
            with path.open("wb") as file:
                for piece in gzip_blocks.compress(content.read, size):
                    digest.update(piece)
                    file.write(piece)
        except BaseException:
            # Other images may have room where this one had none.
            path.unlink(missing_ok=True)
            raise
        descriptor = Descriptor(media_type=DOCKER_LAYER, digest=Digest("sha256", digest.hexdigest()), size=path.stat().st_size)
        self._files[descriptor.digest] = path
        return descriptor

    def _folder(self) -> Path:
        if self._temporary is None:
            self._temporary = self._stack.enter_context(files.temporary_folder())
        return self._temporary


class EngineLoader(ArchiveWriter):
    """A target whose images :meth:`commit` loads into ``engine``. A context manager; without a commit nothing is loaded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stack = ExitStack()
        self._parent = self._stack.enter_context(files.temporary_folder())
        self.loaded: tuple[str, ...] = ()
        """Names of the images that were loaded, or ids where they have none."""
        super().__init__(self._parent / "images.tar")
        self.name = "the engine"

    def __enter__(self) -> EngineLoader:
        return self

    def close(self) -> None:
        """Remove what was collected."""
        super().close()
        self._stack.close()

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        """Add an image, to be called ``tag`` as docker understands it: ``app`` is docker.io/library/app:latest."""
        return super().push_manifest(manifest, str(Reference.parse(tag, default_host=DOCKER_HUB).or_latest()) if tag is not None else None)

    def commit(self) -> frozenset[Digest]:
        """Load the images. Raises EngineError."""
        needs = super().commit()
        with (self._parent / "images.tar").open("rb") as archive:
            self.loaded = self._engine.load_image(archive)
        return needs
