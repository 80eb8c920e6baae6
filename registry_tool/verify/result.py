"""What a proof is made of: points, each with its evidence. Frozen values; the shape of their JSON (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "resolves": "the name leads to the digest that was expected",
        "clean": "the engine had no image before",
        "fetched": "what the image is made of came from the registry, and nothing else did",
        "digest": "the engine reports the registry's digest",
        "content": "config and layers are the registry's",
        "platform": "the image is for the engine's platform",
        "starts": "a container of it starts",
        "listens": "it listens where it says",
        "probes": "it answers as it should",
        "ends": "it ends when it is asked to",
        "alone": "it needed nothing but its image",
        "stack": "its services work together, and bear each other's failures",
    }
)
"""Name -> what it says when it holds, in the order in which they are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One point at one place. ``ok`` None: it could not be told, or nothing was asked (``detail`` says which), which is not red.

    ``evidence`` is what was seen, as JSON; ``seconds`` is what it took, ``excerpt`` the last lines of a container's log.
    """

    name: str
    ok: bool | None
    detail: str
    hint: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    excerpt: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {
            "name": self.name,
            "ok": self.ok,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
            "evidence": dict(self.evidence),
        }
        if self.hint is not None:
            document["hint"] = self.hint
        if self.excerpt:
            document["log"] = list(self.excerpt)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """The engine that a proof was made on, as the certificate tells it. ``kind`` is docker, podman, context or here."""

    kind: str
    name: str
    """As it was asked for: ``docker``, ``podman``, ``context:NAME``, ``here``."""
    engine: str
    """``Docker 28.2.2``, ``Podman 4.3.1``."""
    kernel: str
    platform: str
    """``linux/amd64``."""
    clean: bool
    """An engine of its own, which had nothing; False for ``here`` and for somebody's context."""
    image: str | None = None
    """Where the engine runs in a container: what image that is of."""

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "engine": self.engine,
            "kernel": self.kernel,
            "platform": self.platform,
            "clean": self.clean,
            "image": self.image,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentResult:
    """All points at one place. Seconds: ``setup`` until the engine was ready, ``proof`` from then on, ``end`` for taking it away."""

    where: EnvironmentInfo
    points: tuple[Check, ...]
    pulled: Mapping[str, str] = field(default_factory=dict)
    """What was pulled there: reference -> digest."""
    setup: float = 0.0
    proof: float = 0.0
    end: float = 0.0

    @property
    def ok(self) -> bool:
        return all(point.ok is not False for point in self.points)

    def as_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "where": self.where.as_json(),
            "points": [point.as_json() for point in self.points],
            "pulled": [{"reference": reference, "digest": digest} for reference, digest in self.pulled.items()],
            "seconds": {"setup": round(self.setup, 3), "proof": round(self.proof, 3), "end": round(self.end, 3)},
        }
