"""The mill: pushers, pullers, a deleter, collections and prunings, and now and then a ``kill -9`` of the tool or the registry, all at once.

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
from collections import Counter
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
    ended: Counter[str] = field(default_factory=Counter)
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
            layers = (layer(b"shared" * 100), layer(os.urandom(2000)))
            with suppress(*_FAILS):
                image = make_image(self.registry.port, repository, tag, *layers)
                with self.lock:
                    self.acknowledged[key] = image.digest
                # A tag that is pruned: on the same image, or on one that shares a layer with it.
                if chance.random() < 0.4:
                    others = layers if chance.random() < 0.5 else (layers[0], layer(os.urandom(2000)))
                    make_image(self.registry.port, repository, f"ci-{chance.randint(0, 5)}", *others)
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
        if status >= 500:
            # The registry writes a link anew, in place, where the same manifest gets a second tag: it may be read while it is empty.
            raise ConnectionError(f"{digest}: {status}")
        if status != 200:
            return f"manifest: {status}"
        manifest = json.loads(raw)
        for blob in (manifest["config"], *manifest["layers"]):
            status, _, content = ask(self.registry.port, "GET", f"/v2/{repository}/blobs/{blob['digest']}")
            if status >= 500:
                raise ConnectionError(f"{blob['digest']}: {status}")  # the same, of a blob that is pushed again
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
            command = chance.choice(("gc", "prune"))
            process = subprocess.Popen(
                [*REGCTL, command, "--apply", "--yes", *self._options(command), *chance.choice(([], ["--no-undo"]))],
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
                self.ended[command] += 1
            if chance.random() < 0.2:
                self._kill_registry()
            self.over.wait(chance.uniform(0, 2))

    def _options(self, command: str) -> list[str]:
        if command == "gc":
            return ["--grace", "0", "--name", self.registry.name]
        return ["--keep-tags", "^[0-9]+$", "--allow-empty", f"127.0.0.1:{self.registry.port}/app/*"]

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


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [60, 600])
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
    # On a busy machine, longer: without a collection and a pruning that ended it proves nothing.
    poll(lambda: len(mill.ended) == 2, Deadline(_LONGEST))
    mill.over.set()
    for thread in threads:
        thread.join(600)
    assert not any(thread.is_alive() for thread in threads)
    assert spawn("up", "--name", mill.registry.name, environment=mill.environment).code == 0
    wait_for_registry(mill.registry.port)
    assert mill.broken == []
    assert len(mill.ended) == 2
    with open_registry(f"127.0.0.1:{mill.registry.port}") as opened:
        report = check(opened, deep=True)
    assert report.ok, report
    for (repository, tag), digest in mill.acknowledged.items():
        assert tag in (tags(mill.registry.port, repository) or ()), (repository, tag)
        raw = ask(mill.registry.port, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPT})[2]
        assert sha256(raw) == digest, (repository, tag)
    sys.stdout.write(f"{dict(mill.ended)}; longest pause {mill.longest_pause:.2f} s\n")
