"""Archives as engines save images: docker's old format, the OCI layout of Docker 25 and later, podman's."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import BinaryIO, Literal

from registry_tool.engine import Image
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG
from registry_tool.targets.layout.index import LayoutIndex
from tests.support.content import sha256

Format = Literal["old", "oci", "podman"]
PLAIN = "application/vnd.oci.image.layer.v1.tar"
FORMATS: tuple[Format, ...] = ("old", "oci", "podman")


@dataclass
class SavedImage:
    """An image of plain ``layers``, and its archive in chunks of ``chunk`` bytes; ``reads`` counts how often that was begun."""

    layers: Sequence[bytes]
    format: Format = "old"
    chunk: int = 1000
    config: bytes = b""
    name: str = "localhost:5000/john/app:1"
    reads: int = 0
    cut: int | None = None
    fault: BaseException | None = None
    """Raised in the place of what follows ``cut``."""
    replaced: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Content of files that the archive has in the place of others; None: not at all."""

    def __post_init__(self) -> None:
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/file"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in self.layers]},
        }
        self.config = self.config or json.dumps(document).encode()

    @property
    def image(self) -> Image:
        """The image as the engine lists it."""
        return Image(id=sha256(self.config), layers=tuple(sha256(layer) for layer in self.layers))

    def archive(self) -> Generator[bytes, None, None]:
        """The engine's stream."""
        self.reads += 1
        raw = self.tar()
        end = len(raw) if self.cut is None else self.cut
        for at in range(0, end, self.chunk):
            yield raw[at : min(at + self.chunk, end)]
        if self.fault is not None:
            raise self.fault

    def tar(self) -> bytes:
        """The whole archive."""
        files: dict[str, bytes | str] = {}
        paths: list[str] = []
        unique: dict[str, str] = {}
        for number, layer in enumerate(self.layers):
            digest = _hex(layer)
            if self.format == "oci":
                files[f"blobs/sha256/{digest}"] = layer
                paths.append(f"blobs/sha256/{digest}")
                continue
            folder = _hex(f"{number} {digest}".encode())
            files |= {f"{folder}/VERSION": b"1.0", f"{folder}/json": b"{}"}
            if self.format == "podman":
                files |= {f"{digest}.tar": layer, f"{folder}/layer.tar": f"../{digest}.tar"}
                paths.append(f"{digest}.tar")
            else:
                paths.append(f"{folder}/layer.tar")
                # A layer that appears twice is a link the second time.
                files[f"{folder}/layer.tar"] = f"../{unique[digest]}/layer.tar" if digest in unique else layer
                unique.setdefault(digest, folder)
        config = _hex(self.config)
        if self.format == "oci":
            descriptor = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(self.config), size=len(self.config))
            layers = [Descriptor(media_type=PLAIN, digest=Digest.of(layer), size=len(layer)) for layer in self.layers]
            manifest = manifests.image(descriptor, layers)
            index = LayoutIndex().add(manifest.descriptor, self.name)
            config_path = f"blobs/sha256/{config}"
            files |= {config_path: self.config, "index.json": index.raw, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
            files[f"blobs/sha256/{manifest.digest.hex}"] = manifest.raw
        else:
            config_path = f"{config}.json"
            files[config_path] = self.config
        document = [{"Config": config_path, "RepoTags": [self.name], "Layers": paths}]
        files |= {"manifest.json": json.dumps(document).encode(), "repositories": b"{}"}
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as tar:
            for path, content in sorted(files.items()):
                entry = tarfile.TarInfo(path)
                if isinstance(content, str):
                    entry.type, entry.linkname = tarfile.SYMTYPE, content
                    tar.addfile(entry)
                elif (stored := self.replaced.get(content, content)) is not None:
                    entry.size = len(stored)
                    tar.addfile(entry, io.BytesIO(stored))
        return target.getvalue()


class FakeImageStore:
    """The images of an engine with ``saved``, that keeps what it is given to load. ``files``: the image, as it has it in files here."""

    def __init__(self, saved: SavedImage, *, in_containerd_store: bool = False, files: Image | None = None) -> None:
        self.saved = saved
        self.files = files
        self.endpoint = SimpleNamespace(is_local=files is not None)
        self.in_containerd_store = in_containerd_store
        self.archive = b""

    def image(self, name: str) -> Image | None:
        if name != self.saved.name:
            return None
        if self.files is not None:
            return self.files
        return Image(id=self.saved.image.id, layers=self.saved.image.layers, in_containerd_store=self.in_containerd_store)

    def images(self) -> tuple[Image, ...]:
        return (Image(id=self.saved.image.id, names=(self.saved.name,)),)

    def save_image(self, names: Sequence[str], target: BinaryIO) -> None:
        assert names == [self.saved.name]
        target.writelines(self.saved.archive())

    def load_image(self, source: BinaryIO) -> tuple[str, ...]:
        self.archive = source.read()
        return (self.saved.name,)


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
