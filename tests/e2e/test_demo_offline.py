"""Without a network, on an engine that has nothing, from what one demo with a network kept: in a namespace of the tests' own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import registry_tool
from registry_tool.demo import resources
from tests.support.private_engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.netns]


@pytest.fixture(params=["no-route", "swallowed"])
def unplugged(request: pytest.FixtureRequest, empty_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """An engine without any route out, or with one that swallows every packet."""
    with empty_engine.swallowing() if request.param == "swallowed" else nullcontext():
        yield empty_engine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the program and its app, to be edited."""
    copy = tmp_path / "checkout"
    package = Path(registry_tool.__file__).parent
    shutil.copytree(package, copy / "registry_tool", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(resources.sample_app(), copy / "sample_app")
    return copy


def test_all_demos_succeed_without_a_network(unplugged: PrivateEngine, kept_cache: Path, checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    # A copy: what these demos write may not help the next test.
    shutil.copytree(kept_cache, cache / "registry-tool")
    environment = {"XDG_CACHE_HOME": str(cache), "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(checkout)}

    def demo(*options: str) -> dict[str, Any]:
        done = unplugged.run([sys.executable, "-m", "registry_tool", "demo", "--json", *options], env=environment, timeout=600)
        assert done.returncode == 0, f"demo {options}:\n{done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["ok"]
        return document

    first = demo()
    # An empty engine: nothing can have been there, and nothing can have come from outside.
    assert {image["source"] for image in first["images"]} <= {"packages", "docker.io"}
    assert demo("--redis")["probe_redis"]["visits"] == [1, 2, 3]
    for _ in range(2):
        assert "pulled" in next(step["detail"] for step in demo("--purge")["steps"] if step["name"] == "pull")
    page = checkout / "sample_app" / "app.py"
    page.write_text(page.read_text() + "\n# a changed line\n")
    assert demo()["image"]["digest"] != first["image"]["digest"]
