"""Starting the local registry with its base image, which is resolved only where a container is created."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base.dirs import AppDirs
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import REGISTRY, BaseImage, BaseImageResolver
from registry_tool.local.registry import Auth, OnMove, Proxy, ServerTls, UpResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUp:
    """A registry that is ready, and its base image (None where no container was created)."""

    up: UpResult
    base_image: BaseImage | None


def registry_up(
    engine: Engine,
    dirs: AppDirs,
    *,
    name: str = "default",
    port: int | None = None,
    auth: Auth | None = None,
    restart: str | None = None,
    proxy: Proxy | None = None,
    timeout: float = 30.0,
    bases: BaseImageResolver | None = None,
    on_move: OnMove | None = None,
    listen: str | None = None,
    tls: ServerTls | None = None,
    names: tuple[str, ...] | None = None,
    insecure: bool = False,
    observer: Observer = SILENT,
) -> RegistryUp:
    """Start the local registry ``name``; options and errors as of :func:`local_registry.up` and :meth:`BaseImageResolver.ensure`."""
    base_image: BaseImage | None = None

    def image() -> str:
        nonlocal base_image
        base_image = (bases or BaseImageResolver(engine, dirs.cache, observer)).ensure(REGISTRY)
        return base_image.name

    up = local_registry.up(
        engine,
        image=image,
        name=name,
        port=port,
        auth=auth,
        restart=restart,
        proxy=proxy,
        timeout=timeout,
        state=dirs.state,
        on_move=on_move,
        listen=listen,
        tls=tls,
        names=names,
        insecure=insecure,
        observer=observer,
    )
    return RegistryUp(up=up, base_image=base_image)
