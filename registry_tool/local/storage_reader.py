"""A registry's storage, read by throw-away containers of its own image: the volume read-only, no network, nothing stopped.

They run as nobody where the files' modes allow that, else as the registry does. File names come from a disk that anybody may have
written to: what is read back is asked for by paths made of parsed names, and each record of the listing ends with ``//``, which no path
contains.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TypeVar, cast

from registry_tool.base import labels
from registry_tool.base.errors import CommandNotFound, EngineError, NotFound, UsageError
from registry_tool.base.yaml_reader import read as read_yaml
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage, StoredFile, blob_path, tag_path
from registry_tool.engine import Container, ContainerSpec, Engine, ExecSpec, Mount
from registry_tool.engine.attach import AttachedStream
from registry_tool.engine.streams import demultiplex
from registry_tool.local.registry.spec import STORAGE
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import MAX_SIZE

_MOUNT = "/registry-tool-storage"
_LIST = "registry-tool-paths"
_NOBODY = "65534:65534"
_ROOT_VARIABLE = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"
_DRIVER_VARIABLE = "REGISTRY_STORAGE"
_NOT_DRIVERS = ("cache", "delete", "maintenance", "redirect", "tag")
"""Members of ``storage`` that are no drivers (distribution, configuration.md)."""

_NO_FOLDER = 90
_FIND = f"""cd "$0" || exit {_NO_FOLDER}
find . \\( ! -type d -o -name _layers -o -name _manifests -o -name _uploads -o -path '*/_uploads/*' \\) \
-exec stat -c '%f %s %Y %b %h %i %n//' {{}} +
status=$?
printf 'complete//\\n'
exit $status
"""
# More than one archive where the paths do not fit into one command. Busybox's tar may know no list of files.
# Busybox's xargs may cut a path where its buffer ends, which so few do not reach.
_READ = f'cd "$0" && exec xargs -n 40 tar -c -f - < /{_LIST}'
_END = b"//\n"
_GONE = "No such file or directory"
_DENIED = "Permission denied"
_KIND, _FILE, _FOLDER = 0o170000, 0o100000, 0o040000
_REVISION = re.compile(r"docker/registry/v2/repositories/(.+?)/_manifests/revisions/([a-z0-9]+)/([0-9a-f]+)/link")
_BLOCK = 512
_MESSAGES = 64 << 10
"""Bytes of a container's messages that are kept."""
_COMPLETE = b"complete"
_TAR_SUMMARIES = ("due to previous errors", "delayed from previous errors")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLocation:
    """Where a container keeps a registry's content. ``source`` is a volume, or a folder of the engine's machine."""

    container: Container
    source: str
    is_folder: bool
    folder: str
    """The registry's root directory inside of it; empty where it is the whole."""


def locate(engine: Engine, container: Container) -> StorageLocation:
    """Find the volume in which the registry in ``container`` keeps its content.

    Raises:
        UsageError: when it stores its content elsewhere (S3, memory), in no volume, or in several.
    """
    root = _root_directory(engine, container)
    parts = [destination for destination in container.mounts if destination.startswith(f"{root.rstrip('/')}/")]
    if parts:
        raise UsageError(f"the registry in {container.name} has other volumes inside of its content: {', '.join(sorted(parts))}")
    for destination, source in sorted(container.mounts.items(), key=lambda mount: len(mount[0]), reverse=True):
        folder = posixpath.relpath(root, destination)
        if folder.split("/")[0] == "..":
            continue
        if not source:
            break  # a tmpfs, which no other container can see
        return StorageLocation(container=container, source=source, is_folder=source.startswith("/"), folder="" if folder == "." else folder)
    raise UsageError(
        f"the container {container.name} keeps a registry's content in no volume: none is mounted at {root}",
        hint="Without --container, the account is made through the registry's interface.",
    )


class StorageReader:
    """Lists and reads the storage at a location. Each call runs one container, which is removed again."""

    def __init__(self, engine: Engine, location: StorageLocation) -> None:
        self._engine = engine
        self._location = location
        self._user: str | None = _NOBODY

    def read(self) -> tuple[RegistryStorage, StoredManifests]:
        """List all files, and read tags and manifests. Raises what :meth:`list` raises."""
        storage = self.list()
        links = {tag_path(*link): link for link in storage.tag_links()}
        blobs = {blob_path(digest): digest for digest in storage.revisions if storage.blobs.get(digest, MAX_SIZE + 1) <= MAX_SIZE}
        tags: dict[tuple[str, str], Digest] = {}

        def contents(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[Digest, bytes]]:
            for path, content in files:
                if path in blobs:
                    yield blobs[path], content
                elif path in links and (digest := _digest(content)) is not None:
                    tags[links[path]] = digest

        manifests = self._read_files([*links, *blobs], lambda files: StoredManifests.parse(contents(files)))
        return storage.with_tags(tags), manifests

    def list(self) -> RegistryStorage:
        """List and classify all files, without the tags' digests.

        Raises:
            EngineError: when the listing is not complete: a part of it is never taken for the whole.
            NotFound: when the image or the volume is gone.
        """
        return self._run(_FIND, (), lambda chunks: RegistryStorage.classify(parse_listing(chunks)))

    def read_revisions(self) -> dict[str, dict[Digest, int]]:
        """The manifests of each repository, and when each was pushed last (Unix seconds). Raises what :meth:`list` raises."""

        def revisions(chunks: Iterator[bytes]) -> dict[str, dict[Digest, int]]:
            found: dict[str, dict[Digest, int]] = {}
            for file in parse_listing(chunks):
                match = _REVISION.fullmatch(file.path)
                if match is not None and file.kind == "file":
                    with suppress(ValueError):
                        found.setdefault(match[1], {})[Digest.parse(f"{match[2]}:{match[3]}")] = file.modified
            return found

        return self._run(_FIND, (), revisions)

    def read_deleted(self, storage: RegistryStorage) -> StoredManifests:
        """The manifests of ``storage`` that were deleted: blobs to which no link of any repository leads.

        Others without a link (of an upload that broke off) are ``damaged`` ones here.
        """
        linked = storage.revisions.union(*(repository.layers for repository in storage.repositories.values()))
        blobs = {blob_path(digest): digest for digest, size in storage.blobs.items() if digest not in linked and size <= MAX_SIZE}
        return self._read_files(
            list(blobs), lambda files: StoredManifests.parse((blobs[path], content) for path, content in files if path in blobs)
        )

    def read_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The content of blobs of at most 4 MiB (configs), verified: what is not there or has another digest is left out."""
        paths = {blob_path(digest): digest for digest in digests}

        def verified(files: Iterator[tuple[str, bytes]]) -> dict[Digest, bytes]:
            known = ((paths[path], content) for path, content in files if path in paths)
            return {digest: content for digest, content in known if Digest.of(content, digest.algorithm) == digest}

        return self._read_files(list(paths), verified)

    def _read_files(self, paths: Sequence[str], use: Callable[[Iterator[tuple[str, bytes]]], Result]) -> Result:
        """Give (path, content) of those of ``paths`` that are there to ``use``, one by one."""
        return self._run(_READ, paths, lambda chunks: use(_unpack(chunks))) if paths else use(iter(()))

    def _run(self, script: str, paths: Sequence[str], use: Callable[[Iterator[bytes]], Result]) -> Result:
        """Run ``script`` and give its output to ``use``: as nobody, or as the registry's user where nobody may not read."""
        try:
            return self._run_as(self._user, script, paths, use)
        except _PermissionDenied:
            if self._user is None:
                raise
        self._user = None
        return self._run_as(None, script, paths, use)

    def _run_as(self, user: str | None, script: str, paths: Sequence[str], use: Callable[[Iterator[bytes]], Result]) -> Result:
        location, engine = self._location, self._engine
        registry = location.container.labels.get(labels.REGISTRY)
        container = engine.create(
            ContainerSpec(
                image=location.container.image_id,
                entrypoint=("/bin/sh", "-c", script, posixpath.join(_MOUNT, location.folder)),
                environment={"LC_ALL": "C"},
                labels={labels.ROLE: labels.ROLE_PROBE} | ({labels.REGISTRY: registry} if registry else {}),
                mounts=(Mount(type="bind" if location.is_folder else "volume", source=location.source, target=_MOUNT, read_only=True),),
                network="none",
                user=user or location.container.user or None,
            )
        )
        try:
            if paths:
                engine.put_files(container.id, "/", {_LIST: (_path_list(paths), 0o644)})
            messages = bytearray()
            with engine.attach(container.id, stdin=False) as stream:
                engine.start(container.id)
                result = _attempt(use, _output(stream, messages))
            code = engine.wait(container.id)
        except CommandNotFound as error:
            raise EngineError(
                f"the registry's image has no shell to list its storage with: {error.message}",
                hint="Its content can still be accounted through its interface: --registry HOST:PORT",
            ) from error
        finally:
            engine.remove(container.id, force=True, missing_ok=True)
        if code == _NO_FOLDER and _DENIED.encode() not in messages:
            raise NotFound(f"the registry's root directory {location.folder} does not exist in {location.source}")
        # What the program itself says is nearer to the cause than what its output lacks.
        _check_end(code, bytes(messages))
        if isinstance(result, EngineError):
            raise result
        return result


class ContainerReader(StorageReader):
    """Lists and reads the storage in a running container ``id``, which has it at ``folder``."""

    def __init__(self, engine: Engine, id: str, folder: str) -> None:
        self._engine = engine
        self._id = id
        self._folder = folder

    def _run(self, script: str, paths: Sequence[str], use: Callable[[Iterator[bytes]], Result]) -> Result:
        engine, messages = self._engine, bytearray()
        if paths:
            engine.put_files(self._id, "/", {_LIST: (_path_list(paths), 0o644)})
        command = ("/bin/sh", "-c", script, self._folder)
        exec_id = engine.exec_create(self._id, ExecSpec(command=command, environment={"LC_ALL": "C"}))
        with engine.exec_attach(exec_id, tty=False) as stream:
            result = _attempt(use, _output(stream, messages))
        _check_end(engine.exec_exit_code(exec_id), bytes(messages))
        if isinstance(result, EngineError):
            raise result
        return result


def _attempt(use: Callable[[Iterator[bytes]], Result], output: Iterator[bytes]) -> Result | EngineError:
    """The result of ``use``, or its failure. The output is read to its end in any case: messages may come after what ``use`` needs."""
    try:
        result: Result | EngineError = use(output)
    except EngineError as error:
        result = error
    for _ in output:
        pass
    return result


class _PermissionDenied(EngineError):
    """A file or a folder may not be read by the user of the container."""


def parse_listing(chunks: Iterable[bytes]) -> Iterator[StoredFile]:
    """Parse the output of the listing. Raises EngineError where its end is missing, or a record is none."""
    inodes: set[bytes] = set()
    buffer = b""
    for chunk in chunks:
        *records, buffer = (buffer + chunk).split(_END)
        for record in records:
            if record == _COMPLETE:
                if buffer:
                    raise EngineError("the listing of the registry's storage goes on after its end")
                return
            yield _parse_record(record, inodes)
    raise EngineError("the listing of the registry's storage was cut short", hint="Try again.")


def _parse_record(record: bytes, inodes: set[bytes]) -> StoredFile:
    try:
        mode, size, modified, blocks, links, inode, path = record.split(b" ", 6)
        kind = int(mode, 16) & _KIND
        allocated = int(blocks) * _BLOCK
        if links != b"1" and kind == _FILE:
            allocated = 0 if inode in inodes else allocated
            inodes.add(inode)
        return StoredFile(
            path=path.decode(errors="surrogateescape").removeprefix("./"),
            size=int(size),
            modified=int(modified),
            allocated=allocated,
            kind="file" if kind == _FILE else "directory" if kind == _FOLDER else "special",
        )
    except ValueError:
        raise EngineError(f"the listing of the registry's storage has a line that is none: {record[:80]!a}") from None


def _path_list(paths: Iterable[str]) -> bytes:
    return "".join(f"./{path}\n" for path in paths).encode()


def _output(stream: AttachedStream, messages: bytearray) -> Iterator[bytes]:
    """The standard output of a container; the beginning of its messages is kept in ``messages``."""
    for name, content in demultiplex(iter(stream.read, b"")):
        if name == "stdout":
            yield content
        else:
            messages += content[: _MESSAGES - len(messages)]


def _check_end(code: int, messages: bytes) -> None:
    """Raise EngineError unless all that failed is files that went meanwhile, as uploads do."""
    lines = messages.decode(errors="replace").splitlines()
    if any(line.endswith(_DENIED) for line in lines):
        raise _PermissionDenied(f"the registry's storage cannot be read: {_one_line(lines)}")
    others = [line for line in lines if line and not line.endswith((_GONE, *_TAR_SUMMARIES))]
    if len(messages) >= _MESSAGES or others or (code and not lines):
        detail = _one_line(others or lines) or f"exit code {code}"
        raise EngineError(f"the registry's storage could not be read: {detail}")


def _one_line(lines: Sequence[str]) -> str:
    return ascii(lines[0][:200])[1:-1] if lines else ""


def _unpack(chunks: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file of a tar, which is read as it comes. Raises EngineError where it is cut short."""
    reader = _OutputReader(chunks)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|", ignore_zeros=True) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() and member.size <= MAX_SIZE else None
                if stream is not None:
                    yield member.name.removeprefix("./"), stream.read()
                tar.members = []  # type: ignore[attr-defined]  # or it keeps all of them
    except tarfile.TarError as error:
        # Nothing at all was read: the program's messages say why.
        if not reader.is_empty:
            raise EngineError(f"the registry's manifests could not be read: {error}") from error


class _OutputReader:
    """Chunks as a file that can only be read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self.is_empty = True

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end."""
        parts, missing = [], size
        while missing:
            if not self._buffer:
                self._buffer = next(self._chunks, b"")
                if not self._buffer:
                    break
                self.is_empty = False
            part, self._buffer = self._buffer[:missing], self._buffer[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _digest(link: bytes) -> Digest | None:
    """The digest in a link; None where it is none."""
    try:
        return Digest.parse(link.decode("ascii").strip())
    except ValueError:
        return None


def _root_directory(engine: Engine, container: Container) -> str:
    """The absolute path of the registry's root directory in its container, from its environment and its configuration file."""
    environment = dict(entry.partition("=")[::2] for entry in container.environment)
    driver, root = environment.get(_DRIVER_VARIABLE), environment.get(_ROOT_VARIABLE)
    if not driver or not root:
        configured_driver, configured_root = _configured(engine, container, environment)
        driver, root = driver or configured_driver, root or configured_root
    if driver != "filesystem":
        raise UsageError(
            f"the registry in {container.name} keeps its content in {driver[:80]!a}, not in files",
            hint="Without --container, the account is made through the registry's interface.",
        )
    return posixpath.normpath(posixpath.join("/", root))


def _configured(engine: Engine, container: Container, environment: Mapping[str, str]) -> tuple[str, str]:
    """The storage driver and its root directory in the registry's configuration file, which may be missing."""
    arguments = (*container.entrypoint, *container.command)
    files = [argument for argument in arguments if argument.endswith((".yml", ".yaml"))]
    path = files[-1] if files else environment.get("REGISTRY_CONFIGURATION_PATH", "")
    content = engine.get_file(container.id, path) if path else None
    if content is None:
        return "filesystem", STORAGE
    document, _ = read_yaml(content, file=path)
    if isinstance(document.members.get("storage"), str):
        return document.members["storage"], STORAGE
    storage = document.inner("storage")
    drivers = [name for name in storage.members if name not in _NOT_DRIVERS]
    driver = drivers[0] if drivers else "filesystem"
    return driver, (storage.inner(driver).text("rootdirectory") or STORAGE) if driver == "filesystem" else STORAGE
