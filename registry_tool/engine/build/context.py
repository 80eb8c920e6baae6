"""A build context as a tar stream, never held in memory: one open file at a time, and none that ``.dockerignore`` excludes."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry_tool.base.errors import BuildFailed
from registry_tool.engine.build import ignore
from registry_tool.engine.build.ignore import Ignored, IgnorePattern
from registry_tool.engine.build.source import IGNORE_FILE, OUTSIDE_DOCKERFILE, DockerfileSource

_PIECE = 1 << 18


def files(context: Path | None, source: DockerfileSource, extra: Mapping[str, Path]) -> dict[str, Path | bytes]:
    """Path inside the context -> path on disk or content, sorted; ``extra`` overrides. Raises BuildFailed."""
    paths: dict[str, Path | bytes] = {}
    try:
        if context is not None:
            paths.update((name, context / name) for name in _walk(context, Ignored(_patterns(context, source))))
    except (OSError, UnicodeError) as error:
        raise BuildFailed(f"the build context {context} cannot be read: {error}") from error
    if source.inside == OUTSIDE_DOCKERFILE:
        paths[source.inside] = source.content
        # docker's engine takes what is ignored out of the context once it has read the Dockerfile.
        lines = (context / IGNORE_FILE).read_bytes() if context and IGNORE_FILE in paths else IGNORE_FILE.encode()
        paths[IGNORE_FILE] = lines + f"\n{source.inside}\n".encode()
    for name, path in extra.items():
        inside = name.strip("/")
        paths[inside] = path
        if path.is_dir():
            paths.update((f"{inside}/{below.relative_to(path).as_posix()}", below) for below in path.rglob("*"))
    return dict(sorted(paths.items()))


def _patterns(context: Path, source: DockerfileSource) -> tuple[IgnorePattern, ...]:
    """The patterns of ``DOCKERFILE.dockerignore``, or of ``.dockerignore``. What the builder reads itself is never ignored."""
    for file in (source.ignore_file, context / IGNORE_FILE):
        if file is not None and file.is_file():
            return ignore.keeping(ignore.parse(file.read_bytes().decode(), file.name), IGNORE_FILE, source.inside)
    return ()


def _walk(context: Path, ignored: Ignored, folder: str = "", above: tuple[bool, ...] = ()) -> Iterator[str]:
    """The paths that are not ignored, with slashes; links are not followed."""
    with os.scandir(context / folder) as entries:
        for entry in entries:
            path = f"{folder}{entry.name}"
            left_out, matches = ignored.match(path, above)
            if not left_out:
                yield path
            if entry.is_dir(follow_symlinks=False) and (not left_out or ignored.may_keep_below(path)):
                yield from _walk(context, ignored, f"{path}/", matches)


def tar_stream(paths: Mapping[str, Path | bytes]) -> Iterator[bytes]:
    """The tar of what :func:`files` returned, in pieces, which TarFile cannot yield. Raises BuildFailed where a file cannot be read."""
    piece = bytearray()
    for part in _parts(paths):
        piece += part
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + bytes(2 * tarfile.BLOCKSIZE))


def _parts(paths: Mapping[str, Path | bytes]) -> Iterator[bytes]:
    path: Path | bytes = b""
    try:
        for name, path in paths.items():
            yield from _generated(name, path) if isinstance(path, bytes) else _member(name, path)
    except OSError as error:
        raise BuildFailed(f"a file of the build context cannot be read: {path!s}: {error.strerror or error}") from error


def _generated(name: str, content: bytes) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    yield _header(info) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _member(name: str, path: Path) -> Iterator[bytes]:
    """Header, content and padding of one file; nothing for sockets and devices."""
    status = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = max(0, int(status.st_mtime))
    if stat.S_ISREG(status.st_mode):
        yield from _regular(info, path)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        yield _header(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        yield _header(info)
    elif stat.S_ISFIFO(status.st_mode):
        info.type = tarfile.FIFOTYPE
        yield _header(info)


def _regular(info: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        # Its size now, not of the lstat before: a header with another size than what follows breaks the whole tar.
        left = info.size = os.fstat(source.fileno()).st_size
        yield _header(info)
        while left:
            chunk = source.read(min(_PIECE, left))
            if not chunk:
                raise OSError("it became shorter while it was read")
            left -= len(chunk)
            yield chunk
        yield bytes(-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
