"""``run`` and ``exec`` before an engine that fails as wanted: docker's exit codes, and what the engine is sent."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry_tool.auth import docker_config
from registry_tool.base.errors import Conflict
from registry_tool.cli.terminal import SignalForwarder
from tests.support.cli_runner import Typed
from tests.support.fake_engine import Answers, call, events, fake_engine, query
from tests.support.fake_server import FakeServer, Reply, reply
from tests.support.requirements import free_port

IMAGE = {"Id": "sha256:" + "1" * 64, "RepoTags": ["x:latest"], "Os": "linux", "Architecture": "amd64"}
CONTAINER = {"Id": "c" * 64, "Name": "/web", "State": {"Status": "running"}, "Config": {"Tty": False, "Image": "x"}}
GOOD: dict[str, Reply] = {
    "GET /images/x/json": reply(IMAGE),
    "POST /containers/create": reply({"Id": "c" * 64}, 201),
    f"GET /containers/{'c' * 64}/json": reply(CONTAINER),
    f"POST /containers/{'c' * 64}/start": reply(None, 204),
}
START, DELETE = f"POST /containers/{'c' * 64}/start", f"DELETE /containers/{'c' * 64}"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", f"localhost:{free_port()}")
    return Typed(capsys)


@contextmanager
def engine_of(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> Iterator[FakeServer]:
    with ExitStack() as stack:
        _, server = stack.enter_context(fake_engine(answers))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        yield server


def created(server: FakeServer) -> dict[str, Any]:
    (request,) = (each for each in server.requests if call(each) == "POST /containers/create")
    body: dict[str, Any] = json.loads(request.body)
    return body


# What goes wrong


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--no-such-option", "x"), (), ("-p", "127.0.0:4555:80", "x"), ("-m", "lots", "x"), ("--name", "!", "x"), ("--json", "x")),
        *(("--rm", "--restart", "always", "x"), ("-v", "data", "x"), ("--env-file", "/no/such/file", "x"), ("--pull", "often", "x")),
        *(("--platform", "x y", "x"), ("-d", "UPPER"), ("--mount", "type=nfs", "x"), ("-e", "=x", "x"), ("--sig-proxy=perhaps", "x")),
    ],
)
def test_a_wrong_command_is_125_as_docker_has_it_and_asks_the_engine_nothing(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    with engine_of(monkeypatch, GOOD) as server:
        asked = len(server.requests)
        answer = typed("run", *arguments)
        assert answer.code == 125
        assert [call(request) for request in server.requests[asked:] if not request.path.endswith("/_ping")] == []
    assert answer.out == "" or json.loads(answer.out)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("call_", "status", "message", "code"),
    [
        ("GET /images/x/json", 404, "no such image: x", 125),
        ("POST /containers/create", 409, 'The container name "/web" is already in use by container "abc"', 125),
        ("POST /containers/create", 500, "an error", 125),
        (START, 400, 'OCI runtime create failed: exec: "sh": executable file not found in $PATH: unknown', 127),
        (START, 404, "crun: executable file `x` not found in $PATH: No such file or directory", 127),
        (START, 400, 'exec: "/etc": permission denied: unknown', 126),
        (START, 500, "exec /etc: is a directory", 126),
        (START, 500, "driver failed: Bind for 127.0.0.1:80 failed: port is already allocated", 125),
        (START, 500, "listen tcp4 0.0.0.0:80: bind: permission denied", 125),
        (START, 500, "something else", 125),
    ],
)
def test_what_did_not_run_is_125_126_or_127_and_leaves_no_container(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, call_: str, status: int, message: str, code: int
) -> None:
    answers = {**GOOD, "GET /images/json": reply([]), call_: reply({"message": message}, status)}
    with engine_of(monkeypatch, answers) as server:
        answer = typed("run", "-d", "x")
        removed = DELETE in [call(request) for request in server.requests]
    assert answer.code == code, answer
    assert removed == (call_ == START)


def test_run_without_an_engine_is_125(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert typed("run", "x").code == 125
    assert typed("container", "run", "x").code == 125
    assert typed("ps").code == 3


def test_broken_configuration_of_docker_is_a_warning(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_config.file().parent.mkdir(parents=True, exist_ok=True)
    docker_config.file().write_text("{")
    with engine_of(monkeypatch, {**GOOD, START: Reply(status=204)}) as server:
        answer = typed("run", "-d", "x")
        created(server)
    assert answer.code == 0, answer
    assert answer.err.count("going on without its proxies") == 1


def test_pull_never_pulls_nothing_and_is_125(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_of(monkeypatch, {}) as server:
        answer = typed("run", "-d", "--pull", "never", "x")
        assert "POST /images/create" not in [call(request) for request in server.requests]
    assert answer.code == 125
    assert "no such image: x (and --pull is never)" in answer.err


@pytest.mark.parametrize(("arguments", "platform"), [(("--pull", "always"), None), (("--platform", "linux/arm64"), "linux/arm64")])
def test_what_is_here_is_pulled_where_another_is_wanted(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], platform: str | None
) -> None:
    refused = events({"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"})
    with engine_of(monkeypatch, {**GOOD, "POST /images/create": refused}) as server:
        answer = typed("run", "-d", *arguments, "x")
        (pull,) = (query(request) for request in server.requests if call(request) == "POST /images/create")
    assert answer.code == 125
    assert pull.get("platform") == platform


def test_exec_in_a_missing_container_is_exit_1_and_without_a_command_exit_2(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_of(monkeypatch, {}):
        assert typed("exec", "web", "ls").code == 1
        assert typed("exec", "web").code == 2


# What goes well


def test_the_engine_gets_what_was_typed(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = tmp_path / "vars.env"
    variables.write_text("A=1\nB=2\n")
    arguments = (
        *(
            "-d",
            "--rm",
            "-p",
            "127.0.0.1:4000-4001:80-81",
            "-P",
            "-v",
            "data:/data:ro",
            "-v",
            "/anonymous",
            "--mount",
            "type=tmpfs,target=/t",
        ),
        *("--network", "net", "--env-file", str(variables), "-e", "B=3", "-u", "1:2", "-w", "/w", "-m", "64m", "--entrypoint", "sh"),
        *("--platform", "linux/amd64", "x", "-c", "true", "--rm"),
    )
    with engine_of(monkeypatch, GOOD) as server:
        answer = typed("run", *arguments)
        body = created(server)
        (request,) = (each for each in server.requests if call(each) == "POST /containers/create")
    assert (answer.code, answer.out) == (0, "c" * 64 + "\n")
    assert query(request)["platform"] == "linux/amd64"
    assert (body["Entrypoint"], body["Cmd"], body["User"], body["WorkingDir"]) == (["sh"], ["-c", "true", "--rm"], "1:2", "/w")
    assert sorted(body["Env"]) == ["A=1", "B=3"]
    host = body["HostConfig"]
    assert (host["AutoRemove"], host["PublishAllPorts"], host["Memory"], host["NetworkMode"]) == (True, True, 64 << 20, "net")
    assert "MemorySwap" not in host
    assert (host["Binds"], body["Volumes"], len(host["Mounts"])) == (["data:/data:ro"], {"/anonymous": {}}, 1)
    assert host["PortBindings"]["81/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "4001"}]


# Signals


def test_signals_are_kept_until_the_start_and_passed_on_by_name() -> None:
    sent: list[str] = []
    arrived = threading.Semaphore(0)

    def send(name: str) -> None:
        sent.append(name)
        arrived.release()
        raise Conflict("the container is not running")  # it ended: no reason to stop listening

    with SignalForwarder(send, lambda: pytest.fail("it did not ignore anything")) as forwarder:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert sent == []
        forwarder.begin()
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(3):
            assert arrived.acquire(timeout=60)
    assert sent == ["SIGINT", "SIGUSR1", "SIGHUP"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_third_interrupt_that_changed_nothing_gives_up() -> None:
    sent: list[str] = []
    given_up = threading.Event()
    with SignalForwarder(sent.append, given_up.set) as forwarder:
        forwarder.begin()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert given_up.wait(60)
    assert sent == ["SIGINT", "SIGINT"]


def test_ignored_signals_stay_ignored_and_without_forwarding_nothing_changes() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalForwarder(lambda name: None, lambda: None):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    with SignalForwarder(lambda name: None, lambda: None, active=False), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(60)
