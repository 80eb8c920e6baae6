"""The examples are run as they lie in the checkout: the lines of each README, in a copy of its folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base import resources
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine
from registry_tool.local.base_images import BaseImageResolver
from registry_tool.local.images import build_inputs
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.reference import Reference
from registry_tool.pytest_plugin.images import ImageFactory
from registry_tool.pytest_plugin.registries import Served
from tests.support.documents import commands
from tests.support.paths import ROOT
from tests.support.requirements import free_port

EXAMPLES = ROOT / "examples"
RUN_BY = {
    "promote": "test_promoted_image_keeps_its_digest",
    "ci": "tests/e2e/test_docs_ci.py",
    "release_policy": "test_release_policy_passes_its_own_tests",
    "cleanup": "test_cleanup_deletes_what_its_plan_shows",
    "stack": "test_stack_is_verified_by_its_settings",
}
"""Folder -> the test that runs it."""


def run(folder: Path, line: str, **environment: str) -> str:
    """What ``line`` prints, typed in ``folder`` with this environment's programs first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    known = {**os.environ, "PATH": path, **environment}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=known, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy(name: str, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ignored))


# What is read.


def test_every_example_is_listed_and_run_by_a_test() -> None:
    folders = [path.name for path in EXAMPLES.iterdir() if path.is_dir()]
    rows = re.findall(r"^\| \[(\w+)\]\(\1/README\.md\) \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(folders) == sorted(rows) == sorted(RUN_BY)
    tests = Path(__file__).read_text(encoding="utf-8")
    for test in RUN_BY.values():
        assert (ROOT / test).exists() if "/" in test else f"def {test}(" in tests


@pytest.mark.parametrize("name", RUN_BY)
def test_readme_of_an_example_is_short_and_leads_to_every_file(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30
    assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (EXAMPLES / name / link).exists()] == []


# What needs no engine.


def test_release_policy_passes_its_own_tests(tmp_path: Path) -> None:
    folder = copy("release_policy", tmp_path)
    [line] = commands(folder / "README.md")
    assert "4 passed" in run(folder, line, PYTEST_ADDOPTS="-p no:cacheprovider -W error")


def test_release_policy_ends_with_1_where_a_platform_is_missing(tmp_path: Path, registry: server.RunningRegistry) -> None:
    folder = copy("release_policy", tmp_path)
    images(registry)({"app/version": "1.0"}, name="john/get-started:1.0.0", tags=["latest"])
    printed = run(folder, f"python policy.py {registry.host} john/get-started || echo $?")
    assert printed.splitlines() == ["1.0.0 has no image for linux/arm64", "1"]


def test_cleanup_deletes_what_its_plan_shows(tmp_path: Path, registry: server.RunningRegistry) -> None:
    folder = copy("cleanup", tmp_path)
    factory = images(registry)
    for age in (400, 300, 200, 20, 10):
        created = datetime.now(timezone.utc) - timedelta(days=age)
        factory({"age": str(age)}, name=f"john/get-started:d{age}", tags=["kept"] if age == 300 else [], created=created.isoformat())
    plan, applied = (run(folder, line, REGISTRY_TOOL_REGISTRY=registry.host) for line in commands(folder / "README.md"))
    assert [line.split()[0] for line in plan.splitlines()] == ["d300", "kept", "d400", "3"]
    assert "which stays as kept" in plan.splitlines()[0]
    assert applied.splitlines()[-1] == "3 of 6 tags deleted"
    assert tags(registry) == {"d10", "d20", "d200"}


def images(registry: server.RunningRegistry) -> ImageFactory:
    return ImageFactory(lambda: Served(host=registry.host), "unused")


def tags(registry: server.RunningRegistry) -> set[str]:
    served = Served(host=registry.host)
    try:
        return set(served.client.repository("john/get-started").tags())
    finally:
        served.close()


# What needs an engine.


@pytest.fixture
def environment(dirs: AppDirs, registry_image: str) -> Mapping[str, str]:
    """The cache of the session, in which the base images are."""
    return {"XDG_CACHE_HOME": str(dirs.cache.parent)}


@pytest.mark.engine
@pytest.mark.slow
def test_promoted_image_keeps_its_digest(tmp_path: Path, unique: str, environment: Mapping[str, str]) -> None:
    folder = copy("promote", tmp_path)
    ours = {"5001": str(free_port()), "5002": str(free_port()), "staging": f"{unique}-staging", "release": f"{unique}-release"}
    export, *lines = [re.sub("|".join(ours), lambda match: ours[match[0]], line) for line in commands(folder / "README.md")]
    chosen = dict([export.removeprefix("export ").split("=")])
    try:
        printed = {line: run(folder, line, **environment, **chosen) for line in lines if not line.startswith("regctl down")}
    finally:
        for line in lines:
            if line.startswith("regctl down"):
                run(folder, f"{line} --missing-ok", **environment)
    [promoted] = [text for line, text in printed.items() if line.startswith("sh promote.sh")]
    assert re.fullmatch(rf"localhost:{ours['5002']}/john/hello:1\.0 is sha256:[0-9a-f]{{64}}\n", promoted)
    [listed] = [text for line, text in printed.items() if line.startswith("regctl list-tags")]
    assert promoted.split("sha256:")[1][:12] in listed


@pytest.fixture
def pushed(engine: Engine, dirs: AppDirs, local: LocalRegistry) -> Iterator[Reference]:
    """What a demo leaves: the sample app, built and pushed, in a registry of the session's own."""
    context, name = resources.sample_app(), f"{local.address}/john/get-started:part2"
    prepared = build_inputs.prepare(engine, BaseImageResolver(engine, dirs.cache), dirs.cache, context)
    engine.build(context, build_args=prepared.build_args, labels={"for": "examples"}, extra=prepared.extra, tags=(name,))
    engine.push(name)
    yield Reference.parse(name, default_host="")
    for left in engine.images():
        for known in (*left.names, *left.digests):
            if known.startswith(f"{local.address}/"):
                with suppress(NotFound):  # a digest goes with the last tag beside it
                    engine.remove_image(known)


@pytest.mark.engine
@pytest.mark.slow
def test_stack_is_verified_by_its_settings(tmp_path: Path, pushed: Reference, environment: Mapping[str, str]) -> None:
    folder = copy("stack", tmp_path)
    ours = {**environment, "REGISTRY_TOOL_REGISTRY": pushed.host, "REGISTRY_TOOL_APP_IMAGE": str(pushed)}
    for line in commands(folder / "README.md"):
        run(folder, line, **ours)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is True
    [proven] = report["proven"]
    assert {point["name"]: point["ok"] for point in proven["points"]}["stack"] is True
