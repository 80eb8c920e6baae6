"""From a tree of unpacked packages to the root file system of an image.

The packages are unpacked and never installed: none of their scripts run, so that neither root nor a chroot nor a machine of
the image's kind is needed. What those scripts would have done, as far as an image needs it, is done here, on the tar: users,
certificates, the merged ``/usr``, links to busybox.
"""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path
from typing import IO

from registry_tool.local.base_images.files import APPLETS
from registry_tool.local.base_images.recipes import Recipe

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DROPPED = (
    "dev/",
    "proc/",
    "sys/",
    "boot/",
    "etc/apt/",
    "etc/dpkg/",
    "etc/init.d/",
    "etc/systemd/",
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "var/cache/",
    "var/lib/apt/",
    "var/lib/dpkg/",
    "var/log/",
)
# The machine's own, which the tool that unpacks copies in.
_OF_THE_HOST = frozenset({"etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/passwd", "etc/group"})
_FOLDERS = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "dev": 0o755, "proc": 0o755, "sys": 0o755, "etc/ssl/certs": 0o755}
_KINDS = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
_CERTIFICATES = "usr/share/ca-certificates/"
_ACCOUNTS = {"etc/passwd": "usr/share/base-passwd/passwd.master", "etc/group": "usr/share/base-passwd/group.master"}


def write(packages: Path, target: Path, recipe: Recipe) -> None:
    """Turn the tar of unpacked ``packages`` into the tar of an image's root file system.

    Everything belongs to root in it, whoever unpacked it. Raises OSError and ``tarfile.TarError``.
    """
    with tarfile.open(packages, "r:") as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as image:
        writer = _Writer(image)
        _begin(writer, recipe)
        _end(writer, recipe, _copy(source, writer, recipe))


def _begin(writer: _Writer, recipe: Recipe) -> None:
    """What comes first is what counts: a package's file of the same name is left out."""
    for name in _MERGED:
        writer.folder(f"usr/{name}")
        writer.link(name, f"usr/{name}")
    for name, mode in _FOLDERS.items():
        writer.folder(name, mode)
    for name, owner in recipe.folders.items():
        writer.folder(name, owner=owner)
    for name, text in recipe.files.items():
        writer.file(name, text.content, text.mode)


def _copy(source: tarfile.TarFile, writer: _Writer, recipe: Recipe) -> dict[str, bytes]:
    """Copy what an image needs; returns the files that something is made from."""
    noted: dict[str, bytes] = {}
    for member in source:
        name = _place(member.name)
        if name is None or member.type not in _KINDS or _left_out(name, recipe):
            continue
        member.name = name
        if member.islnk():
            member.linkname = _place(member.linkname) or member.linkname
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.pax_headers = {}
        content: IO[bytes] | None = source.extractfile(member) if member.isfile() else None
        if content is not None and (name in _ACCOUNTS.values() or _is_certificate(name)):
            noted[name] = content.read()
            content = io.BytesIO(noted[name])
        writer.put(member, content)
    return noted


def _end(writer: _Writer, recipe: Recipe, noted: dict[str, bytes]) -> None:
    """What packages' scripts would have made, and what only stands in for what no package brought."""
    certificates = b"".join(noted[name] for name in sorted(noted) if _is_certificate(name))
    writer.file("etc/ssl/certs/ca-certificates.crt", certificates)
    writer.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    for name, master in _ACCOUNTS.items():
        # No bash in here.
        accounts = noted.get(master, b"").replace(b":/bin/bash\n", b":/bin/sh\n")
        writer.file(name, accounts + b"".join(_account(name, user, number) for user, number in recipe.users.items()))
    for name, target in recipe.links.items():
        writer.link(name, target)
    for applet in APPLETS:
        writer.link(f"usr/bin/{applet}", "busybox", unless=f"usr/sbin/{applet}")


def _account(file: str, user: str, number: int) -> bytes:
    if file.endswith("group"):
        return f"{user}:x:{number}:\n".encode()
    return f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n".encode()


def _is_certificate(name: str) -> bool:
    return name.startswith(_CERTIFICATES) and name.endswith(".crt")


def _place(name: str) -> str | None:
    """Where a path belongs in an image whose ``/bin`` and the like are links; None for those links themselves, and the root."""
    name = name.removeprefix("./").strip("/")
    if name in ("", ".", *_MERGED):
        return None
    return f"usr/{name}" if name.split("/", 1)[0] in _MERGED else name


def _left_out(name: str, recipe: Recipe) -> bool:
    if name in _OF_THE_HOST or name.endswith(recipe.without):
        return True
    # Licences stay: whoever pushes the image hands them on.
    return name.startswith(_DROPPED) and not (name.startswith("usr/share/doc/") and name.endswith("/copyright"))


class _Writer:
    """Writes a tar in which each name is there once (engines refuse others) and after the folder it is in."""

    def __init__(self, image: tarfile.TarFile) -> None:
        self._image = image
        self._names: set[str] = set()
        self._now = int(time.time())

    def put(self, member: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        """Add ``member``, unless something of its name is there."""
        if member.name in self._names:
            return
        parent = member.name.rpartition("/")[0]
        if parent and parent not in self._names:
            self.folder(parent)
        self._names.add(member.name)
        self._image.addfile(member, content)

    def folder(self, name: str, mode: int = 0o755, *, owner: int = 0) -> None:
        entry = self._entry(name, tarfile.DIRTYPE, mode)
        entry.uid = entry.gid = owner
        self.put(entry)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        entry = self._entry(name, tarfile.REGTYPE, mode)
        entry.size = len(content)
        self.put(entry, io.BytesIO(content))

    def link(self, name: str, target: str, *, unless: str | None = None) -> None:
        """A symbolic link; none where ``unless`` is there."""
        if unless not in self._names:
            entry = self._entry(name, tarfile.SYMTYPE, 0o777)
            entry.linkname = target
            self.put(entry)

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime = kind, mode, self._now
        return entry
