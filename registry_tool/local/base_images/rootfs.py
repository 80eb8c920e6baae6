"""An image's root file system from packages whose scripts never run, so without root: what is needed of them is done on the tar."""

from __future__ import annotations

import io
import re
import tarfile
import time
from pathlib import Path
from typing import IO

from registry_tool.local.base_images.image_files import APPLETS
from registry_tool.local.base_images.recipes import Recipe

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EXCLUDED = re.compile(
    "(dev|proc|sys|boot|etc/(apt|dpkg|init[.]d|systemd)|usr/share/(doc|man|info|locale|lintian)|var/(cache|log|lib/apt|lib/dpkg)"
    # glibc's conversions for iconv (8 MB), which knows UTF-8 without them, and copies of the time zones.
    "|usr/lib/([^/]+/)?gconv|usr/share/zoneinfo/(posix|right))/"
)
# This machine's, copied in by the tool that unpacks.
_HOST_FILES = frozenset({"etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/passwd", "etc/group"})
_FOLDERS = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "dev": 0o755, "proc": 0o755, "sys": 0o755, "etc/ssl/certs": 0o755}
_KINDS = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
_CERTIFICATES = "usr/share/ca-certificates/"
_ACCOUNTS = {"etc/passwd": "usr/share/base-passwd/passwd.master", "etc/group": "usr/share/base-passwd/group.master"}


def write(packages: Path, target: Path, recipe: Recipe) -> None:
    """Turn the tar of unpacked ``packages`` into a root file system that root owns. Raises OSError, ``tarfile.TarError``."""
    with tarfile.open(packages, "r:") as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as image:
        writer = _TarWriter(image)
        _write_base(writer, recipe)
        _write_generated(writer, recipe, _copy(source, writer, recipe))


def _write_base(writer: _TarWriter, recipe: Recipe) -> None:
    """Write what takes precedence over packages' files of the same name."""
    for name in _MERGED:
        writer.folder(f"usr/{name}")
        writer.link(name, f"usr/{name}")
    for name, mode in _FOLDERS.items():
        writer.folder(name, mode)
    for name, owner in recipe.folders.items():
        writer.folder(name, owner=owner)
    for name, text in recipe.files.items():
        writer.file(name, text.content, text.mode)


def _copy(source: tarfile.TarFile, writer: _TarWriter, recipe: Recipe) -> dict[str, bytes]:
    """Copy the packages' files; returns those that :func:`_write_generated` needs."""
    sources: dict[str, bytes] = {}
    for member in source:
        name = _image_path(member.name)
        if name is None or member.type not in _KINDS or _is_excluded(name, recipe):
            continue
        member.name = name
        if member.islnk():
            member.linkname = _image_path(member.linkname) or member.linkname
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.pax_headers = {}
        content: IO[bytes] | None = source.extractfile(member) if member.isfile() else None
        if content is not None and (name in _ACCOUNTS.values() or _is_certificate(name)):
            sources[name] = content.read()
            content = io.BytesIO(sources[name])
        writer.put(member, content)
    return sources


def _write_generated(writer: _TarWriter, recipe: Recipe, sources: dict[str, bytes]) -> None:
    """Write what packages' scripts would have made, and links for programs that no package has."""
    certificates = b"".join(sources[name] for name in sorted(sources) if _is_certificate(name))
    writer.file("etc/ssl/certs/ca-certificates.crt", certificates)
    writer.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    for name, master in _ACCOUNTS.items():
        # The image has no bash.
        accounts = sources.get(master, b"").replace(b":/bin/bash\n", b":/bin/sh\n")
        writer.file(name, accounts + b"".join(_account_line(name, user, number) for user, number in recipe.users.items()))
    for name, target in recipe.links.items():
        writer.link(name, target)
    for applet in APPLETS:
        writer.link(f"usr/bin/{applet}", "busybox", unless=f"usr/sbin/{applet}")


def _account_line(file: str, user: str, number: int) -> bytes:
    if file.endswith("group"):
        return f"{user}:x:{number}:\n".encode()
    return f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n".encode()


def _is_certificate(name: str) -> bool:
    return name.startswith(_CERTIFICATES) and name.endswith(".crt")


def _image_path(name: str) -> str | None:
    """A path in an image with merged ``/usr``; None for the root and the links ``/bin`` and the like."""
    name = name.removeprefix("./").strip("/")
    if name in ("", ".", *_MERGED):
        return None
    return f"usr/{name}" if name.split("/", 1)[0] in _MERGED else name


def _is_excluded(name: str, recipe: Recipe) -> bool:
    if name in _HOST_FILES or name.endswith(recipe.excluded):
        return True
    # Licences stay: they belong to what is distributed.
    return _EXCLUDED.match(name) is not None and not (name.startswith("usr/share/doc/") and name.endswith("/copyright"))


class _TarWriter:
    """Writes a tar in which each name occurs once (engines refuse others) and after its folder."""

    def __init__(self, image: tarfile.TarFile) -> None:
        self._image = image
        self._names: set[str] = set()
        self._now = int(time.time())

    def put(self, member: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        """Add ``member``, unless there is one of its name."""
        if member.name in self._names:
            return
        parent = member.name.rpartition("/")[0]
        if parent and parent not in self._names:
            self.folder(parent)
        self._names.add(member.name)
        self._image.addfile(member, content)

    def folder(self, name: str, mode: int = 0o755, *, owner: int = 0) -> None:
        """Add a folder."""
        entry = self._entry(name, tarfile.DIRTYPE, mode)
        entry.uid = entry.gid = owner
        self.put(entry)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        entry = self._entry(name, tarfile.REGTYPE, mode)
        entry.size = len(content)
        self.put(entry, io.BytesIO(content))

    def link(self, name: str, target: str, *, unless: str | None = None) -> None:
        """Add a symbolic link, unless the path ``unless`` exists."""
        if unless not in self._names:
            entry = self._entry(name, tarfile.SYMTYPE, 0o777)
            entry.linkname = target
            self.put(entry)

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime = kind, mode, self._now
        return entry
