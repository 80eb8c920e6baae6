"""Looks at what runs: what holds, what does not, and what is said of it. The servers are real; only the engine is left out."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.deadline import Deadline
from registry_tool.engine import Container
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.expectations import equals, value_at
from registry_tool.verify.probing import probes
from registry_tool.verify.probing.probes import CLOSE_WAIT, ProbeResult, ProbeTarget, run_probes
from registry_tool.verify.spec import Exit, Http, Probe, Tcp
from tests.support.requirements import free_port

RUNS = Container(id="1", name="c", image="i", image_id="1", state="running")


@dataclass(kw_only=True)
class Server:
    """Answers with what ``answer`` gives for the number of the request and its path: status, text, and seconds to wait before."""

    port: int
    answer: Callable[[int, str], tuple[int, str, float]] = lambda number, path: (200, "Hello World!", 0.0)
    hosts: list[str] = field(default_factory=list)


@contextmanager
def _serving(answer: Callable[[int, str], tuple[int, str, float]]) -> Iterator[Server]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.hosts.append(self.headers["Host"])
            status, text, seconds = served.answer(len(served.hosts), self.path)
            time.sleep(seconds)
            with suppress(ConnectionError):  # who asked may have given up
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        served = Server(port=server.server_address[1], answer=answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _LocalEnvironment:
    """As much of an environment as a probe from outside needs."""

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        return socket.create_connection((host or "127.0.0.1", port), timeout=timeout)


def _run(
    probe: Probe,
    port: int,
    *,
    seconds: float = 60.0,
    deadline: Deadline | None = None,
    close_wait: float = CLOSE_WAIT,
    inspect: Callable[[], Container | None] = lambda: RUNS,
) -> ProbeResult:
    target = ProbeTarget(
        environment=cast(Environment, _LocalEnvironment()), container="1", ports={4000: port}, log=0, close_wait=close_wait
    )
    [result] = run_probes(target, [probe], timeout=deadline or Deadline(seconds), inspect=inspect)
    return result


@pytest.fixture
def two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is up after two rounds, each of which had all the time that it needed."""
    monkeypatch.setattr(probes, "poll", lambda decided, timeout, pause: [decided(), decided()])


class _AskedTwice(Deadline):
    """Passes once ``server`` was asked twice, however long that takes."""

    def __init__(self, server: Server) -> None:
        super().__init__(60.0)
        self._server = server

    @property
    def left(self) -> float:
        return super().left if len(self._server.hosts) < 2 else 0.0


def _page(**members: Any) -> Http:
    return Http(published=4000, container=80, **members)


DOCUMENT = json.dumps({"name": "john", "visits": [{"count": 7}, {"count": 7.5}], "ok": True, "none": None, "a b": "c=d"})


@pytest.mark.parametrize(
    ("status", "text", "asked", "words"),
    [
        (404, "gone", {}, "the status is 404, and one below 400 was expected: 'gone'"),
        (200, "here", {"status": 404}, "the status is 200, and 404 was expected: 'here'"),
        (200, "Goodbye", {"text": ("Good", "Hello")}, "'Hello' is not in the response: 'Goodbye'"),
        (200, "", {"text": ("Hello",)}, "'Hello' is not in the response: nothing"),
        (200, "no\x1b[31m json", {"json": (("a", "1"),)}, "the response is not JSON: 'no�[31m json'"),
        (200, "[" * 100_000, {"json": (("a", "1"),)}, "the response is not JSON"),
        (200, DOCUMENT, {"json": (("visits.0.count", "8"),)}, "visits.0.count is '7', and 8 was expected"),
        (200, DOCUMENT, {"json": (("visits.2.count", "8"),)}, "visits.2.count: there is no '2'"),
        (200, DOCUMENT, {"json": (("name.first", "j"),)}, "name.first: there is no 'first'"),
    ],
)
def test_page_that_differs_fails_with_the_difference(status: int, text: str, asked: Mapping[str, Any], words: str) -> None:
    with _serving(lambda number, path: (status, text, 0.0)) as server:
        result = _run(_page(**asked), server.port, deadline=_AskedTwice(server))
    assert result.ok is False
    assert result.observed.startswith(words)
    assert result.attempts > 1, "it was tried again"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"status": 200, "text": ("john", "visits")},
        {"json": (("name", "john"), ("visits.0.count", "7"), ("visits.1.count", "7.5"), ("ok", "true"), ("none", "null"), ("a b", "c=d"))},
        {"json": (("visits.0", '{ "count" : 7 }'),), "within": 60.0, "path": "/page?a=b"},
    ],
)
def test_page_as_expected_holds(asked: Mapping[str, Any]) -> None:
    with _serving(lambda number, path: (200, DOCUMENT, 0.0)) as server:
        result = _run(_page(**asked), server.port)
    assert result.ok is True, result.observed
    assert result.attempts == 3
    assert server.hosts == ["localhost:4000"] * 3, "it is asked for by the name that a person would use"


def test_page_that_becomes_ready_is_waited_for() -> None:
    with _serving(lambda number, path: (503 if number < 4 else 200, "", 0.0)) as server:
        result = _run(_page(), server.port)
    assert (result.ok, result.attempts) == (True, 6)


def test_page_that_holds_only_once_fails() -> None:
    with _serving(lambda number, path: (200, "Hello" if number == 1 else "Goodbye", 0.0)) as server:
        result = _run(_page(text=("Hello",)), server.port)
    assert (result.ok, result.attempts) == (False, 2)
    assert result.observed.startswith("it held once, and then no more: 'Hello' is not in the response")


@pytest.mark.usefixtures("two_rounds")
def test_page_that_takes_too_long_fails() -> None:
    with _serving(lambda number, path: (200, "", 1.5)) as server:
        result = _run(_page(within=0.1), server.port)
    assert (result.ok, result.observed) == (False, "no response within 0.1 s")


@pytest.mark.usefixtures("two_rounds")
@pytest.mark.parametrize("asked", [_page(), Tcp(published=4000, container=80)], ids=["page", "port"])
def test_refused_connection_fails_the_probe(asked: Probe) -> None:
    result = _run(asked, free_port())
    assert result.ok is False
    assert "refused" in result.observed.lower()


@pytest.mark.usefixtures("two_rounds")
def test_port_that_closes_the_connection_at_once_fails() -> None:
    """What an engine publishes takes connections also where nothing listens inside."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        result = _run(Tcp(published=4000, container=80), listener.getsockname()[1], close_wait=60)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert (result.ok, result.observed) == (False, "the connection was closed at once: nothing listens")


def test_port_that_keeps_the_connection_open_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = _run(Tcp(published=4000, container=80), listener.getsockname()[1])
    assert (result.ok, result.attempts) == (True, 1)


def _ended(code: int) -> Container:
    return Container(id="1", name="c", image="i", image_id="1", state="exited", exit_code=code)


def test_exit_is_waited_for_and_its_code_compared() -> None:
    states = iter([RUNS, RUNS, _ended(3)])
    result = _run(Exit(code=3), 0, inspect=lambda: next(states))
    assert (result.ok, result.observed, result.attempts) == (True, "it ended with code 3", 3)
    assert _run(Exit(code=0), 0, inspect=lambda: _ended(3)).ok is False


@pytest.mark.usefixtures("two_rounds")
def test_container_that_does_not_end_is_said_to_be_running() -> None:
    assert _run(Exit(code=0), 0).observed == "it is still running"


def test_page_of_an_ended_container_is_undecided_at_once() -> None:
    began = time.monotonic()
    result = _run(_page(), free_port(), inspect=lambda: _ended(1))
    assert result.ok is None
    assert time.monotonic() - began < 30


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(value=json_values)
def test_value_equals_its_own_json(value: Any) -> None:
    assert equals(value, value if isinstance(value, str) else json.dumps(value))


@given(one=json_values, other=json_values)
def test_value_differs_from_other_json(one: Any, other: Any) -> None:
    spelled = other if isinstance(other, str) else json.dumps(other, sort_keys=True)
    same = one == other if isinstance(one, str) else json.dumps(one, sort_keys=True) == spelled
    if isinstance(one, str) == isinstance(other, str):
        assert equals(one, spelled) is same


@given(value=json_values, path=st.text(max_size=10))
def test_any_path_has_a_value_or_names_the_missing_part(value: Any, path: str) -> None:
    try:
        value_at(value, path)
    except LookupError as error:
        assert str(error.args[0]).startswith("there is no ")  # noqa: PT017


def test_true_does_not_equal_one() -> None:
    assert not equals(True, "1")
    assert not equals(1, "true")
    assert not equals(1, "not json")
