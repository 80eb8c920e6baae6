"""Helper images of a stack (Redis, the proxy): they go into an environment's engine from the cache of base images, by no registry."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base.errors import EngineError, ProvisionFailed
from registry_tool.engine import Engine, Image
from registry_tool.local.base_images import Base, BaseImageResolver
from registry_tool.local.base_images.archive import open_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperImage:
    """A helper image on an environment's engine; ``source`` is where the current engine has it from, as ``docker.io``."""

    role: str
    name: str
    id: str
    source: str
    loaded: bool
    """False where the environment's engine had it before."""

    def as_json(self) -> dict[str, object]:
        """Return the entry of ``images`` in the evidence; what only images from the registry have is null."""
        return {"role": self.role, "source": self.source, "reference": None, "digest": None, "fetched": None, "loaded": self.loaded}


def ensure_helper_image(base: Base, target: Engine, resolver: BaseImageResolver) -> HelperImage:
    """Load ``base`` into ``target`` unless that has it, from ``resolver``'s engine. Raises ProvisionFailed, EngineError, Unreachable."""
    source = resolver.ensure(base)
    present = _find(target, base)
    if present is None:
        try:
            with open_archive(resolver.archive(source)) as archive:
                target.load_image(archive)
        except OSError as error:
            raise ProvisionFailed(f"no copy of {source.name} can be kept: {error.strerror or error}", hint="Is the disk full?") from error
    image = present or _find(target, base)
    if image is None:
        raise EngineError(f"the engine loaded {source.name} and does not have it")
    name, id = image[0], image[1].id
    return HelperImage(role=base.role, name=name, id=id, source=source.source, loaded=present is None)


def _find(engine: Engine, base: Base) -> tuple[str, Image] | None:
    return next(((name, image) for name in base.names if (image := engine.image(name))), None)
