"""The manifests of a storage, as far as an account and a collection need them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry_tool.base.errors import InvalidManifest, UnknownMediaType
from registry_tool.content.graph import without_bytes
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE, Manifest, parse, signed_payload


@dataclass(frozen=True, slots=True)
class StoredManifests:
    """What the manifests of a storage name. A digest that is in none of these was not read: its content is missing."""

    read: Mapping[Digest, Manifest]
    """Without their bytes."""
    foreign: Mapping[Digest, tuple[Digest, ...]]
    """Manifests of docker's schema 1 and of other types that are no images and no indexes, with the blobs that they name."""
    damaged: Mapping[Digest, str]
    """Why: not the content of its digest, or no manifest. Distribution's collection stops at what is no JSON."""

    @classmethod
    def parse(cls, contents: Iterable[tuple[Digest, bytes]]) -> StoredManifests:
        """Verify and parse manifests, which are read once; what is damaged is never an exception."""
        read: dict[Digest, Manifest] = {}
        foreign: dict[Digest, tuple[Digest, ...]] = {}
        damaged: dict[Digest, str] = {}
        for digest, raw in contents:
            try:
                if digest != Digest.of(raw, digest.algorithm):
                    if digest != Digest.of(signed_payload(raw), digest.algorithm):
                        damaged[digest] = "its content has another digest"
                        continue
                    foreign[digest] = _schema_1_layers(raw)
                else:
                    read[digest] = without_bytes(parse(raw, algorithm=digest.algorithm))
            except UnknownMediaType:
                layers = _schema_1_layers(raw)
                if layers:
                    foreign[digest] = layers
                else:
                    damaged[digest] = "it is of a type that is not known"
            except InvalidManifest as error:
                damaged[digest] = error.message
        return cls(read, foreign, damaged)

    def __contains__(self, digest: Digest) -> bool:
        """Whether distribution can read it, too."""
        return digest in self.read or digest in self.foreign

    def references(self, digest: Digest) -> tuple[Digest, ...]:
        """What a collection keeps for it: config, layers, entries of an index (not its subject); nothing where it was not read."""
        manifest = self.read.get(digest)
        if manifest is None:
            return self.foreign.get(digest, ())
        config = (manifest.config.digest,) if manifest.config is not None else ()
        return (*config, *(layer.digest for layer in manifest.layers), *(child.digest for child in manifest.children))


def _schema_1_layers(raw: bytes) -> tuple[Digest, ...]:
    """The layers of docker's schema 1, each once; none of another document."""
    if len(raw) > MAX_SIZE:
        return ()
    try:
        layers = json.loads(raw)["fsLayers"]
        return tuple(dict.fromkeys(Digest.parse(layer["blobSum"]) for layer in layers))
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
