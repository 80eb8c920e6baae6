"""``make verify-demo`` without a network, on an engine that has nothing, from what earlier runs with a network kept."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.engine import Engine
from registry_tool.local.base_images import DOCKER_ENGINE, PODMAN_ENGINE, BaseImageResolver
from registry_tool.verify.report.report import VerifyReport
from tests.support.paths import ROOT, copy_cache
from tests.support.private_engine import private_engine

pytestmark = [pytest.mark.engine, pytest.mark.netns, pytest.mark.soak]


def test_it_ends_green(kept_cache: Path, session_engine: Engine, session_dirs: AppDirs, own_engine_possible: None, tmp_path: Path) -> None:
    bases = BaseImageResolver(session_engine, session_dirs.cache)
    for base in (DOCKER_ENGINE, PODMAN_ENGINE):
        bases.archive(bases.ensure(base))
    cache = tmp_path / "cache"
    copy_cache(kept_cache, cache / "registry-tool")
    environment = {"XDG_CACHE_HOME": str(cache), "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    verify_job = tmp_path / "proof.json"
    with private_engine(tmp_path / "engine") as engine:
        for line in recipe(f"--output={verify_job}"):
            done = engine.run([sys.executable, "-m", "registry_tool", *line], env=environment, timeout=600)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        left = engine.run(["docker", "ps", "--all", "--format", "{{.Names}}"]).stdout.split()
        networks = engine.run(["docker", "network", "ls", "--format", "{{.Name}}"]).stdout.split()
        volumes = engine.run(["docker", "volume", "ls", "--format", "{{.Name}}"]).stdout.split()
    certificate = VerifyReport.read(verify_job)
    assert [(each.environment.name, each.ok) for each in certificate.results] == [("docker", True), ("podman", True)]
    assert left == volumes == ["registry-tool-default"]
    assert sorted(networks) == ["bridge", "host", "none"]


def recipe(arguments: str) -> list[list[str]]:
    """What ``make verify-demo`` types, after ``regctl``."""
    done = subprocess.run(["make", "--dry-run", "verify-demo", f"ARGS={arguments}"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith(".venv/bin/regctl ")]
    assert [words[1] for words in lines] == ["up", "build", "push", "verify"]
    return [[str(ROOT / "sample_app") if word == "sample_app" else word for word in words[1:]] for words in lines]
