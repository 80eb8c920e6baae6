"""Small images, indexes and artifacts for a registry: made here, byte by byte, and pushed over plain HTTP.

Nothing of what is tested helps here, so that what is found wrong is not wrong on both sides. All functions take the
``port`` of a registry on loopback, be it the one in this process or a real one.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.registry_over_http import ask, over_one_connection, push_blob

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = f"{OCI_IMAGE}, {OCI_INDEX}, {DOCKER_IMAGE}, {DOCKER_LIST}"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
CREATED = "2024-05-06T07:08:09Z"

_CONFIG = {OCI_IMAGE: "application/vnd.oci.image.config.v1+json", DOCKER_IMAGE: "application/vnd.docker.container.image.v1+json"}
_LAYER = {OCI_IMAGE: "application/vnd.oci.image.layer.v1.tar+gzip", DOCKER_IMAGE: "application/vnd.docker.image.rootfs.diff.tar.gzip"}


@dataclass(frozen=True, kw_only=True)
class PushedManifest:
    """A pushed manifest: ``raw``, with an image's ``config`` and ``layers`` or an index's ``children``."""

    repository: str
    tag: str | None
    media_type: str
    raw: bytes = field(repr=False)
    config: bytes = field(default=b"", repr=False)
    layers: tuple[bytes, ...] = field(default=(), repr=False)
    children: tuple[PushedManifest, ...] = ()
    platform: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.raw)

    @property
    def descriptor(self) -> dict[str, object]:
        """As an index or a ``subject`` names it."""
        members: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}
        if self.platform:
            members["platform"] = dict(zip(("os", "architecture", "variant"), self.platform.split("/"), strict=False))
        return members

    @property
    def size(self) -> int:
        """Bytes of config and layers, each once."""
        return sum(map(len, {self.config, *self.layers}))


def sha256(content: bytes) -> str:
    """``sha256:…`` of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@functools.lru_cache(maxsize=256)
def layer(content: bytes, name: str = "file") -> bytes:
    """A layer with one file, always the same bytes for the same file."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


@functools.lru_cache(maxsize=256)
def _diff_id(packed: bytes) -> str:
    return sha256(gzip.decompress(packed))


def zstd_packed(content: bytes, *, window: int = 0) -> bytes:
    """``content`` packed with zstd; to be unpacked in a window of 2 to the power of ``window`` bytes, where it is given."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window})
    packed: bytes = packer.compress(content) + packer.flush()
    return packed


def config(
    layers: Sequence[bytes], *, created: str | None = CREATED, platform: str = "linux/amd64", labels: Mapping[str, str] | None = None
) -> bytes:
    """An image's configuration over ``layers`` (gzip), with one step of history for each. ``created`` None leaves it out."""
    os, architecture, *variant = platform.split("/")
    document: dict[str, object] = {"os": os, "architecture": architecture}
    if variant:
        document["variant"] = variant[0]
    if created is not None:
        document["created"] = created
    steps = [{"created": created or CREATED, "created_by": f"step {number}"} for number, _ in enumerate(layers)]
    return _json(
        document
        | {
            "config": {"Cmd": ["/file"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [_diff_id(content) for content in layers]},
            "history": steps,
        }
    )


@over_one_connection
def make_image(
    port: int,
    repository: str,
    tag: str | None = None,
    *layers: bytes,
    created: str | None = CREATED,
    platform: str = "linux/amd64",
    labels: Mapping[str, str] | None = None,
    media_type: str = OCI_IMAGE,
    extra: Mapping[str, object] | None = None,
) -> PushedManifest:
    """Push an image: of ``layers`` (see :func:`layer`), or of one that depends on repository, tag and platform.

    ``extra`` is added to the manifest. Without a tag it is pushed by its digest.
    """
    content = layers or (layer(f"{repository}:{tag} {platform}".encode()),)
    configuration = config(content, created=created, platform=platform, labels=labels)
    raw = _json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": _descriptor(configuration, _CONFIG[media_type]),
            "layers": [_descriptor(blob, _LAYER[media_type]) for blob in content],
            **(extra or {}),
        }
    )
    for blob in (configuration, *content):
        make_blob(port, repository, blob)
    made = PushedManifest(
        repository=repository, tag=tag, media_type=media_type, raw=raw, config=configuration, layers=tuple(content), platform=platform
    )
    put_manifest(port, repository, tag or made.digest, raw, media_type)
    return made


def make_index(
    port: int,
    repository: str,
    tag: str | None = None,
    *children: PushedManifest,
    attestations: Sequence[PushedManifest] = (),
    media_type: str = OCI_INDEX,
    extra: Mapping[str, object] | None = None,
) -> PushedManifest:
    """Push an index of ``children``; ``attestations`` are marked as BuildKit marks them, each as one of the child at its place."""
    marked = [
        made.descriptor
        | {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": child.digest},
        }
        for made, child in zip(attestations, children, strict=False)
    ]
    raw = _json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [child.descriptor for child in children] + marked,
            **(extra or {}),
        }
    )
    made = PushedManifest(repository=repository, tag=tag, media_type=media_type, raw=raw, children=(*children, *attestations))
    put_manifest(port, repository, tag or made.digest, raw, media_type)
    return made


@over_one_connection
def make_artifact(
    port: int,
    repository: str,
    subject: PushedManifest | None = None,
    *,
    tag: str | None = None,
    artifact_type: str = "application/vnd.example.sbom.v1+json",
    content: bytes = b"an artifact",
    annotations: Mapping[str, str] | None = None,
) -> PushedManifest:
    """Push an artifact, and where it has a subject put it on the list of its referrers (the tag ``sha256-HEX``)."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": artifact_type,
        "config": EMPTY,
        "layers": [_descriptor(content, "application/octet-stream")],
        "annotations": dict(annotations or {}),
    }
    if subject is not None:
        named = subject.descriptor
        document["subject"] = {name: named[name] for name in ("mediaType", "digest", "size")}
    raw = _json(document)
    for blob in (b"{}", content):
        make_blob(port, repository, blob)
    made = PushedManifest(repository=repository, tag=tag, media_type=OCI_IMAGE, raw=raw, config=b"{}", layers=(content,))
    put_manifest(port, repository, tag or made.digest, raw, OCI_IMAGE)
    if subject is not None:
        _refer(port, repository, subject, made.descriptor | {"artifactType": artifact_type, "annotations": dict(annotations or {})})
    return made


def _refer(port: int, repository: str, subject: PushedManifest, referrer: Mapping[str, object]) -> None:
    """Add to the list of referrers, as a client does where the registry has no interface for it."""
    tag = subject.digest.replace(":", "-")
    status, _, body = ask(port, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": OCI_INDEX})
    known = json.loads(body)["manifests"] if status == 200 else []
    raw = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*known, referrer]})
    put_manifest(port, repository, tag, raw, OCI_INDEX)


def make_blob(port: int, repository: str, content: bytes) -> str:
    """Push a blob; its digest."""
    status = push_blob(port, repository, content)
    assert status == 201, f"a blob for {repository}: {status}"
    return sha256(content)


def put_manifest(port: int, repository: str, reference: str, raw: bytes, media_type: str) -> str:
    """Push a manifest as it is; its digest."""
    status, _, body = ask(port, "PUT", f"/v2/{repository}/manifests/{reference}", body=raw, headers={"Content-Type": media_type})
    assert status == 201, body
    return sha256(raw)


def _descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
