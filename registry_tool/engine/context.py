"""A build context as a tar stream: what ``.dockerignore`` leaves, and what is added, never held in memory.

Files are opened one at a time as the stream is read, so what is ignored is never read, however large it is.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from registry_tool.errors import BuildFailed

_CHUNK = 1 << 18
IGNORE_FILE = ".dockerignore"

Walk = Callable[[Path, list[str]], Iterable[str]]


def ignore_patterns(context: Path, dockerfile: str) -> list[str]:
    """The patterns of ``DOCKERFILE.dockerignore``, or of ``.dockerignore``; what the build itself needs is never ignored."""
    for name in (f"{dockerfile}.dockerignore", IGNORE_FILE):
        file = context / name
        if file.is_file():
            lines = (line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
            return [*(line for line in lines if line and not line.startswith("#")), f"!{dockerfile}", f"!{IGNORE_FILE}"]
    return []


def entries(context: Path, kept: Iterable[str], extra: Mapping[str, Path]) -> dict[str, Path]:
    """Path inside the context -> path on disk, sorted; what is extra goes over what is there."""
    found = {name: context / name for name in kept}
    for name, source in extra.items():
        inside = name.strip("/")
        found[inside] = source
        if source.is_dir():
            for path in source.rglob("*"):
                found[f"{inside}/{path.relative_to(source).as_posix()}"] = path
    return dict(sorted(found.items()))


def tar_stream(files: Mapping[str, Path]) -> Iterator[bytes]:
    """The tar of ``files``, piece by piece. Raises BuildFailed where a file cannot be read."""
    # A tar is headers, contents and padding: written here by hand around TarInfo, because TarFile wants to write, not to be read.
    for name, path in files.items():
        try:
            yield from _member(name, path)
        except OSError as error:
            raise BuildFailed(f"a file of the build context cannot be read: {path}: {error.strerror or error}") from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, path: Path) -> Iterator[bytes]:
    status = path.lstat()
    if stat.S_ISSOCK(status.st_mode):
        return
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = max(0, int(status.st_mtime))
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISFIFO(status.st_mode):
        info.type = tarfile.FIFOTYPE
    elif not stat.S_ISREG(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        yield _header(info)
        return
    with path.open("rb") as source:
        # Its size now, not at the look before: a header that says another size than follows breaks the whole tar.
        info.size = os.fstat(source.fileno()).st_size
        yield _header(info)
        left = info.size
        while left:
            chunk = source.read(min(_CHUNK, left))
            if not chunk:
                raise OSError(f"it became shorter while it was read, {left} bytes are missing")
            left -= len(chunk)
            yield chunk
        yield bytes(-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
