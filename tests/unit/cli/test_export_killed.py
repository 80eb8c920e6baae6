"""``export`` and ``import`` killed at one request after the other: nothing incomplete is seen, and nothing complete is sent again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import REGCTL, Typed
from tests.support.content import layer, make_image, sha256
from tests.support.recording_server import RecordingServer, Reply, recording_server
from tests.support.registry_over_http import ask, tags

LAYERS = [layer(os.urandom(20_000), name=f"file{number}") for number in range(3)]
NAMES = ("a:1", "b:1")


@pytest.fixture
def other() -> Iterator[RecordingServer]:
    """A second registry, beyond the gap."""
    with recording_server() as server:
        yield server


def run_killed(server: RecordingServer, at: int, *arguments: str) -> None:
    """Run a command that is killed while the server handles its request number ``at`` for content or an upload."""
    count = 0
    process = subprocess.Popen([*REGCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def instead(method: str, path: str) -> Reply | None:
        nonlocal count
        if "/blobs/" in path or "/manifests/" in path:
            count += 1
            if count == at:
                os.kill(process.pid, signal.SIGKILL)
        return None

    server.instead = instead
    output = process.communicate(timeout=600)[0]
    server.instead = lambda method, path: None
    assert process.returncode == -9, output


@pytest.fixture
def made(watching: RecordingServer) -> dict[str, set[str]]:
    """Two images with a layer in common: repository -> blobs."""
    images = (make_image(watching.port, "a", "1", *LAYERS), make_image(watching.port, "b", "1", LAYERS[0], layer(b"b")))
    return {image.repository: {sha256(image.config), *map(sha256, image.layers)} for image in images}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("at", [1, 5, 7, 9])
def test_export_that_was_killed_goes_on(typed: Typed, watching: RecordingServer, tmp_path: Path, at: int) -> None:
    path = tmp_path / "images.tar"
    run_killed(watching, at, "export", *NAMES, "-o", str(path))
    assert not path.exists()
    kept = {each.name for each in tmp_path.glob(".images.tar.part/blobs/sha256/*")}
    watching.requests.clear()
    assert typed("export", *NAMES, "-o", str(path)).code == 0
    read = {requested.rpartition(":")[2] for method, requested in watching.requests if method == "GET" and "/blobs/" in requested}
    assert not read & kept
    assert [each.name for each in tmp_path.iterdir()] == ["images.tar"]
    assert typed("export", *NAMES, "-o", str(tmp_path / "fresh.tar")).code == 0
    assert path.read_bytes() == (tmp_path / "fresh.tar").read_bytes()


@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize("at", [1, 9, 14, 20])
def test_import_that_was_killed_goes_on(typed: Typed, made: dict[str, set[str]], other: RecordingServer, tmp_path: Path, at: int) -> None:
    path = str(tmp_path / "images.tar")
    assert typed("export", *NAMES, "-o", path).code == 0
    run_killed(other, at, "import", path, f"{other.host}/")
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
