"""A build context as a tar stream, never held in memory: one open file at a time, and none that ``.dockerignore`` excludes."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry_tool.base.errors import BuildFailed

_PIECE = 1 << 18
IGNORE_FILE = ".dockerignore"


def files(context: Path, dockerfile: str, extra: Mapping[str, Path]) -> dict[str, Path]:
    """Path inside the context -> path on disk, sorted; ``extra`` overrides. Raises BuildFailed."""
    # Here, because only builds need the SDK, which costs 0.1 s.
    from docker.utils.build import PatternMatcher  # noqa: PLC0415

    try:
        kept = PatternMatcher(_ignored(context, dockerfile)).walk(str(context))
        paths = {name: context / name for name in kept}
    except (OSError, UnicodeError) as error:
        raise BuildFailed(f"the build context {context} cannot be read: {error}") from error
    for name, source in extra.items():
        inside = name.strip("/")
        paths[inside] = source
        if source.is_dir():
            paths.update((f"{inside}/{path.relative_to(source).as_posix()}", path) for path in source.rglob("*"))
    return dict(sorted(paths.items()))


def _ignored(context: Path, dockerfile: str) -> list[str]:
    """The patterns of ``DOCKERFILE.dockerignore``, or of ``.dockerignore``. The Dockerfile itself is never ignored."""
    for name in (f"{dockerfile}.dockerignore", IGNORE_FILE):
        file = context / name
        if file.is_file():
            lines = (line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
            return [*(line for line in lines if line and not line.startswith("#")), f"!{dockerfile}"]
    return []


def tar_stream(paths: Mapping[str, Path]) -> Iterator[bytes]:
    """The tar of what :func:`files` returned, in pieces, which TarFile cannot yield. Raises BuildFailed where a file cannot be read."""
    piece = bytearray()
    for part in _parts(paths):
        piece += part
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + bytes(2 * tarfile.BLOCKSIZE))


def _parts(paths: Mapping[str, Path]) -> Iterator[bytes]:
    path = Path()
    try:
        for name, path in paths.items():
            yield from _member(name, path)
    except OSError as error:
        raise BuildFailed(f"a file of the build context cannot be read: {path}: {error.strerror or error}") from error


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
