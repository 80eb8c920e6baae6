"""No engine, a silent one, a forbidden one: one clear line each, and what to do."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry_tool.base.errors import EngineNotFound, EngineNotPermitted, Unreachable
from registry_tool.engine import Endpoint, Engine, client, connect, connect_to
from registry_tool.engine.connect import install_hint, start_hint

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A short path that every user may look into."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def failure(monkeypatch: pytest.MonkeyPatch, url: str) -> Unreachable:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(Unreachable) as caught:
        connect()
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """An address at which one request gets ``answer``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)


def test_missing_socket_is_engine_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = failure(monkeypatch, f"unix://{tmp_path}/none.sock")
    assert isinstance(error, EngineNotFound)
    assert error.message == f"no container engine found: there is no unix://{tmp_path}/none.sock (DOCKER_HOST)"


def test_socket_without_listener_is_engine_not_running(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    path = open_folder / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    error = failure(monkeypatch, f"unix://{path}")
    assert isinstance(error, EngineNotFound)
    assert "installed but not running" in error.message
    assert error.hint is not None
    assert "tart" in error.hint


def test_socket_without_permission_is_engine_not_permitted(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    path = open_folder / "closed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            error = failure(monkeypatch, f"unix://{path}")
        finally:
            os.seteuid(user)
    assert isinstance(error, EngineNotPermitted)
    assert error.hint is not None
    assert "sudo" in error.hint


def test_port_that_refuses_connections_is_engine_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(monkeypatch, f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert "refused" in error.message.lower()


def test_silent_engine_is_a_timeout(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.2)
    path = open_folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        error = failure(monkeypatch, f"unix://{path}")
    assert "timed out" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
    ids=["html", "other json", "404", "mail", "hangs up"],
)
def test_server_that_is_no_engine_is_reported_as_such(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    with answering(answer) as url:
        error = failure(monkeypatch, url)
    assert "engine" in error.message


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_local_engine_is_not_connected_through_a_proxy(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with answering(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK") as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        connect().close()


def test_ssh_without_paramiko_is_refused_with_an_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    error = failure(monkeypatch, "ssh://me@far.example")
    assert "paramiko" in error.message
    assert error.hint is not None
    assert "me@far.example" in error.hint


def test_hints_depend_on_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get" in install_hint("linux")
    assert "Docker Desktop" in install_hint("darwin")
    assert "open -a Docker" in start_hint("darwin")
    assert "start" in start_hint("linux")


def test_hint_where_podman_alone_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "podman" else None)
    assert "podman" in start_hint("linux")
    assert start_hint("darwin") == "Start podman's machine: podman machine start."


@pytest.mark.engine
def test_engine_info_is_complete_and_requested_once(engine: Engine) -> None:
    info = engine.info
    assert engine.id
    assert info.version[0].isdigit()
    assert info.platform.os == "linux"
    assert engine.info is info, "requested once"


@pytest.mark.engine
@pytest.mark.parametrize(
    "content", ['{"auths": {"localhost:5000": "rubbish"}}', '{"auths": {"h": {"auth": "*"}}}', '{"credsStore": "nope"}', "[]"]
)
def test_sdk_does_not_read_docker_config(engine: Engine, own_folders: Path, content: str) -> None:
    folder = own_folders / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(content)
    with connect() as connected:
        assert connected.id == engine.id


@pytest.mark.engine
def test_engine_without_address_is_connected_by_dial(engine: Engine) -> None:
    path = engine.endpoint.socket_path
    assert path is not None, "these tests use an engine at a socket"
    dialled: list[socket.socket] = []

    def dial() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        dialled.append(connection)
        return connection

    with connect_to(Endpoint(url="unix:///nowhere", source="a test", dial=dial)) as other:
        assert other.id == engine.id
        assert other.info == engine.info
    assert dialled and all(connection.fileno() == -1 for connection in dialled)


def test_failing_dial_is_engine_not_found() -> None:
    def dial() -> socket.socket:
        raise ConnectionRefusedError("nobody is there")

    with pytest.raises(EngineNotFound, match="nobody is there"):
        connect_to(Endpoint(url="unix:///nowhere", source="a test", dial=dial))
