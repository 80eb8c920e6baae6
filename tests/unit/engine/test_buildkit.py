"""What docker's client is started with for BuildKit, on a stand-in for it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from registry_tool.base.progress import SILENT
from registry_tool.engine.build import buildkit
from registry_tool.engine.build.buildkit import BuildOptions
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.streams import BuildLog

DOCKER = """#!/bin/sh
test "$2" = version && exit 0
printf '%s\\n' "$@" "TOKEN is $TOKEN"
"""


def test_build_args_of_the_environment_are_not_among_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TOKEN", "from the environment")
    log = BuildLog(SILENT)
    build_args = {"TOKEN": "from the environment", "PART": "2", "DOCKER_HOST": "typed"}
    options = BuildOptions(dockerfile="Dockerfile", build_args=build_args)
    buildkit.build(Endpoint(url="unix:///nowhere", source="test"), options, iter([b"tar"]), log, reason="RUN --mount")
    given = [value for flag, value in pairwise(log.lines) if flag == "--build-arg"]
    assert given == ["TOKEN", "PART=2", "DOCKER_HOST=typed"]
    assert "TOKEN is from the environment" in log.lines
