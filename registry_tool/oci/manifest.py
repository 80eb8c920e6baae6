"""A manifest says what an image is made of, an index which images belong together.

OCI image specification 1.1 (manifest.md, image-index.md) and docker's schema 2, which came before and differs in names
only. A manifest keeps the exact bytes it arrived in: its digest is of those, never of JSON that was written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from registry_tool.base.errors import InvalidManifest
from registry_tool.base.labels import PREFIX
from registry_tool.base.reader import Document
from registry_tool.oci.config import Config, parse_config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest

__all__ = ["Child", "Config", "Manifest", "parse", "parse_config"]

MAX_SIZE = 4 * 1024 * 1024
"""Bytes of a manifest: what registries take."""

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA_1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")

IMAGES = (OCI_IMAGE, DOCKER_IMAGE)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPT = f"{OCI_IMAGE}, {OCI_INDEX}, {DOCKER_IMAGE}, {DOCKER_LIST}"
"""The ``Accept`` header of a request for a manifest."""

EMPTY_CONTENT = b"{}"
EMPTY = Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(EMPTY_CONTENT), size=len(EMPTY_CONTENT))
"""What stands where a manifest must have something and there is nothing."""

TOMBSTONE = "application/vnd.registry-tool.tombstone.v1+json"
"""The artifact type of what replaces a tag that is about to go."""

_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_FILE_SYSTEM_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_FOREIGN_LAYERS = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
_SIGNATURES = (
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.",
    "application/vnd.cncf.notary.signature",
)
_ATTESTATION = "vnd.docker.reference.type"

Child = Descriptor
"""An entry of an index: a descriptor, with its platform where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image (``config`` and ``layers``) or an index (``children``). ``descriptor`` is of ``raw``.

    ``subject`` is what it refers to: a signature's image. ``artifact_type`` is as the document has it.
    """

    raw: bytes = field(repr=False)
    descriptor: Descriptor
    kind: Literal["image", "index"]
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Child, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def is_tombstone(self) -> bool:
        """Whether it only stands where a tag was: an unfinished deletion of this tool's."""
        return self.artifact_type == TOMBSTONE

    @property
    def type(self) -> Literal["image", "index", "artifact", "signature"]:
        """What a person would call it. An index of one platform and its attestations, as BuildKit makes them, is an image."""
        if self.kind == "index":
            if self.artifact_type:
                return "artifact"
            lone = sum(map(is_platform_image, self.children)) == 1 and sum(map(is_attestation, self.children)) == len(self.children) - 1 > 0
            return "image" if lone else "index"
        if any(name.startswith(_SIGNATURES) for name in (self.artifact_type or "", *(layer.media_type for layer in self.layers))):
            return "signature"
        is_image = self.config is not None and self.config.media_type in _CONFIGS and not self.artifact_type
        has_files = not self.layers or any(layer.media_type.startswith(_FILE_SYSTEM_LAYERS) for layer in self.layers)
        return "image" if is_image and has_files else "artifact"

    @property
    def referrer(self) -> Descriptor:
        """Its entry in its subject's list of referrers (OCI distribution specification 1.1, "Listing Referrers")."""
        kind = self.artifact_type or (self.config.media_type if self.config else None)
        return replace(self.descriptor, annotations=self.annotations, artifact_type=kind)


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether BuildKit put it into an index to say something of another entry: nothing that runs."""
    return _ATTESTATION in descriptor.annotations


def is_foreign(descriptor: Descriptor) -> bool:
    """Whether it is a layer that registries need not have: its owner does not let it be handed on."""
    return descriptor.media_type.startswith(_FOREIGN_LAYERS)


def is_platform_image(child: Child) -> bool:
    """Whether an entry of an index is an image of a platform that it names."""
    return child.platform is not None and child.platform.os != "unknown" and not is_attestation(child)


# --- reading ---


def parse(raw: bytes, media_type: str | None = None, *, algorithm: str = "sha256") -> Manifest:
    """Read a manifest. ``media_type`` is what the registry calls it: it decides where the document does not say.

    ``algorithm`` is of the digest that its descriptor gets. Raises InvalidManifest, whose message says where:
    ``layers[2].digest: …``; also where registry and document call it different things, and for docker's schema 1.
    """
    document = Document.read(raw, what="manifest", max_size=MAX_SIZE)
    kind = _media_type(document, media_type)
    is_index = kind in INDEXES
    # One document that is both would be one image to one reader and another one to the next (CVE-2021-41190).
    for key in ("config", "layers", "fsLayers") if is_index else ("manifests", "fsLayers"):
        if key in document.members:
            document.refuse(key, f"does not belong into {'an index' if is_index else 'the manifest of an image'}")
    if not is_index and not document.has("config"):
        document.refuse("config", "missing")
    return Manifest(
        raw=raw,
        descriptor=Descriptor(media_type=kind, digest=Digest.of(raw, algorithm), size=len(raw)),
        kind="index" if is_index else "image",
        config=_inner_descriptor(document, "config"),
        layers=tuple(map(_descriptor, document.objects("layers"))),
        children=tuple(map(_descriptor, document.objects("manifests"))),
        subject=_inner_descriptor(document, "subject"),
        artifact_type=document.text("artifactType") or None,
        annotations=document.mapping("annotations"),
    )


def _media_type(document: Document, said: str | None) -> str:
    said = said.partition(";")[0].strip().lower() if said else None
    own = document.text("mediaType")
    if said in SCHEMA_1 or own in SCHEMA_1 or document.members.get("schemaVersion") == 1:
        raise InvalidManifest(
            "schemaVersion: docker's manifest schema 1, which no current tool reads", hint="Push the image anew with a docker of today."
        )
    if said and own and said != own:
        raise InvalidManifest(f"mediaType: the document calls itself {_shown(own)}, the registry calls it {_shown(said)}")
    kind = own or said or (OCI_INDEX if "manifests" in document.members else OCI_IMAGE)
    if kind not in IMAGES and kind not in INDEXES:
        raise InvalidManifest(f"mediaType: {_shown(kind)} is neither an image nor an index")
    if document.required_number("schemaVersion") != 2:
        document.refuse("schemaVersion", f"2 is wanted, not {document.members['schemaVersion']}")
    return kind


def _inner_descriptor(document: Document, key: str) -> Descriptor | None:
    return _descriptor(document.inner(key)) if document.has(key) else None


def _descriptor(document: Document) -> Descriptor:
    return Descriptor(
        digest=document.required("digest", Digest.parse),
        media_type=document.required_text("mediaType"),
        size=document.required_number("size"),
        annotations=document.mapping("annotations"),
        urls=document.texts("urls"),
        platform=_platform(document.inner("platform")),
        artifact_type=document.text("artifactType") or None,
    )


def _platform(document: Document) -> Platform | None:
    os, architecture = document.text("os") or "", document.text("architecture") or ""
    # Some tools write an empty one rather than none.
    return Platform(os=os, architecture=architecture, variant=document.text("variant") or "") if os or architecture else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 100 else text[:97] + "...")


# --- making ---


def image(
    config: Descriptor,
    layers: Iterable[Descriptor],
    *,
    media_type: str = OCI_IMAGE,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """The manifest of an image or artifact. The same arguments give the same bytes."""
    members = {"config": config.as_json(), "layers": [layer.as_json() for layer in layers]}
    return _made(media_type, members, subject, artifact_type, annotations)


def index(
    children: Iterable[Child],
    *,
    media_type: str = OCI_INDEX,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An index of images. The same arguments give the same bytes."""
    return _made(media_type, {"manifests": [child.as_json() for child in children]}, subject, artifact_type, annotations)


def tombstone(tag: str, *, unique: str) -> Manifest:
    """What replaces ``tag`` alone, so that its deletion takes no other tag along. ``unique`` makes its digest nobody else's."""
    annotations = {f"{PREFIX}.tombstone.tag": tag, f"{PREFIX}.tombstone.unique": unique}
    return image(EMPTY, [EMPTY], artifact_type=TOMBSTONE, annotations=annotations)


def _made(
    media_type: str,
    members: Mapping[str, object],
    subject: Descriptor | None,
    artifact_type: str | None,
    annotations: Mapping[str, str] | None,
) -> Manifest:
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document |= members
    if subject is not None:
        document["subject"] = subject.as_json()
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return parse(json.dumps(document, separators=(",", ":")).encode())
