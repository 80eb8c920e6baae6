"""``index.json`` of an image layout: its images, and the names they have there (image-spec 1.1, image-layout.md and annotations.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from registry_tool.base.errors import Conflict, InvalidManifest, InvalidReference
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_INDEX
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of an entry: the name under which skopeo, podman and others find it."""
IMAGE_NAME = "io.containerd.image.name"
"""Annotation of an entry: the whole name of the image, as docker and buildx write it; it comes first where both are there."""

MAX_NAME = 512
"""Characters of a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutImage:
    """An entry of the index. ``name`` is None where it has only its digest."""

    name: str | None
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutIndex:
    """The entries, each name once, in a fixed order: those without a name, then by name. Frozen: a change makes another one."""

    entries: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, raw: bytes, path: str) -> LayoutIndex:
        """Read the file, which messages call ``path``. Raises InvalidManifest."""
        try:
            manifest = manifests.parse(raw, OCI_INDEX)
        except InvalidManifest as error:
            raise InvalidManifest(f"{path}: {error.message}", hint="It is not the index of an image layout, or it is damaged.") from error
        return cls(entries=manifest.children, annotations=manifest.annotations)

    @property
    def raw(self) -> bytes:
        """The file's content; the same entries give the same bytes."""
        return manifests.index(sorted(self.entries, key=_order), annotations=self.annotations).raw

    @property
    def images(self) -> tuple[LayoutImage, ...]:
        """The entries with their names."""
        return tuple(LayoutImage(name=name_of(entry), descriptor=bare(entry)) for entry in self.entries)

    def find(self, name: str) -> Descriptor | None:
        """The entry of this name, also as docker shortens it (``app`` for ``docker.io/library/app:latest``); None where there is none.

        Raises Conflict where several images have it.
        """
        whole = _whole_name(name)
        for is_named in (
            lambda entry: entry.annotations.get(IMAGE_NAME) == name,
            lambda entry: entry.annotations.get(REF_NAME) == name,
            lambda entry: whole is not None and _whole_name(name_of(entry) or "") == whole,
        ):
            named = {entry.digest: entry for entry in self.entries if is_named(entry)}
            if len(named) > 1:
                names = ", ".join(sorted({name_of(entry) or str(entry.digest) for entry in named.values()})[:5])
                raise Conflict(f"{len(named)} images have the name {name}", hint=f"Name one of them: {names}")
            if named:
                return next(iter(named.values()))
        return None

    def entry(self, digest: Digest) -> Descriptor | None:
        """The first entry with this digest."""
        return next((entry for entry in self.entries if entry.digest == digest), None)

    def add(self, descriptor: Descriptor, name: str | None, *, children: Collection[Digest] = ()) -> LayoutIndex:
        """Let ``name`` stand for a manifest, or list it without a name where it has none; its ``children`` need no entry of their own."""
        kept = [
            entry
            for entry in self.entries
            if (name_of(entry) != name if name_of(entry) is not None else entry.digest not in children)
            and not (name is not None and name_of(entry) is None and entry.digest == descriptor.digest)
        ]
        if name is not None or all(entry.digest != descriptor.digest for entry in kept):
            kept.append(replace(descriptor, annotations=_annotations(name)))
        return replace(self, entries=tuple(sorted(kept, key=_order)))

    def remove(self, digest: Digest) -> LayoutIndex:
        """Remove every entry of a manifest."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.digest != digest))


def name_of(entry: Descriptor) -> str | None:
    """The name of an entry, None where it has none."""
    return entry.annotations.get(IMAGE_NAME) or entry.annotations.get(REF_NAME) or None


def check_name(name: str) -> None:
    """Raise InvalidReference where ``name`` cannot be one: it is no text for a line, or looks like a digest."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or " " in name or name.startswith(("sha256:", "sha512:")):
        raise InvalidReference(
            f"{name[:140]!r} is not a name for an image in a layout", hint="It looks like 1.0 or localhost:5000/app:1.0."
        )


def bare(entry: Descriptor) -> Descriptor:
    """An entry's descriptor without the annotations that name it."""
    return replace(entry, annotations={key: value for key, value in entry.annotations.items() if key not in (IMAGE_NAME, REF_NAME)})


def _annotations(name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    return {REF_NAME: name} | ({IMAGE_NAME: name} if _is_whole(name) else {})


def _whole_name(name: str) -> Reference | None:
    """What a name means to docker; None where it is no name of an image."""
    try:
        return Reference.parse(name, default_host=DOCKER_HUB).or_latest()
    except InvalidReference:
        return None


def _is_whole(name: str) -> bool:
    """Whether it is ``HOST/PATH:TAG``, which needs no context."""
    try:
        return has_host(name) and Reference.parse(name, default_host="localhost").tag is not None
    except InvalidReference:
        return False


def _order(entry: Descriptor) -> tuple[str, str]:
    return name_of(entry) or "", str(entry.digest)
