"""Environments for tests: one that is unavailable skips, or fails where it is required (``docker-proof``, ``podman-proof``)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EnvironmentUnavailable, NotFound
from registry_tool.engine import Engine
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Environment, Traffic
from registry_tool.verify.environments.selection import open_environment
from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentKind, EnvironmentResult
from tests.support.requirements import missing


def reference(name: str) -> Reference:
    return Reference.parse(name, default_host="")


@contextmanager
def opened(engine: Engine, kind: str, name: str, dirs: AppDirs) -> Iterator[Environment]:
    """As ``open_environment``."""
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(open_environment(engine, kind, image=reference(name), dirs=dirs))
        except EnvironmentUnavailable as error:
            missing(f"{kind}-proof", error.message)
        yield environment


def connect_to_loopback(port: int, *, timeout: float, host: str | None = None) -> socket.socket:
    return socket.create_connection((host or "127.0.0.1", port), timeout=timeout)


@dataclass
class ThisEngine:
    """An engine as an environment of any ``kind``; no image is removed from it first."""

    engine: Engine
    kind: EnvironmentKind
    marks: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = False
    kept: str | None = None
    connects: Callable[..., socket.socket] = connect_to_loopback
    """How its ports are reached."""

    @property
    def info(self) -> EnvironmentInfo:
        return EnvironmentInfo(kind=self.kind, name=self.kind, engine="", kernel="", platform="", clean=False)

    def local_name(self, image: Reference) -> str:
        return str(image)

    host_ip = "127.0.0.1"
    reaches_containers = False

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        return self.connects(port, timeout=timeout, host=host)

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        return None

    def labels(self) -> Mapping[str, str]:
        return self.marks


def empty(environment: Environment) -> None:
    """Take every image off a clean engine, so that it is clean again."""
    assert environment.info.clean
    for image in environment.engine.images():
        for name in (*image.names, *image.digests, image.id):
            with suppress(NotFound):
                environment.engine.remove_image(name)
    assert environment.engine.images(all=True) == ()


def failed(result: EnvironmentResult) -> list[str]:
    return [point.name for point in result.checks if point.ok is False]


def check_named(result: EnvironmentResult, name: str) -> Check:
    [actual] = [point for point in result.checks if point.name == name]
    return actual
