"""Registries for tests: in this process, or in a container that is removed at the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

# Each fixture imports what it needs: a registry in this process is to be there at once.
if TYPE_CHECKING:
    from registry_tool.base.dirs import AppDirs
    from registry_tool.engine import Engine
    from registry_tool.targets.registry import Registry

_ATTEMPTS = 5
"""How often a port may be taken between choosing and using it."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A registry that answers at ``host`` (``127.0.0.1:50123``), which is what the names of its images begin with."""

    host: str

    @property
    def port(self) -> int:
        """The port on loopback."""
        from registry_tool.base.address import HostPort

        return HostPort.parse(self.host).port or 0

    @cached_property
    def client(self) -> Registry:
        """The library's view of it (``docs/library.md``)."""
        from registry_tool.targets.registry import Registry

        return Registry.open(self.host)

    def close(self) -> None:
        """Close the client, if it was used."""
        if "client" in self.__dict__:
            self.client.close()


@contextmanager
def in_process() -> Iterator[Served]:
    """An empty registry in this process. Raises what it raised and should not have."""
    from registry_tool import server

    with server.run_registry() as running:
        served = Served(host=running.host)
        try:
            yield served
        finally:
            served.close()
    if running.errors:
        raise running.errors[0]


@contextmanager
def in_container(engine: Engine, dirs: AppDirs, scratch: Path, *, worker: str, image: str | None) -> Iterator[Served]:
    """A real registry with name, port and volume of its own; all of it goes at the end, and what killed runs left goes now.

    ``image`` None: ``registry:2``, from where it can be had. ``scratch`` is a folder for what lasts no longer than this.
    Raises what :func:`registry_tool.local.registry.up` and :meth:`registry_tool.local.base_images.BaseImageResolver.ensure` raise.
    """
    from registry_tool.base import runs
    from registry_tool.base.errors import NotFound
    from registry_tool.local import orphans
    from registry_tool.local import registry as local_registry

    orphans.sweep_plugin_registries(engine, dirs.state)
    with runs.begin(dirs.state) as run:
        name = orphans.plugin_registry_name(run, worker)
        try:
            served = Served(host=_up(engine, dirs, scratch, name, image))
            try:
                yield served
            finally:
                served.close()
        finally:
            with suppress(NotFound):  # it did not come so far
                local_registry.down(engine, name, volumes=True)


def _up(engine: Engine, dirs: AppDirs, scratch: Path, name: str, image: str | None) -> str:
    from registry_tool.base.errors import PortTaken
    from registry_tool.local import registry as local_registry

    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            # Not the first free port from 5000, which people use for their own registries.
            up = local_registry.up(
                engine, image=lambda: _image(engine, dirs, image), name=name, port=_free_port(), restart="no", state=scratch
            )
        except PortTaken:
            if not attempts_left:
                raise
        else:
            return up.registry.address
    raise AssertionError("a loop that returns or raises")


def _image(engine: Engine, dirs: AppDirs, image: str | None) -> str:
    if image is None:
        from registry_tool.local.base_images import REGISTRY, BaseImageResolver

        return BaseImageResolver(engine, dirs.cache).ensure(REGISTRY).name
    if engine.image(image) is None:
        engine.pull(image)
    return image


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
