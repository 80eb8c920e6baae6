"""Many connections over one stream: both ends in this process, over a pair of sockets."""

from __future__ import annotations

import ast
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_tool.verify.environments.tunnel import multiplexer
from registry_tool.verify.environments.tunnel.multiplexer import CHUNK, WINDOW, Multiplexer

PATIENCE = 20.0


def refuse(word: str) -> socket.socket:
    raise ConnectionRefusedError(f"nobody is called {word}")


@contextmanager
def joined(connect: Callable[[str], socket.socket], *, size: int = CHUNK) -> Iterator[tuple[Multiplexer, socket.socket]]:
    """Our end, and the socket below it; the other end connects by ``connect``. What is read is read ``size`` bytes at a time."""
    ours, theirs = socket.socketpair()
    near, far = Multiplexer(ours.sendall, refuse, odd=True), Multiplexer(theirs.sendall, connect, odd=False)

    def run(end: Multiplexer, below: socket.socket) -> None:
        with suppress(OSError):
            end.run(iter(lambda: below.recv(size), b""))

    threads = [threading.Thread(target=run, args=pair) for pair in ((near, ours), (far, theirs))]
    for thread in threads:
        thread.start()
    try:
        yield near, ours
    finally:
        for below in (ours, theirs):
            with suppress(OSError):
                below.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        ours.close()
        theirs.close()


def echo(word: str) -> socket.socket:
    """What comes is sent back; the end of it, too."""
    mine, theirs = socket.socketpair()

    def serve() -> None:
        with mine, suppress(OSError):
            while content := mine.recv(CHUNK):
                mine.sendall(content)

    threading.Thread(target=serve, daemon=True).start()
    return theirs


def exchanged(end: Multiplexer, content: bytes) -> bytes:
    """What comes back for ``content``."""
    with end.open("echo", timeout=PATIENCE) as connection:
        connection.settimeout(PATIENCE)

        def send() -> None:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = b"".join(iter(lambda: connection.recv(CHUNK), b""))
        sender.join(PATIENCE)
    return got


# What may go wrong


def test_what_the_other_end_refuses_is_refused_here_in_its_words() -> None:
    with joined(refuse) as (near, _), pytest.raises(ConnectionRefusedError, match="nobody is called mary"):
        near.open("mary", timeout=PATIENCE)


def test_who_does_not_answer_in_time_is_given_up() -> None:
    asked = threading.Event()

    def slow(word: str) -> socket.socket:
        asked.wait(PATIENCE)
        raise ConnectionRefusedError

    with joined(slow) as (near, _):
        with pytest.raises(TimeoutError):
            near.open("anybody", timeout=0.05)
        asked.set()


def test_nobody_reading_one_connection_holds_up_no_other() -> None:
    def endless(word: str) -> socket.socket:
        if word == "echo":
            return echo(word)
        mine, theirs = socket.socketpair()

        def pour() -> None:
            with mine, suppress(OSError):
                while True:
                    mine.sendall(bytes(CHUNK))

        threading.Thread(target=pour, daemon=True).start()
        return theirs

    with joined(endless) as (near, _), ExitStack() as unread:
        for _ in range(3):
            unread.enter_context(near.open("endless", timeout=PATIENCE))
        time.sleep(0.2)
        assert exchanged(near, b"x" * (3 * WINDOW)) == b"x" * (3 * WINDOW)


def test_when_the_stream_ends_every_connection_is_reset_and_none_is_made() -> None:
    with joined(echo) as (near, below):
        connection = near.open("echo", timeout=PATIENCE)
        connection.sendall(b"something")
        assert connection.recv(100) == b"something"
        below.shutdown(socket.SHUT_RDWR)
        connection.settimeout(PATIENCE)
        with suppress(ConnectionError):
            assert connection.recv(100) == b""
        connection.close()
        deadline = time.monotonic() + PATIENCE
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                near.open("echo", timeout=PATIENCE).close()


def test_who_is_cut_off_on_tcp_sees_a_reset_and_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with joined(echo) as (near, below), client:
        client.settimeout(PATIENCE)
        near.carry(accepted, "echo")
        client.sendall(b"half of it")
        assert client.recv(100) == b"half of it"
        below.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_more_than_there_is_room_for_ends_that_connection_alone() -> None:
    sent: list[bytes] = []
    theirs, mine = socket.socketpair()
    end = Multiplexer(sent.append, lambda word: theirs, odd=False)
    number, head = 1, multiplexer._HEAD
    whole = head.pack(number, multiplexer._DATA, CHUNK) + bytes(CHUNK)
    frames = [head.pack(number, multiplexer._OPEN, 1) + b"x", *([whole] * (WINDOW // CHUNK + 2))]

    def some() -> Iterator[bytes]:
        yield from frames
        deadline = time.monotonic() + PATIENCE
        while not any(head.unpack_from(frame)[1] == multiplexer._RESET for frame in sent):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with mine:
        end.run(some())


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 200 OK\r\n\r\n", b"\0\0\0\1\2\xff\xff\xff\xff", b"\0\0\0\1\3\0\0\0\1x"])
def test_what_are_no_frames_is_an_error(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        Multiplexer(lambda content: None, refuse, odd=True).run([garbage])


def test_a_frame_for_nobody_is_passed_over() -> None:
    head = multiplexer._HEAD
    frames = head.pack(7, multiplexer._DATA, 1) + b"x" + head.pack(7, multiplexer._END, 0) + head.pack(7, multiplexer._RESET, 0)
    Multiplexer(lambda content: None, refuse, odd=True).run([frames])


# What is carried


@given(contents=st.lists(st.binary(max_size=3 * CHUNK), min_size=1, max_size=6), size=st.sampled_from([1, 7, 4096, CHUNK]))
@settings(max_examples=25)
def test_whatever_is_sent_on_however_many_comes_back_whole(contents: list[bytes], size: int) -> None:
    if size < 10:
        contents = [content[:500] for content in contents]
    with joined(echo, size=size) as (near, _):
        got: dict[int, bytes] = {}

        def exchange(number: int) -> None:
            got[number] = exchanged(near, contents[number])

        threads = [threading.Thread(target=exchange, args=(number,)) for number in range(len(contents))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert got == dict(enumerate(contents))


def test_an_end_is_carried_and_the_other_direction_goes_on() -> None:
    def until_end(word: str) -> socket.socket:
        mine, theirs = socket.socketpair()

        def serve() -> None:
            with mine:
                got = b"".join(iter(lambda: mine.recv(CHUNK), b""))
                mine.sendall(b"%d bytes" % len(got))

        threading.Thread(target=serve, daemon=True).start()
        return theirs

    with joined(until_end) as (near, _), near.open("", timeout=PATIENCE) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(bytes(1000))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"1000 bytes"


def test_what_has_ended_is_forgotten() -> None:
    with joined(echo) as (near, _):
        for _ in range(20):
            assert exchanged(near, b"once") == b"once"
        deadline = time.monotonic() + PATIENCE
        while near._channels and time.monotonic() < deadline:
            time.sleep(0.01)
        assert near._channels == {}


@pytest.mark.parametrize("name", ["multiplexer.py", "forwarder.py"])
def test_what_runs_inside_needs_nothing_but_an_old_python(name: str) -> None:
    text = (Path(multiplexer.__file__).parent / name).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign <= {"registry_tool.verify.environments.tunnel.multiplexer", "__future__"}
