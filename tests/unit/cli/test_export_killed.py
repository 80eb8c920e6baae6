"""``export`` and ``import`` killed at one request after the other: nothing incomplete is seen, and nothing complete is sent again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.support.cli_runner import REGCTL, Typed
from tests.support.content import layer, make_image, sha256
from tests.support.recording_server import RecordingServer, Reply
from tests.support.registry_over_http import ask, tags

LAYERS = [layer(os.urandom(20_000), name=f"file{number}") for number in range(3)]
NAMES = ("a:1", "b:1")


def run_killed(server: RecordingServer, at: int, *arguments: str, after: float = 0) -> None:
    """Run a command that is killed ``after`` seconds while the server handles its request number ``at`` for content or an upload."""
    count = 0
    started: Future[int] = Future()

    def instead(method: str, path: str) -> Reply | None:
        nonlocal count
        if "/blobs/" in path or "/manifests/" in path:
            count += 1
            if count == at:
                time.sleep(after)
                os.kill(started.result(600), signal.SIGKILL)
        return None

    server.instead = instead  # before it starts: its requests are counted from the first one on
    process = subprocess.Popen([*REGCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    started.set_result(process.pid)
    output = process.communicate(timeout=600)[0]
    server.instead = lambda method, path: None
    server.settle()
    assert process.returncode == -9, output


def moments(requests: int) -> list[tuple[int, float]]:
    """A hundred random moments of a command that makes so many requests: the request's number, and seconds after it arrived."""
    generator = random.Random(requests)
    return [(generator.randint(1, requests), generator.choice((0, generator.uniform(0, 0.02)))) for _ in range(100)]


@pytest.fixture
def made(watching: RecordingServer) -> dict[str, set[str]]:
    """Two images with a layer in common: repository -> blobs."""
    images = (make_image(watching.port, "a", "1", *LAYERS), make_image(watching.port, "b", "1", LAYERS[0], layer(b"b")))
    return {image.repository: {sha256(image.config), *map(sha256, image.layers)} for image in images}


def check_killed_export(typed: Typed, server: RecordingServer, folder: Path, at: int, *options: str, after: float = 0) -> None:
    """Kill an export and run it again: there is no archive, then the whole one, and what had been read is not read again."""
    path, fresh = folder / "images.tar", folder / "fresh.tar"
    run_killed(server, at, "export", *NAMES, "-o", str(path), *options, after=after)
    assert list(folder.glob("images.tar*")) == []
    kept = {each.name for each in folder.glob(".images.tar.part/blobs/sha256/*")}
    server.requests.clear()
    assert typed("export", *NAMES, "-o", str(path), *options).code == 0
    read = {requested.rpartition(":")[2] for method, requested in server.requests if method == "GET" and "/blobs/" in requested}
    assert not read & kept
    written = sorted(folder.iterdir())
    assert {each.name.partition(".tar")[0] for each in written} == {"images"}
    assert typed("export", *NAMES, "-o", str(fresh)).code == 0
    assert b"".join(each.read_bytes() for each in written) == fresh.read_bytes()


def check_killed_import(
    typed: Typed, made: dict[str, set[str]], other: RecordingServer, folder: Path, at: int, *, after: float = 0
) -> None:
    """Kill an import and run it again: what is in the registry is whole, and what it had is not sent again."""
    path = str(folder / "images.tar")
    assert typed("export", *NAMES, "-o", path).code == 0
    run_killed(other, at, "import", path, f"{other.host}/", after=after)
    assert typed("--registry", other.host, "check", "--deep").code == 0
    missing = [
        (name, blob)
        for name, blobs in made.items()
        for blob in blobs
        if ask(other.port, "HEAD", f"/v2/{name}/blobs/{blob}", headers={})[0] == 404
    ]
    other.requests.clear()
    assert typed("import", path, f"{other.host}/").code == 0
    for name in NAMES:
        assert tags(other.port, name.partition(":")[0]) == ["1"]
    assert sum(method == "PUT" and "/blobs/uploads/" in requested for method, requested in other.requests) <= len(missing)
    assert typed("--registry", other.host, "check", "--deep").code == 0


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("at", [1, 5, 7, 9])
def test_export_that_was_killed_goes_on(typed: Typed, watching: RecordingServer, tmp_path: Path, at: int) -> None:
    check_killed_export(typed, watching, tmp_path, at)


@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize("at", [1, 9, 14, 20])
def test_import_that_was_killed_goes_on(typed: Typed, made: dict[str, set[str]], other: RecordingServer, tmp_path: Path, at: int) -> None:
    check_killed_import(typed, made, other, tmp_path, at)


@pytest.mark.soak
@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("at", "after"), moments(9))
def test_export_killed_at_many_moments(typed: Typed, watching: RecordingServer, tmp_path: Path, at: int, after: float) -> None:
    check_killed_export(typed, watching, tmp_path, at, *(("--split", "1MB") if at % 2 else ()), after=after)


@pytest.mark.soak
@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize(("at", "after"), moments(20))
def test_import_killed_at_many_moments(
    typed: Typed, made: dict[str, set[str]], other: RecordingServer, tmp_path: Path, at: int, after: float
) -> None:
    check_killed_import(typed, made, other, tmp_path, at, after=after)
