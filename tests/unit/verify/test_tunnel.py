"""The door: the program as it runs inside, in a process of its own here, before a registry that answers."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base.errors import RegistryToolError, Unreachable
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.environments.tunnel.tunnel import Tunnel, program
from tests.support.fake_server import listening
from tests.support.requirements import free_port

BLOB = b"content" * 10_000


class Program:
    """The program's streams as an engine hands them over: its output in frames."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-I", "-B", str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout

    def read(self, size: int = 65536) -> bytes:
        content = self._output.read(size)
        return struct.pack(">BxxxL", 1, len(content)) + content if content else b""

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._input.write(rest) :]

    def close_input(self) -> None:
        self._input.close()

    def close(self) -> None:
        self._output.close()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Program]:
    path = tmp_path / "door.pyz"
    path.write_bytes(program())
    running = Program(path)
    try:
        yield running
        # It ends with its input, which the door closed.
        assert running.process.wait(timeout=20) == 0
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def page() -> Iterator[tuple[str, int]]:
    """Answers each connection with what it sent, once."""
    with listening(lambda connection: connection.sendall(connection.recv(1000))) as address:
        host, _, port = address.partition(":")
        yield host, int(port)


@contextmanager
def hung(inside: Program, registry: server.RunningRegistry, *, carried: bool) -> Iterator[tuple[Tunnel, int]]:
    """The door, and the port at which the registry is to be found inside."""
    address = ("127.0.0.1", registry.port)
    port = free_port()
    with Tunnel(inside, address if carried else None) as door:
        door.listen("127.0.0.1", port, None if carried else address)
        yield door, port


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put_blob(registry: server.RunningRegistry) -> str:
    """Put BLOB there; its path."""
    digest = hashlib.sha256(BLOB).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
    connection.request("POST", "/v2/john/app/blobs/uploads/")
    begun = connection.getresponse()
    begun.read()
    place = begun.headers["Location"].removeprefix(f"http://{registry.host}")
    connection.request("PUT", f"{place}{'&' if '?' in place else '?'}digest=sha256:{digest}", body=BLOB)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()
    return f"/v2/john/app/blobs/sha256:{digest}"


# What may go wrong


def test_nobody_inside_is_told_as_nobody(inside: Program, registry: server.RunningRegistry) -> None:
    with hung(inside, registry, carried=False) as (door, _):
        with pytest.raises(ConnectionRefusedError):
            door.open(free_port())
        with pytest.raises(ConnectionRefusedError):
            door.open("/nowhere/engine.sock")


@pytest.mark.parametrize("carried", [False, True])
def test_the_registry_can_be_refused_and_let_in_again(inside: Program, registry: server.RunningRegistry, carried: bool) -> None:
    path = put_blob(registry)
    with hung(inside, registry, carried=carried) as (door, port):
        door.refuse("blobs")
        assert get(port, "/v2/")[0] == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            get(port, path)
        assert door.traffic().refused == 1
        door.refuse("everything")
        with pytest.raises((OSError, http.client.HTTPException)):
            get(port, "/v2/")
        assert door.traffic().refused == 2
        door.refuse("nothing")
        assert get(port, path) == (200, BLOB)


def test_a_request_for_a_blob_is_refused_also_where_it_comes_in_pieces(inside: Program, registry: server.RunningRegistry) -> None:
    with hung(inside, registry, carried=False) as (door, port), socket.create_connection(("127.0.0.1", port)) as connection:
        door.refuse("blobs")
        connection.settimeout(20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(ConnectionError):
            for piece in (b"GET /v2/john/app/bl", b"ob", b"s/sha256:12 HTTP/1.1\r\n", b"Host: x\r\n\r\n"):
                connection.sendall(piece)
                while door.traffic().up + door.traffic().refused == 0:
                    continue
            assert connection.recv(100) == b""
            raise ConnectionResetError("it was ended")
        assert door.traffic().refused == 1


def test_a_registry_that_is_away_looks_as_it_does_without_a_door(inside: Program) -> None:
    with Tunnel(inside, ("127.0.0.1", free_port())) as door:
        port = free_port()
        door.listen("127.0.0.1", port, None)
        with pytest.raises(ConnectionError):
            get(port, "/v2/")


def test_a_door_does_not_do_what_it_does_not_know(inside: Program, page: tuple[str, int]) -> None:
    with Tunnel(inside, None) as door:
        with pytest.raises(RegistryToolError, match="cannot refuse"):
            door.refuse("Tuesdays")
        with pytest.raises(RegistryToolError, match="cannot listen"):
            door.listen(*page, None)


def test_a_program_that_is_gone_is_an_error_that_says_so(inside: Program, registry: server.RunningRegistry) -> None:
    with hung(inside, registry, carried=False) as (door, _):
        inside.close_input()
        assert inside.process.wait(timeout=20) == 0
        with pytest.raises(Unreachable, match="forwarder"):
            door.traffic()
        with pytest.raises(ConnectionError):
            door.open(registry.port)


def test_from_inside_nothing_but_the_registry_is_reached(inside: Program, page: tuple[str, int]) -> None:
    with Tunnel(inside, None) as door:
        port = free_port()
        door.listen("127.0.0.1", port, None)
        # It asks us for the registry, and there is none.
        with pytest.raises(ConnectionError):
            get(port, "/v2/")
        with pytest.raises(ConnectionRefusedError):
            door._connect(f"tcp:{page[0]}:{page[1]}")


# What goes through


@pytest.mark.parametrize("carried", [False, True])
def test_what_goes_to_the_registry_is_counted(inside: Program, registry: server.RunningRegistry, carried: bool) -> None:
    path = put_blob(registry)
    with hung(inside, registry, carried=carried) as (door, port):
        assert door.traffic() == Traffic()
        assert get(port, path) == (200, BLOB)
        first = door.traffic(reset=True)
        assert len(BLOB) < first.down < len(BLOB) + 1000
        assert len(path) < first.up < 1000
        assert (first.connections, first.refused) == (1, 0)
        assert door.traffic() == Traffic()


def test_a_port_inside_is_one_of_ours(inside: Program, page: tuple[str, int]) -> None:
    with Tunnel(inside, None) as door:
        address = door.address(page[1])
        assert address == door.address(page[1])
        assert address[0] == "127.0.0.1"
        for _ in range(3):
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(b"hello")
                assert connection.recv(100) == b"hello"
        with door.open(page[1]) as connection:
            connection.sendall(b"straight")
            assert connection.recv(100) == b"straight"
    with pytest.raises(OSError, match=r".*"):
        socket.create_connection(address, timeout=20)


def test_the_program_is_one_file_with_the_two_modules() -> None:
    with zipfile.ZipFile(io.BytesIO(program())) as archive:
        names = set(archive.namelist())
    assert {
        "__main__.py",
        "registry_tool/verify/environments/tunnel/multiplexer.py",
        "registry_tool/verify/environments/tunnel/forwarder.py",
    } <= names
