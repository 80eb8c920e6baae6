"""Manifests and indexes (OCI image-spec 1.1; docker's schema 2), with the exact bytes they were read from: the digest is of those."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from registry_tool.base.errors import InvalidManifest
from registry_tool.base.labels import PREFIX
from registry_tool.base.reader import Document
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest

MAX_SIZE = 4 * 1024 * 1024
"""Bytes of a manifest that registries accept."""

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA_1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")

IMAGES = (OCI_IMAGE, DOCKER_IMAGE)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
ACCEPT = f"{OCI_IMAGE}, {OCI_INDEX}, {DOCKER_IMAGE}, {DOCKER_LIST}"
"""The ``Accept`` header of a request for a manifest."""

EMPTY_CONTENT = b"{}"
EMPTY = Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(EMPTY_CONTENT), size=len(EMPTY_CONTENT))
"""The empty descriptor: a required config or layer without content (manifest.md, "Guidance for an Empty Descriptor")."""

TOMBSTONE = "application/vnd.registry-tool.tombstone.v1+json"
"""The artifact type of a tombstone."""

_FILE_SYSTEM_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_FOREIGN_LAYERS = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
_SIGNATURES = (
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.",
    "application/vnd.cncf.notary.signature",
)
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image (``config``, ``layers``) or an index (``children``); ``descriptor`` is of ``raw``, ``subject`` what it refers to."""

    raw: bytes = field(repr=False)
    descriptor: Descriptor
    kind: Literal["image", "index"]
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def is_tombstone(self) -> bool:
        """Whether it only replaces a tag, in an unfinished deletion of this tool's."""
        return self.artifact_type == TOMBSTONE

    @property
    def type(self) -> Literal["image", "index", "artifact", "signature"]:
        """Its type to people. An index of one platform and its attestations, as BuildKit writes them, is an image."""
        if self.kind == "index":
            if self.artifact_type:
                return "artifact"
            images, attestations = sum(map(is_platform_image, self.children)), sum(map(is_attestation, self.children))
            return "image" if images == 1 and attestations == len(self.children) - 1 > 0 else "index"
        if any(name.startswith(_SIGNATURES) for name in (self.artifact_type or "", *(layer.media_type for layer in self.layers))):
            return "signature"
        is_image = self.config is not None and self.config.media_type in CONFIGS and not self.artifact_type
        has_files = not self.layers or any(layer.media_type.startswith(_FILE_SYSTEM_LAYERS) for layer in self.layers)
        return "image" if is_image and has_files else "artifact"

    @property
    def referrer(self) -> Descriptor:
        """Its entry in its subject's referrers (distribution-spec, "Listing Referrers")."""
        kind = self.artifact_type or (self.config.media_type if self.config else None)
        return replace(self.descriptor, annotations=self.annotations, artifact_type=kind)


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether it is BuildKit's attestation of another entry of the index: nothing that runs."""
    return _ATTESTATION in descriptor.annotations


def is_foreign(descriptor: Descriptor) -> bool:
    """Whether it is a non-distributable layer, which registries need not have."""
    return descriptor.media_type.startswith(_FOREIGN_LAYERS)


def is_platform_image(child: Descriptor) -> bool:
    """Whether an entry of an index is an image of the platform that it names."""
    return child.platform is not None and child.platform.os != "unknown" and not is_attestation(child)


# --- reading ---


def parse(raw: bytes, media_type: str | None = None, *, algorithm: str = "sha256") -> Manifest:
    """Read a manifest. ``media_type`` is the registry's Content-Type, for a document without one.

    ``algorithm`` is that of its descriptor's digest. Raises InvalidManifest, whose message has the path
    (``layers[2].digest: …``); also where the two media types differ, and for docker's schema 1.
    """
    document = Document.read(raw, what="manifest", max_size=MAX_SIZE)
    resolved_type = _media_type(document, media_type)
    is_index = resolved_type in INDEXES
    # A document that is both would be an image to one reader and an index to another (CVE-2021-41190).
    for key in ("config", "layers", "fsLayers") if is_index else ("manifests", "fsLayers"):
        if key in document.members:
            document.refuse(key, f"does not belong into {'an index' if is_index else 'the manifest of an image'}")
    if not is_index and not document.has("config"):
        document.refuse("config", "missing")
    return Manifest(
        raw=raw,
        descriptor=Descriptor(media_type=resolved_type, digest=Digest.of(raw, algorithm), size=len(raw)),
        kind="index" if is_index else "image",
        config=_inner_descriptor(document, "config"),
        layers=tuple(map(_descriptor, document.objects("layers"))),
        children=tuple(map(_descriptor, document.objects("manifests"))),
        subject=_inner_descriptor(document, "subject"),
        artifact_type=document.text("artifactType") or None,
        annotations=document.mapping("annotations"),
    )


def _media_type(document: Document, declared: str | None) -> str:
    declared = declared.partition(";")[0].strip().lower() if declared else None
    media_type = document.text("mediaType")
    if declared in SCHEMA_1 or media_type in SCHEMA_1 or document.members.get("schemaVersion") == 1:
        raise InvalidManifest(
            "schemaVersion: docker's manifest schema 1, which no current tool reads", hint="Push the image again with a current docker."
        )
    if declared and media_type and declared != media_type:
        raise InvalidManifest(f"mediaType: the document calls itself {_shown(media_type)}, the registry calls it {_shown(declared)}")
    media_type = media_type or declared or (OCI_INDEX if "manifests" in document.members else OCI_IMAGE)
    if media_type not in IMAGES and media_type not in INDEXES:
        raise InvalidManifest(f"mediaType: {_shown(media_type)} is neither an image nor an index")
    if document.required_number("schemaVersion") != 2:
        document.refuse("schemaVersion", f"2 is wanted, not {document.members['schemaVersion']}")
    return media_type


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
    # Some tools write an empty platform rather than none.
    return Platform(os=os, architecture=architecture, variant=document.text("variant") or "") if os or architecture else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 100 else text[:97] + "...")


# --- writing ---


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
    return _manifest(media_type, members, subject, artifact_type, annotations)


def index(
    children: Iterable[Descriptor],
    *,
    media_type: str = OCI_INDEX,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An index of images. The same arguments give the same bytes."""
    return _manifest(media_type, {"manifests": [child.as_json() for child in children]}, subject, artifact_type, annotations)


def tombstone(tag: str, *, unique: str) -> Manifest:
    """A manifest that replaces ``tag``, so that its deletion removes no other tag; ``unique`` makes its digest unique."""
    annotations = {f"{PREFIX}.tombstone.tag": tag, f"{PREFIX}.tombstone.unique": unique}
    return image(EMPTY, [EMPTY], artifact_type=TOMBSTONE, annotations=annotations)


def _manifest(
    media_type: str,
    members: Mapping[str, object],
    subject: Descriptor | None,
    artifact_type: str | None,
    annotations: Mapping[str, str] | None,
) -> Manifest:
    optional = {"subject": subject.as_json() if subject else None, "annotations": dict(sorted((annotations or {}).items()))}
    document = {"schemaVersion": 2, "mediaType": media_type, "artifactType": artifact_type, **members, **optional}
    present = {name: value for name, value in document.items() if value not in (None, "", {})}
    return parse(json.dumps(present, separators=(",", ":")).encode())
