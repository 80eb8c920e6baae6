"""A registry of the bench's own, and repositories in it."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.measure import REGCTL, progress, said
from registry_tool.base import units
from registry_tool.base.concurrency import map_unordered
from registry_tool.oci import manifest
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry

_LAYER = b"the one layer of all these images: no table reads it"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A repository (``HOST/PATH``) with ``tags``. ``paths`` are the manifests and configs of its images."""

    host: str
    path: str
    tags: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.host}/{self.path}"


@contextmanager
def registry(name: str | None = None) -> Iterator[str]:
    """A registry for the block, on a port that nobody has; ``HOST:PORT``."""
    name = name or f"bench-{uuid.uuid4().hex[:10]}"
    try:
        yield str(json.loads(said(*REGCTL, "up", "--name", name, "--json"))["registry"]["address"])
    finally:
        said(*REGCTL, "down", "--name", name, "--volumes", "--yes", "--missing-ok")


def filled(host: str, path: str, count: int, *, images: int | None = None) -> Filled:
    """Push ``count`` tags, each on an image of its own with a config of its own, or on one of so many ``images``."""
    progress(f"filling {path} with {units.count(count, 'tag')}")
    with open_registry(host) as registry:
        repository = registry.repository(path)
        layer = _described(_LAYER, "application/vnd.oci.image.layer.v1.tar")
        repository.push(layer, io.BytesIO(_LAYER))

        def push(number: int) -> manifest.Manifest:
            config = _config(path, number)
            described = _described(config, manifest.OCI_CONFIG)
            repository.push(described, io.BytesIO(config))
            image = manifest.parse(_image(described, layer), manifest.OCI_IMAGE)
            repository.push_manifest(image, _tag(number))
            return image

        pushed = dict(map_unordered(push, range(images or count)))
        others = range(len(pushed), count)
        for _ in map_unordered(lambda number: repository.push_manifest(pushed[number % len(pushed)], _tag(number)), others):
            pass
    configs = [(image.digest, image.config.digest) for image in pushed.values() if image.config]
    paths = tuple(f"/v2/{path}/{each}" for image, config in configs for each in (f"manifests/{image}", f"blobs/{config}"))
    return Filled(host=host, path=path, tags=tuple(map(_tag, range(count))), paths=paths)


def _tag(number: int) -> str:
    return f"1.{number // 100}.{number % 100}"


def _config(path: str, number: int) -> bytes:
    """About as large as that of a small image of somebody's."""
    history = [{"created": "2024-05-06T07:08:09Z", "created_by": f"step {step} of {path}:{_tag(number)}"} for step in range(8)]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": f"2024-05-06T07:{number // 60 % 60:02}:{number % 60:02}Z",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["python", "app.py"], "Labels": {"number": str(number)}},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(_LAYER))]},
        "history": history,
    }
    return json.dumps(document).encode()


def _image(config: Descriptor, layer: Descriptor) -> bytes:
    described = [
        {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size} for descriptor in (config, layer)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_IMAGE, "config": described[0], "layers": described[1:]}).encode()


def _described(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
