"""One ladder for every base image: the engine has it, a copy is kept, docker.io, packages. The first rung that holds is taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from registry_tool.base import files, labels
from registry_tool.base.errors import CredentialsError, EngineError, NotFound, ProvisionFailed, RegistryError, RegistryUnreachable
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local.base_images.archive import Copy, ImageArchive, ImportedImages
from registry_tool.local.base_images.recipes import REGISTRY, Base

FROM_ENGINE = "engine"
FROM_HUB = "docker.io"
FROM_PACKAGES = "packages"

HUB_TIMEOUT = 3.0
"""Seconds for docker.io to answer, all in all; on a network that swallows packets, too."""

# What a pull that did not work out raises; an engine that is gone is another matter.
_NO_PULL = (EngineError, RegistryError, RegistryUnreachable, NotFound, CredentialsError)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image in the engine. ``source`` is ``engine``, ``packages``, ``docker.io`` or ``quay.io``; ``id`` the engine's ``Id``."""

    JSON_MEMBERS: ClassVar = "role name id source"
    role: str
    name: str
    id: str
    source: str
    ours: bool = False
    """Whether this tool brought it to this engine, now or earlier."""


class BaseImageResolver:
    """Brings base images to ``engine``; copies are kept below ``cache``."""

    def __init__(self, engine: Engine, cache: Path, observer: Observer = SILENT) -> None:
        self._engine = engine
        self._observer = observer
        self._shelf = ImageArchive(cache / "bases")
        self._brought = ImportedImages(cache / "bases" / "brought.json")

    @cached_property
    def hub_reachable(self) -> bool:
        """Whether the engine reaches docker.io; asked once, within :data:`HUB_TIMEOUT`."""
        return self._engine.can_pull(REGISTRY.official, timeout=HUB_TIMEOUT)

    def ensure(self, base: Base) -> BaseImage:
        """``base`` in the engine, from the first rung that holds. Raises ProvisionFailed, Unreachable (the engine is gone), OSError."""
        present = self._in_engine(base)
        if present is not None:
            return present
        waiting = f"another process is fetching the {base.role} image; waiting for it"
        with files.lock(self._shelf.lock(base.role), waiting=lambda: self._observer.note(waiting)):
            return self._in_engine(base) or self._from_shelf(base) or self._from_elsewhere(base)

    def archive(self, provisioned: BaseImage) -> Path:
        """Keep a copy of an image that is about to leave the engine; it comes back with the same id. Raises NotFound, OSError."""
        platform = self._engine.info.platform
        with files.lock(self._shelf.lock(provisioned.role)):
            image = self._engine.image(provisioned.name)
            if image is None:
                raise NotFound(f"the engine has no image {provisioned.name} to keep a copy of")
            if self._shelf.has(provisioned.role, platform, image.id):
                return self._shelf.image(provisioned.role, platform)
            return self._shelf.keep(
                self._engine,
                provisioned.role,
                platform,
                name=provisioned.name,
                id=image.id,
                source=FROM_PACKAGES if image.labels.get(labels.ROLE) == labels.ROLE_BASE else FROM_HUB,
                packages=image.labels.get(labels.PACKAGES, ""),
            )

    def _in_engine(self, base: Base) -> BaseImage | None:
        for name in base.names:
            found = self._found(base, name, FROM_ENGINE)
            if found is not None:
                return found
        return None

    def _found(self, base: Base, name: str, source: str) -> BaseImage | None:
        image = self._engine.image(name)
        if image is None:
            return None
        # What somebody built on a base of ours inherits its labels; it does not have its name.
        built = name == base.own and image.labels.get(labels.ROLE) == labels.ROLE_BASE
        ours = built or self._brought.has(self._engine.id, image.id)
        return BaseImage(role=base.role, name=name, id=image.id, source=source, ours=ours)

    def _from_shelf(self, base: Base) -> BaseImage | None:
        try:
            copy = self._shelf.find(base.role, self._engine.info.platform)
            if copy is None:
                return None
            self._load(base, copy)
        except (ValueError, EngineError) as error:
            self._observer.note(f"the kept copy of the {base.role} image cannot be used and was thrown away: {error}")
            self._shelf.discard(base.role, self._engine.info.platform)
            return None
        return self._arrived(base, copy.name, copy.source)

    def _load(self, base: Base, copy: Copy) -> None:
        if copy.name not in base.names:
            raise ValueError(f"it is a copy of {copy.name}")
        self._shelf.load(self._engine, base.role, self._engine.info.platform)
        if self._engine.image(copy.name) is None:
            raise ValueError(f"there is no {copy.name} in it")

    def _from_elsewhere(self, base: Base) -> BaseImage:
        tried = ["not in the engine"]
        if not self.hub_reachable:
            tried.append("docker.io does not answer")
        else:
            try:
                self._engine.pull(base.official, observer=self._observer)
                return self._arrived(base, base.official, base.hub)
            except _NO_PULL as error:
                tried.append(f"{base.hub} does not give it ({error.message})")
        self._observer.note(f"{base.official}: {tried[-1]}; building a stand-in from packages")
        try:
            return self._from_packages(base)
        except ProvisionFailed as error:
            raise ProvisionFailed(
                f"the base image {base.official} cannot be had: {', '.join(tried)}, and {error.message}",
                hint=_ways_out(base, error.hint),
                excerpt=error.excerpt,
            ) from error

    def _from_packages(self, base: Base) -> BaseImage:
        # The last rung is seldom stood upon, and what it needs takes time to load.
        from registry_tool.local.base_images import packages  # noqa: PLC0415

        platform = self._engine.info.platform
        with self._shelf.working(base.role) as folder:
            built = packages.build(base, platform, folder, self._observer)
            told = " ".join(f"{name}={version}" for name, version in built.versions.items())
            label = {labels.ROLE: labels.ROLE_BASE, labels.BASE: base.role, labels.PACKAGES: told}
            self._engine.import_image(
                built.tar, name=base.own, changes=[*base.recipe.changes, *(f'LABEL {key}="{value}"' for key, value in label.items())]
            )
        provisioned = self._arrived(base, base.own, FROM_PACKAGES)
        try:
            self._shelf.keep(self._engine, base.role, platform, name=base.own, id=provisioned.id, source=FROM_PACKAGES, packages=told)
        except OSError as error:
            self._observer.note(f"no copy of {base.own} is kept: {error.strerror or error}")
        return provisioned

    def _arrived(self, base: Base, name: str, source: str) -> BaseImage:
        image = self._engine.image(name)
        if image is None:
            raise EngineError(f"the engine took {name} in and does not have it")
        self._brought.add(self._engine.id, image.id)
        return BaseImage(role=base.role, name=name, id=image.id, source=source, ours=True)


def _ways_out(base: Base, hint: str | None) -> str:
    by_hand = f"docker load -i FILE brings {base.official} from a machine that has it (docker save -o FILE {base.official})."
    return f"{hint.rstrip('.')}; or: {by_hand}" if hint else by_hand
