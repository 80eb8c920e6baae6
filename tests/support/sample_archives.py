"""Sample images, archives of them that are written by the writer under test, and what is read of an archive."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG, Manifest
from registry_tool.targets.archive import Archive, ArchiveWriter
from registry_tool.targets.layout import Layout
from tests.support.archives import (
    SavedImage,
    plain_layer,
)

LAYER = "application/vnd.oci.image.layer.v1.tar"
BASE, APP, OTHER = plain_layer(b"base"), plain_layer(b"app"), plain_layer(b"other")
IMAGE = SavedImage(names=("localhost:5000/app:1",), layers=(BASE, APP))
SECOND = SavedImage(names=("localhost:5000/other:1", "localhost:5000/other:latest"), layers=(BASE, OTHER, OTHER), label="second")


def read_all(archive: Archive) -> dict[str, tuple[str, list[bytes]]]:
    """Name -> (image id, layers as they were before compression)."""
    images = {}
    for image in archive.images:
        manifest = archive.manifest(image.descriptor.digest)
        layers = []
        for layer in manifest.layers:
            with archive.fetch(layer) as content:
                raw = b""
            while piece := content.read(1000):
                raw += piece
            layers.append(gzip.decompress(raw) if layer.media_type.endswith("+gzip") else raw)
        assert manifest.config is not None
        with archive.fetch(manifest.config) as content:
            content.read()
        images[image.name or ""] = str(manifest.config.digest), layers
    return images


EXPECTED = {name: (image.id, list(image.layers)) for image in (IMAGE, SECOND) for name in image.names}


def put(layout: Layout, name: str | None, *layers: bytes, config: bytes | None = None) -> Manifest:
    """Push an image as copying does: what is there is not pushed."""
    blobs = [
        (config if config is not None else SavedImage(names=(), layers=layers).config, OCI_CONFIG),
        *((layer, LAYER) for layer in layers),
    ]
    descriptors = [Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content)) for content, media_type in blobs]
    for descriptor, (content, _) in zip(descriptors, blobs, strict=True):
        if not layout.exists(descriptor):
            layout.push(descriptor, io.BytesIO(content))
    manifest = manifests.image(descriptors[0], descriptors[1:])
    layout.push_manifest(manifest, name)
    return manifest


def write(path: Path, **images: tuple[bytes, ...]) -> bytes:
    with ArchiveWriter(path) as writer:
        for name, layers in images.items():
            put(writer, f"localhost:5000/{name}:1", *layers)
        writer.commit()
    return path.read_bytes()


def write_images(path: Path) -> bytes:
    with ArchiveWriter(path) as writer:
        for image in (IMAGE, SECOND):
            for name in image.names:
                put(writer, name, *image.layers, config=image.config)
        writer.commit()
    return path.read_bytes()
