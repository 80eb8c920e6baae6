"""Where images are copied from and to, as it is typed: ``HOST/NAME:TAG``, ``oci:DIR:TAG``, ``docker-archive:FILE``, ``engine:NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from registry_tool.base.errors import InvalidReference, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference

Kind = Literal["registry", "oci", "oci-archive", "docker-archive", "engine"]

_FILES = ("oci", "oci-archive", "docker-archive")
_REGISTRY = "docker://"
_UNKNOWN = {
    "docker-daemon:": "The engine's images are engine:NAME.",
    "containers-storage:": "Podman's images are engine:NAME, where podman is the engine.",
    "dir:": "A folder of images is oci:DIR.",
    "tarball:": "An archive of images is oci-archive:FILE or docker-archive:FILE.",
}
"""Other words of skopeo and of buildah."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """One place. ``path`` is a folder or a file, ``reference`` a name in a registry, ``name`` an image of the engine or of a file.

    ``is_prefix``: a registry's name that ended with a slash, below which other names come.
    """

    kind: Kind
    path: Path | None = None
    reference: Reference | None = None
    name: str | None = None
    digest: Digest | None = None
    is_prefix: bool = False

    @classmethod
    def parse(cls, text: str, *, default_host: str) -> Location:
        """Read what is typed. Without a host a name is in the registry ``default_host``. Raises UsageError, InvalidReference."""
        kind, colon, value = text.partition(":")
        if colon and kind in _FILES:
            return cls._file(kind, value, text)  # type: ignore[arg-type] # it is one of them
        if colon and kind == "engine":
            return cls(kind="engine", name=value or None)
        for word, hint in _UNKNOWN.items():
            if text.startswith(word):
                raise UsageError(f"{text[:80]!r}: {word} is not a place that is known here", hint=hint)
        name = text.removeprefix(_REGISTRY)
        is_prefix = name.endswith("/")
        if is_prefix:
            return cls._prefix(name.rstrip("/"), default_host)
        return cls(kind="registry", reference=Reference.parse(name, default_host=default_host))

    @classmethod
    def _prefix(cls, name: str, default_host: str) -> Location:
        reference = Reference.parse(f"{name}/x", default_host=default_host)
        return cls(kind="registry", reference=reference, is_prefix=True, name=reference.path.removesuffix("x").rstrip("/"))

    @classmethod
    def _file(cls, kind: Kind, value: str, text: str) -> Location:
        remainder, at, digest_text = value.rpartition("@")
        if not at or "/" in digest_text or ":" not in digest_text:
            remainder, at, digest_text = value, "", ""
        path, colon, name = remainder.partition(":")
        if not path or (colon and not name):
            raise UsageError(f"{text[:80]!r} is not a place", hint=f"It looks like {kind}:{'DIR' if kind == 'oci' else 'FILE'}:TAG.")
        try:
            digest = Digest.parse(digest_text) if at else None
        except ValueError as error:
            raise InvalidReference(f"invalid name {text[:80]!r}: {error}") from None
        return cls(kind=kind, path=Path(path), name=name or None, digest=digest)

    def check_source(self) -> None:
        """Raise UsageError where it is no image, and no place of images that can be read as a whole."""
        if self.is_prefix:
            raise UsageError(f"{self} is no image", hint="A source is an image or a repository.")
        if self.kind == "engine" and self.name is None:
            raise UsageError("'engine:' names no image", hint="It looks like engine:john/get-started:part2.")

    @property
    def store(self) -> str:
        """The place without tag and digest: ``localhost:5000/john/get-started``, ``oci:DIR``; equal for images of one repository."""
        if self.reference is not None:
            if self.is_prefix:
                return f"{self.reference.host}/{self.name}".rstrip("/")
            return self.reference.repository
        return f"{self.kind}:{self.path}" if self.path is not None else "engine"

    @property
    def image(self) -> str | None:
        """Tag or digest of one image there; None where none is given."""
        digest = self.digest or (self.reference.digest if self.reference is not None else None)
        if digest is not None:
            return str(digest)
        return self.tag

    @property
    def tag(self) -> str | None:
        """The tag of one image there, beside its digest or alone; None where none is given."""
        return self.reference.tag if self.reference is not None else self.name

    def below(self, path: str) -> Location:
        """The repository of ``path``'s last part below a prefix, as skopeo names it."""
        if self.reference is None or not self.is_prefix:
            raise ValueError("not a prefix")
        name = f"{self.name}/{path.rpartition('/')[2]}".lstrip("/")
        return Location(kind="registry", reference=Reference(host=self.reference.host, path=name))

    def __str__(self) -> str:
        return f"{self.store}/" if self.is_prefix else join_name(self.store, self.image)


def join_name(store: str, image: str | None) -> str:
    """``STORE:TAG`` or ``STORE@DIGEST``."""
    if image is None:
        return store
    return f"{store}@{image}" if image.startswith(("sha256:", "sha512:")) else f"{store}:{image}"
