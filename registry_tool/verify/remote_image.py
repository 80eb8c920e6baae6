"""What the registry has under a name: the root that all of a proof is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, RegistryToolError
from registry_tool.content.inspect import image_of
from registry_tool.content.listing import Contents
from registry_tool.oci.config import Config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_foreign
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import Registry

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """``root`` is what the name leads to; ``image`` is the same, or the one for the engine's platform where ``root`` is an index.

    ``image`` and ``config`` are None where there is none for that platform: ``platforms`` are those that there are.
    """

    name: Reference
    root: Manifest
    image: Manifest | None
    config: Config | None
    platforms: tuple[str, ...]
    trouble: RegistryToolError | None = None
    """Why the config could not be read, where it should be there."""

    @property
    def digest(self) -> Digest:
        return self.root.digest

    @property
    def by_digest(self) -> Reference:
        """``HOST/REPOSITORY@sha256:…``."""
        return self.name.with_digest(self.digest)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each once. Layers that a registry need not have are not among them."""
        if self.image is None or self.image.config is None:
            return ()
        found = {each.digest: each for each in (self.image.config, *self.image.layers) if not is_foreign(each)}
        return tuple(found.values())

    @property
    def size(self) -> int:
        """Bytes to fetch for it: manifest (and index), config and layers, each once."""
        if self.image is None:
            return 0
        manifests = {each.digest: len(each.raw) for each in (self.root, self.image)}
        return sum(manifests.values()) + sum(each.size for each in self.blobs)


def look(registry: Registry, name: Reference, platform: Platform) -> RemoteImage:
    """Ask for manifest and config of ``name``, for ``platform`` where it is an index.

    Where there is a tag, it is that which is asked for: whether it leads to the digest beside it is for the proof to say.
    Raises NotFound, Mismatch, InvalidManifest, and what asking a registry raises.
    """
    contents = Contents(registry.repository(name.path), remember=True)
    root = contents.source.manifest(name.tag or name.digest or "latest")
    try:
        image = root if root.kind == "image" else image_of(contents, root, platform)
    except NotFound:
        # An index that is there, and has other platforms: for the proof to say.
        image = None
    config, trouble = None, None
    if image is not None and image.config is not None:
        try:
            config = contents.config(image.config)
        except (NotFound, Mismatch, InvalidManifest) as error:
            trouble = error
    return RemoteImage(name=name, root=root, image=image, config=config, platforms=_platforms(root, config), trouble=trouble)


def read_whole(registry: Registry, origin: RemoteImage) -> None:
    """See that everything it is made of can be had again: each blob read to its end. Raises NotFound, Mismatch, and so on."""
    repository = registry.repository(origin.name.path)
    for blob in origin.blobs:
        with repository.fetch(blob) as content:
            while content.read(_CHUNK):
                continue


def _platforms(root: Manifest, config: Config | None) -> tuple[str, ...]:
    if root.kind == "index":
        return tuple(dict.fromkeys(str(child.platform) for child in root.children if child.platform and child.platform.os != "unknown"))
    return (str(config.platform),) if config is not None and config.platform is not None else ()
