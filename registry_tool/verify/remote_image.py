"""What the registry has under a name: what all checks compare with."""

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
    """``root`` is the name's manifest or index; ``image`` and ``config`` are the platform's, None where ``platforms`` lack it."""

    name: Reference
    root: Manifest
    image: Manifest | None
    config: Config | None
    platforms: tuple[str, ...]
    config_error: RegistryToolError | None = None
    """Why a config that should be there could not be read."""

    @property
    def digest(self) -> Digest:
        """The digest that the name leads to."""
        return self.root.digest

    @property
    def by_digest(self) -> Reference:
        """``HOST/REPOSITORY@sha256:…``."""
        return self.name.with_digest(self.digest)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each once, without foreign layers."""
        if self.image is None or self.image.config is None:
            return ()
        return tuple({each.digest: each for each in (self.image.config, *self.image.layers) if not is_foreign(each)}.values())

    @property
    def size(self) -> int:
        """Bytes of manifest (and index), config and layers, each once."""
        if self.image is None:
            return 0
        manifests = {each.digest: len(each.raw) for each in (self.root, self.image)}
        return sum(manifests.values()) + sum(each.size for each in self.blobs)


def resolve(registry: Registry, name: Reference, platform: Platform) -> RemoteImage:
    """Fetch manifest and config of ``name``, for ``platform`` where it is an index.

    A tag goes before the digest beside it: whether they agree is a check. Raises NotFound, Mismatch, InvalidManifest; RegistryToolError.
    """
    contents = Contents(registry.repository(name.path), remember=True)
    root = contents.source.manifest(name.tag or name.digest or "latest")
    try:
        image = root if root.kind == "image" else image_of(contents, root, platform)
    except NotFound:
        # The index has other platforms, which is a check's to report.
        image = None
    config, config_error = None, None
    if image is not None and image.config is not None:
        try:
            config = contents.config(image.config)
        except (NotFound, Mismatch, InvalidManifest) as error:
            config_error = error
    return RemoteImage(name=name, root=root, image=image, config=config, platforms=_platforms(root, config), config_error=config_error)


def read_blobs(registry: Registry, remote: RemoteImage) -> None:
    """Read each blob of the image to its end. Raises NotFound, Mismatch; RegistryToolError."""
    repository = registry.repository(remote.name.path)
    for blob in remote.blobs:
        with repository.fetch(blob) as content:
            while content.read(_CHUNK):
                continue


def _platforms(root: Manifest, config: Config | None) -> tuple[str, ...]:
    if root.kind == "index":
        return tuple(dict.fromkeys(str(child.platform) for child in root.children if child.platform and child.platform.os != "unknown"))
    return (str(config.platform),) if config is not None and config.platform is not None else ()
