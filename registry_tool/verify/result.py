"""The results of a verification: checks with their evidence, by environment. Frozen values, written by the codec (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal

from registry_tool.base.codec import AnyText
from registry_tool.oci.digest import Digest

EnvironmentKind = Literal["docker", "podman", "context", "here"]

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "resolves": "the name resolves to the expected digest",
        "clean": "the engine had no image before",
        "fetched": "the image's content was downloaded from the registry, and nothing else",
        "digest": "the engine reports the registry's digest",
        "content": "config and layers are the registry's",
        "platform": "the image is for the engine's platform",
        "starts": "a container of it starts",
        "listens": "it listens on the ports that it exposes",
        "probes": "all probes succeed",
        "ends": "it ends on its stop signal",
        "alone": "it needed only its image",
        "stack": "its services work together and survive each other's failures",
    }
)
"""Name -> what holds when it is ok, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check's result; ``ok`` None: not told or nothing to check, no failure. ``evidence`` is JSON, ``excerpt`` a log's last lines."""

    JSON_MEMBERS: ClassVar = "name ok detail unchecked? seconds evidence hint? log=excerpt?"

    name: str
    ok: bool | None
    detail: AnyText
    unchecked: tuple[str, ...] = ()
    """What the check says nothing about although one might think so, each with the reason."""
    hint: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    excerpt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """An environment, as the report describes it."""

    kind: EnvironmentKind
    name: str
    """``docker``, ``podman``, ``context:NAME``, ``here``."""
    engine: str
    """``Docker 28.2.2``, ``Podman 4.3.1``."""
    kernel: str
    platform: str
    """``linux/amd64``."""
    clean: bool
    """Whether it is an engine of its own, which had nothing; not for ``here`` and contexts."""
    image: str | None = None
    """Of the container that the engine runs in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """An image that was pulled into an environment."""

    reference: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds: ``setup`` until the engine was ready, ``checks`` from then on, ``teardown`` for its removal."""

    JSON_MEMBERS: ClassVar = "setup proof=checks end=teardown"

    setup: float = 0.0
    checks: float = 0.0
    teardown: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentResult:
    """All checks on one engine."""

    JSON_MEMBERS: ClassVar = "ok where=environment points=checks pulled seconds"

    environment: EnvironmentInfo
    checks: tuple[Check, ...]
    pulled: tuple[PulledImage, ...] = ()
    seconds: Durations = Durations()

    @property
    def ok(self) -> bool:
        """Whether no check failed, and one passed at least: where nothing could be checked, nothing is verified."""
        return all(check.ok is not False for check in self.checks) and any(check.ok for check in self.checks)
