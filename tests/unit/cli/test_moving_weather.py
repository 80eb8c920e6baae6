"""``copy``, ``import`` and a direct push to a registry that fails under way: they finish, or fail in clear words, and lose nothing."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry_tool import server
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.content.check import check
from registry_tool.content.direct import push_image
from registry_tool.server.listener import Server
from registry_tool.targets.registry import open_registry
from registry_tool.transport import retry, transport
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image
from tests.support.fake_server import JSON, ReceivedRequest, Reply
from tests.support.faulty_proxy import (
    Fault,
    FaultyProxy,
    Forward,
    close_connection,
    cut_request_after,
    faulty_proxy,
    lose_response,
    respond_with,
)
from tests.support.recording_server import RecordingServer
from tests.support.requirements import free_port
from tests.support.saved_images import SavedImage

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LARGE = 1_200_000
"""Bytes of a layer that is sent while it is read."""
UPLOADS = "/blobs/uploads/"

Move = Callable[[str], tuple[int, str]]
"""Moves the image to the repository ``app`` of a registry, as ``1``; returns the exit code, and what was said of a failure."""


@pytest.fixture
def copying(typed: Typed, watching: RecordingServer, image: str) -> Move:
    def move(host: str) -> tuple[int, str]:
        answer = typed("copy", "app:1", f"{host}/app")
        return answer.code, answer.err

    return move


@pytest.fixture
def importing(typed: Typed, watching: RecordingServer, image: str, tmp_path: Path) -> Move:
    path = str(tmp_path / "images.tar")
    assert typed("export", "app:1", "-o", path).code == 0

    def move(host: str) -> tuple[int, str]:
        answer = typed("import", path, f"{host}/app:1")
        return answer.code, answer.err

    return move


@pytest.fixture
def pushing() -> Move:
    saved = SavedImage([random.Random(1).randbytes(LARGE), b"app" * 1000])

    def move(host: str) -> tuple[int, str]:
        with open_registry(host) as registry:
            try:
                push_image(saved.image, saved.archive, registry.repository("app"), "1")
            except RegistryToolError as error:
                return error.exit_code, error.message
        return 0, ""

    return move


@pytest.fixture
def image(watching: RecordingServer) -> str:
    """The image to move, with a small and a large layer."""
    return make_image(watching.port, "app", "1", layer(random.Random(2).randbytes(LARGE)), layer(b"app")).digest


@pytest.fixture(params=["copying", "importing", "pushing"])
def move(request: pytest.FixtureRequest) -> Move:
    moving: Move = request.getfixturevalue(request.param)
    return moving


@pytest.fixture
def line(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    """The way to the registry in this process."""
    with faulty_proxy(registry.port) as proxy:
        yield proxy


def tags_at(host: str) -> tuple[str, ...]:
    """The tags of the repository; what stands for them, and all else, is whole."""
    with open_registry(host) as opened:
        report = check(opened, deep=True)
        assert (report.error, report.findings) == (None, ())
        try:
            return opened.repository("app").tags()
        except NotFound:
            return ()


PASSING: dict[str, Fault] = {
    "closed": close_connection,
    "response lost": lose_response,
    "429": respond_with(429, retry_after="0"),
    "500": respond_with(500),
    "502": respond_with(502),
    "503": respond_with(503),
}


@pytest.mark.parametrize("method", ["POST", "PUT|PATCH"])
@pytest.mark.parametrize("fault", PASSING)
def test_registry_that_fails_for_a_while_gets_the_image(move: Move, line: FaultyProxy, method: str, fault: str) -> None:
    line.inject(PASSING[fault], method=method, path=UPLOADS, times=2)
    assert move(line.host) == (0, "")
    assert tags_at(line.host) == ("1",)


@pytest.mark.parametrize("fault", ["closed", "response lost", "500"])
def test_manifest_that_is_refused_for_a_while_arrives(move: Move, line: FaultyProxy, fault: str) -> None:
    line.inject(PASSING[fault], method="PUT", path="/manifests/", times=2)
    assert move(line.host) == (0, "")
    assert tags_at(line.host) == ("1",)


@pytest.mark.parametrize("count", [0, 100_000])
def test_body_that_is_cut_once_is_sent_again(move: Move, line: FaultyProxy, count: int) -> None:
    line.inject(cut_request_after(line, count), method="PUT|PATCH", path=UPLOADS, times=1)
    assert move(line.host) == (0, "")
    assert tags_at(line.host) == ("1",)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (close_connection, "the connection to .* was lost"),
        (respond_with(500), "500"),
        (respond_with(401), "401|log in|does not accept|credentials"),
        (respond_with(507), "507"),
    ],
    ids=["closed", "500", "401", "507"],
)
@pytest.mark.parametrize("path", [UPLOADS, "/manifests/"])
def test_registry_that_goes_on_failing_is_a_clear_failure_without_a_tag(
    move: Move, line: FaultyProxy, fault: Fault, words: str, path: str
) -> None:
    line.inject(fault, method="PUT", path=path)
    code, said = move(line.host)
    assert code in (1, 3)
    assert re.search(words, said, re.IGNORECASE), said
    line.reset()
    assert tags_at(line.host) == ()
    # And run again where it works, it succeeds.
    assert move(line.host) == (0, "")
    assert tags_at(line.host) == ("1",)


@pytest.mark.parametrize("path", [UPLOADS, "/manifests/"])
def test_registry_that_stalls_is_a_clear_failure_without_a_tag(
    move: Move, line: FaultyProxy, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    ended = threading.Event()

    def stall(request: ReceivedRequest, forward: Forward) -> Reply:
        ended.wait(300)
        return Reply(hang_up=True)

    defaults: Any = transport.Transport.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeouts", (30.0, 2.0))
    line.inject(stall, method="PUT", path=path)
    try:
        code, said = move(line.host)
    finally:
        ended.set()
    line.reset()
    monkeypatch.undo()
    assert code == 3, said
    assert "did not respond to" in said
    assert tags_at(line.host) == ()


# --- the disk of the registry is full ---


def full_disk(request: ReceivedRequest, forward: Forward) -> Reply:
    """As registry:2 answers then."""
    message = "filesystem: write /var/lib/registry/docker/registry/v2/blobs: no space left on device"
    error = {
        "code": "UNKNOWN",
        "message": "unknown error",
        "detail": {"DriverName": "filesystem", "Enclosed": {"Err": 28}, "Path": message},
    }
    return Reply(status=500, headers={"Content-Type": JSON}, body=json.dumps({"errors": [error]}).encode())


def test_full_disk_of_the_registry_is_a_failure_without_a_tag(move: Move, line: FaultyProxy) -> None:
    line.inject(full_disk, method="PUT|PATCH", path=UPLOADS)
    code, said = move(line.host)
    assert (code, tags_at(line.host)) == (1, ())
    assert "500" in said


# --- tokens end under way ---


@dataclass
class Tokens:
    """A registry that wants tokens, and forgets those that it gave out at its request number ``end``."""

    proxy: FaultyProxy
    end: int
    count: int = 0
    made: int = 0
    valid: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: ReceivedRequest, forward: Forward) -> Reply:
        with self.lock:
            if request.path.startswith("/token"):
                self.made += 1
                self.valid.add(f"t{self.made}")
                return Reply(headers={"Content-Type": JSON}, body=json.dumps({"token": f"t{self.made}"}).encode())
            self.count += 1
            if self.count == self.end:
                self.valid.clear()
            is_known = request.headers.get("authorization", "").removeprefix("Bearer ") in self.valid
        if is_known:
            return forward(request)
        challenge = f'Bearer realm="http://{self.proxy.host}/token",service="here",scope="repository:app:pull,push"'
        return respond_with(401, www_authenticate=challenge)(request, forward)


@pytest.mark.parametrize("end", [2, 4, 6, 8, 11])
def test_token_that_ends_under_way_is_renewed(move: Move, line: FaultyProxy, end: int) -> None:
    tokens = Tokens(line, end)
    line.inject(tokens)
    assert move(line.host) == (0, "")
    assert tokens.made > (tokens.count >= end)
    line.reset()
    assert tags_at(line.host) == ("1",)


# --- restarted ---


class Restarting:
    """A registry on one port, whose content stays. At a request for an upload it goes, and comes back when somebody was refused."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._application = server.Application(server.MemoryStorage())
        self._servers = [Server(self, port=free_port())]
        self.host, self._port = self._servers[0].host, self._servers[0].port
        self._going, self._gone, self._returning, self._returned = (threading.Event() for _ in range(4))
        self._threads = [threading.Thread(target=self._restart), threading.Thread(target=self._servers[0].serve)]

    def __enter__(self) -> Restarting:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        for event in (self._going, self._returning):
            event.set()
        self._threads[0].join()
        self._servers[-1].close()
        for thread in self._threads:
            thread.join()

    def __call__(self, environ: WSGIEnvironment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if UPLOADS in environ["PATH_INFO"]:
            self._left -= 1
            if self._left == 0:
                self._going.set()
        return self._application(environ, start_response)

    def _restart(self) -> None:
        self._going.wait()
        self._servers[0].close()
        # Nobody else gets the port meanwhile: a socket that does not listen refuses as none does.
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", self._port))
            self._gone.set()
            self._returning.wait()
            self._servers.append(Server(self, port=self._port))
        self._threads.append(threading.Thread(target=self._servers[1].serve))
        self._threads[-1].start()
        self._returned.set()

    def settle(self) -> None:
        """Wait until the registry is back, where it went: nobody is refused where all answers were given before it was gone."""
        if self._going.is_set():
            self._returning.set()
            assert self._returned.wait(120)

    def __iter__(self) -> Iterator[float]:
        """Pauses before an upload is begun again: the second attempt is refused, and the third finds the registry."""
        yield 0.0
        self._gone.wait(120)
        yield 0.0
        self._returning.set()
        self._returned.wait(120)
        yield 0.0


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_registry_that_restarts_under_way_gets_the_image(move: Move, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    with Restarting(at) as registry:
        monkeypatch.setattr(retry, "REPEAT_DELAYS", registry)
        assert move(registry.host) == (0, "")
        registry.settle()
        assert tags_at(registry.host) == ("1",)


def test_registry_that_does_not_come_back_is_a_clear_failure(move: Move, registry: server.RunningRegistry) -> None:
    with server.run_server(registry.application, port=free_port()) as gone:
        pass
    code, said = move(gone.host)
    assert code == 3
    assert f"no registry answers at {gone.host}" in said
