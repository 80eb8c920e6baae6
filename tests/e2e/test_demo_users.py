"""Who types it and what they have: no engine, an engine that is not theirs, no root, no packages, a home that is read-only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT, copy_cache
from tests.support.private_engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.netns]

REGCTL = [sys.executable, "-m", "registry_tool"]
SOMEBODY = 54321
# The interpreter may lie where only root can read; reading is all that this lets somebody do, a socket wants writing.
AS_SOMEBODY = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--inh-caps=+dac_read_search"]
AS_SOMEBODY += ["--ambient-caps=+dac_read_search"]
CHECKOUT = str(ROOT)


@pytest.fixture
def unplugged(empty_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """An engine with nothing in it and nothing around it, which root alone may use."""
    yield empty_engine
    Path(empty_engine.socket.removeprefix("unix://")).chmod(0o660)


@pytest.fixture
def folders() -> Iterator[Path]:
    """A home that belongs to somebody else than root, where somebody can get at it."""
    home = Path(tempfile.mkdtemp(prefix="somebody-"))
    os.chown(home, SOMEBODY, SOMEBODY)
    yield home
    shutil.rmtree(home)
    shutil.rmtree(f"/tmp/registry-tool-{SOMEBODY}", ignore_errors=True)


def run(engine: PrivateEngine, home: Path, *words: str, somebody: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PYTHONPATH": CHECKOUT, **extra}
    return engine.run([*(AS_SOMEBODY if somebody else []), *REGCTL, *words], env=environment)


def said_and_hinted(done: subprocess.CompletedProcess[str]) -> str:
    """A failure is one line that says what happened, perhaps what a program said of it, and one that says what to do."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  | ")]
    assert lines[-2].startswith("regctl: ")
    assert lines[-1].startswith("hint: ")
    return lines[-2]


def test_no_engine(unplugged: PrivateEngine, folders: Path) -> None:
    done = run(unplugged, folders, "demo", DOCKER_HOST=f"unix://{folders}/nobody-listens.sock")
    assert done.returncode == 3, done.stderr
    said_and_hinted(done)


def test_no_engine_in_json(unplugged: PrivateEngine, folders: Path) -> None:
    done = run(unplugged, folders, "demo", "--json", DOCKER_HOST=f"unix://{folders}/nobody-listens.sock")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "engine-not-found"


def test_an_engine_that_this_user_may_not_use(unplugged: PrivateEngine, folders: Path) -> None:
    done = run(unplugged, folders, "demo")
    assert done.returncode == 3, done.stderr
    assert "may not" in said_and_hinted(done)
    assert "group" in done.stderr and "sudo" in done.stderr


def test_base_images_absent_no_hub_and_no_root(unplugged: PrivateEngine, folders: Path) -> None:
    _open(unplugged)
    done = run(unplugged, folders, "demo")
    assert done.returncode == 1, done.stderr
    assert "registry:2 is not available" in said_and_hinted(done)


def test_base_images_absent_no_hub_and_no_packages(unplugged: PrivateEngine, folders: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    environment = {"HOME": str(folders), "PYTHONPATH": CHECKOUT}
    done = unplugged.run(["/usr/bin/env", f"PATH={nothing}", *REGCTL, "demo"], env=environment)
    assert done.returncode == 1, done.stderr
    assert "mmdebstrap" in said_and_hinted(done)


def test_without_root_but_with_an_engine_the_demo_succeeds(unplugged: PrivateEngine, folders: Path, kept_cache: Path) -> None:
    _open(unplugged)
    cache = folders / ".cache" / "registry-tool"
    copy_cache(kept_cache, cache)
    for path in (folders / ".cache", cache, *cache.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    done = run(unplugged, folders, "demo", "--json", "--redis")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["probe_redis"]["visits"] == [1, 2, 3]


def test_a_home_that_cannot_be_written_to_is_said_and_borne(unplugged: PrivateEngine, folders: Path, kept_cache: Path) -> None:
    _open(unplugged)
    os.chown(folders, 0, 0)
    # The images are at hand in the engine: the caches may be elsewhere.
    for copy in sorted((kept_cache / "bases").glob("*.tar.gz")):
        assert unplugged.run(["docker", "load", "-i", str(copy)]).returncode == 0
    done = run(unplugged, folders, "up", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"/tmp/registry-tool-{SOMEBODY}" in done.stderr
    assert done.stderr.count("cannot be written to") == 1


def test_a_proxy_is_never_asked_for_loopback(unplugged: PrivateEngine, folders: Path, kept_cache: Path) -> None:
    copy_cache(kept_cache, folders / ".cache" / "registry-tool")
    dead = "http://127.0.0.1:9"
    done = run(unplugged, folders, "demo", "--json", somebody=False, HTTP_PROXY=dead, HTTPS_PROXY=dead, http_proxy=dead, https_proxy=dead)
    assert done.returncode == 0, done.stdout + done.stderr


def _open(engine: PrivateEngine) -> None:
    """Let everybody use this engine, as members of docker's group may."""
    socket = Path(engine.socket.removeprefix("unix://"))
    socket.chmod(0o666)
    for folder in socket.parents:
        if folder == Path("/tmp"):
            break
        folder.chmod(folder.stat().st_mode | 0o011)
