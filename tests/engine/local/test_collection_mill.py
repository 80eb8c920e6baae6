"""The mill: pushers, pullers, a deleter, collections, and now and then a ``kill -9`` of the tool or the registry, all at once.

At the end every image that has a tag is whole, and every push that was acknowledged and not deleted is there.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import RegistryToolError
from registry_tool.content.check import check
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry, up
from registry_tool.targets.registry import open_registry
from tests.support.cli_runner import REGCTL, spawn
from tests.support.content import ACCEPT, layer, make_image, sha256
from tests.support.registry_over_http import ask, tags
from tests.support.requirements import free_port, wait_for_registry

pytestmark = pytest.mark.engine

_PUSHERS, _PULLERS = 4, 4
_LONGEST = 300.0
_FAILS = (OSError, http.client.HTTPException, AssertionError)
"""What a push or a pull meets while the registry is read-only, stops, or is killed. An assertion is one of ``make_image``: not 201."""


@dataclass
class Mill:
    """What all threads share. ``acknowledged`` is (repository, tag) -> digest of pushes that were accepted and not deleted."""

    engine: Engine
    registry: LocalRegistry
    environment: dict[str, str]
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    longest_pause: float = 0.0
    collections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    killed: threading.Event = field(default_factory=threading.Event)

    def push(self, number: int) -> None:
        chance = random.Random(number)
        while not self.over.is_set():
            # A repository of its own: what is deleted meanwhile is never what it pushes.
            repository, tag = f"app/{number}", str(chance.randint(0, 20))
            key = (repository, tag)
            with self.lock:
                # Whether it arrives is not known from here on.
                self.acknowledged.pop(key, None)
            with suppress(*_FAILS):
                image = make_image(self.registry.port, repository, tag, layer(b"shared" * 100), layer(os.urandom(2000)))
                with self.lock:
                    self.acknowledged[key] = image.digest
            self.over.wait(0.05)

    def pull(self, number: int) -> None:
        chance, last = random.Random(number), time.monotonic()
        while not self.over.is_set():
            with self.lock:
                known = list(self.acknowledged.items())
            if not known:
                self.over.wait(0.05)
                continue
            (repository, tag), digest = chance.choice(known)
            try:
                damage = self._damage(repository, digest)
            except _FAILS:
                self.over.wait(0.02)
                continue
            now = time.monotonic()
            with self.lock:
                if not self.killed.is_set():
                    self.longest_pause = max(self.longest_pause, now - last)
                still = self.acknowledged.get((repository, tag)) == digest
            last = now
            if damage and still:
                self.broken.append(f"{repository}:{tag} ({digest}): {damage}")
            self.over.wait(0.02)

    def _damage(self, repository: str, digest: str) -> str:
        """What is wrong with an image, as one who pulls it sees it; empty if nothing is."""
        status, _, raw = ask(self.registry.port, "GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": ACCEPT})
        if status != 200:
            return f"manifest: {status}"
        manifest = json.loads(raw)
        for blob in (manifest["config"], *manifest["layers"]):
            status, _, content = ask(self.registry.port, "GET", f"/v2/{repository}/blobs/{blob['digest']}")
            if status != 200 or sha256(content) != blob["digest"]:
                return f"{blob['digest']}: {status}"
        return ""

    def delete(self, number: int) -> None:
        chance = random.Random(number)
        while not self.over.wait(1.0):
            with self.lock:
                key = chance.choice(list(self.acknowledged) or [("", "")])
                digest = self.acknowledged.pop(key, None)
            if digest is not None:
                with suppress(*_FAILS):
                    ask(self.registry.port, "DELETE", f"/v2/{key[0]}/manifests/{digest}")

    def collect(self, number: int) -> None:
        chance = random.Random(number)
        while not self.over.is_set():
            process = subprocess.Popen(
                [*REGCTL, "gc", "--apply", "--yes", "--grace", "0", "--name", self.registry.name, *chance.choice(([], ["--no-undo"]))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
            if chance.random() < 0.3:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0, 6))
                self.killed.set()
                process.kill()
                process.wait()
                self._recover()
            elif process.wait() != 0:
                self._recover()  # the registry was killed
            else:
                self.collections += 1
            if chance.random() < 0.2:
                self._kill_registry()
            self.over.wait(chance.uniform(0, 2))

    def _recover(self) -> None:
        assert spawn("up", "--name", self.registry.name, environment=self.environment).code == 0
        self.killed.clear()

    def _kill_registry(self) -> None:
        self.killed.set()
        with suppress(RegistryToolError):
            self.engine.kill(self.registry.container_id)
        self._recover()


@pytest.fixture
def mill(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[Mill]:
    state = tmp_path / "registry-tool"
    state.mkdir()
    registry = up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=state).registry
    yield Mill(engine, registry, {"XDG_STATE_HOME": str(tmp_path)})
    local_registry.down(engine, unique, volumes=True, state=state)


@pytest.mark.parametrize("seconds", [pytest.param(60, marks=pytest.mark.slow), pytest.param(600, marks=pytest.mark.soak)])
def test_no_acknowledged_push_is_lost_or_broken(mill: Mill, seconds: int) -> None:
    works: list[tuple[Callable[[int], None], int]] = [
        *((mill.push, number) for number in range(_PUSHERS)),
        *((mill.pull, number) for number in range(_PULLERS)),
        (mill.delete, 0),
        (mill.collect, random.randrange(1 << 30)),
    ]
    threads = [threading.Thread(target=work, args=(number,)) for work, number in works]
    for thread in threads:
        thread.start()
    mill.over.wait(seconds)
    # On a busy machine, longer: without a collection that ended it proves nothing.
    poll(lambda: mill.collections > 0, Deadline(_LONGEST))
    mill.over.set()
    for thread in threads:
        thread.join(600)
    assert not any(thread.is_alive() for thread in threads)
    assert spawn("up", "--name", mill.registry.name, environment=mill.environment).code == 0
    wait_for_registry(mill.registry.port)
    assert mill.broken == []
    assert mill.collections
    with open_registry(f"127.0.0.1:{mill.registry.port}") as opened:
        report = check(opened, deep=True)
    assert report.ok, report
    for (repository, tag), digest in mill.acknowledged.items():
        assert tag in (tags(mill.registry.port, repository) or ()), (repository, tag)
        raw = ask(mill.registry.port, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPT})[2]
        assert sha256(raw) == digest, (repository, tag)
    sys.stdout.write(f"{mill.collections} collections; longest pause {mill.longest_pause:.2f} s\n")
