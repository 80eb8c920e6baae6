"""Manifests and indexes (OCI image-spec 1.1; docker's schema 2), with the exact bytes they were read from: the digest is of those."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from registry_tool.base.errors import InvalidManifest, UnknownMediaType
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
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SCHEMA_1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")

OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
"""Of release candidates of the specification; some registries still have such manifests."""

IMAGES = (OCI_IMAGE, DOCKER_IMAGE)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
ACCEPT = ", ".join((OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST, *(f"{name};q=0.5" for name in (OCI_ARTIFACT, *SCHEMA_1)), "*/*;q=0.1"))
"""The ``Accept`` header of a request for a manifest. What is not read is accepted, too: its digest can be known, and its bytes shown."""

EMPTY_CONTENT = b"{}"
EMPTY = Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(EMPTY_CONTENT), size=len(EMPTY_CONTENT))
"""The empty descriptor: a required config or layer without content (manifest.md, "Guidance for an Empty Descriptor")."""

TOMBSTONE = "application/vnd.registry-tool.tombstone.v1+json"
"""The artifact type of a tombstone that has no other's type."""
TOMBSTONE_SIZE = 1013
"""Bytes of a tombstone, so that by its size alone nearly every other manifest is known to be none."""

_FILE_SYSTEM_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_FOREIGN_LAYERS = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
_SIGNATURES = (
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.",
    "application/vnd.cncf.notary.signature",
)
_TOMBSTONE_TAG, _TOMBSTONE_ID = f"{PREFIX}.tombstone.tag", f"{PREFIX}.tombstone.unique"
_ATTESTATION = "vnd.docker.reference.type"
UNSPECIFIC_TYPES = ("", "application/json", "application/octet-stream", "text/plain")
"""Content types that say nothing: what a server sends that knows no better."""


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
        return self.artifact_type == TOMBSTONE or _TOMBSTONE_ID in self.annotations

    @property
    def type(self) -> Literal["image", "index", "artifact", "signature"]:
        """Its type to people. An index of one platform and its attestations, as BuildKit writes them, is an image."""
        if self.kind == "index":
            if self.artifact_type:
                return "artifact"
            images, attestations = sum(map(is_platform_image, self.children)), sum(map(is_attestation, self.children))
            return "image" if images == 1 and attestations == len(self.children) - 1 > 0 else "index"
        if any(name.startswith(_SIGNATURES) for name in (self.artifact_kind or "", *(layer.media_type for layer in self.layers))):
            return "signature"
        is_image = self.config is not None and self.config.media_type in CONFIGS and not self.artifact_type
        has_files = not self.layers or any(map(is_layer, self.layers))
        return "image" if is_image and has_files else "artifact"

    @property
    def artifact_kind(self) -> str | None:
        """The type of an artifact: ``artifactType``, or by its config, as Helm and notation have it; None of an image or index."""
        if self.artifact_type or self.config is None or self.config.media_type in ("", EMPTY.media_type, *CONFIGS):
            return self.artifact_type
        return self.config.media_type

    @property
    def referrer(self) -> Descriptor:
        """Its entry in its subject's referrers (distribution-spec, "Listing Referrers")."""
        kind = self.artifact_type or (self.config.media_type if self.config else None)
        return replace(self.descriptor, annotations=self.annotations, artifact_type=kind)


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether it is BuildKit's attestation of another entry of the index: nothing that runs."""
    return _ATTESTATION in descriptor.annotations


def is_layer(descriptor: Descriptor) -> bool:
    """Whether it is a layer of a file system, which contains no other content."""
    return descriptor.media_type.startswith(_FILE_SYSTEM_LAYERS)


def wrong_compression(layer: Descriptor, compression: str) -> str | None:
    """What is wrong with a layer's media type, if its content is compressed so (``gzip``, ``zstd``, ``plain``).

    image-spec, "Media Types". Nobody refuses such a layer: engines and skopeo look at its first bytes instead.
    """
    media_type = layer.media_type
    named = "gzip" if media_type.endswith(("+gzip", ".gzip")) else "zstd" if media_type.endswith(("+zstd", ".zstd")) else "plain"
    if compression == named or media_type.endswith("+encrypted"):
        return None
    how = "not compressed" if compression == "plain" else f"compressed with {compression}"
    return f"is {how}, its media type is {media_type}"


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
    try:
        document = Document.read(raw, what="manifest", max_size=MAX_SIZE)
    except InvalidManifest as error:
        if media_type_of(b"", media_type or "") in (*UNSPECIFIC_TYPES, *IMAGES, *INDEXES, "text/html"):
            raise
        raise _unknown_type(media_type or "") from error
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
        config=_blob_descriptor(document.inner("config")) if document.has("config") else None,
        layers=tuple(map(_blob_descriptor, document.objects("layers"))),
        children=tuple(map(_descriptor, document.objects("manifests"))),
        subject=_descriptor(document.inner("subject")) if document.has("subject") else None,
        artifact_type=document.text("artifactType") or None,
        annotations=document.mapping("annotations"),
    )


def media_type_of(raw: bytes, declared: str = "") -> str:
    """The media type of what may be no manifest at all; empty where neither it nor the Content-Type says."""
    declared = declared.partition(";")[0].strip().lower()
    if declared not in UNSPECIFIC_TYPES:
        return declared
    try:
        document = json.loads(raw)
        media_type = document.get("mediaType")
    except (ValueError, RecursionError, AttributeError):
        return declared
    if isinstance(media_type, str) and media_type.isprintable():
        return media_type
    if document.get("schemaVersion") == 1:
        return SCHEMA_1[1] if "signatures" in document else SCHEMA_1[0]
    return (OCI_INDEX if "manifests" in document else OCI_IMAGE) if document.get("schemaVersion") == 2 else declared


def signed_payload(raw: bytes) -> bytes:
    """The bytes that the digest of a manifest of docker's schema 1 is of: without its signatures. ``raw`` where it has none."""
    try:
        protected = json.loads(raw)["signatures"][0]["protected"]
        header = json.loads(base64.urlsafe_b64decode(f"{protected}=="))
        return raw[: int(header["formatLength"])] + base64.urlsafe_b64decode(f"{header['formatTail']}==")
    except (ValueError, LookupError, TypeError, RecursionError):
        return raw


def _media_type(document: Document, declared: str | None) -> str:
    declared = declared.partition(";")[0].strip().lower() if declared else None
    media_type = document.text("mediaType")
    if declared in SCHEMA_1 or media_type in SCHEMA_1 or document.members.get("schemaVersion") == 1:
        raise UnknownMediaType(
            "schemaVersion: docker's manifest schema 1, which no current tool reads", hint="Push the image again with a current docker."
        )
    if declared and media_type and declared != media_type:
        raise InvalidManifest(f"mediaType: the document calls itself {_shown(media_type)}, and is declared as {_shown(declared)}")
    if not (media_type or declared or document.members.keys() & {"config", "layers", "manifests"}):
        raise _unknown_type("")
    media_type = media_type or declared or (OCI_INDEX if "manifests" in document.members else OCI_IMAGE)
    if media_type not in IMAGES and media_type not in INDEXES:
        raise _unknown_type(media_type)
    if document.required_number("schemaVersion") != 2:
        document.refuse("schemaVersion", f"2 is required, not {document.members['schemaVersion']}")
    return media_type


def _unknown_type(media_type: str) -> UnknownMediaType:
    what = f"{_shown(media_type)} is" if media_type else "it has none, and is"
    return UnknownMediaType(f"mediaType: {what} neither an image nor an index", hint="See: regctl inspect --raw")


def _blob_descriptor(document: Document) -> Descriptor:
    """Of a config or layer, whose media type may be empty: nothing depends on it, unlike on a manifest's."""
    return _descriptor(document, media_type="" if document.text("mediaType") == "" else None)


def _descriptor(document: Document, media_type: str | None = None) -> Descriptor:
    return Descriptor(
        digest=document.required("digest", Digest.parse),
        media_type=document.required_text("mediaType") if media_type is None else media_type,
        size=document.required_number("size"),
        annotations=document.mapping("annotations"),
        urls=document.texts("urls"),
        platform=_platform(document.inner("platform")),
        artifact_type=document.text("artifactType") or None,
    )


def _platform(document: Document) -> Platform | None:
    os, architecture = document.text("os") or "", document.text("architecture") or ""
    # Some tools write an empty platform rather than none.
    if not (os or architecture):
        return None
    return Platform(
        os=os,
        architecture=architecture,
        variant=document.text("variant") or "",
        os_version=document.text("os.version") or "",
        os_features=document.texts("os.features"),
    )


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


def tombstone(tag: str, *, unique: str, replaced: Manifest | None = None) -> Manifest:
    """A manifest that replaces ``tag``, so that its deletion removes no other tag; ``unique`` makes its digest unique.

    It has the media types of what is ``replaced``, and of its config and first layer, which are there: some registries
    take no others. None: those of an artifact of its own, whose one blob is :data:`EMPTY`.
    """
    annotations = {_TOMBSTONE_TAG: tag, _TOMBSTONE_ID: unique}
    if replaced is None:
        made = image(EMPTY, [EMPTY], artifact_type=TOMBSTONE, annotations=annotations)
    elif replaced.kind == "index":
        media_type, artifact_type = replaced.descriptor.media_type, replaced.artifact_type
        made = index((), media_type=media_type, artifact_type=artifact_type, annotations=annotations)
    else:
        made = image(
            _bare(replaced.config or EMPTY),
            [_bare(layer) for layer in replaced.layers if not (layer.urls or is_foreign(layer))][:1],
            media_type=replaced.descriptor.media_type,
            artifact_type=replaced.artifact_type,
            annotations=annotations,
        )
    return parse(made.raw.ljust(TOMBSTONE_SIZE))


def may_be_tombstone(descriptor: Descriptor) -> bool:
    """Whether a manifest is worth a request to see whether it is a tombstone."""
    return descriptor.size == TOMBSTONE_SIZE and descriptor.media_type in (*IMAGES, *INDEXES)


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


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
