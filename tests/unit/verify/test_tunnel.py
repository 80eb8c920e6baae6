"""The tunnel: the forwarder program, in processes of its own here instead of execs, before a registry that answers."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base.address import HostPort
from registry_tool.base.errors import EngineError
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.environments.tunnel import Tunnel, program
from tests.support.fake_server import tcp_server
from tests.support.requirements import free_port

BLOB = b"content" * 10_000


class LocalExec:
    """The program's streams as an engine hands them over: output and errors in frames over one socket."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-I", "-S", "-B", str(path)]
        self.mode = ""
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._socket, self._frames = socket.socketpair()
        self._sending = threading.Lock()
        self._pumps = [threading.Thread(target=self._frame, args=(kind,), daemon=True) for kind in (1, 2)]
        for pump in self._pumps:
            pump.start()
        threading.Thread(target=self._end, daemon=True).start()

    def _frame(self, kind: int) -> None:
        pipe = self.process.stdout if kind == 1 else self.process.stderr
        assert pipe is not None
        with suppress(OSError), pipe:
            while content := pipe.read(1 << 16):
                with self._sending:
                    self._frames.sendall(struct.pack(">BxxxL", kind, len(content)) + content)

    def _end(self) -> None:
        for pump in self._pumps:
            pump.join()
        self._frames.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self, size: int = 1 << 16) -> bytes:
        return self._socket.recv(size)

    def write(self, content: bytes) -> None:
        assert self.process.stdin is not None
        self.mode = self.mode or content.decode().split()[0]
        view = memoryview(content)
        try:
            while view:
                view = view[self.process.stdin.write(view) :]
        except ValueError as error:  # closed by another thread: a socket raises OSError then
            raise BrokenPipeError(str(error)) from error

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def shut_down(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # As an engine does not end an exec whose client hangs up, somebody has to.
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            self.close_input()
        self._socket.close()


class Inside:
    """The network of a clean engine, which here is this machine's; ``port`` is where the registry is to be found in there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "f.py"
        self.path.write_bytes(program())
        self.port = free_port()
        self.listener = subprocess.Popen([sys.executable, "-I", "-S", "-B", str(self.path), "127.0.0.1", str(self.port)])
        self.execs: list[LocalExec] = []
        self.fault: Exception | None = None
        wait_until(Path(f"{self.path}.sock").exists)

    def start(self) -> LocalExec:
        if self.fault is not None:
            raise self.fault
        self.execs.append(LocalExec(self.path))
        return self.execs[-1]

    @contextmanager
    def tunnel(self, registry_port: int) -> Iterator[Tunnel]:
        with closing(Tunnel(self.start, HostPort("localhost", registry_port))) as tunnel:
            yield tunnel


@pytest.fixture
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    made = Inside(tmp_path_factory.mktemp("f"))
    try:
        yield made
    finally:
        made.listener.kill()
        made.listener.wait()
        for each in made.execs:
            each.close()


@pytest.fixture
def page() -> Iterator[int]:
    """Answers each connection with what it sent, once: its port."""
    with tcp_server(lambda connection: connection.sendall(connection.recv(1000))) as address:
        yield int(address.rpartition(":")[2])


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put_blob(registry: server.RunningRegistry) -> str:
    """Put BLOB there; its path."""
    digest = hashlib.sha256(BLOB).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
    connection.request("POST", "/v2/john/app/blobs/uploads/")
    begun = connection.getresponse()
    begun.read()
    location = begun.headers["Location"].removeprefix(f"http://{registry.host}")
    connection.request("PUT", f"{location}{'&' if '?' in location else '?'}digest=sha256:{digest}", body=BLOB)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()
    return f"/v2/john/app/blobs/sha256:{digest}"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Faults


def test_connect_where_nobody_listens_is_refused(inside: Inside, registry: server.RunningRegistry) -> None:
    with inside.tunnel(registry.port) as tunnel:
        with pytest.raises(ConnectionRefusedError, match="Connection refused"):
            tunnel.connect(free_port())
        with pytest.raises(ConnectionRefusedError, match="No such file"):
            tunnel.connect("/nowhere/engine.sock")


def test_engine_that_starts_no_exec_is_a_connection_error(inside: Inside, registry: server.RunningRegistry) -> None:
    inside.fault = EngineError("the container is not running")
    with inside.tunnel(registry.port) as tunnel, pytest.raises(ConnectionError, match="the container is not running"):
        tunnel.connect(registry.port)


def test_program_that_does_not_answer_is_a_time_out(inside: Inside, registry: server.RunningRegistry) -> None:
    inside.path.write_text("import sys; sys.stdin.read()")
    with inside.tunnel(registry.port) as tunnel, pytest.raises(TimeoutError):
        tunnel.connect(registry.port, timeout=0.2)


def test_program_that_fails_is_a_connection_error_with_its_message(inside: Inside, registry: server.RunningRegistry) -> None:
    inside.path.write_text("import sys; sys.stdin.buffer.raw.read(1); sys.exit('no room')")
    with inside.tunnel(registry.port) as tunnel, pytest.raises(ConnectionError, match="no room"):
        tunnel.connect(registry.port)


def test_registry_that_is_away_resets_connections_and_is_counted(inside: Inside) -> None:
    with inside.tunnel(free_port()) as tunnel:
        for refused in (1, 2):
            with pytest.raises(ConnectionError):
                get(inside.port, "/v2/")
            assert tunnel.traffic().refused == refused
        assert tunnel.traffic().connections == 0


def test_acceptor_that_cannot_be_started_is_tried_again(inside: Inside, registry: server.RunningRegistry) -> None:
    inside.fault = EngineError("busy")
    with inside.tunnel(registry.port):
        inside.fault = None
        assert get(inside.port, "/v2/")[0] == 200


def test_closed_tunnel_connects_nowhere_and_ends_connections(inside: Inside, registry: server.RunningRegistry, page: int) -> None:
    with inside.tunnel(registry.port) as tunnel:
        connection = tunnel.connect(page)
    with connection:
        connection.settimeout(60)
        assert connection.recv(100) == b""
    with pytest.raises(ConnectionError, match="the tunnel is closed"):
        tunnel.connect(page)


@pytest.mark.parametrize("thread", [0, 1, 2], ids=["the spare's", "the sender", "the receiver"])
def test_interruption_while_a_thread_of_a_connection_starts_leaves_no_stream_open(
    inside: Inside, registry: server.RunningRegistry, page: int, monkeypatch: pytest.MonkeyPatch, thread: int
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        if threading.current_thread() is threading.main_thread():
            started.append(self)
            if len(started) == thread + 1:
                signal.raise_signal(signal.SIGINT)

    with inside.tunnel(registry.port) as tunnel:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tunnel.connect(page)
        monkeypatch.undo()
    wait_until(lambda: all(each.fileno() == -1 for each in inside.execs))


# Connections


def test_traffic_of_the_registry_is_counted(inside: Inside, registry: server.RunningRegistry) -> None:
    path = put_blob(registry)
    with inside.tunnel(registry.port) as tunnel:
        assert tunnel.traffic() == Traffic()
        assert get(inside.port, path) == (200, BLOB)
        first = tunnel.traffic(reset=True)
        assert len(BLOB) < first.down < len(BLOB) + 1000
        assert len(path) < first.up < 1000
        assert (first.connections, first.refused) == (1, 0)
        assert tunnel.traffic() == Traffic()


def test_many_connections_to_the_registry_at_once(inside: Inside, registry: server.RunningRegistry) -> None:
    path = put_blob(registry)
    observed: list[tuple[int, bytes]] = []
    with inside.tunnel(registry.port) as tunnel:
        threads = [threading.Thread(target=lambda: observed.append(get(inside.port, path))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert observed == [(200, BLOB)] * 6
        assert tunnel.traffic().connections == 6


def test_connections_into_the_network_carry_both_directions(inside: Inside, registry: server.RunningRegistry, page: int) -> None:
    with inside.tunnel(registry.port) as tunnel:
        for _ in range(2):
            with tunnel.connect(page) as connection:
                connection.sendall(b"hello")
                assert connection.recv(100) == b"hello"
                assert connection.recv(100) == b"", "the other end has closed it"
        assert tunnel.traffic() == Traffic(), "which is none of the registry's"


def test_connection_that_is_closed_here_ends_there(inside: Inside, registry: server.RunningRegistry) -> None:
    ended = threading.Event()

    def serving(connection: socket.socket) -> None:
        if connection.recv(100) == b"":
            ended.set()

    with tcp_server(serving) as address, inside.tunnel(registry.port) as tunnel:
        tunnel.connect(int(address.rpartition(":")[2])).close()
        assert ended.wait(60)
        [connected] = [each for each in inside.execs if each.mode == "connect"]
        wait_until(lambda: connected.process.poll() is not None)


def test_greeting_before_any_input_is_not_lost(inside: Inside, registry: server.RunningRegistry) -> None:
    with (
        tcp_server(lambda connection: connection.sendall(b"220 hello\r\n")) as address,
        inside.tunnel(registry.port) as tunnel,
        tunnel.connect(int(address.rpartition(":")[2])) as connection,
    ):
        assert connection.recv(100) == b"220 hello\r\n"


def test_connect_waits_for_a_socket_that_comes_later(
    inside: Inside, registry: server.RunningRegistry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with inside.tunnel(registry.port) as tunnel, socket.socket(socket.AF_UNIX) as listener:

        def later() -> None:
            time.sleep(0.3)
            listener.bind(str(path))
            listener.listen()

        thread = threading.Thread(target=later)
        thread.start()
        tunnel.connect(str(path), wait=600.0).close()
        thread.join()
