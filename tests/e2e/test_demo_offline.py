"""Without a network, on an engine that has nothing, from what one demo with a network kept: in a namespace of the tests' own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import registry_tool
from registry_tool.base import resources
from tests.support import documents
from tests.support.paths import ROOT, copy_cache
from tests.support.private_engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.netns]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the program and its app, to be edited."""
    copy = tmp_path / "checkout"
    package = Path(registry_tool.__file__).parent
    shutil.copytree(package, copy / "registry_tool", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(resources.sample_app(), copy / "sample_app")
    return copy


@dataclass(frozen=True, kw_only=True)
class Offline:
    """Demos of a copy of the program, on an engine that has nothing, from a cache that one demo with a network left."""

    engine: PrivateEngine
    checkout: Path
    folders: Mapping[str, str]

    def demo(self, *options: str) -> dict[str, Any]:
        """The document of a demo that succeeded."""
        command = [sys.executable, "-m", "registry_tool", "demo", "--json", *options]
        done = self.engine.run(command, env={**self.folders, "PYTHONPATH": str(self.checkout)}, timeout=600)
        assert done.returncode == 0, f"demo {options}:\n{done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["ok"]
        return document

    def first(self) -> dict[str, Any]:
        """The first demo on the empty engine: nothing can have been there, and nothing can have come from outside."""
        document = self.demo("--redis")
        assert {image["source"] for image in document["images"]} <= {"packages", "docker.io"}
        assert document["probe_redis"]["visits"] == [1, 2, 3]
        return document

    def purged(self) -> None:
        """A demo whose image and base layers come from the registry alone."""
        assert "pulled" in next(step["detail"] for step in self.demo("--purge")["steps"] if step["name"] == "pull")


@pytest.fixture
def offline(empty_engine: PrivateEngine, kept_cache: Path, checkout: Path, tmp_path: Path) -> Offline:
    cache = tmp_path / "cache"
    # A copy: what these demos write may not help the next test.
    copy_cache(kept_cache, cache / "registry-tool")
    folders = {"XDG_CACHE_HOME": str(cache), "XDG_STATE_HOME": str(tmp_path / "state")}
    return Offline(engine=empty_engine, checkout=checkout, folders=folders)


def test_all_demos_succeed_without_a_route_out(offline: Offline) -> None:
    first = offline.first()
    offline.purged()
    offline.purged()
    page = offline.checkout / "sample_app" / "app.py"
    page.write_text(page.read_text() + "\n# a changed line\n")
    assert offline.demo()["image"]["digest"] != first["image"]["digest"]


def test_no_demo_waits_for_an_answer_where_every_packet_is_swallowed(offline: Offline) -> None:
    with offline.engine.swallowing():
        offline.first()
        offline.purged()


def test_lines_for_a_class_without_a_network_work_from_a_copied_cache(
    empty_engine: PrivateEngine, kept_cache: Path, tmp_path: Path
) -> None:
    """What is kept stands for the teacher's demo, which needs a network; everything else is typed, on an engine that has nothing."""
    first, pack, unpack, last = documents.commands(ROOT / "docs" / "classroom.md")
    assert first == last == "regctl demo --redis"
    teacher = documents.Reader(engine=empty_engine, folder=documents.checkout(tmp_path / "teacher", kept_cache))
    teacher.types(pack)
    (tmp_path / "empty").mkdir()
    laptop = documents.Reader(engine=empty_engine, folder=documents.checkout(tmp_path / "laptop", tmp_path / "empty"))
    shutil.move(teacher.folder / "registry-tool-cache.tar", laptop.folder)
    shutil.rmtree(tmp_path / "teacher")
    assert empty_engine.run(["docker", "images", "-q"]).stdout == ""
    laptop.types(unpack)
    printed = laptop.types(last)
    assert "(visits: 1, 2, 3)" in printed
