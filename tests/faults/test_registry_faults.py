"""Commands whose registry fails in the middle: a clear word, nothing lost, and the next run finishes. For the matrix in ``cells.py``."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from registry_tool import server
from registry_tool.base.errors import NotFound
from registry_tool.content.check import check
from registry_tool.targets.registry import open_registry
from registry_tool.transport import transport
from tests.support.cli_runner import REGCTL, Typed
from tests.support.content import layer, make_image
from tests.support.fake_server import JSON, ReceivedRequest, Reply
from tests.support.faulty_proxy import Fault, FaultyProxy, Forward, close_connection, faulty_proxy, respond_with
from tests.support.recording_server import RecordingServer

KEPT = ("v4", "v5")
TAGS = ("v1", "v2", "v3", *KEPT)

Command = Callable[[str], tuple[str, ...]]
"""The words of a command against the registry at a host."""


def disk_full(request: ReceivedRequest, forward: Forward) -> Reply:
    """As registry:2 answers a write then; reads go on."""
    if request.method in ("GET", "HEAD", "DELETE"):
        return forward(request)
    error = {"code": "UNKNOWN", "message": "unknown error", "detail": {"Enclosed": {"Err": 28}}}
    return Reply(status=500, headers={"Content-Type": JSON}, body=json.dumps({"errors": [error]}).encode())


def permission_lost(request: ReceivedRequest, forward: Forward) -> Reply:
    """The user may read, and nothing else any more."""
    return forward(request) if request.method in ("GET", "HEAD") else respond_with(403)(request, forward)


FAULTS: dict[str, Fault] = {"registry killed": close_connection, "disk full": disk_full, "permission lost": permission_lost}


@pytest.fixture
def line(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    """The way to the registry that fails."""
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def source(watching: RecordingServer) -> RecordingServer:
    """A registry that works, with the images."""
    for tag in TAGS:
        make_image(watching.port, "app", tag, layer(b"base"), layer(tag.encode()))
    return watching


@pytest.fixture
def copy(source: RecordingServer) -> Command:
    return lambda host: ("copy", "--all-tags", f"{source.host}/app", f"{host}/app")


@pytest.fixture
def sync(source: RecordingServer, tmp_path: Path) -> Command:
    def arguments(host: str) -> tuple[str, ...]:
        rules = tmp_path / "mirror.toml"
        rules.write_text(f'destination = "{host}/"\n[[image]]\nsource = "{source.host}/app"\n')
        return ("sync", str(rules))

    return arguments


@pytest.fixture
def importing(typed: Typed, source: RecordingServer, tmp_path: Path) -> Command:
    archive = str(tmp_path / "images.tar")
    assert typed("export", *(f"app:{tag}" for tag in TAGS), "-o", archive).code == 0
    return lambda host: ("import", archive, f"{host}/")


@pytest.fixture
def applying(typed: Typed, source: RecordingServer, tmp_path: Path) -> Command:
    kit = str(tmp_path / "kit.tar")
    plain = ("--no-tool", "--no-registry", "--no-sample")
    assert typed("bundle", "create", "-o", kit, *plain, *(f"app:{tag}" for tag in TAGS)).code == 0
    return lambda host: ("bundle", "apply", kit, "--to", host)


@pytest.fixture
def prune(registry: server.RunningRegistry) -> Command:
    for number, tag in enumerate(TAGS):
        make_image(registry.port, "app", tag, layer(b"base"), layer(tag.encode()), created=f"2024-05-0{number + 1}T00:00:00Z")
    return lambda host: ("prune", "--keep-last", str(len(KEPT)), "--apply", "--yes", f"{host}/app")


def tags_at(host: str) -> set[str]:
    """The tags of the repository, all of whose images are whole."""
    with open_registry(host) as opened:
        report = check(opened, deep=True)
        assert (report.error, report.findings) == (None, ())
        try:
            return set(opened.repository("app").tags())
        except NotFound:
            return set()


def begin(fault: str, line: FaultyProxy, at: int) -> list[str]:
    """Let the registry fail for good after ``at`` requests; the requests that failed, as they come."""
    failed: list[str] = []

    def recorded(request: ReceivedRequest, forward: Forward) -> Reply:
        passed: list[bool] = []

        def note(forwarded: ReceivedRequest) -> Reply:
            passed.append(True)
            return forward(forwarded)

        response = FAULTS[fault](request, note)
        if not passed:
            failed.append(f"{request.method} {request.path}")
        return response

    line.inject(recorded, after=at)
    return failed


@pytest.mark.parametrize("at", [0, 3, 8, 20])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["copy", "sync", "importing", "applying"])
def test_what_arrived_is_whole_and_the_next_run_brings_the_rest(
    request: pytest.FixtureRequest, typed: Typed, line: FaultyProxy, name: str, fault: str, at: int
) -> None:
    command: Command = request.getfixturevalue(name)
    failed = begin(fault, line, at)
    answer = typed(*command(line.host))
    assert (answer.code != 0) == bool(failed), (answer, failed)
    assert not failed or "hint: " in answer.err
    assert "Traceback" not in answer.err
    line.reset()
    assert tags_at(line.host) <= set(TAGS)
    assert typed(*command(line.host)).code == 0
    assert tags_at(line.host) == set(TAGS)


@pytest.mark.parametrize("at", [0, 5, 15, 40])
@pytest.mark.parametrize("fault", FAULTS)
def test_prune_keeps_what_a_rule_keeps_and_the_next_run_finishes(
    prune: Command, typed: Typed, line: FaultyProxy, fault: str, at: int
) -> None:
    failed = begin(fault, line, at)
    answer = typed(*prune(line.host))
    # What cannot be read stays; then there may be nothing to delete, which is no failure.
    assert (answer.code != 0 or "Could not be read" in answer.out) == bool(failed), (answer, failed)
    assert "Traceback" not in answer.err
    line.reset()
    assert set(KEPT) <= tags_at(line.host) <= set(TAGS)
    assert typed(*prune(line.host)).code == 0
    assert tags_at(line.host) == set(KEPT)


@pytest.mark.parametrize("at", [2, 12])
@pytest.mark.parametrize("name", ["copy", "sync", "importing", "applying", "prune"])
def test_killed_process_leaves_what_the_next_run_finishes(
    request: pytest.FixtureRequest, typed: Typed, line: FaultyProxy, name: str, at: int
) -> None:
    command: Command = request.getfixturevalue(name)
    started: Future[subprocess.Popen[bytes]] = Future()

    def kill(asked: ReceivedRequest, forward: Forward) -> Reply:
        process = started.result(600)
        process.kill()
        process.wait()
        return Reply(hang_up=True)

    line.inject(kill, after=at)  # before it starts: its requests are counted from the first one on
    started.set_result(subprocess.Popen([*REGCTL, *command(line.host)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert started.result().wait(600) == -signal.SIGKILL
    line.settle()
    line.reset()
    there = tags_at(line.host)
    assert set(KEPT if name == "prune" else ()) <= there <= set(TAGS)
    assert typed(*command(line.host)).code == 0
    assert tags_at(line.host) == set(KEPT if name == "prune" else TAGS)


@pytest.mark.parametrize("name", ["sync", "applying", "prune"])
def test_registry_that_is_out_of_reach_is_given_up(
    request: pytest.FixtureRequest, typed: Typed, line: FaultyProxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a cable is pulled: nothing answers any more, not even with a refusal."""
    command: Command = request.getfixturevalue(name)
    ended = threading.Event()

    def stall(asked: ReceivedRequest, forward: Forward) -> Reply:
        ended.wait(600)
        return Reply(hang_up=True)

    defaults: Any = transport.Transport.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeouts", (30.0, 2.0))
    # The writes of both.
    line.inject(stall, method="POST|PUT|PATCH|DELETE")
    try:
        answer = typed(*command(line.host))
    finally:
        ended.set()
    monkeypatch.undo()
    line.reset()
    assert answer.code != 0
    assert "did not respond" in answer.err
    assert set(KEPT if name == "prune" else ()) <= tags_at(line.host) <= set(TAGS)
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", line.host)
    assert typed(*command(line.host)).code == 0
    assert tags_at(line.host) == set(KEPT if name == "prune" else TAGS)


@pytest.mark.parametrize("years", [-20, 20])
@pytest.mark.parametrize("name", ["copy", "sync", "importing", "applying", "prune"])
def test_clock_that_jumps_changes_nothing(
    request: pytest.FixtureRequest, typed: Typed, line: FaultyProxy, name: str, years: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags by number or name, digests and uploads do not depend on the time."""
    command: Command = request.getfixturevalue(name)
    real = time.time

    def jump(asked: ReceivedRequest, forward: Forward) -> Reply:
        monkeypatch.setattr(time, "time", lambda: real() + years * 365 * 86400)
        return forward(asked)

    line.inject(jump, after=4, times=1)
    answer = typed(*command(line.host))
    assert answer.code == 0, answer.err
    assert tags_at(line.host) == set(KEPT if name == "prune" else TAGS)
