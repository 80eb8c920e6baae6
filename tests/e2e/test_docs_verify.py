"""``docs/verify.md`` is true: its lines work where it says, on clean engines, and its tables are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from registry_tool.base import resources
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine
from registry_tool.local.base_images import BaseImageResolver
from registry_tool.local.images import build_inputs
from registry_tool.local.registry import LocalRegistry
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import CHECKS
from registry_tool.verify.settings import KNOWN, PROBES
from tests.support.documents import blocks, commands
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "verify.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture
def pushed(engine: Engine, dirs: AppDirs, local: LocalRegistry) -> Iterator[str]:
    """What a demo leaves: the sample app, built and pushed, in a registry of the session's own."""
    context, name = resources.sample_app(), f"{local.address}/john/get-started:part2"
    prepared = build_inputs.prepare(engine, BaseImageResolver(engine, dirs.cache), dirs.cache, context)
    engine.build(context, build_args=prepared.build_args, labels={"for": "verify"}, extra=prepared.extra, tags=(name,))
    engine.push(name)
    yield local.address
    # A line pushes again; where somebody has a john/get-started:part2 of their own, that gets a name here, too.
    for left in engine.images():
        for known in (*left.names, *left.digests):
            if known.startswith(f"{local.address}/"):
                with suppress(NotFound):  # a digest goes with the last tag beside it
                    engine.remove_image(known)


@pytest.mark.engine
@pytest.mark.soak
def test_every_line_works_in_the_order_in_which_it_is_read(pushed: str, dirs: AppDirs, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "REGISTRY_TOOL_REGISTRY": pushed, "XDG_CACHE_HOME": str(dirs.cache.parent)}
    [settings] = blocks(PAGE, "toml")
    message = {}
    for line in commands(PAGE):
        if line == "regctl verify":
            (folder / "portability.toml").write_text(settings, encoding="utf-8")
        done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        message[line] = done.stdout
    certificate = VerifyReport.read(folder / "report.json")
    assert [each.environment.name for each in certificate.results] == ["docker", "podman"]
    for verified in certificate.results:
        assert {point.name: point.ok for point in verified.checks} == dict.fromkeys(CHECKS, True)
    assert ET.parse(folder / "junit.xml").getroot().get("failures") == "0"  # noqa: S314 - our own
    assert (folder / "summary.md").read_text(encoding="utf-8").startswith("## ✅ ")
    assert "  probes     ok " in message["regctl verify"]


def test_checks_of_the_page_are_those_of_the_report() -> None:
    assert dict(re.findall(r"^\| `([a-z]+)` \| ([^|]+) \|$", TEXT.partition("## Checks")[2].partition("\n## ")[0], re.MULTILINE)) == CHECKS


def test_its_members_are_those_of_the_file() -> None:
    part = TEXT.partition("## `portability.toml`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (.*) \|$", part, re.MULTILINE)
    assert [name for names, _ in rows for name in re.findall("`([a-z-]+)`", names)] == list(KNOWN)
    stated = set(re.findall("`([a-z]+)`", dict(rows)["`probes`"]))
    assert stated == {name for names in PROBES.values() for name in names}
