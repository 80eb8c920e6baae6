"""Options and result of a demo; the result as JSON (docs/json.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import ClassVar, Protocol

from registry_tool.base import resources
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.page_client import Page
from registry_tool.local.base_images import BaseImage

FRIENDLY = "friendlyhello"
"""The tutorial's name for the image before it has a registry's."""


DEFAULT_PORT = 4000
"""The page's port; where it is taken, the next free one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``port`` None is DEFAULT_PORT or the next free one, ``registry_port`` None likewise. ``context`` is the folder of the app."""

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
    """A step that ended: the command of docker or podman that it stands for, its duration in seconds, and a detail."""

    JSON_MEMBERS: ClassVar = "name ok seconds command detail"
    name: str
    command: str
    seconds: float
    ok: bool = True
    detail: str = ""


class DemoListener(Protocol):
    """Called when a step begins and ends."""

    def begin(self, name: str, command: str) -> None: ...

    def end(self, step: DemoStep) -> None:
        """A step has ended."""


@dataclass(kw_only=True)
class StepDraft:
    """A step that runs: ``command`` and ``detail`` may change until it ends."""

    command: str
    detail: str = ""


@dataclass(kw_only=True)
class DemoResult:
    """The result so far. ``error`` is None as long as nothing failed."""

    JSON_MEMBERS: ClassVar = "ok image registry steps probe=page images probe_redis? kept? kept_network? error?"
    listener: DemoListener | None = None
    is_podman: bool = False
    """Whether the engine is podman; then the steps' commands are for its client."""
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
    kept_network: str | None = None
    """The network of these containers, where they have one of their own."""
    redis: bool = False
    error: RegistryToolError | None = None

    @contextmanager
    def step(self, name: str, command: str) -> Iterator[StepDraft]:
        """Report a step for the length of the block; it failed if the block raises."""
        draft = StepDraft(command=command)
        if self.listener is not None:
            self.listener.begin(name, self._for_client(command))
        started = monotonic()
        try:
            yield draft
        except RegistryToolError as error:
            self._end(name, draft.command, seconds=monotonic() - started, ok=False, detail=error.message)
            raise
        self._end(name, draft.command, seconds=monotonic() - started, detail=draft.detail)

    def _end(self, name: str, command: str, *, seconds: float, ok: bool = True, detail: str) -> None:
        step = DemoStep(name=name, command=self._for_client(command), seconds=seconds, ok=ok, detail=detail)
        self.steps.append(step)
        if self.listener is not None:
            self.listener.end(step)

    def _for_client(self, command: str) -> str:
        """A docker command as the engine's own client takes it: podman's asks even loopback for TLS, unless it is told not to."""
        if not self.is_podman:
            return command
        return re.sub("^docker (push|pull) ", r"podman \1 --tls-verify=false ", re.sub("^docker (?!push|pull)", "podman ", command))

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def image(self) -> dict[str, object]:
        """Member ``image`` of the JSON document."""
        return {"reference": self.reference, "digest": self.digest, "id": self.image_id}

    @property
    def registry(self) -> dict[str, object]:
        """Member ``registry`` of the JSON document."""
        source = next((image.source for image in self.images if image.role == "registry"), None)
        return {"address": self.registry_address, "image": self.registry_image, "provisioned": source}

    @property
    def probe_redis(self) -> dict[str, object] | None:
        """Member ``probe_redis`` of the JSON document; None without Redis."""
        if not self.redis:
            return None
        return {"visits": self.visits, "body": self.page_with_redis.body if self.page_with_redis else None}
