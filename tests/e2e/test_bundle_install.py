"""A bundle made on one engine, installed on others that have nothing, in namespaces without a route: docker, and podman alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import private_podman as podmans
from tests.support.paths import copy_cache
from tests.support.private_engine import PrivateEngine
from tests.support.private_podman import PrivatePodman, private_podman
from tests.support.requirements import missing

pytestmark = [pytest.mark.engine, pytest.mark.netns]

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where no virtual environment is."""


@pytest.fixture(scope="module")
def system_python() -> tuple[str, str]:
    """The system's Python, which has none of what this tool needs, and its version."""
    python = shutil.which("python3", path=SYSTEM_PATH)
    if python is None:
        missing("python3", "the system's Python installs a bundle")
    program = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 10))"
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing("python3", "the system's Python is older than 3.10")
    return str(python), done.stdout.strip()


@pytest.fixture(scope="module")
def kit(kept_cache: Path, system_python: tuple[str, str], tmp_path_factory: pytest.TempPathFactory, real_endpoint: str | None) -> Path:
    """A bundle of what a demo needs. pip fetches the wheels of the tool."""
    folder = tmp_path_factory.mktemp("kit")
    copy_cache(kept_cache, folder / "cache" / "registry-tool")
    path = folder / "the kit"

    def create() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "registry_tool", "bundle", "create", "-o", str(path), "--python", system_python[1], "--json"],
            env={**os.environ, "DOCKER_HOST": real_endpoint or "", "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    done = create()
    for _ in range(2):
        # Another worker's purge may take a base image meanwhile; the next run goes on.
        done = done if done.returncode == 0 else create()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {image["role"] for image in json.loads(done.stdout)["result"]["images"]} == {"registry", "python"}
    return path


def run(engine: PrivateEngine | PrivatePodman, command: list[str], python: str, home: Path, **variables: str) -> str:
    """What a command printed, with the system's Python and an empty home."""
    hidden: Mapping[str, str] = {
        "PATH": SYSTEM_PATH,
        "HOME": str(home),
        "PYTHON": python,
        "PYTHONPATH": "",
        "PYTHONNOUSERSITE": "1",
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "STATE", "DATA", "CONFIG")},
        "PIP_NO_INDEX": "1",
        **variables,
    }
    done = engine.run(command, env=hidden)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_installed(engine: PrivateEngine | PrivatePodman, kit: Path, python: str, home: Path) -> None:
    assert "default" not in engine.run(["ip", "route"]).stdout, "a route leads out"
    script = ["sh", str(kit / "install.sh")]
    started = time.monotonic()
    printed = run(engine, [*script, "--demo"], python, home)
    print(f"sh install.sh --demo, from nothing to the page: {time.monotonic() - started:.1f} s")  # noqa: T201 - a figure
    assert "Loaded localhost/registry-tool/registry:packages" in printed or "Loaded registry:2" in printed
    assert "Applied 2 of 2 images" in printed
    assert "Hello" in printed
    started = time.monotonic()
    again = run(engine, script, python, home)
    print(f"sh install.sh, once more: {time.monotonic() - started:.1f} s")  # noqa: T201 - a figure
    assert again.count("Unchanged: ") == 2
    assert "Loaded" not in again
    # As install.sh says that the tool is called.
    tool = again.rpartition("PYTHONPATH=")[2].split()[0]
    regctl = [python, "-m", "registry_tool"]
    assert "is whole" in run(engine, [*regctl, "bundle", "verify", str(kit)], python, home, PYTHONPATH=tool)
    # A clean engine in a container would need an image that no demo needs.
    verified = [*regctl, "verify", "--on", "here", "--http", "4002:80/", "--expect-text", "Hello", "john/get-started:part2"]
    run(engine, verified, python, home, PYTHONPATH=tool)


def test_demo_runs_on_a_docker_that_has_nothing(
    empty_engine: PrivateEngine, kit: Path, system_python: tuple[str, str], tmp_path: Path
) -> None:
    check_installed(empty_engine, kit, system_python[0], tmp_path)


@pytest.mark.podman
def test_demo_runs_on_a_podman_that_has_nothing(kit: Path, system_python: tuple[str, str], tmp_path: Path) -> None:
    if (reason := podmans.why_not()) is not None:
        missing("podman", reason)
    with private_podman() as podman:
        check_installed(podman, kit, system_python[0], tmp_path)
