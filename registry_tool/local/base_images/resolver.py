"""Base images in the engine, from the first of four sources that has them: the engine, the archive, docker.io, packages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from registry_tool.base import files, labels
from registry_tool.base.errors import CredentialsError, EngineError, NotFound, ProvisionFailed, RegistryError, RegistryUnreachable
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.engine_errors import is_disk_full
from registry_tool.local.base_images.archive import ImageArchive, ImportedImages, compress, work_folder
from registry_tool.local.base_images.recipes import REGISTRY, Base

FROM_ENGINE = "engine"
FROM_HUB = "docker.io"
FROM_PACKAGES = "packages"

HUB_TIMEOUT = 3.0  # seconds for docker.io to respond, also on a network that drops packets

_PULL_ERRORS = (EngineError, RegistryError, RegistryUnreachable, NotFound, CredentialsError)
"""A failed pull; not Unreachable, where the engine is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image in the engine. ``source`` is ``engine``, ``packages``, ``docker.io`` or ``quay.io``; ``id`` the engine's ``Id``."""

    JSON_MEMBERS: ClassVar = "role name id source"
    role: str
    name: str
    id: str
    source: str
    imported: bool = False
    """Whether this tool brought it to this engine, now or earlier."""


class BaseImageResolver:
    """Provides base images in ``engine``; copies of them are archived below ``cache``."""

    def __init__(self, engine: Engine, cache: Path, observer: Observer = SILENT) -> None:
        self._engine = engine
        self._observer = observer
        self._archive = ImageArchive(cache / "bases")
        self._imported = ImportedImages(cache / "bases" / "brought.json")

    @cached_property
    def hub_reachable(self) -> bool:
        """Whether the engine reaches docker.io within :data:`HUB_TIMEOUT`; checked once."""
        return self._engine.can_pull(REGISTRY.official, timeout=HUB_TIMEOUT)

    def ensure(self, base: Base) -> BaseImage:
        """``base`` in the engine, from the first source that has it. Raises ProvisionFailed, Unreachable (the engine is gone), OSError."""
        present = self._from_engine(base)
        if present is not None:
            return present
        waiting = f"another process is fetching the {base.role} image; waiting for it"
        with files.lock(self._archive.lock(base.role), waiting=lambda: self._observer.note(waiting)):
            return self._from_engine(base) or self._from_archive(base) or self._from_hub_or_packages(base)

    def archive(self, image: BaseImage) -> Path:
        """Archive an image that is about to be removed, so that it returns with the same id. Raises NotFound, OSError."""
        platform = self._engine.info.platform
        with files.lock(self._archive.lock(image.role)):
            present = self._engine.image(image.name)
            if present is None:
                raise NotFound(f"the engine has no image {image.name} to keep a copy of")
            if self._archive.has(image.role, platform, present.id):
                return self._archive.path(image.role, platform)
            source = FROM_PACKAGES if present.labels.get(labels.ROLE) == labels.ROLE_BASE else FROM_HUB
            packages = present.labels.get(labels.PACKAGES, "")
            return self._archive.save(self._engine, image.role, platform, name=image.name, id=present.id, source=source, packages=packages)

    def _from_engine(self, base: Base) -> BaseImage | None:
        for name in base.names:
            image = self._engine.image(name)
            if image is not None:
                # An image that was built on one of ours inherits its labels, but not its name.
                built = name == base.local_name and image.labels.get(labels.ROLE) == labels.ROLE_BASE
                imported = built or self._imported.has(self._engine.id, image.id)
                return BaseImage(role=base.role, name=name, id=image.id, source=FROM_ENGINE, imported=imported)
        return None

    def _from_archive(self, base: Base) -> BaseImage | None:
        platform = self._engine.info.platform
        try:
            copy = self._archive.find(base.role, platform)
            if copy is None:
                return None
            if copy.name not in base.names:
                raise ValueError(f"it is a copy of {copy.name}")
            self._archive.load(self._engine, base.role, platform)
            if self._engine.image(copy.name) is None:
                raise ValueError(f"there is no {copy.name} in it")
        except (ValueError, EngineError) as error:
            if isinstance(error, EngineError) and is_disk_full(error.message):
                # Without a network the copy is all there is: it stays for the next run.
                raise ProvisionFailed(
                    f"the kept copy of {base.official} cannot be loaded: the engine's disk is full: {error.message}",
                    hint="Make room there, then try again.",
                ) from error
            self._observer.note(f"the kept copy of the {base.role} image cannot be used and was discarded: {error}")
            self._archive.discard(base.role, platform)
            return None
        return self._record(base, copy.name, copy.source)

    def _from_hub_or_packages(self, base: Base) -> BaseImage:
        tried = ["not in the engine"]
        if not self.hub_reachable:
            tried.append("docker.io does not answer")
        else:
            try:
                self._engine.pull(base.official, observer=self._observer)
                return self._record(base, base.official, base.host)
            except _PULL_ERRORS as error:
                tried.append(f"{base.host} does not give it ({error.message})")
        self._observer.note(f"{base.official}: {tried[-1]}; building a stand-in from packages")
        try:
            return self._from_packages(base)
        except ProvisionFailed as error:
            by_hand = f"docker load -i FILE brings {base.official} from a machine that has it (docker save -o FILE {base.official})."
            raise ProvisionFailed(
                f"the base image {base.official} is not available: {', '.join(tried)}, and {error.message}",
                hint=f"{error.hint.rstrip('.')}; or: {by_hand}" if error.hint else by_hand,
                excerpt=error.excerpt,
            ) from error

    def _from_packages(self, base: Base) -> BaseImage:
        # Here, because it is seldom needed and takes time to load.
        from registry_tool.local.base_images import packages  # noqa: PLC0415

        platform = self._engine.info.platform
        with work_folder(self._archive.folder, base.role) as folder:
            built = packages.build(base, platform, folder, self._observer)
            versions = " ".join(f"{name}={version}" for name, version in built.versions.items())
            marks = {labels.ROLE: labels.ROLE_BASE, labels.BASE: base.role, labels.PACKAGES: versions}
            changes = [*base.recipe.changes, *(f'LABEL {key}="{value}"' for key, value in marks.items())]
            # containerd's store keeps a layer as it was imported, and a push sends it so.
            tar = compress(built.tar) if self._engine.has_containerd_store else built.tar
            self._engine.import_image(tar, name=base.local_name, changes=changes)
        image = self._record(base, base.local_name, FROM_PACKAGES)
        try:
            self._archive.save(self._engine, base.role, platform, name=image.name, id=image.id, source=FROM_PACKAGES, packages=versions)
        except OSError as error:
            self._observer.note(f"no copy of {base.local_name} is kept: {error.strerror or error}")
        return image

    def _record(self, base: Base, name: str, source: str) -> BaseImage:
        """Record that this tool brought ``name`` to the engine."""
        image = self._engine.image(name)
        if image is None:
            raise EngineError(f"the engine took {name} in and does not have it")
        self._imported.add(self._engine.id, image.id)
        return BaseImage(role=base.role, name=name, id=image.id, source=source, imported=True)
