"""The local registry with the image it needs: where running one and finding base images meet."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base.dirs import AppDirs
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import REGISTRY, BaseImage, BaseImageResolver
from registry_tool.local.registry import Auth, UpResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUp:
    """A registry that answers, and where its image came from (None where its container was there already)."""

    up: UpResult
    provisioned: BaseImage | None


def registry_up(
    engine: Engine,
    dirs: AppDirs,
    *,
    name: str = "default",
    port: int | None = None,
    auth: Auth | None = None,
    restart: str | None = None,
    timeout: float = 30.0,
    provisioner: BaseImageResolver | None = None,
    observer: Observer = SILENT,
) -> RegistryUp:
    """Bring up the local registry ``name``; its base image is looked for only where a container has to be made.

    What is None stays as it is or was. ``timeout`` is in seconds. Raises what :func:`local_registry.up` and
    :meth:`BaseImageResolver.ensure` raise.
    """
    had: list[BaseImage] = []

    def image() -> str:
        ladder = provisioner or BaseImageResolver(engine, dirs.cache, observer)
        had.append(ladder.ensure(REGISTRY))
        return had[-1].name

    up = local_registry.up(
        engine, image=image, name=name, port=port, auth=auth, restart=restart, timeout=timeout, state=dirs.state, observer=observer
    )
    return RegistryUp(up=up, provisioned=had[-1] if had else None)
