"""Tiny images, built without an engine and pushed through the library. The same call gives the same bytes on every machine.

Layers are tar files that are not compressed (OCI image specification 1.1, layer.md): what a compressor makes differs from
version to version, and then so would the digest.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from registry_tool.base.codec import select
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.oci.reference import Reference, is_tag
from registry_tool.pytest_plugin.registries import Served

CREATED = "2024-01-01T00:00:00Z"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a layer. ``mode`` are its permissions: 0o755 for what is to be run."""

    content: bytes | str = b""
    mode: int = 0o644


Files = Mapping[str, "bytes | str | Path | File"]
"""One layer: path -> content. A ``Path`` is a file of this machine, with its permissions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """What was pushed. ``reference`` is ``HOST/PATH:TAG``; ``platform`` is None for an index."""

    reference: str
    manifest: Manifest
    platform: Platform | None = None
    children: tuple[PushedImage, ...] = ()
    """The images of an index."""
    content: tuple[bytes, ...] = field(default=(), repr=False)
    """Config and layers, in the manifest's order."""

    @property
    def digest(self) -> str:
        """``sha256:…`` of the manifest or index."""
        return str(self.manifest.digest)

    @property
    def pinned(self) -> str:
        """``HOST/PATH@sha256:…``."""
        return str(Reference.parse(self.reference, default_host="").with_digest(self.manifest.digest))

    def __str__(self) -> str:
        return self.reference


class ImageFactory:
    """Makes images; see ``docs/pytest.md``. ``usual`` is called for the registry of images that name none.

    Whatever pushes raises what :class:`registry_tool.targets.registry.Repository` does.
    """

    def __init__(self, usual: Callable[[], Served], repository: str) -> None:
        self._usual = usual
        self._repository = repository
        self._made = 0

    def __call__(
        self,
        *layers: Files,
        name: str | None = None,
        to: Served | None = None,
        tags: Sequence[str] = (),
        platform: str = "linux/amd64",
        entrypoint: Sequence[str] = (),
        cmd: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        exposed: Sequence[int | str] = (),
        user: str = "",
        workdir: str = "",
        created: str = CREATED,
    ) -> PushedImage:
        """An image of ``layers``, pushed to ``name`` in the registry ``to``, and to ``tags`` beside it.

        Without layers it has one, with a file that contains the image's name; without a name it gets one that is unique to the test.
        ``exposed`` are ports, ``80`` or ``"53/udp"``. Raises ValueError (platform, tag, a file's path), InvalidReference.
        """
        registry, reference = self._place(name, to, tags)
        blobs = [_tar(files) for files in layers or [{"image": f"{reference.path}:{reference.tag}"}]]
        wanted = Platform.parse(platform)
        run: dict[str, object] = {
            "User": user,
            "ExposedPorts": {f"{port}/tcp" if isinstance(port, int) else port: {} for port in exposed},
            "Env": [f"{key}={value}" for key, value in (env or {}).items()],
            "Entrypoint": list(entrypoint),
            "Cmd": list(cmd),
            "WorkingDir": workdir,
            "Labels": dict(sorted((labels or {}).items())),
        }
        document = {
            "created": created,
            **select(wanted, "architecture os variant?"),
            "config": {key: value for key, value in run.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(blob)) for blob in blobs]},
            "history": [{"created": created, "created_by": f"layer {number}"} for number, _ in enumerate(blobs, 1)],
        }
        config = json.dumps(document, separators=(",", ":")).encode()
        manifest = manifests.image(_descriptor(config, manifests.OCI_CONFIG), [_descriptor(blob, _LAYER) for blob in blobs])
        image = PushedImage(reference=str(reference), manifest=manifest, platform=wanted, content=(config, *blobs))
        _push(registry, reference, image, tags)
        return image

    def index(self, *images: PushedImage, name: str | None = None, to: Served | None = None, tags: Sequence[str] = ()) -> PushedImage:
        """An index of ``images``, each for its platform; they are pushed to its repository by digest."""
        registry, reference = self._place(name, to, tags)
        children = []
        for image in images:
            if image.platform is None:
                raise ValueError(f"{image} is an index itself")
            children.append(replace(image.manifest.descriptor, platform=image.platform))
        index = PushedImage(reference=str(reference), manifest=manifests.index(children), children=images)
        _push(registry, reference, index, tags)
        return index

    def _place(self, name: str | None, to: Served | None, tags: Sequence[str]) -> tuple[Served, Reference]:
        registry = to or self._usual()
        if name is None:
            self._made += 1
            name = f"{self._repository}:{self._made}"
        reference = Reference.parse(name, default_host=registry.host).or_latest()
        if reference.tag is None:
            raise ValueError(f"an image is pushed to a tag, not to {name}")
        if reference.host != registry.host:
            raise ValueError(f"{name} is not in the registry at {registry.host}")
        wrong = [tag for tag in tags if not is_tag(tag)]
        if wrong:
            raise ValueError(f"not a tag: {wrong[0]!r}")
        return registry, reference


def _push(registry: Served, reference: Reference, image: PushedImage, tags: Sequence[str]) -> None:
    repository = registry.client.repository(reference.path)
    for each in (image, *image.children):
        if each.manifest.config is not None:
            for descriptor, content in zip((each.manifest.config, *each.manifest.layers), each.content, strict=True):
                repository.push(descriptor, io.BytesIO(content))
    for child in image.children:
        repository.push_manifest(child.manifest, None)
    for tag in dict.fromkeys((str(reference.tag), *tags)):
        repository.push_manifest(image.manifest, tag)


def _descriptor(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def _tar(files: Files) -> bytes:
    """Sorted, everything root's, with the folders: an engine makes those that are missing for root alone."""
    content = {_path(name): _file(file) for name, file in files.items()}
    folders = {str(parent) for path in content for parent in PurePosixPath(path).parents} - {"."}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*folders, *content}):
            entry, file = tarfile.TarInfo(path), content.get(path)
            if file is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            data = file.content.encode() if isinstance(file.content, str) else file.content
            entry.size, entry.mode = len(data), file.mode
            archive.addfile(entry, io.BytesIO(data))
    return plain.getvalue()


def _file(content: bytes | str | Path | File) -> File:
    if isinstance(content, Path):
        return File(content=content.read_bytes(), mode=content.stat().st_mode & 0o777)
    return content if isinstance(content, File) else File(content=content)


def _path(name: str) -> str:
    parts = PurePosixPath("/", name).parts[1:]
    if not parts or ".." in parts:
        raise ValueError(f"not a file's path in an image: {name!r}")
    return "/".join(parts)
