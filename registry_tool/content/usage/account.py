"""The account of a registry: where its bytes are, and what would be freed if a part of it went (pure).

Each byte is in exactly one of the parts, and they add up to the total. The rows of one kind overlap, as repositories share layers:
``size`` is all that a row needs, ``unique`` what a collection would free if it alone were deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Literal

from registry_tool.content.graph import closure
from registry_tool.content.protection import is_protection_tag
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import OWN_FOLDER, RegistryStorage, RepositoryStorage
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import is_platform_image

PartName = Literal[
    "unique",
    "shared",
    "protections",
    "untagged",
    "unreferenced",
    "uploads",
    "links",
    "stale_links",
    "empty_repositories",
    "undo",
    "own",
    "other",
]
Kind = Literal["repository", "tag", "image", "layer", "platform"]

PARTS: Mapping[PartName, str] = {
    "unique": "images of one repository",
    "shared": "images of several repositories",
    "protections": "protections of tags",
    "untagged": "untagged manifests",
    "unreferenced": "unreferenced blobs",
    "uploads": "incomplete uploads",
    "links": "links",
    "stale_links": "links without content",
    "empty_repositories": "empty repositories",
    "undo": "undo data",
    "own": f"{OWN_FOLDER}/ without undo data",
    "other": "other files",
}
"""The parts, with what they are called in tables.

Content that a tagged manifest leads to (by index, config, layers, subject) is ``unique`` or ``shared``, by the number of repositories;
what only protections and what only untagged manifests lead to has parts of its own; no manifest names what is ``unreferenced``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the account. ``files`` is their number."""

    name: PartName
    bytes: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """A repository, a tag, an image, a layer or a platform. ``count``: of its tags (the first three) or images."""

    JSON_MEMBERS: ClassVar = "name size unique shared count"
    name: str
    size: int
    unique: int
    count: int

    @property
    def shared(self) -> int:
        """What would stay, as something else needs it."""
        return self.size - self.unique


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """An incomplete upload. ``modified`` is when it was last written to."""

    repository: str
    id: str
    bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Bytes that belong together, of one part: in ``group`` (a repository, or the part's name in :data:`PARTS`)."""

    group: str
    name: str
    bytes: int


class Account:
    """The account of ``storage``. ``platforms`` are those of images that no index names, where their configs were read."""

    def __init__(self, storage: RegistryStorage, manifests: StoredManifests, platforms: Mapping[Digest, str] | None = None) -> None:
        self.storage = storage
        self.manifests = manifests
        self._platforms = platforms or {}
        self._repositories = {name: _Revisions(repository, manifests) for name, repository in storage.repositories.items()}

    # --- parts ---

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order of :data:`PARTS`."""
        sizes: Counter[PartName] = Counter()
        files: Counter[PartName] = Counter()

        def add(part: PartName, size: int, count: int = 1) -> None:
            sizes[part] += size
            files[part] += count

        for digest, size in self.storage.blobs.items():
            add(self._part_of(digest), size)
        for repository in self.storage.repositories.values():
            if not self.storage.links_are_files:
                continue
            for upload in repository.uploads:
                add("uploads", upload.size, upload.files)
            stale_files, stale_bytes = self._stale_links(repository)
            link_files = repository.files - sum(upload.files for upload in repository.uploads)
            add("stale_links", stale_bytes, stale_files)
            add("empty_repositories" if repository.is_empty else "links", repository.link_bytes - stale_bytes, link_files - stale_files)
        add("undo", self.storage.undo, self.storage.undo_files)
        add("own", self.storage.own, self.storage.own_files)
        for file in self.storage.other:
            add("other", file.size)
        return tuple(Part(name=name, bytes=sizes[name], files=files[name]) for name in PARTS)

    def _part_of(self, digest: Digest) -> PartName:
        owner = self._owners.get(digest)
        if owner is not None:
            return "unique" if owner else "shared"
        return self._unowned.get(digest, "unreferenced")

    @cached_property
    def _owners(self) -> dict[Digest, str]:
        """Content of tagged manifests -> its repository; empty where several have it."""
        owners: dict[Digest, str] = {}
        for name, repository in self._repositories.items():
            for digest in repository.content(repository.kept_by_tags):
                owners[digest] = name if owners.get(digest, name) == name else ""
        return owners

    @cached_property
    def _unowned(self) -> dict[Digest, PartName]:
        """Content of no tagged manifest -> its part."""
        parts: dict[Digest, PartName] = {}
        for repository in self._repositories.values():
            parts.update(dict.fromkeys(repository.content(repository.revisions - repository.kept_by_tags), "untagged"))
        for repository in self._repositories.values():
            parts.update(dict.fromkeys(repository.content(repository.kept_by_protections), "protections"))
        return parts

    def _stale_links(self, repository: RepositoryStorage) -> tuple[int, int]:
        """The number and the bytes of links to content that is not there. All links of an empty repository are its leftovers."""
        if repository.is_empty:
            return 0, 0
        blobs, revisions = self.storage.blobs, repository.revisions
        sizes = [size for links in (revisions, repository.layers) for digest, size in links.items() if digest not in blobs]
        for folder in repository.tag_folders.values():
            sizes += [size for digest, size in folder.index.items() if digest not in revisions]
            if folder.current is not None and folder.digest not in revisions:
                sizes.append(folder.current)
        return len(sizes), sum(sizes)

    # --- rows ---

    def rows(self, kind: Kind, within: Collection[str] | None = None) -> tuple[UsageRow, ...]:
        """The rows of ``kind`` in the repositories ``within`` (None: all), the largest first. An image is a manifest that is no index."""
        make = {
            "repository": self._repository_rows,
            "tag": self._tag_rows,
            "image": self._image_rows,
            "layer": self._layer_rows,
            "platform": self._platform_rows,
        }[kind]
        chosen = self._repositories if within is None else {name: self._repositories[name] for name in within}
        return tuple(sorted(make(chosen), key=lambda row: (-row.size, -row.unique, row.name)))

    def removable(self, repository: str, tag: str) -> frozenset[tuple[str, Digest]]:
        """(repository, manifest) of each manifest that only ``tag`` needs: what goes with it."""
        return frozenset((repository, digest) for digest in self._repositories[repository].removable(tag))

    def unique_bytes(self, removed: Iterable[tuple[str, Digest]]) -> int:
        """The bytes of blobs that would be freed with these (repository, manifest), however damaged others are."""
        counts: Counter[Digest] = Counter()
        for _, digest in set(removed):
            counts.update({digest, *self.manifests.references(digest)})
        return sum(self.storage.blobs.get(digest, 0) for digest, count in counts.items() if count == self._uses[digest])

    @cached_property
    def _uses(self) -> Counter[Digest]:
        """How many manifests of repositories need each blob."""
        uses: Counter[Digest] = Counter()
        for repository in self._repositories.values():
            for digest in repository.revisions:
                uses.update({digest, *self.manifests.references(digest)})
        return uses

    def size_of(self, digest: Digest) -> int:
        """The bytes of a manifest and of all that it leads to, its referrers left out."""
        return self._size(closure([digest], self.manifests.references))

    def _size(self, digests: Iterable[Digest]) -> int:
        return sum(self.storage.blobs.get(digest, 0) for digest in digests)

    def _repository_rows(self, chosen: Mapping[str, _Revisions]) -> Iterable[UsageRow]:
        for name, repository in chosen.items():
            yield UsageRow(
                name=name,
                size=self._size(repository.content(repository.revisions)),
                unique=self.unique_bytes((name, digest) for digest in repository.revisions),
                count=len(repository.storage.tag_folders),
            )

    def _tag_rows(self, chosen: Mapping[str, _Revisions]) -> Iterable[UsageRow]:
        for name, repository in chosen.items():
            for tag, digest in repository.storage.tags.items():
                if not is_protection_tag(tag):
                    yield UsageRow(
                        name=f"{name}:{tag}",
                        size=self._size(repository.content(repository.needed([digest]))),
                        unique=self.unique_bytes(self.removable(name, tag)),
                        count=1,
                    )

    def _images(self, chosen: Mapping[str, _Revisions]) -> dict[Digest, list[str]]:
        """Each manifest that is no index -> the repositories that have it."""
        images: dict[Digest, list[str]] = {}
        for name, repository in chosen.items():
            for digest in repository.revisions:
                manifest = self.manifests.read.get(digest)
                if manifest is None or manifest.kind == "image":
                    images.setdefault(digest, []).append(name)
        return images

    def _image_rows(self, chosen: Mapping[str, _Revisions]) -> Iterable[UsageRow]:
        tagged = Counter(digest for repository in self._repositories.values() for digest in repository.storage.tags.values())
        everywhere = self._images(self._repositories)
        for digest in self._images(chosen):
            yield UsageRow(
                name=str(digest),
                size=self._size({digest, *self.manifests.references(digest)}),
                unique=self.unique_bytes((name, digest) for name in everywhere[digest]),
                count=tagged[digest],
            )

    def _layer_rows(self, chosen: Mapping[str, _Revisions]) -> Iterable[UsageRow]:
        users: Counter[Digest] = Counter()
        for digest in self._images(chosen):
            manifest = self.manifests.read.get(digest)
            users.update(self.manifests.references(digest) if manifest is None else {layer.digest for layer in manifest.layers})
        for digest, count in users.items():
            if digest in self.storage.blobs:
                size = self.storage.blobs[digest]
                yield UsageRow(name=str(digest), size=size, unique=size if self._uses[digest] == 1 else 0, count=count)

    def _platform_rows(self, chosen: Mapping[str, _Revisions]) -> Iterable[UsageRow]:
        images, everywhere = self._images(chosen), self._images(self._repositories)
        named = {**dict.fromkeys(images, ""), **self._platforms, **self._named_platforms}
        by_platform: dict[str, list[Digest]] = {}
        for digest in images:
            by_platform.setdefault(named[digest] or "unknown", []).append(digest)
        for platform, digests in by_platform.items():
            yield UsageRow(
                name=platform,
                size=self._size({each for digest in digests for each in (digest, *self.manifests.references(digest))}),
                unique=self.unique_bytes((name, digest) for digest in digests for name in everywhere[digest]),
                count=len(digests),
            )

    @cached_property
    def _named_platforms(self) -> dict[Digest, str]:
        """The platforms that indexes name."""
        entries = (child for manifest in self.manifests.read.values() for child in manifest.children if is_platform_image(child))
        return {child.digest: str(child.platform) for child in entries}

    def configs(self) -> dict[Digest, Digest]:
        """Image -> config, of each image whose platform no index names."""
        manifests = (
            (digest, self.manifests.read.get(digest)) for digest in self._images(self._repositories) if digest not in self._named_platforms
        )
        return {digest: manifest.config.digest for digest, manifest in manifests if manifest is not None and manifest.config is not None}

    # --- a picture ---

    @cached_property
    def areas(self) -> tuple[Area, ...]:
        """All bytes, each in one area, the largest first: of a repository by the tag that alone needs them, others by part."""
        sizes: Counter[tuple[str, str]] = Counter()
        owned: dict[Digest, str] = {}
        for repository in self._repositories.values():
            owned.update(repository.tag_of_content)
        for digest, size in self.storage.blobs.items():
            part = self._part_of(digest)
            sizes[(self._owners[digest], owned.get(digest) or "several tags") if part == "unique" else (PARTS[part], "")] += size
        for each in self.parts:
            if each.name not in _CONTENT:
                sizes[PARTS[each.name], ""] += each.bytes
        ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Area(group=group, name=name, bytes=size) for (group, name), size in ordered if size)


_CONTENT = ("unique", "shared", "protections", "untagged", "unreferenced")


class _Revisions:
    """The manifests of one repository, and which of them needs which."""

    def __init__(self, storage: RepositoryStorage, manifests: StoredManifests) -> None:
        self.storage = storage
        self.revisions = frozenset(storage.revisions)
        self._manifests = manifests
        self._parents: dict[Digest, set[Digest]] = {}
        self._referrers: dict[Digest, list[Digest]] = {}
        for digest in self.revisions:
            manifest = manifests.read.get(digest)
            if manifest is None:
                continue
            for child in manifest.children:
                self._parents.setdefault(child.digest, set()).add(digest)
            if manifest.subject is not None:
                self._referrers.setdefault(manifest.subject.digest, []).append(digest)

    def needed(self, digests: Iterable[Digest]) -> dict[Digest, None]:
        """The manifests of this repository that stay with ``digests``: those themselves, entries of indexes, and referrers."""
        return closure((digest for digest in digests if digest in self.revisions), self._follow)

    def _follow(self, digest: Digest) -> list[Digest]:
        manifest = self._manifests.read.get(digest)
        entries = [child.digest for child in manifest.children if child.digest in self.revisions] if manifest is not None else []
        return entries + self._referrers.get(digest, [])

    def content(self, revisions: Iterable[Digest]) -> set[Digest]:
        """All blobs that ``revisions`` need, the manifests' own among them."""
        content: set[Digest] = set()
        for digest in revisions:
            content.add(digest)
            content.update(self._manifests.references(digest))
        return content

    @cached_property
    def kept_by_tags(self) -> frozenset[Digest]:
        """What tags need, those of protections left out."""
        return frozenset(self.needed(digest for tag, digest in self.storage.tags.items() if not is_protection_tag(tag)))

    @cached_property
    def kept_by_protections(self) -> frozenset[Digest]:
        """What the tags of protections need."""
        return frozenset(self.needed(digest for tag, digest in self.storage.tags.items() if is_protection_tag(tag)))

    def removable(self, tag: str) -> set[Digest]:
        """The manifests that only ``tag`` needs. Untagged indexes need their entries, too."""
        root = self.storage.tags.get(tag)
        if root is None:
            return set()
        below = self.needed([root])
        tagged = {digest for other, digest in self.storage.tags.items() if other != tag}
        kept = [digest for digest in below if digest in tagged or not self._parents.get(digest, set()) <= below.keys()]
        return set(below) - set(self.needed(kept))

    @cached_property
    def tag_of_content(self) -> dict[Digest, str]:
        """Content that one tag alone leads to -> that tag; of the others, empty."""
        tags: dict[Digest, str] = {}
        for tag, digest in self.storage.tags.items():
            if not is_protection_tag(tag):
                for each in self.content(self.needed([digest])):
                    tags[each] = "" if each in tags else tag
        return tags
