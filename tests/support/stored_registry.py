"""A model of a registry's storage: images, indexes and referrers as files of distribution's file-system driver, in memory."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, StoredFile, blob_path, layer_path, revision_path, tag_path, upload_path
from registry_tool.local.collection.plan import history_path
from registry_tool.oci.digest import Digest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_BLOB_TYPES = {
    IMAGE: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    DOCKER_IMAGE: ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
}
NOW = 1_800_000_000
OLD = NOW - 7 * 86400
"""When files were written of which no test says it."""
REPOSITORIES = ("app", "app/nested", "other")
TAGS = ("1", "2", "latest")


@dataclass
class StoredRegistry:
    """``files`` is path -> content; a blob's size counts, its content only where it is a manifest."""

    files: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, int] = field(default_factory=dict)

    def blob(self, repository: str, content: bytes) -> Digest:
        """Store a blob with its link."""
        digest = Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest())
        self.files[blob_path(digest)] = content
        self.files[layer_path(repository, digest)] = str(digest).encode()
        return digest

    def manifest(self, repository: str, document: object, *tags: str) -> Digest:
        """Store a manifest as a revision, and at tags."""
        content = json.dumps(document).encode()
        digest = Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest())
        self.files[blob_path(digest)] = content
        self.files[revision_path(repository, digest)] = str(digest).encode()
        for tag in tags:
            self.tag(repository, tag, digest)
        return digest

    def tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Point a tag at a manifest; what it pointed at before stays in its history."""
        self.files[tag_path(repository, tag)] = str(digest).encode()
        self.files[history_path(repository, tag, digest)] = str(digest).encode()

    def image(
        self, repository: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), config: bytes = b"{}", kind: str = IMAGE, **members: Any
    ) -> Digest:
        """Store an image of these layers."""
        config_type, layer_type = _BLOB_TYPES[kind]
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self._descriptor(self.blob(repository, config), config_type),
            "layers": [self._descriptor(self.blob(repository, layer), layer_type) for layer in layers],
            **members,
        }
        return self.manifest(repository, document, *tags)

    def index(self, repository: str, *tags: str, children: tuple[Digest, ...], kind: str = INDEX, **members: object) -> Digest:
        """Store an index."""
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": [self._descriptor(child) for child in children], **members}
        return self.manifest(repository, document, *tags)

    def subject(self, digest: Digest) -> dict[str, Any]:
        """The member ``subject`` of a referrer."""
        return {"subject": self._descriptor(digest)}

    def upload(self, repository: str, id: str, content: bytes = b"half", *, age: int = 0) -> None:
        """Store an upload that is not complete."""
        for name in ("data", "startedat"):
            path = f"{upload_path(repository, id)}/{name}"
            self.files[path], self.modified[path] = content, NOW - age

    def remove(self, *paths: str) -> None:
        """Remove files, and folders of uploads."""
        for path in paths:
            self.files.pop(path, None)
            for inside in [each for each in self.files if each.startswith(f"{path}/")]:
                del self.files[inside]

    def closure(self, repository: str, digest: Digest) -> Iterator[str]:
        """The files by which a manifest can be pulled with all that it names, as far as they are there."""
        content = self.files.get(blob_path(digest))
        if content is None or revision_path(repository, digest) not in self.files:
            return
        yield from (blob_path(digest), revision_path(repository, digest))
        document = json.loads(content)
        for member in document.get("manifests", ()):
            yield from self.closure(repository, Digest.parse(member["digest"]))
        for member in (*([document["config"]] if "config" in document else ()), *document.get("layers", ())):
            blob = Digest.parse(member["digest"])
            # A link to content that is lost is of no use.
            yield from (
                path for path in (blob_path(blob), layer_path(repository, blob)) if blob_path(blob) in self.files and path in self.files
            )

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(map(len, self.files.values()))

    def storage(self) -> RegistryStorage:
        """As it is listed, with the tags' links."""
        files = (StoredFile(path, len(content), self.modified.get(path, OLD)) for path, content in self.files.items())
        listed = RegistryStorage.classify(files)
        links = {(name, tag): self.files[tag_path(name, tag)] for name, tag in listed.tag_links()}
        return listed.with_tags({key: Digest.parse(link.decode()) for key, link in links.items() if link.startswith(b"sha256:")})

    def manifests(self) -> StoredManifests:
        """The manifests of all revisions, as they are read."""
        contents = ((digest, self.files.get(blob_path(digest))) for digest in self.storage().revisions)
        return StoredManifests.parse((digest, content) for digest, content in contents if content is not None)

    def deleted(self) -> StoredManifests:
        """The manifests without a link, as they are read."""
        storage = self.storage()
        linked = storage.revisions.union(*(each.layers for each in storage.repositories.values()))
        return StoredManifests.parse((digest, self.files[blob_path(digest)]) for digest in storage.blobs if digest not in linked)

    def _descriptor(self, digest: Digest, media_type: str = "") -> dict[str, object]:
        """Of a blob of ``media_type``; of a manifest without, which may never have been stored."""
        content = self.files.get(blob_path(digest), b"")
        media_type = media_type or (json.loads(content)["mediaType"] if content else IMAGE)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}


def random_registry(seed: int, *, damaged: bool = False) -> StoredRegistry:
    """A registry of a few repositories that share content, always the same of one ``seed``.

    Images and indexes of both media families, nested indexes, referrers by subject and by tag, moved tags, untagged manifests, uploads,
    blobs that nothing names, links without content, and where it may be ``damaged``, files that are gone.
    """
    chance, stored = random.Random(seed), StoredRegistry()
    made: dict[str, list[Digest]] = {name: [] for name in REPOSITORIES}
    for number in range(chance.randint(0, 14)):
        name = chance.choice(REPOSITORIES)
        known = made[name]
        layers = tuple(f"layer {chance.randint(0, 6)}".encode() for _ in range(chance.randint(1, 3)))
        tags = chance.sample(TAGS, chance.choice((0, 0, 1, 2)))
        image_kind, index_kind = chance.choice(((IMAGE, INDEX), (DOCKER_IMAGE, DOCKER_LIST)))
        named: dict[str, Any] = {"annotations": {"n": str(number)}}
        kind = chance.choice(("image", "image", "index", "referrer", "list of referrers")) if known else "image"
        if kind == "index":
            known.append(stored.index(name, *tags, children=tuple(chance.sample(known, min(len(known), 2))), kind=index_kind, **named))
        elif kind == "referrer":
            known.append(stored.image(name, *tags, layers=layers, **named, **stored.subject(chance.choice(known))))
        elif kind == "list of referrers":
            subject = chance.choice(known)
            signature = stored.image(name, layers=layers, **named, **stored.subject(subject))
            stored.index(name, f"sha256-{subject.hex}", children=(signature,))
        else:
            config = json.dumps({"created": f"2026-01-{number + 1:02}T00:00:00Z"}).encode()
            known.append(stored.image(name, *tags, layers=layers, config=config, kind=image_kind, **named))
    for number in range(chance.randint(0, 2)):
        stored.upload(chance.choice(REPOSITORIES), f"upload-{number}", age=chance.choice((0, 9999)))
    # Of pushes that are under way, or were not long ago.
    for path in chance.sample(sorted(stored.files), len(stored.files) // 4 if chance.random() < 0.5 else 0):
        stored.modified[path] = NOW - chance.choice((0, 60))
    for number in range(chance.randint(0, 2)):
        lost = stored.blob(chance.choice(REPOSITORIES), b"named by nothing %d" % number)
        if chance.random() < 0.5:
            stored.remove(blob_path(lost))
    if damaged:
        for path in chance.sample(sorted(stored.files), min(len(stored.files), chance.randint(0, 3))):
            stored.remove(path)
        links = sorted(path for path in stored.files if path.endswith("/link") and "/current/" not in path)
        stored.files |= dict.fromkeys(chance.sample(links, min(len(links), chance.randint(0, 3))), b"")
    return stored
