"""A model of distribution's storage: a dictionary of files, changed as registry:2 changes its own, and collected as it collects them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, StoredFile
from registry_tool.oci.digest import Digest

REPOSITORIES = ("app", "app/web", "base")
_ROOT = "docker/registry/v2"


class CollectionFailed(Exception):
    """``garbage-collect`` ends with an error and removes nothing."""


class StorageModel:
    """Path to content. Sizes are real, so blobs are small."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def push_blob(self, repository: str, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.files[f"{_ROOT}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"] = content
        self.files[f"{_ROOT}/repositories/{repository}/_layers/sha256/{digest.hex}/link"] = str(digest).encode()
        return digest

    def push_manifest(self, repository: str, content: bytes, *tags: str) -> Digest:
        digest = Digest.of(content)
        link = str(digest).encode()
        folder = f"{_ROOT}/repositories/{repository}/_manifests"
        self.files[f"{_ROOT}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"] = content
        self.files[f"{folder}/revisions/sha256/{digest.hex}/link"] = link
        for tag in tags:
            self.files[f"{folder}/tags/{tag}/current/link"] = link
            self.files[f"{folder}/tags/{tag}/index/sha256/{digest.hex}/link"] = link
        return digest

    def begin_upload(self, repository: str, id: str, content: bytes) -> None:
        folder = f"{_ROOT}/repositories/{repository}/_uploads/{id}"
        self.files |= {f"{folder}/data": content, f"{folder}/startedat": b"2026-01-31T12:00:00Z"}

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """What ``DELETE /v2/REPOSITORY/manifests/DIGEST`` does."""
        folder = f"{_ROOT}/repositories/{repository}/_manifests"
        del self.files[f"{folder}/revisions/sha256/{digest.hex}/link"]
        pattern = re.compile(rf"{re.escape(folder)}/tags/([^/]+)/current/link")
        tags = [match[1] for path, link in self.files.items() if (match := pattern.fullmatch(path)) and link == str(digest).encode()]
        for tag in tags:
            self.remove_folder(f"{folder}/tags/{tag}")

    def remove_folder(self, folder: str) -> None:
        for path in [path for path in self.files if path.startswith(f"{folder}/")]:
            del self.files[path]

    def garbage_collect(self) -> None:
        """What ``registry garbage-collect`` does. Raises CollectionFailed."""
        marked: set[str] = set()
        for path in self.files:
            match = re.fullmatch(rf"{_ROOT}/repositories/.+/_manifests/revisions/sha256/([0-9a-f]+)/link", path)
            if match:
                content = self.files.get(_blob(match[1]))
                if content is None:
                    continue
                try:
                    document = json.loads(content)
                except ValueError:
                    raise CollectionFailed from None
                marked |= {match[1], *_named(document)}
        for path in [path for path in self.files if path.startswith(f"{_ROOT}/blobs/") and path.split("/")[-2] not in marked]:
            del self.files[path]

    def listing(self) -> Iterator[StoredFile]:
        for path, content in self.files.items():
            yield StoredFile(path, len(content), 1_700_000_000, -(-len(content) // 4096) * 4096)

    def read(self) -> tuple[RegistryStorage, StoredManifests]:
        """What a reader of the real storage would return."""
        storage = RegistryStorage.classify(self.listing())
        links = {link: self.files[f"{_ROOT}/repositories/{link[0]}/_manifests/tags/{link[1]}/current/link"] for link in storage.tag_links()}
        storage = storage.with_tags({link: Digest.parse(content.decode()) for link, content in links.items()})
        blobs = [(digest, self.files[_blob(digest.hex)]) for digest in storage.revisions if digest in storage.blobs]
        return storage, StoredManifests.parse(blobs)


def _blob(hex_digits: str) -> str:
    return f"{_ROOT}/blobs/sha256/{hex_digits[:2]}/{hex_digits}/data"


def _named(document: Any) -> set[str]:
    entries = [document.get("config"), *document.get("layers", ()), *document.get("manifests", ())]
    return {entry["digest"].removeprefix("sha256:") for entry in entries if entry}


OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker.distribution."
_TYPES = {
    "oci": (f"{OCI}manifest.v1+json", f"{OCI}index.v1+json", f"{OCI}config.v1+json", f"{OCI}layer.v1.tar+gzip"),
    "docker": (
        f"{DOCKER}manifest.v2+json",
        f"{DOCKER}manifest.list.v2+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


@st.composite
def registries(draw: st.DrawFn, *, damaged: bool = True) -> StorageModel:
    """Registries with shared layers, indexes, nested indexes, referrers, both media families, untagged and damaged manifests, uploads."""
    model = StorageModel()
    manifests: dict[str, list[tuple[Digest, bytes, str]]] = {name: [] for name in REPOSITORIES}
    for number in range(draw(st.integers(0, 8))):
        repository = draw(st.sampled_from(REPOSITORIES))
        image_type, index_type, config_type, layer_type = _TYPES[draw(st.sampled_from(["oci", "docker"]))]
        tags = draw(st.lists(st.sampled_from(["1", "2", "latest"]), max_size=2, unique=True))
        known = manifests[repository]
        if bool(known) and draw(st.booleans()):
            chosen = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            entries = [{"mediaType": kind, "digest": str(digest), "size": len(raw)} for digest, raw, kind in chosen]
            document: dict[str, Any] = {"schemaVersion": 2, "mediaType": index_type, "manifests": entries}
            kind = index_type
        else:
            blobs = [
                b"{%d}" % draw(st.integers(0, 3)),
                *(b"layer %d" % each * each for each in draw(st.lists(st.integers(1, 5), max_size=3))),
            ]
            config, *layers = [(model.push_blob(repository, blob), len(blob)) for blob in blobs]
            document = {
                "schemaVersion": 2,
                "mediaType": image_type,
                "config": {"mediaType": config_type, "digest": str(config[0]), "size": config[1]},
                "layers": [{"mediaType": layer_type, "digest": str(digest), "size": size} for digest, size in layers],
            }
            kind = image_type
            if bool(known) and image_type.startswith(OCI) and draw(st.booleans()):
                digest, raw, subject_type = draw(st.sampled_from(known))
                document["subject"] = {"mediaType": subject_type, "digest": str(digest), "size": len(raw)}
                document["artifactType"] = "application/vnd.example.signature"
        document["annotations"] = {"number": str(draw(st.integers(0, number)))} if kind.startswith(OCI) else {}
        raw = json.dumps(document).encode()
        known.append((model.push_manifest(repository, raw, *tags), raw, kind))
    _add_waste(draw, model)
    if damaged and model.files and draw(st.integers(0, 4)) == 0:
        path = draw(st.sampled_from(sorted(model.files)))
        if "/blobs/" in path and draw(st.booleans()):
            model.files[path] = b"no manifest"
        else:
            del model.files[path]
    return model


def _add_waste(draw: st.DrawFn, model: StorageModel) -> None:
    for number in range(draw(st.integers(0, 2))):
        model.begin_upload(draw(st.sampled_from(REPOSITORIES)), f"upload-{number}", b"x" * draw(st.integers(0, 9)))
    for number in range(draw(st.integers(0, 2))):
        model.push_blob(draw(st.sampled_from(REPOSITORIES)), b"named by nothing %d" % number)
    if draw(st.booleans()):
        model.files |= {"registry-tool/settings.json": b"{}", "registry-tool/undo/1/index.json": b"{ }", "lost+found/x": b"?"}
