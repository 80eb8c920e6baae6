"""Images of an engine as targets: to be read from its archive of them, and to be loaded into it."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from registry_tool.base import files, gzip_blocks
from registry_tool.base.chunks import ChunkReader
from registry_tool.base.errors import EngineError, InvalidArchive, InvalidManifest, Mismatch, NotFound, RegistryToolError, UsageError
from registry_tool.engine import Engine, Image
from registry_tool.engine.content_store import ContentStore
from registry_tool.engine.layer_store import LayerStore
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import parse_config
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_CONFIG, DOCKER_IMAGE, DOCKER_LAYER, Manifest, is_foreign
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.archive import Archive, ArchiveWriter, open_archive
from registry_tool.targets.layout.index import LayoutIndex
from registry_tool.targets.layout.reader import LayoutReader
from registry_tool.targets.target import Readable, verified

_PLAIN = ".tar"
"""The end of the media type of a layer that is not compressed."""


class EngineImages(LayoutReader):
    """Images of ``engine``, to be read only; a context manager. Each is saved to a temporary file when its name is resolved.

    Where the engine's files can be read (by root on its machine), they are, and nothing is saved. Layers that the engine keeps
    uncompressed are compressed, with the digests that a direct push gives them: the image keeps its id, and its manifest is docker's.
    Others are as they are stored, as are their manifests.
    """

    def __init__(self, engine: Engine, *, content: ContentStore | None = None) -> None:
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
        self._content = content or ContentStore()
        self._reads_content = False
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
        stored = next((content for archive in self._archives if (content := archive.open_content(digest)) is not None), None)
        return self._content.open(digest) if stored is None and self._reads_content else stored

    def stored_size(self, digest: Digest) -> int | None:
        if digest in self._documents:
            return len(self._documents[digest])
        if digest in self._files:
            return self._files[digest].stat().st_size
        stored = next((size for archive in self._archives if (size := archive.stored_size(digest)) is not None), None)
        return self._content.size(digest) if stored is None and self._reads_content else stored

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
        if self._engine.endpoint.is_local and (stored := self._read_files(name, image)) is not None:
            self._index = self._index.add(stored, name)
            return
        with ExitStack() as unfinished:
            try:
                file: Any = unfinished.enter_context(tempfile.TemporaryFile())
                # By its name: containerd's store has no manifest in the archive of an id.
                self._engine.save_image([name], file)
                file.flush()
                file.seek(0)
                archive = open_archive(file)
                descriptor = archive.only().descriptor
                if not image.in_containerd_store:
                    manifest = archive.manifest(descriptor.digest)
                    if any(layer.media_type.endswith(_PLAIN) for layer in manifest.layers):
                        descriptor = self._compressed(archive, manifest)
            except OSError as error:
                raise _no_room(name, error) from error
            except InvalidArchive as error:
                raise EngineError(f"the engine's archive of {name}: {error.message}", hint="Is the engine's store damaged?") from error
            unfinished.pop_all()
        self._stack.callback(archive.close)
        self._archives.append(archive)
        self._index = self._index.add(descriptor, name)

    def _read_files(self, name: str, image: Image) -> Descriptor | None:
        """The image from the engine's files; None where they cannot be read, or not all of it is there."""
        try:
            if image.in_containerd_store:
                self._reads_content = True
                descriptor = super().resolve(image.id)
                self._require_content(self.manifest(descriptor.digest))
                return descriptor
            store = LayerStore.of(image)
            return self._read_layers(image, store) if store is not None else None
        except (EngineError, NotFound, Mismatch, InvalidManifest):
            return None
        except OSError as error:
            raise _no_room(name, error) from error

    def _require_content(self, manifest: Manifest, depth: int = 4) -> None:
        """Raise NotFound, Mismatch or InvalidManifest where a part of an image is not there. An engine may have one platform of many."""
        for child in manifest.children:
            if not depth:
                raise InvalidManifest("indexes are nested too deep")
            self._require_content(self.manifest(child.digest), depth - 1)
        for part in (*((manifest.config,) if manifest.config is not None else ()), *manifest.layers):
            if not is_foreign(part) and not self.exists(part):
                raise NotFound(f"{part.digest} is not there")

    def _read_layers(self, image: Image, store: LayerStore) -> Descriptor:
        """An image of a classic store with its layers compressed. Raises EngineError, Mismatch, InvalidManifest; OSError."""
        config = store.config(image.id)
        if tuple(map(str, parse_config(config, lenient=True).diff_ids)) != image.layers:
            raise EngineError("a config of other layers than the image")
        layers = []
        for count, text in enumerate(image.layers, 1):
            diff_id = Digest.parse(text)
            if diff_id not in self._layers:
                layer = store.layer(image.layers[:count])
                plain = Descriptor(media_type="", digest=diff_id, size=layer.size)
                with closing(layer.pieces()) as pieces, verified(ChunkReader(pieces), plain) as content:
                    compressed_layer = self._compress(content, layer.size)
                    content.read(1)  # of no bytes nothing was read
                    self._layers[diff_id] = compressed_layer
            layers.append(self._layers[diff_id])
        descriptor = Descriptor(media_type=DOCKER_CONFIG, digest=Digest.of(config), size=len(config))
        compressed = manifests.image(descriptor, layers, media_type=DOCKER_IMAGE)
        self._documents |= {descriptor.digest: config, compressed.digest: compressed.raw}
        return compressed.descriptor

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


def _no_room(name: str, error: OSError) -> RegistryToolError:
    message = f"{name} cannot be saved in {tempfile.gettempdir()}: {error.strerror or error}"
    return RegistryToolError(message, hint="TMPDIR names another folder.")


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
