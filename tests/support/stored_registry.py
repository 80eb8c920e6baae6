"""A model of a registry's storage: images, indexes and referrers as files of distribution's file-system driver, in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, StoredFile, blob_path, layer_path, revision_path, tag_path, upload_path
from registry_tool.local.collection.plan import history_path
from registry_tool.oci.digest import Digest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
NOW = 1_800_000_000


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

    def image(self, repository: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), config: bytes = b"{}", **members: Any) -> Digest:
        """Store an image of these layers."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self._descriptor(self.blob(repository, config)),
            "layers": [self._descriptor(self.blob(repository, layer)) for layer in layers],
            **members,
        }
        return self.manifest(repository, document, *tags)

    def index(self, repository: str, *tags: str, children: tuple[Digest, ...], **members: object) -> Digest:
        """Store an index."""
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [self._descriptor(child) for child in children], **members}
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

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(map(len, self.files.values()))

    def storage(self) -> RegistryStorage:
        """As it is listed, with the tags' links."""
        files = (StoredFile(path, len(content), self.modified.get(path, NOW)) for path, content in self.files.items())
        listed = RegistryStorage.classify(files)
        links = {(name, tag): self.files[tag_path(name, tag)] for name, tag in listed.tag_links()}
        return listed.with_tags({key: Digest.parse(link.decode()) for key, link in links.items() if link.startswith(b"sha256:")})

    def manifests(self) -> StoredManifests:
        """The manifests of all revisions, as they are read."""
        contents = ((digest, self.files.get(blob_path(digest))) for digest in self.storage().revisions)
        return StoredManifests.parse((digest, content) for digest, content in contents if content is not None)

    def _descriptor(self, digest: Digest) -> dict[str, object]:
        content = self.files.get(blob_path(digest), b"")
        return {"mediaType": IMAGE, "digest": str(digest), "size": len(content)}
