"""Engines that die or run out of disk under a command; each is the tests' own. For the matrix in ``cells.py``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry_tool.base.deadline import Deadline, poll
from tests.support.cli_runner import REGCTL
from tests.support.paths import copy_cache
from tests.support.private_engine import Done, PrivateEngine, private_engine
from tests.support.requirements import missing

# With `make faults` and `make soak` only: each needs an engine that it kills or fills.
pytestmark = [pytest.mark.engine, pytest.mark.netns, pytest.mark.soak]

SMALL, ENOUGH = "24m", "1g"
Regctl = Callable[..., Done]


def regctl(engine: PrivateEngine, folder: Path) -> Regctl:
    """The command beside an engine, with a home of its own."""
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
    return lambda *words: engine.run([*REGCTL, *words], env=environment)


def succeeds(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_image(engine: PrivateEngine, folder: Path, name: str, *, size: int) -> None:
    """An image of ``size`` bytes that do not compress."""
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
    (context / "content").write_bytes(os.urandom(size))
    succeeds(engine.run(["docker", "build", "-q", "-t", name, str(context)], env={"DOCKER_BUILDKIT": "0"}))


def test_engine_killed_during_a_collection_the_next_command_brings_the_registry_back(
    own_engine: PrivateEngine, kept_cache: Path, tmp_path: Path
) -> None:
    copy_cache(kept_cache, tmp_path / "cache" / "registry-tool")
    run = regctl(own_engine, tmp_path)
    succeeds(run("up"))
    for _ in range(2):  # the first is untagged by the second
        make_image(own_engine, tmp_path, "app", size=100_000)
        succeeds(run("push", "app"))
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    collection = subprocess.Popen(
        own_engine.inside([*REGCTL, "gc", "--apply", "--yes", "--grace", "0", "--no-undo"]),
        env=own_engine.environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def began() -> bool:
        listed = own_engine.run(["docker", "ps", "-aq", "--filter", "label=io.registry-tool.role=collection"])
        return bool(listed.stdout.split()) or collection.poll() is not None

    assert poll(began, Deadline(600))
    own_engine.kill()
    out, err = collection.communicate(timeout=600)
    assert "Traceback" not in err, out + err
    own_engine.start()
    succeeds(run("status"))
    succeeds(run("check", "--deep"))
    succeeds(run("push", "app"))
    succeeds(run("gc", "--apply", "--yes", "--grace", "0", "--no-undo"))
    succeeds(run("check", "--deep"))


@pytest.fixture
def small_disk(own_engine_possible: None, tmp_path: Path) -> Iterator[Path]:
    """A tmpfs that has no room for an image."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with ExitStack() as mounted:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            missing("netns", f"no tmpfs can be mounted: {done.stderr.strip()}")
        mounted.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield folder


def test_disk_of_the_engine_that_is_full_is_named_and_the_next_run_succeeds(small_disk: Path, kept_cache: Path, tmp_path: Path) -> None:
    copy_cache(kept_cache, tmp_path / "cache" / "registry-tool")
    with private_engine(small_disk / "engine") as engine:
        run = regctl(engine, tmp_path)
        full = run("up")
        assert full.returncode == 1, full.stdout + full.stderr
        assert "disk is full" in full.stderr
        assert "regctl doctor disk" in full.stderr.replace("-m registry_tool", "regctl")
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", f"remount,size={ENOUGH}", small_disk], check=True)
        succeeds(run("up"))

        make_image(engine, tmp_path, "app", size=4_000_000)
        succeeds(run("push", "app"))
        succeeds(run("rmi", "app", "localhost:5000/app"))
        filling = small_disk / "filling"
        usage = os.statvfs(small_disk)
        with filling.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, usage.f_bavail * usage.f_frsize - 1_000_000)
        full = run("pull", "app")
        assert full.returncode == 1, full.stdout + full.stderr
        assert "the engine's disk is full" in full.stderr
        filling.unlink()
        succeeds(run("pull", "app"))
        succeeds(run("check", "--deep"))
