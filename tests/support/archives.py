"""Archives of images as engines and tools write them, made here member by member: nothing of what is tested helps."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"

Members = dict[str, bytes | tarfile.TarInfo]
"""Paths and contents; a TarInfo for what is no file."""


def hex_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def plain_layer(content: bytes, name: str = "file") -> bytes:
    """A layer with one file, not compressed."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return layer.getvalue()


def config_of(*layers: bytes, label: str = "") -> bytes:
    """An image's config over layers that are not compressed, in the way Docker writes it."""
    diff_ids = [f"sha256:{hex_of(layer)}" for layer in layers]
    document = {
        "architecture": "amd64",
        "config": {"Labels": {"label": label}},
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return json.dumps(document).encode()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link, or with another ``kind`` a device or a pipe."""
    made = tarfile.TarInfo("")
    made.type, made.linkname = kind, target
    return made


def tar_of(members: Mapping[str, bytes | tarfile.TarInfo], *, folders: Sequence[str] = (), prefix: str = "") -> bytes:
    """A tar with these members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in folders:
            entry = tarfile.TarInfo(prefix + folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for path, content in members.items():
            entry = tarfile.TarInfo(prefix + path)
            if isinstance(content, tarfile.TarInfo):
                entry.type, entry.linkname = content.type, content.linkname
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@dataclass(frozen=True, kw_only=True)
class SavedImage:
    """An image to be saved; ``layers`` are not compressed."""

    names: tuple[str, ...]
    layers: tuple[bytes, ...]
    label: str = ""

    @property
    def config(self) -> bytes:
        return config_of(*self.layers, label=self.label)

    @property
    def id(self) -> str:
        return f"sha256:{hex_of(self.config)}"


def docker_save(*images: SavedImage) -> Members:
    """As Docker 20.10 does: a folder for each layer, and a symbolic link where a layer comes again."""
    members: Members = {}
    documents = []
    folders: dict[bytes, str] = {}
    for image in images:
        paths = []
        for number, layer in enumerate(image.layers):
            folder = hex_of(f"{image.id} {number}".encode())
            members[f"{folder}/VERSION"] = b"1.0"
            members[f"{folder}/json"] = b"{}"
            members[f"{folder}/layer.tar"] = link(f"../{folders[layer]}/layer.tar") if layer in folders else layer
            folders.setdefault(layer, folder)
            paths.append(f"{folder}/layer.tar")
        members[f"{hex_of(image.config)}.json"] = image.config
        documents.append({"Config": f"{hex_of(image.config)}.json", "RepoTags": list(image.names) or None, "Layers": paths})
    return members | {"manifest.json": json.dumps(documents).encode(), "repositories": b"{}"}


def oci_save(*images: SavedImage, compressed: Literal["", "gzip"] = "") -> Members:
    """As Docker 25 and later do: an image layout with ``manifest.json``; layers compressed where the store is containerd's."""
    blobs: Members = {}
    entries, documents = [], []

    def stored(content: bytes, media_type: str) -> dict[str, object]:
        blobs[f"blobs/sha256/{hex_of(content)}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{hex_of(content)}", "size": len(content)}

    for image in images:
        pack = (lambda layer: gzip.compress(layer, mtime=0)) if compressed else (lambda layer: layer)
        layers = [stored(pack(layer), f"{OCI_LAYER}+gzip" if compressed else OCI_LAYER) for layer in image.layers]
        manifest = {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": stored(image.config, OCI_CONFIG), "layers": layers}
        entry = stored(json.dumps(manifest).encode(), OCI_IMAGE)
        for name in image.names:
            named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
            entries.append(entry | {"annotations": named})
        if not image.names:
            entries.append(entry)
        paths = [f"blobs/sha256/{str(layer['digest'])[7:]}" for layer in layers]
        documents.append({"Config": f"blobs/sha256/{hex_of(image.config)}", "RepoTags": list(image.names) or None, "Layers": paths})
    return blobs | {
        "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
        "manifest.json": json.dumps(documents).encode(),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }


def crane_pull(image: SavedImage) -> Members:
    """As ``crane pull`` does: layers compressed, and called by their digests."""
    packed = [gzip.compress(layer, mtime=0) for layer in image.layers]
    paths = [f"{hex_of(layer)}.tar.gz" for layer in packed]
    document = {"Config": image.id, "RepoTags": list(image.names), "Layers": paths}
    return {image.id: image.config, **dict(zip(paths, packed, strict=True)), "manifest.json": json.dumps([document]).encode()}


def podman_save(image: SavedImage) -> Members:
    """As ``podman save`` does: layers called by their diff ids, and links for old readers."""
    members: Members = {f"{hex_of(layer)}.tar": layer for layer in image.layers}
    for number, layer in enumerate(image.layers):
        folder = hex_of(f"legacy {number}".encode())
        members |= {f"{folder}/VERSION": b"1.0", f"{folder}/layer.tar": link(f"../{hex_of(layer)}.tar"), f"{folder}/json": b"{}"}
    document = {
        "Config": f"{hex_of(image.config)}.json",
        "RepoTags": list(image.names),
        "Layers": [f"{hex_of(layer)}.tar" for layer in image.layers],
    }
    return members | {f"{hex_of(image.config)}.json": image.config, "repositories": b"{}", "manifest.json": json.dumps([document]).encode()}


def write_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    path.write_bytes(tar_of(members))
    return path
