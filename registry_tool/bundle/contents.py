"""``bundle.json``: what a bundle has, each file with its sha256. Paths in it are checked, as a bundle comes from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from registry_tool.base.codec import AnyText, from_json, to_json
from registry_tool.base.errors import InvalidBundle
from registry_tool.base.reader import Document, Source
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest

FORMAT = 1
"""Version of the format that is written, and the highest that is read."""
CONTENTS = "bundle.json"
CHECKSUM = "bundle.json.sha256"
"""The checksum of ``bundle.json``, in the form of sha256sum."""
SIGNATURE = "bundle.json.sig"
"""The signature of ``bundle.json`` in base64, where there is one."""
MAX_SIZE = 64 << 20
"""Bytes of ``bundle.json`` that are read."""
OUTSIDE = (CONTENTS, CHECKSUM, SIGNATURE)
"""Files that ``bundle.json`` does not list."""

# Windows and FAT drop a point at the end of a name; so there is no . and no .. either.
_PATH = re.compile(r"(?!.*\.(?:/|$))[A-Za-z0-9_.+-]+(?:/[A-Za-z0-9_.+!-]+){0,7}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
KEY_SIZE = 32
_KEY = re.compile(r"[0-9a-f]{32}")
_HINT = "It is damaged, or no bundle of this tool: copy it again."


_SOURCE = Source(error=InvalidBundle, hint=_HINT, position=lambda path: f"{CONTENTS}: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """A file of a bundle; one that is ``in_base`` is in the bundle before it only."""

    path: str
    size: int
    sha256: str
    in_base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledImage:
    """An image, with the digests of all its content. ``role`` is what this tool needs it for: ``registry``, ``python``; or empty."""

    name: str
    role: AnyText
    digest: Digest
    media_type: str
    size: int
    """Bytes of its manifest."""
    blobs: tuple[str, ...]

    @property
    def descriptor(self) -> Descriptor:
        """The manifest's descriptor."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSet:
    """The wheels of this tool and its dependencies for a Python (``3.11``) on a platform (``linux/amd64``)."""

    python: str
    platform: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleBase:
    """The bundle that a delta needs before it, by the sha256 of its ``bundle.json``."""

    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContents:
    """The document. ``platform`` is of the images that this tool needs itself; empty without them."""

    format: int
    tool_version: str
    platform: AnyText
    images: tuple[BundledImage, ...]
    wheels: tuple[WheelSet, ...]
    sample_wheels: AnyText
    """The name of the folder in the cache, where a build of the sample app looks for its wheels."""
    files: tuple[BundledFile, ...] = field(repr=False)
    base: BundleBase | None = None
    signer: str | None = None
    """The public key of who signed it, 32 bytes of ed25519 in base64. That a key is written here proves nothing of whose it is."""

    @property
    def signer_key(self) -> bytes | None:
        """The bytes of :attr:`signer`. Raises InvalidBundle."""
        try:
            key = base64.b64decode(self.signer, validate=True) if self.signer is not None else None
        except ValueError:
            key = b""
        if key is not None and len(key) != KEY_SIZE:
            raise InvalidBundle(f"{CONTENTS}: signer is not a public key of ed25519", hint=_HINT)
        return key

    @property
    def raw(self) -> bytes:
        """The bytes of ``bundle.json``; the same contents give the same bytes."""
        return json.dumps(to_json(self), indent=1, ensure_ascii=True).encode() + b"\n"

    @property
    def sha256(self) -> str:
        """The checksum of ``bundle.json``."""
        return hashlib.sha256(self.raw).hexdigest()

    def images_with(self, path: str) -> tuple[str, ...]:
        """Names of the images that need the file at ``path``."""
        algorithm, _, encoded = path.removeprefix("blobs/").partition("/")
        digest = f"{algorithm}:{encoded}"
        return tuple(image.name for image in self.images if path.startswith("blobs/") and digest in image.blobs)

    @classmethod
    def parse(cls, raw: bytes) -> BundleContents:
        """Read the document.

        Raises:
            InvalidBundle: it is of a newer version, or not what :attr:`raw` writes; paths lead out of the bundle, or appear twice.
        """
        document = Document.read(raw, what=CONTENTS, max_size=MAX_SIZE, source=_SOURCE)
        version = document.required_number("format")
        if version > FORMAT:
            made_by = document.text("tool_version") or "a newer version"
            raise InvalidBundle(
                f"the bundle has format {version}, and this regctl reads up to {FORMAT}",
                hint=f"Use the regctl that is in it, or registry-tool {made_by[:40]}.",
            )
        contents = from_json(cls, document)
        _check_paths(contents.files)
        _ = contents.signer_key
        if contents.sample_wheels and not _KEY.fullmatch(contents.sample_wheels):
            raise InvalidBundle(f"{CONTENTS}: {contents.sample_wheels[:140]!a} is not the name of a folder with wheels", hint=_HINT)
        paths = {file.path for file in contents.files}
        for image in contents.images:
            if missing := [digest for digest in image.blobs if blob_path(digest) not in paths]:
                raise InvalidBundle(f"{CONTENTS}: {image.name[:140]!a} needs {missing[0][:140]!a}, which it does not list", hint=_HINT)
        for path in (path for wheels in contents.wheels for path in wheels.files):
            if path not in paths:
                raise InvalidBundle(f"{CONTENTS}: {path[:140]!a} is a wheel that it does not list", hint=_HINT)
        return contents


def blob_path(digest: Digest | str) -> str:
    """The path of a blob in an image layout."""
    return f"blobs/{str(digest).replace(':', '/', 1)}"


def _check_paths(files: Iterable[BundledFile]) -> None:
    """Refuse what leads out of the bundle, is two files on a disk that ignores case, or contradicts its own name."""
    seen: set[str] = set()
    for file in files:
        if not _PATH.fullmatch(file.path) or len(file.path) > 240 or file.path in OUTSIDE:
            raise InvalidBundle(f"{CONTENTS}: {file.path[:140]!a} is not a path in a bundle", hint="It is damaged, or made to do harm.")
        if not _SHA256.fullmatch(file.sha256):
            raise InvalidBundle(f"{CONTENTS}: {file.path} has no sha256", hint=_HINT)
        if file.path.lower() in seen:
            raise InvalidBundle(f"{CONTENTS}: {file.path} appears twice", hint=_HINT)
        seen.add(file.path.lower())
        if file.path.startswith("blobs/sha256/") and file.path != f"blobs/sha256/{file.sha256}":
            raise InvalidBundle(f"{CONTENTS}: {file.path} has another sha256", hint=_HINT)
