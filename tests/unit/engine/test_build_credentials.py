"""The credentials that a build gets for its base images."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from registry_tool.engine.build.classic import _registry_config
from tests.support import canary

JOHN, MARY, ALL = (canary.password(name) for name in ("john", "mary", "all"))


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = canary.exempt(tmp_path / "auth.json")
    auths = {
        "quay.io/john": entry("john", JOHN),
        "quay.io/mary": entry("mary", MARY),
        "ghcr.io": entry("all", ALL),
        "docker.io": entry("all", ALL),
    }
    path.write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM quay.io/john/app", {"quay.io": JOHN}),
        ("FROM quay.io/john/app\nFROM quay.io/mary/app:v1", {"quay.io": JOHN, "quay.io/mary/app": MARY}),
        ("FROM quay.io/other/app", {}),
        ("FROM ghcr.io/x/y\nFROM ghcr.io/x/z", {"ghcr.io": ALL}),
        ("FROM alpine", {"https://index.docker.io/v1/": ALL}),
        ("FROM scratch", {}),
    ],
)
@pytest.mark.usefixtures("stored")
def test_credentials_are_those_of_the_base_images_repository(dockerfile: str, expected: dict[str, str]) -> None:
    assert {key: config["password"] for key, config in _registry_config(dockerfile + "\n", {}).items()} == expected
