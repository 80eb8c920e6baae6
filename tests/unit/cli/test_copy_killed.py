"""``copy`` killed with SIGKILL at a moment, and run again: nothing incomplete is visible, and no blob is sent twice.

The moment is a number of requests, on either side: it does not depend on how fast the machine is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from registry_tool.content.check import check
from registry_tool.targets.registry import open_registry
from tests.support.cli_runner import REGCTL
from tests.support.content import PushedManifest, layer, make_image, make_index, sha256
from tests.support.recording_server import RecordingServer, recording_server
from tests.support.registry_over_http import ask

IMAGES = 3
_SIZE = 300_000


def incompressible(name: str) -> bytes:
    """A file's content that no compression makes smaller, the same for the same name."""
    return random.Random(name).randbytes(_SIZE)


@pytest.fixture(scope="module")
def source() -> Iterator[RecordingServer]:
    """Images of shared and of own layers, and an index of them."""
    with recording_server() as server:
        yield server


@pytest.fixture(scope="module")
def images(source: RecordingServer) -> list[PushedManifest]:
    base = layer(incompressible("base"))
    made = [make_image(source.port, "app", f"v{number}", base, layer(incompressible(f"{number}"))) for number in range(IMAGES)]
    arm = make_image(source.port, "app", None, base, layer(incompressible("arm")), platform="linux/arm64")
    return [*made, make_index(source.port, "app", "all", made[0], arm), arm]


@dataclass
class Killer:
    """Kills a process when a number of requests has arrived at the servers that it is the ``instead`` of."""

    after: int
    pid: int = 0
    count: int = 0
    started: threading.Event = field(default_factory=threading.Event)

    def __call__(self, method: str, path: str) -> None:
        self.started.wait(60)
        self.count += 1
        if self.count == self.after:
            os.kill(self.pid, signal.SIGKILL)


@contextmanager
def killing(killer: Killer, *servers: RecordingServer) -> Iterator[None]:
    for server in servers:
        server.instead = killer
    try:
        yield
    finally:
        for server in servers:
            server.instead = lambda method, path: None


def run_copy(source: RecordingServer, destination: RecordingServer, killer: Killer) -> int:
    """Run the command in a process of its own, under ``killer``; its exit code."""
    command = [*REGCTL, "copy", "--all-tags", f"{source.host}/app", f"{destination.host}/mirror/app"]
    with killing(killer, source, destination):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        killer.pid = process.pid
        killer.started.set()
        _, errors = process.communicate(timeout=600)
    if process.returncode not in (0, -signal.SIGKILL):
        pytest.fail(errors.decode())
    return process.returncode


def blobs_at(destination: RecordingServer, images: list[PushedManifest]) -> set[str]:
    digests = {sha256(content) for image in images for content in (image.config, *image.layers) if content}
    return {digest for digest in digests if ask(destination.port, "HEAD", f"/v2/mirror/app/blobs/{digest}")[0] == 200}


def check_whole(destination: RecordingServer) -> None:
    with open_registry(destination.host) as registry:
        report = check(registry, deep=True)
    assert (report.error, report.findings) == (None, ())


def moments(count: int) -> list[int]:
    """Numbers of requests spread over a whole copy, which has more than forty."""
    generator = random.Random(count)
    return sorted(generator.randint(1, 48) for _ in range(count))


def killed_and_run_again(source: RecordingServer, images: list[PushedManifest], moment: int) -> None:
    with recording_server() as destination:
        run_copy(source, destination, Killer(moment))
        destination.settle()
        check_whole(destination)
        complete = blobs_at(destination, images)
        all_blobs = {sha256(content) for image in images for content in (image.config, *image.layers) if content}
        destination.forget()
        assert run_copy(source, destination, Killer(0)) == 0
        sent = sum(1 for method, path in destination.requests if method == "PUT" and "/blobs/uploads/" in path)
        assert sent <= len(all_blobs - complete)
        check_whole(destination)
        assert sorted(tags_of(destination)) == ["all", *(f"v{number}" for number in range(IMAGES))]


def tags_of(destination: RecordingServer) -> tuple[str, ...]:
    with open_registry(destination.host) as registry:
        return registry.repository("mirror/app").tags()


@pytest.mark.parametrize("moment", moments(5))
def test_killed_copy_leaves_nothing_incomplete_and_resends_no_blob(
    source: RecordingServer, images: list[PushedManifest], moment: int
) -> None:
    killed_and_run_again(source, images, moment)


@pytest.mark.soak
@pytest.mark.parametrize("moment", moments(100))
def test_killed_copy_at_many_moments(source: RecordingServer, images: list[PushedManifest], moment: int) -> None:
    killed_and_run_again(source, images, moment)
