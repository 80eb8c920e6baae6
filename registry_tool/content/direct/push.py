"""Push one image of an engine's classic store: known layers are left out, the others go from its archive stream to the registry."""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from registry_tool.base.chunks import ChunkReader
from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import AuthenticationFailed, EngineError, InvalidArchive, InvalidManifest, Mismatch, NotFound
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.direct.uploads import LayerUploads
from registry_tool.engine import Image
from registry_tool.engine.layer_store import LayerStore
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import MAX_SIZE, parse_config
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_CONFIG, DOCKER_IMAGE, DOCKER_LAYER, Manifest
from registry_tool.targets.archive.stream import TarMember, read_members
from registry_tool.targets.layer_cache import CompressedLayer, LayerCache
from registry_tool.targets.registry import Presence, Repository
from registry_tool.targets.target import Readable
from registry_tool.transport.retry import repeated

_PIECE = 1 << 20
_EXISTS = "Layer already exists"

Archive = Callable[[], Generator[bytes, None, None]]
"""Starts the stream of an image's archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectPush:
    """What was pushed. ``layers`` is diff id -> its status in docker's words (``Pushed``); ``bytes_sent`` of layers, compressed.

    ``unchanged``: the tag stood for it, and all of it was seen in the registry.
    """

    descriptor: Descriptor
    layers: Mapping[str, str] = field(default_factory=dict)
    bytes_sent: int = 0
    unchanged: bool = False


def push_image(
    image: Image,
    archive: Archive,
    repository: Repository,
    tag: str,
    *,
    store: LayerStore | None = None,
    cache: LayerCache | None = None,
    observer: Observer = SILENT,
    threads: int | None = None,
) -> DirectPush:
    """Push ``image``, whose ``archive`` the engine gives out, to ``repository`` as ``tag``, by up to ``threads`` threads that compress.

    Where the engine's ``store`` can be read, the archive is not: only where something there is not as expected.

    The config keeps its bytes, and the image its id. The manifest is docker's, and its digest the same for the same image and library
    of compression. It is pushed last: killed before, the registry has no tag, and the next push sends no layer again.

    Raises:
        EngineError: the archive is cut, or lacks a part of the image.
    """
    push = _Push(image, archive, store, repository, cache or LayerCache(), observer, threads)
    current = push.read_tag(tag)
    push.find_layers()
    if current is not None and push.has(current):
        return replace(push.result(current.descriptor), unchanged=True)
    is_first = True

    def transfer() -> None:
        nonlocal is_first
        if not is_first:
            push.find_layers()
        is_first = False
        push.transfer()

    repeated(transfer)
    return push.result(repeated(lambda: repository.push_manifest(push.manifest(), tag)))


class _Push:
    def __init__(
        self,
        image: Image,
        archive: Archive,
        store: LayerStore | None,
        repository: Repository,
        cache: LayerCache,
        observer: Observer,
        threads: int | None,
    ) -> None:
        self._image = image
        self._archive = archive
        self._store = store
        self._repository = repository
        self._cache = cache
        self._observer = observer
        self._threads = threads
        self._diff_ids = tuple(dict.fromkeys(image.layers))
        self._of_tag: dict[str, CompressedLayer] = {}
        self._is_current = False
        """Whether the tag stands for this image, whoever pushed it."""
        self._is_verified = False
        """Whether the engine itself pushed or pulled that manifest."""
        self._layers: dict[str, CompressedLayer] = {}
        """Those that the registry has."""
        self._config = Descriptor(media_type=DOCKER_CONFIG, digest=Digest.parse(image.id), size=0)
        self._hashed: dict[str, str] = {}
        """Path -> diff id of layers without a name that may be known ones."""
        self._sent: dict[str, CompressedLayer] = {}
        self._mounted: dict[str, str] = {}
        """Diff id -> the repository it was mounted from."""
        self._shown: set[str] = set()

    # --- what is there ---

    def read_tag(self, tag: str) -> Manifest | None:
        """What the tag stands for now, if it is an image. Its layers are known by its config."""
        try:
            current = self._repository.manifest(tag)
            if current.config is None or current.config.media_type not in manifests.CONFIGS:
                return None
            if str(current.config.digest) == self._image.id:
                self._is_current = True
                self._is_verified = f"{self._repository.name}@{current.digest}" in self._image.digests
                self._config = replace(self._config, size=current.config.size)
                diff_ids: tuple[object, ...] = self._image.layers
            else:
                with self._repository.fetch(current.config) as stream:
                    diff_ids = parse_config(_read(stream, MAX_SIZE), lenient=True).diff_ids
        except (NotFound, InvalidManifest, Mismatch, AuthenticationFailed):
            return None
        if len(diff_ids) == len(current.layers):
            self._of_tag = {
                str(diff_id): CompressedLayer(digest=layer.digest, size=layer.size)
                for diff_id, layer in zip(diff_ids, current.layers, strict=True)
                if layer.media_type.endswith("gzip")
            }
        return current

    def find_layers(self) -> None:
        """Look which layers of earlier pushes the registry still has, to the last byte; a HEAD may tell of what is gone."""
        cached = self._cache.find(self._repository.name, self._diff_ids)
        if not self._is_verified:
            # Who may push there may have paired the config with other layers: what we compressed ourselves is believed.
            self._of_tag = {diff_id: layer for diff_id, layer in cached.items() if layer.digest == self._digest_of_tag(diff_id)}
        known = {**cached, **self._of_tag} if self._is_current else {**self._of_tag, **cached}
        wanted = {diff_id: known[diff_id] for diff_id in self._diff_ids if diff_id in known and diff_id not in self._layers}

        def is_there(diff_id: str) -> bool:
            with self._repository.limiter:
                return self._repository.last_byte(_descriptor(wanted[diff_id])) is Presence.WHOLE

        self._layers.update({diff_id: wanted[diff_id] for diff_id, there in map_unordered(is_there, list(wanted)) if there})
        self._mount_layers()
        for diff_id in self._diff_ids:
            if diff_id in self._layers and diff_id not in self._shown:
                self._shown.add(diff_id)
                self._observer.finish(_short(diff_id), self._status(diff_id))

    def _digest_of_tag(self, diff_id: str) -> Digest | None:
        return self._of_tag[diff_id].digest if diff_id in self._of_tag else None

    def _mount_layers(self) -> None:
        """Mount layers that were pushed to other repositories of the registry; it may mount what is gone."""
        missing = [diff_id for diff_id in self._diff_ids if diff_id not in self._layers]
        elsewhere = self._cache.find_elsewhere(self._repository.host, missing)

        def is_mounted(diff_id: str) -> bool:
            path, layer = elsewhere[diff_id]
            descriptor = _descriptor(layer)
            with self._repository.limiter:
                is_mounted = self._repository.mount(descriptor, self._repository.sibling(path))
                return is_mounted and self._repository.last_byte(descriptor) is Presence.WHOLE

        for diff_id, mounted in map_unordered(is_mounted, list(elsewhere)):
            if mounted:
                path, self._layers[diff_id] = elsewhere[diff_id]
                self._mounted[diff_id] = path
                self._keep(diff_id, self._layers[diff_id])

    def has(self, manifest: Manifest) -> bool:
        """Whether ``manifest`` is of this image, and the registry has all of it."""
        if not self._is_current or not self.is_complete():
            return False
        return [self._layers[diff_id].digest for diff_id in self._image.layers] == [layer.digest for layer in manifest.layers]

    def is_complete(self) -> bool:
        """Whether the registry has all layers and the config."""
        if len(self._layers) < len(self._diff_ids):
            return False
        if not self._config.size:
            self._config = replace(self._config, size=self._repository.reported_size(self._config) or 0)
        return bool(self._config.size) and self._repository.last_byte(self._config) is Presence.WHOLE

    # --- moving ---

    def transfer(self) -> None:
        """Send what the registry lacks. In the old format layers have no names: those of a known one's size are only hashed at first."""
        if self.is_complete():
            return
        config = self._read_store()
        if config is None:
            config = self._read_archive()
            if len(self._layers) < len(self._diff_ids) and self._hashed:
                config = self._read_archive()
        missing = [diff_id for diff_id in self._diff_ids if diff_id not in self._layers]
        if missing or config is None:
            what = f"layer {missing[0]}" if missing else f"config {self._image.id}"
            raise EngineError(f"the engine's archive of {self._image.short_id} lacks {what}", hint="Is the engine's store damaged?")
        if parse_config(config, lenient=True).diff_ids != tuple(map(Digest.parse, self._image.layers)):
            raise EngineError(f"the engine's archive of {self._image.short_id} has a config of other layers than the image")
        self._config = replace(self._config, size=len(config))
        # A HEAD may tell of what was collected.
        if self._repository.last_byte(self._config) is not Presence.WHOLE:
            self._repository.push(self._config, io.BytesIO(config))

    def _read_store(self) -> bytes | None:
        """Send what is missing from the files of the engine's store; the config. None where not all of it is there as expected."""
        if self._store is None:
            return None
        uploads: dict[str, Future[CompressedLayer]] = {}
        try:
            config = self._store.config(self._image.id)
            with LayerUploads(self._repository, self._keep, threads=self._threads) as sending:
                for count, diff_id in enumerate(self._image.layers, 1):
                    if diff_id in self._layers or diff_id in uploads:
                        continue
                    layer = self._store.layer(self._image.layers[:count])
                    with closing(layer.pieces()) as pieces:
                        _, uploads[diff_id] = self._add(sending, _short(diff_id), ChunkReader(pieces), layer.size, diff_id)
                self._finish_uploads({diff_id: (_short(diff_id), upload) for diff_id, upload in uploads.items()})
        except EngineError:
            self._store = None
            completed = {diff_id: upload for diff_id, upload in uploads.items() if upload.done() and upload.exception() is None}
            self._finish_uploads({diff_id: (_short(diff_id), upload) for diff_id, upload in completed.items()})
            return None
        return config

    def _add(
        self, sending: LayerUploads, key: str, content: Readable, size: int, expected: str | None
    ) -> tuple[str, Future[CompressedLayer]]:
        self._observer.start(key, "Pushing", size)
        return sending.add(content, size, expected=expected, progress=partial(self._observer.advance, key))

    def _finish_uploads(self, uploads: Mapping[str, tuple[str, Future[CompressedLayer]]]) -> None:
        """Wait for uploads, each of a diff id and with the key of its row."""
        for diff_id, (key, upload) in uploads.items():
            self._layers[diff_id] = self._sent[diff_id] = upload.result()
            self._shown.add(diff_id)
            self._observer.finish(key, "Pushed")

    def _read_archive(self) -> bytes | None:
        """Read the archive until nothing is missing; the config, if it was in it."""
        config: bytes | None = None
        known_sizes = {layer.plain_size for layer in self._layers.values() if layer.plain_size}
        uploads: dict[str, tuple[str, Future[CompressedLayer]]] = {}
        try:
            with (
                closing(self._archive()) as chunks,
                LayerUploads(self._repository, self._keep, threads=self._threads) as sending,
            ):
                for member, content in read_members(ChunkReader(chunks)):
                    digest = self._hashed.get(member.path) or _digest_in(member)
                    if digest == self._image.id:
                        config = _checked(_read(content, MAX_SIZE), self._image.id)
                    elif digest is None and _is_layer(member) and member.size in known_sizes:
                        self._hashed[member.path] = _hash(content)
                    elif self._is_wanted(member, digest, uploads):
                        key = _short(digest or f":{member.path}")
                        diff_id, upload = self._add(sending, key, content, member.size, digest)
                        if uploads.setdefault(diff_id, (key, upload))[1] is not upload:
                            upload.result()  # the same content twice
                    if config is not None and all(each in self._layers or each in uploads for each in self._diff_ids):
                        break
                self._finish_uploads(uploads)
        except InvalidArchive as error:
            raise EngineError(f"the engine's archive of {self._image.short_id}: {error.message}", hint="Push again.") from error
        return config

    def _is_wanted(self, member: TarMember, digest: str | None, uploads: Mapping[str, object]) -> bool:
        if digest is None:
            return _is_layer(member)
        return member.link is None and digest in self._diff_ids and digest not in self._layers and digest not in uploads

    def _keep(self, diff_id: str, layer: CompressedLayer) -> None:
        self._cache.put(self._repository.name, diff_id, layer)

    # --- the result ---

    def manifest(self) -> Manifest:
        """The image's manifest, of the same bytes for the same layers."""
        return manifests.image(
            self._config, [_descriptor(self._layers[diff_id]) for diff_id in self._image.layers], media_type=DOCKER_IMAGE
        )

    def result(self, descriptor: Descriptor) -> DirectPush:
        """What was done to have ``descriptor`` there."""
        return DirectPush(
            descriptor=descriptor,
            layers={diff_id: self._status(diff_id) for diff_id in self._diff_ids},
            bytes_sent=sum(layer.size for layer in self._sent.values()),
        )

    def _status(self, diff_id: str) -> str:
        if diff_id in self._mounted:
            return f"Mounted from {self._mounted[diff_id]}"
        return "Pushed" if diff_id in self._sent else _EXISTS


def _digest_in(member: TarMember) -> str | None:
    """The digest in a member's path: ``blobs/sha256/HEX``, in docker's and podman's old formats ``HEX.json`` and ``HEX.tar``."""
    folder, name = posixpath.split(member.path)
    hex_digits = name if folder == "blobs/sha256" else posixpath.splitext(name)[0] if not folder else ""
    try:
        return str(Digest.parse(f"sha256:{hex_digits}"))
    except ValueError:
        return None


def _is_layer(member: TarMember) -> bool:
    """Whether it is a layer of docker's old format; a second one of the same content is a link."""
    return member.link is None and posixpath.basename(member.path) == "layer.tar"


def _hash(content: Readable) -> str:
    digest = hashlib.sha256()
    while piece := content.read(_PIECE):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _checked(content: bytes, digest: str) -> bytes:
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise EngineError(f"the engine's archive has other content than {digest}", hint="Is its store damaged?")
    return content


def _read(stream: Readable, most: int) -> bytes:
    pieces: list[bytes] = []
    while piece := stream.read(_PIECE):
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            raise InvalidManifest("the image's config is too large")
    return b"".join(pieces)


def _descriptor(layer: CompressedLayer) -> Descriptor:
    return Descriptor(media_type=DOCKER_LAYER, digest=layer.digest, size=layer.size)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]
