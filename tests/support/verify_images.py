"""Places for tests: one that is wanted and cannot be had skips, or fails where it is required (``docker-proof``, ``podman-proof``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """As ``open_place``."""
    with ExitStack() as stack:
        try:
            place = stack.enter_context(open_environment(engine, kind, image=reference(name), dirs=dirs))
        except EnvironmentUnavailable as error:
            missing(f"{kind}-proof", error.message)
        yield place


@dataclass
class ThisEngine:
    """The present engine as a place of any ``kind`` that is somebody's own; it takes nothing off the engine first."""

    engine: Engine
    kind: EnvironmentKind
    marks: Mapping[str, str] = field(default_factory=dict)
    counted: Traffic | None = None
    """What it says went through its door."""
    isolated: bool = False
    hosts: set[str] = field(default_factory=set)
    """The registries that it was asked about: other tests use this engine at the same time, each with a registry of its own."""

    @property
    def where(self) -> EnvironmentInfo:
        return EnvironmentInfo(kind=self.kind, name=self.kind, engine="", kernel="", platform="", clean=False)

    def named(self, image: Reference) -> str:
        self.hosts.add(image.host)
        return str(image)

    def address(self, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        return self.counted

    def labels(self) -> Mapping[str, str]:
        return self.marks


def empty(place: Environment) -> None:
    """Take every image off a clean engine, so that it is clean again."""
    assert place.where.clean
    for image in place.engine.images():
        for name in (*image.names, *image.digests, image.id):
            with suppress(NotFound):
                place.engine.remove_image(name)
    assert place.engine.images(all=True) == ()


def failed(result: EnvironmentResult) -> list[str]:
    return [point.name for point in result.checks if point.ok is False]


def check_named(result: EnvironmentResult, name: str) -> Check:
    [found] = [point for point in result.checks if point.name == name]
    return found
