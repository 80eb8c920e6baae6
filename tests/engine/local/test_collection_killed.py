"""A collection that is killed, or interrupted, at a random point: the next command brings the registry back, and nothing is broken."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.content.check import check
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry, recovery, up
from registry_tool.targets.registry import open_registry
from tests.support.cli_runner import REGCTL, Answer, spawn
from tests.support.content import PushedManifest, layer, make_image, make_index
from tests.support.registry_over_http import push_blob, tags
from tests.support.requirements import free_port, wait_for_registry

pytestmark = pytest.mark.engine

_TIMEOUT = 600.0


@dataclass(frozen=True)
class Victim:
    """A registry of the test's own, with images that have to stay."""

    engine: Engine
    registry: LocalRegistry
    environment: dict[str, str]
    kept: tuple[PushedManifest, ...]

    def regctl(self, *arguments: str) -> Answer:
        return spawn(*arguments, "--name", self.registry.name, environment=self.environment)

    def make_garbage(self, number: int) -> None:
        """Images that lose their tag, and one that is deleted."""
        for each in range(3):
            make_image(self.registry.port, "app/garbage", "1", layer(f"{number} {each}".encode() * 500))

    def end_collection(self, number: signal.Signals, seconds: float) -> bool:
        """Begin a collection, and end it after ``seconds``; whether it was over by itself."""
        process = subprocess.Popen(
            [*REGCTL, "gc", "--apply", "--yes", "--name", self.registry.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
            # A Ctrl-C of this shell's job is not the test's.
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.wait(_TIMEOUT)
            return False
        assert process.returncode == 0
        return True

    def check_whole(self) -> None:
        """Serving, writable, and every image that has a tag is whole."""
        wait_for_registry(self.registry.port)
        assert push_blob(self.registry.port, "app", os.urandom(8)) == 201
        with open_registry(f"127.0.0.1:{self.registry.port}") as opened:
            report = check(opened, deep=True)
        assert report.ok, report
        assert set(tags(self.registry.port, "app") or ()) == {each.tag for each in self.kept}
        assert recovery.find_collections(self.engine, self.registry.name) == ()
        container = self.engine.container(self.registry.container_id)
        assert container is not None
        assert container.running


@pytest.fixture
def victim(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[Victim]:
    state = tmp_path / "registry-tool"
    state.mkdir()
    registry = up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=state).registry
    image = make_image(registry.port, "app", "1", layer(b"shared"), layer(b"own"))
    index = make_index(
        registry.port, "app", "index", image, make_image(registry.port, "app", None, layer(b"shared"), platform="linux/arm64")
    )
    yield Victim(engine, registry, {"XDG_STATE_HOME": str(tmp_path)}, (image, index))
    local_registry.down(engine, unique, volumes=True, state=state)


def _kill_at_random(victim: Victim, *, times: int, seed: int) -> None:
    chance = random.Random(seed)
    victim.make_garbage(-1)
    began = time.monotonic()
    assert victim.regctl("gc", "--apply", "--yes").code == 0
    whole = time.monotonic() - began
    for number in range(times):
        victim.make_garbage(number)
        victim.end_collection(signal.SIGKILL, chance.uniform(0.1, 1.1) * whole)
        assert victim.regctl("status").code == 0
        victim.check_whole()
    assert victim.regctl("gc", "--apply", "--yes").code == 0
    plan = victim.regctl("gc", "--json").json["plan"]
    assert (plan["manifests"], plan["links"]) == ([], 0)
    victim.check_whole()


def test_killed_at_random_points_the_next_command_brings_it_back(victim: Victim) -> None:
    _kill_at_random(victim, times=5, seed=random.randrange(1 << 30))


@pytest.mark.soak
def test_killed_at_a_hundred_random_points(victim: Victim) -> None:
    _kill_at_random(victim, times=100, seed=random.randrange(1 << 30))


def test_interrupted_it_brings_the_registry_back_itself(victim: Victim) -> None:
    victim.make_garbage(0)
    process = subprocess.Popen(
        [*REGCTL, "gc", "--apply", "--yes", "--name", victim.registry.name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **victim.environment},
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Making the registry read-only"):
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=_TIMEOUT)
    assert process.returncode == 130
    victim.check_whole()


def test_another_user_of_the_engine_brings_it_back(victim: Victim, tmp_path: Path) -> None:
    victim.make_garbage(0)
    process = subprocess.Popen(
        [*REGCTL, "gc", "--apply", "--yes", "--name", victim.registry.name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **victim.environment},
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Making the registry read-only"):
            process.kill()
            break
    process.communicate(timeout=_TIMEOUT)

    def recovered() -> bool:
        # The engine may take a moment to see that nobody is attached to the worker any more.
        return bool(recovery.recover(victim.engine, victim.registry.name, state=tmp_path / "elsewhere"))

    assert poll(recovered, Deadline(_TIMEOUT), pause=0.2)
    victim.check_whole()
