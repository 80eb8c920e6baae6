"""Demos that are killed, engines that are killed, and demos side by side: on engines of the tests' own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry_tool.base.deadline import Deadline, poll
from tests.support.paths import copy_cache
from tests.support.private_engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.netns]

REGCTL = [sys.executable, "-m", "registry_tool"]


class Bench:
    """One private engine and a person's folders beside it."""

    def __init__(self, engine: PrivateEngine, folder: Path) -> None:
        self.engine = engine
        self.environment = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.engine.inside([*REGCTL, *words]),
            env=self.engine.environment(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return self.engine.run([*REGCTL, *words], env=self.environment, timeout=timeout)

    def docker(self, *words: str) -> list[str]:
        done = self.engine.run(["docker", *words])
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def things(self) -> tuple[list[str], list[str], list[str]]:
        """Names of containers, networks and volumes; the engine's own networks left out."""
        networks = sorted(set(self.docker("network", "ls", "--format", "{{.Name}}")) - {"bridge", "host", "none"})
        return sorted(self.docker("ps", "-a", "--format", "{{.Names}}")), networks, sorted(self.docker("volume", "ls", "-q"))

    def demo_succeeds(self, *options: str) -> None:
        done = self.run("demo", "--json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["ok"]


CLEAN: tuple[list[str], list[str], list[str]] = (["registry-tool-default"], [], ["registry-tool-default"])


@pytest.fixture
def bench(own_engine: PrivateEngine, kept_cache: Path, tmp_path: Path) -> Bench:
    copy_cache(kept_cache, tmp_path / "cache" / "registry-tool")
    return Bench(own_engine, tmp_path)


def _killed_at_random(bench: Bench, times: int, kill: signal.Signals) -> None:
    started = time.monotonic()
    bench.demo_succeeds("--redis")
    whole = time.monotonic() - started
    seed = random.randrange(10**6)
    # Shown where the test fails, so that the same moments can be tried again.
    sys.stdout.write(f"seed {seed}, a whole demo takes {whole:.1f} s\n")
    moments = random.Random(seed)
    for _ in range(times):
        demo = bench.start("demo", "--json", "--redis")
        time.sleep(moments.uniform(0.1, whole))
        os.killpg(demo.pid, kill)
        demo.communicate(timeout=600)
        if kill is signal.SIGINT:
            # The classic builder has a container for a step; the engine removes it after the client of an interrupted build has gone.
            poll(lambda: bench.things() == CLEAN, Deadline(60))
            assert bench.things() == CLEAN
            continue
        bench.demo_succeeds()
        assert bench.things() == CLEAN


def test_killed_at_random_moments_the_next_run_succeeds_and_cleans_up(bench: Bench) -> None:
    _killed_at_random(bench, 3, signal.SIGKILL)


def test_interrupted_at_random_moments_nothing_is_left(bench: Bench) -> None:
    _killed_at_random(bench, 3, signal.SIGINT)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_many_random_moments(bench: Bench, kill: signal.Signals) -> None:
    _killed_at_random(bench, 10, kill)


def test_after_the_engine_was_killed_everything_is_found_again(bench: Bench) -> None:
    bench.demo_succeeds()
    bench.engine.kill()
    assert bench.run("demo").returncode == 3
    assert bench.run("status").returncode == 3
    bench.engine.start()
    bench.demo_succeeds()
    assert bench.things() == CLEAN
    assert bench.run("list-tags", "john/get-started", "-q").stdout.split() == ["part2"]


def test_the_engine_killed_in_the_middle_of_a_demo(bench: Bench) -> None:
    bench.demo_succeeds()
    demo = bench.start("demo", "--json", "--redis")
    assert demo.stderr is not None
    # A demo is quick: what it has got to is read from what it says, not from a clock.
    next(line for line in demo.stderr if line.startswith("push"))
    bench.engine.kill()
    out, err = demo.communicate(timeout=600)
    assert demo.returncode in (1, 3), out + err
    assert "Traceback" not in err
    assert json.loads(out)["ok"] is False
    bench.engine.start()
    bench.demo_succeeds()
    assert bench.things() == CLEAN


@pytest.mark.parametrize("names", [("john/a:1", "john/a:1"), ("john/a:1", "mary/b:2")], ids=["one-name", "two-names"])
def test_two_demos_at_the_same_time_succeed(bench: Bench, names: tuple[str, str]) -> None:
    both = [bench.start("demo", "--json", "--image", name) for name in names]
    outputs = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert bench.things() == CLEAN
    waited = [err for _, err in outputs if "another demo of" in err]
    assert len(waited) == (1 if names[0] == names[1] else 0), outputs
    for name, (out, _) in zip(names, outputs, strict=True):
        assert json.loads(out)["image"]["reference"].endswith(name)


def test_twenty_times_up_gives_one_registry(bench: Bench) -> None:
    many = [bench.start("up", "--json") for _ in range(20)]
    outputs = [process.communicate(timeout=600) for process in many]
    assert [process.returncode for process in many] == [0] * 20, outputs
    assert bench.things() == CLEAN
