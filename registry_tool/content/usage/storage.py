"""What distribution's file-system driver stores, file by file, classified (distribution, registry/storage/paths.go).

Paths come from a disk that anybody may have written to: names are parsed as references and digests, and what does not parse is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import is_repository, is_tag

ROOT = "docker/registry/v2"
"""Distribution's folder in its volume."""
OWN_FOLDER = "registry-tool"
"""This tool's folder in a registry's volume."""
UNDO_FOLDER = f"{OWN_FOLDER}/undo"
"""What collections removed and can restore."""
REPOSITORY_FOLDERS = ("_layers", "_manifests", "_uploads")
"""All that a repository's own folder has; other folders in it belong to repositories whose names begin with its name."""

_BLOBS, _REPOSITORIES = f"{ROOT}/blobs/", f"{ROOT}/repositories/"
_ID_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_=.")
_ID_LENGTH = 128


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An entry of a listing. ``path`` is relative to the volume's root, sizes are bytes, ``modified`` is in Unix seconds.

    ``allocated`` is what the file system uses for it. Only a ``file`` is a part of an image; a ``directory`` has no size, and is
    listed for repositories and uploads without files.
    """

    path: str
    size: int
    modified: int
    allocated: int = 0
    kind: Literal["file", "directory", "special"] = "file"


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A blob upload that is not complete. ``modified`` is the latest time of its files (Unix seconds)."""

    id: str
    size: int
    modified: int
    files: int


@dataclass(frozen=True, slots=True)
class TagFolder:
    """``_manifests/tags/TAG``: the bytes of ``current/link``, those of ``index/…/link`` by digest, and the digest the tag points at.

    ``current`` and ``digest`` are None where the link does not exist; ``digest`` also where it was not read, or is none.
    """

    current: int | None
    index: Mapping[Digest, int]
    digest: Digest | None = None

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return (self.current or 0) + sum(self.index.values())


@dataclass(frozen=True, slots=True)
class RepositoryStorage:
    """A repository's links: digest to bytes of the link, and its uploads.

    ``revision_times`` and ``layer_times`` are when the links were written (Unix seconds); empty where that was not listed.
    """

    revisions: Mapping[Digest, int]
    layers: Mapping[Digest, int]
    tag_folders: Mapping[str, TagFolder]
    uploads: tuple[PendingUpload, ...]
    revision_times: Mapping[Digest, int] = field(default_factory=dict)
    layer_times: Mapping[Digest, int] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, Digest]:
        """Tag to digest, of each tag whose link could be read."""
        return {tag: folder.digest for tag, folder in self.tag_folders.items() if folder.digest is not None}

    @property
    def link_bytes(self) -> int:
        """The bytes of its links."""
        return sum(self.revisions.values()) + sum(self.layers.values()) + sum(folder.size for folder in self.tag_folders.values())

    @property
    def upload_bytes(self) -> int:
        """The bytes of its uploads."""
        return sum(upload.size for upload in self.uploads)

    @property
    def files(self) -> int:
        """The number of its files."""
        in_tags = sum(len(folder.index) + (folder.current is not None) for folder in self.tag_folders.values())
        return len(self.revisions) + len(self.layers) + in_tags + sum(upload.files for upload in self.uploads)

    @property
    def is_empty(self) -> bool:
        """Whether it has neither a manifest nor a tag: the catalog may still list it."""
        return not self.revisions and not self.tag_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLink:
    """A link that is empty or cut short, though its path says what it has to contain: a stop during a push leaves such ones.

    ``link`` leads to a ``layer``, to a ``manifest``, or from a ``tag`` to one that it pointed at; ``size`` is its bytes.
    """

    JSON_MEMBERS: ClassVar = "repository link digest"
    repository: str
    link: Literal["layer", "manifest", "tag"]
    digest: Digest
    path: str
    size: int

    @property
    def content(self) -> bytes:
        """What it has to contain."""
        return str(self.digest).encode()


@dataclass(frozen=True, slots=True)
class RegistryStorage:
    """All files of a registry's volume; each is counted in exactly one of the parts, so that their bytes add up to ``total``."""

    blobs: Mapping[Digest, int]
    """The bytes of each blob's content."""
    repositories: Mapping[str, RepositoryStorage]
    own: int
    """Bytes of this tool's folder without its undo data: settings, journals."""
    undo: int
    """Bytes of its undo data. Hard links to blobs count again, as the sizes of files do."""
    own_files: int
    undo_files: int
    other: tuple[StoredFile, ...]
    """What is none of these: named, counted, and never touched."""
    total: int
    """The sum of all sizes."""
    files: int
    allocated: int
    """What the file system uses for all of them, in bytes."""
    links_are_files: bool = True
    """Whether its links were listed; through a registry's interface only what they say is seen."""

    @classmethod
    def classify(cls, files: Iterable[StoredFile]) -> RegistryStorage:
        """Classify the entries of a listing, which is read once. Tags have no digests yet: see :meth:`with_tags`."""
        builder = _Builder()
        for each in files:
            builder.add(each)
        return builder.storage()

    def with_tags(self, digests: Mapping[tuple[str, str], Digest]) -> RegistryStorage:
        """This storage, with the digests that its tags point at: (repository, tag) to digest."""
        return replace(
            self,
            repositories={
                name: replace(
                    repository,
                    tag_folders={tag: replace(folder, digest=digests.get((name, tag))) for tag, folder in repository.tag_folders.items()},
                )
                for name, repository in self.repositories.items()
            },
        )

    def tag_links(self) -> Iterator[tuple[str, str]]:
        """(repository, tag) of each tag that has a ``current/link``."""
        for name, repository in self.repositories.items():
            for tag, folder in repository.tag_folders.items():
                if folder.current is not None:
                    yield name, tag

    def damaged_links(self) -> Iterator[DamagedLink]:
        """The links whose size is not that of their digest, where links were listed."""
        if not self.links_are_files:
            return
        for name, repository in self.repositories.items():
            kinds: tuple[tuple[Literal["layer", "manifest"], Mapping[Digest, int], Callable[[str, Digest], str]], ...] = (
                ("layer", repository.layers, layer_path),
                ("manifest", repository.revisions, revision_path),
            )
            for link, sizes, path in kinds:
                for digest, size in sizes.items():
                    if size != _link_size(digest):
                        yield DamagedLink(repository=name, link=link, digest=digest, path=path(name, digest), size=size)
            for tag, folder in repository.tag_folders.items():
                for digest, size in folder.index.items():
                    if size != _link_size(digest):
                        yield DamagedLink(repository=name, link="tag", digest=digest, path=tag_history_path(name, tag, digest), size=size)

    @property
    def revisions(self) -> set[Digest]:
        """The manifests of all repositories, whose content may be missing."""
        return {digest for repository in self.repositories.values() for digest in repository.revisions}


def blob_path(digest: Digest) -> str:
    """The file of a blob's content, relative to the volume's root."""
    return f"{_BLOBS}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def repository_path(repository: str) -> str:
    """A repository's folder, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}"


def revision_path(repository: str, digest: Digest) -> str:
    """The link that makes a manifest one of a repository, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"


def layer_path(repository: str, digest: Digest) -> str:
    """The link that makes a blob one of a repository, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}/_layers/{digest.algorithm}/{digest.hex}/link"


def tag_path(repository: str, tag: str) -> str:
    """The link of a tag to its manifest, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}/_manifests/tags/{tag}/current/link"


def tag_history_path(repository: str, tag: str, digest: Digest) -> str:
    """The link of a tag to a manifest that it points or pointed at, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}/_manifests/tags/{tag}/index/{digest.algorithm}/{digest.hex}/link"


def upload_path(repository: str, id: str) -> str:
    """The folder of an upload, relative to the volume's root."""
    return f"{_REPOSITORIES}{repository}/_uploads/{id}"


@dataclass(slots=True)
class _Upload:
    size: int = 0
    modified: int = 0
    files: int = 0


@dataclass(slots=True)
class _Tag:
    current: int | None = None
    index: dict[Digest, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Repository:
    revisions: dict[Digest, int] = field(default_factory=dict)
    layers: dict[Digest, int] = field(default_factory=dict)
    revision_times: dict[Digest, int] = field(default_factory=dict)
    layer_times: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, _Tag] = field(default_factory=dict)
    uploads: dict[str, _Upload] = field(default_factory=dict)

    def add(self, sizes: dict[Digest, int], times: dict[Digest, int], digest: Digest, file: StoredFile) -> bool:
        """Keep the size and the time of a link; False where it has one."""
        times.setdefault(digest, file.modified)
        return _once(sizes, digest, file.size)

    def finished(self) -> RepositoryStorage:
        return RepositoryStorage(
            revisions=self.revisions,
            layers=self.layers,
            tag_folders={tag: TagFolder(folder.current, folder.index) for tag, folder in sorted(self.tags.items())},
            uploads=tuple(PendingUpload(id, each.size, each.modified, each.files) for id, each in sorted(self.uploads.items())),
            revision_times=self.revision_times,
            layer_times=self.layer_times,
        )


class _Builder:
    """Storage under construction. Digests are shared: a blob of 20 repositories has 21 files and one digest."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, int] = {}
        self._repositories: dict[str, _Repository] = {}
        self._digests: dict[str, dict[str, Digest]] = {}
        self._other: list[StoredFile] = []
        self._own = self._undo = self._own_files = self._undo_files = self._total = self._files = self._allocated = 0

    def add(self, file: StoredFile) -> None:
        """Count one entry."""
        if file.kind == "directory":
            if file.path.startswith(_REPOSITORIES):
                self._add_folder(file)
            return
        self._total += file.size
        self._files += 1
        self._allocated += file.allocated
        path = file.path
        if path.startswith(f"{UNDO_FOLDER}/"):
            self._undo += file.size
            self._undo_files += 1
        elif path.startswith(f"{OWN_FOLDER}/"):
            self._own += file.size
            self._own_files += 1
        elif file.kind != "file" or not (
            self._add_blob(file)
            if path.startswith(_BLOBS)
            else path.startswith(_REPOSITORIES) and self._add_link(file, path[len(_REPOSITORIES) :])
        ):
            self._other.append(file)

    def storage(self) -> RegistryStorage:
        """All that was added."""
        return RegistryStorage(
            blobs=self._blobs,
            repositories={name: repository.finished() for name, repository in sorted(self._repositories.items())},
            own=self._own,
            undo=self._undo,
            own_files=self._own_files,
            undo_files=self._undo_files,
            other=tuple(self._other),
            total=self._total,
            files=self._files,
            allocated=self._allocated,
        )

    def _add_blob(self, file: StoredFile) -> bool:
        parts = file.path[len(_BLOBS) :].split("/")
        if len(parts) != 4 or parts[3] != "data" or parts[1] != parts[2][:2]:
            return False
        digest = self._digest(parts[0], parts[2])
        return digest is not None and _once(self._blobs, digest, file.size)

    def _add_link(self, file: StoredFile, path: str) -> bool:
        """Count a file below ``repositories/``; False where it is none of distribution's."""
        # No component of a repository's name begins with "_".
        name, mark, inside = path.partition("/_")
        parts = inside.split("/")
        repository = self._repository(name) if mark and f"_{parts[0]}" in REPOSITORY_FOLDERS else None
        if repository is None:
            return False
        match parts:
            case ["layers", algorithm, encoded, "link"]:
                digest = self._digest(algorithm, encoded)
                return digest is not None and repository.add(repository.layers, repository.layer_times, digest, file)
            case ["manifests", "revisions", algorithm, encoded, "link"]:
                digest = self._digest(algorithm, encoded)
                return digest is not None and repository.add(repository.revisions, repository.revision_times, digest, file)
            case ["manifests", "tags", tag, *rest] if is_tag(tag):
                return self._add_tag_file(repository, tag, rest, file.size)
            case ["uploads", id, _, *_] if _is_upload_id(id):
                upload = repository.uploads.setdefault(id, _Upload())
                upload.size += file.size
                upload.files += 1
                upload.modified = max(upload.modified, file.modified)
                return True
        return False

    def _add_tag_file(self, repository: _Repository, tag: str, parts: list[str], size: int) -> bool:
        match parts:
            case ["current", "link"]:
                folder = repository.tags.setdefault(tag, _Tag())
                is_first = folder.current is None
                folder.current = size if is_first else folder.current
                return is_first
            case ["index", algorithm, encoded, "link"]:
                digest = self._digest(algorithm, encoded)
                return digest is not None and _once(repository.tags.setdefault(tag, _Tag()).index, digest, size)
        return False

    def _add_folder(self, folder: StoredFile) -> None:
        """Note a repository or an upload, which may have no files."""
        name, mark, inside = folder.path[len(_REPOSITORIES) :].partition("/_")
        parts = inside.split("/")
        if not mark or f"_{parts[0]}" not in REPOSITORY_FOLDERS:
            return
        repository = self._repository(name)
        if repository is not None and len(parts) == 2 and parts[0] == "uploads" and _is_upload_id(parts[1]):
            upload = repository.uploads.setdefault(parts[1], _Upload())
            upload.modified = max(upload.modified, folder.modified)

    def _repository(self, name: str) -> _Repository | None:
        repository = self._repositories.get(name)
        if repository is None and is_repository(name):
            repository = self._repositories[name] = _Repository()
        return repository

    def _digest(self, algorithm: str, encoded: str) -> Digest | None:
        known = self._digests.setdefault(algorithm, {})
        digest = known.get(encoded)
        if digest is None:
            try:
                digest = Digest.parse(f"{algorithm}:{encoded}")
            except ValueError:
                return None
            known[digest.hex] = digest
        return digest


def _link_size(digest: Digest) -> int:
    return len(digest.algorithm) + 1 + len(digest.hex)


def _once(sizes: dict[Digest, int], digest: Digest, size: int) -> bool:
    """Keep the size of ``digest``; False where it has one: a path that is listed twice."""
    if digest in sizes:
        return False
    sizes[digest] = size
    return True


def _is_upload_id(text: str) -> bool:
    return 0 < len(text) <= _ID_LENGTH and not text.startswith(".") and _ID_CHARACTERS.issuperset(text)
