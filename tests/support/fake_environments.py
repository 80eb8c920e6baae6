"""Environments that need no engine, for tests of what uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from registry_tool.base.errors import RegistryToolError
from registry_tool.engine import Engine, EngineInfo
from registry_tool.oci.descriptor import Platform
from registry_tool.verify import verify
from registry_tool.verify.result import Check, EnvironmentResult
from registry_tool.verify.spec import VerifySpec
from tests.support.reports import DOCKER, PODMAN, check

HERE = replace(DOCKER, kind="here", name="here", clean=False, image=None)
INFOS = {info.name: info for info in (DOCKER, PODMAN, HERE)}


@dataclass
class FakeEnvironments:
    """``missing`` are not available, ``broken`` fail in the checks, ``stuck`` cannot be removed; ``events`` are all calls, in order."""

    missing: dict[str, RegistryToolError] = field(default_factory=dict)
    broken: dict[str, RegistryToolError] = field(default_factory=dict)
    stuck: dict[str, RegistryToolError] = field(default_factory=dict)
    checks: tuple[Check, ...] = (check("resolves"),)
    spec: VerifySpec | None = None
    events: list[str] = field(default_factory=list)

    @contextmanager
    def open_environment(self, engine: Engine, name: str, **_: Any) -> Iterator[Any]:
        self.events.append(f"open {name}")
        if name in self.missing:
            raise self.missing[name]
        try:
            yield type("FakeEnvironment", (), {"info": INFOS[name]})
        finally:
            self.events.append(f"close {name}")
            if name in self.stuck:
                raise self.stuck[name]

    def run_checks(self, environment: Any, spec: VerifySpec, *, on_check: Any, **_: Any) -> EnvironmentResult:
        name = environment.info.name
        self.events.append(f"prove {name}")
        if name in self.broken:
            raise self.broken[name]
        self.spec = spec
        for each in self.checks:
            on_check(each)
        return EnvironmentResult(environment=environment.info, checks=self.checks)


def install_fake_environments(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironments:
    """Let ``verify`` open these."""
    fake = FakeEnvironments()
    monkeypatch.setattr(verify, "open_environment", fake.open_environment)
    monkeypatch.setattr(verify, "run_checks", fake.run_checks)
    return fake


class FakeEngine:
    """An engine that is never asked for more than its platform."""

    info = EngineInfo(name="Docker", version="20.10.24", api_version="1.41", platform=Platform.parse("linux/amd64"), storage="overlay2")


ENGINE: Any = FakeEngine()
