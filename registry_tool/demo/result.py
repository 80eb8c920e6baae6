"""Options and result of a demo; the result as JSON (docs/json.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

from registry_tool.base.errors import RegistryToolError
from registry_tool.base.page_client import Page
from registry_tool.demo import resources
from registry_tool.local.base_images import BaseImage

FRIENDLY = "friendlyhello"
"""The tutorial's name for the image before it has a registry's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``port`` and ``registry_port`` are None for the next free one. ``context`` is the folder of the app."""

    image: str = "john/get-started:part2"
    port: int | None = None
    registry: str = "default"
    registry_port: int | None = None
    redis: bool = False
    keep: bool = False
    purge: bool = False
    context: Path = field(default_factory=resources.sample_app)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStep:
    """A step that ended: the docker command it stands for, its duration in seconds, and a detail."""

    name: str
    command: str
    seconds: float
    ok: bool = True
    detail: str = ""

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "ok": self.ok, "seconds": round(self.seconds, 3), "command": self.command, "detail": self.detail}


class DemoListener(Protocol):
    """Called when a step begins and ends."""

    def begin(self, name: str, command: str) -> None: ...

    def end(self, step: DemoStep) -> None: ...


@dataclass(kw_only=True)
class StepDraft:
    """A step that runs: ``command`` and ``detail`` may change until it ends."""

    command: str
    detail: str = ""


@dataclass(kw_only=True)
class DemoResult:
    """The result so far. ``error`` is None as long as nothing failed."""

    listener: DemoListener | None = None
    run: str = ""
    """The id in the labels of what this run makes."""
    steps: list[DemoStep] = field(default_factory=list)
    reference: str | None = None
    digest: str | None = None
    image_id: str | None = None
    registry_address: str | None = None
    registry_image: str | None = None
    images: list[BaseImage] = field(default_factory=list)
    page: Page | None = None
    visits: list[int] = field(default_factory=list)
    page_with_redis: Page | None = None
    build_cache: str | None = None
    """The tag of the builder's cache in the engine; None where the builder keeps it elsewhere."""
    kept: list[str] = field(default_factory=list)
    """Names of the containers that ``--keep`` left running."""
    redis: bool = False
    error: RegistryToolError | None = None

    @contextmanager
    def step(self, name: str, command: str) -> Iterator[StepDraft]:
        """Report a step for the length of the block; it failed if the block raises."""
        draft = StepDraft(command=command)
        if self.listener is not None:
            self.listener.begin(name, command)
        started = monotonic()
        try:
            yield draft
        except RegistryToolError as error:
            self._end(DemoStep(name=name, command=draft.command, seconds=monotonic() - started, ok=False, detail=error.message))
            raise
        self._end(DemoStep(name=name, command=draft.command, seconds=monotonic() - started, detail=draft.detail))

    def _end(self, step: DemoStep) -> None:
        self.steps.append(step)
        if self.listener is not None:
            self.listener.end(step)

    @property
    def ok(self) -> bool:
        return self.error is None

    def source_of(self, role: str) -> str | None:
        """The source of the base image for ``role``."""
        return next((image.source for image in self.images if image.role == role), None)

    def as_json(self) -> dict[str, object]:
        """The document of ``regctl demo --json``."""
        document: dict[str, object] = {
            "ok": self.ok,
            "image": {"reference": self.reference, "digest": self.digest, "id": self.image_id},
            "registry": {"address": self.registry_address, "image": self.registry_image, "provisioned": self.source_of("registry")},
            "steps": [step.as_json() for step in self.steps],
            "probe": _page(self.page),
            "images": [{"role": image.role, "name": image.name, "id": image.id, "source": image.source} for image in self.images],
        }
        if self.redis:
            body = self.page_with_redis.body if self.page_with_redis else None
            document["probe_redis"] = {"visits": list(self.visits), "body": body}
        if self.kept:
            document["kept"] = list(self.kept)
        if self.error is not None:
            document["error"] = self.error.as_json()
        return document


def _page(page: Page | None) -> dict[str, object] | None:
    return None if page is None else {"url": page.url, "status": page.status, "body": page.body}
