"""Push and pull by a real engine, through real registries: first what goes wrong, then what arrives."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base.codec import to_json
from registry_tool.base.errors import AuthenticationFailed, CredentialsError, NotARegistry, NotFound, PushFailed, RegistryUnreachable
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.registry import LocalRegistry
from tests.support import canary
from tests.support.content import make_image, make_index
from tests.support.engine_facts import reports_layers
from tests.support.requirements import free_port, missing

pytestmark = pytest.mark.engine

MakeImage = Callable[..., str]


class RowObserver:
    """Records the rows, by key."""

    def __init__(self) -> None:
        self.rows: dict[str, list[str]] = {}

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self.rows.setdefault(key, []).append(label)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        assert key in self.rows

    def finish(self, key: str, label: str) -> None:
        self.rows[key].append(f"{label}.")

    def note(self, text: str) -> None:
        return None


@contextmanager
def registry(engine: Engine, image: str, **options: Any) -> Iterator[str]:
    """A registry container of the test's own; gives its address once it answers."""
    files = options.pop("files", {})
    port = free_port()
    spec = ContainerSpec(image=image, ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),), **options)
    made = engine.create(spec)
    try:
        engine.put_files(made.id, "/", files)
        engine.start(made.id)
        _await(port)
        yield f"localhost:{port}"
    finally:
        engine.remove(made.id, force=True)


def _await(port: int) -> None:
    deadline = time.monotonic() + 600
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse()
            return
        except (OSError, HTTPException):
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
        finally:
            connection.close()


@pytest.fixture
def guarded(engine: Engine, registry_image: str) -> Iterator[str]:
    """A registry that wants a password: it is me."""
    line = b"me:" + bcrypt.hashpw(canary.password().encode(), bcrypt.gensalt(4))
    environment = {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "r", "REGISTRY_AUTH_HTPASSWD_PATH": "/htpasswd"}
    with registry(engine, registry_image, environment=environment, files={"htpasswd": (line, 0o644)}) as address:
        yield address


def tiny(tiny_image: MakeImage, host: str, unique: str, **more: int) -> str:
    name = f"{host}/{unique}/x:1"
    tiny_image(name, **more)
    return name


# What may go wrong


def test_push_of_missing_image_is_not_found(engine: Engine, local: LocalRegistry, unique: str) -> None:
    with pytest.raises(NotFound, match=f"no image {local.address}/{unique}") as caught:
        engine.push(f"{local.address}/{unique}:1")
    assert caught.value.exit_code == 1


def test_pull_of_missing_image_is_not_found(engine: Engine, local: LocalRegistry, unique: str) -> None:
    with pytest.raises(NotFound) as caught:
        engine.pull(f"{local.address}/{unique}:1")
    assert caught.value.hint is not None
    assert f"regctl list-tags {local.address}/{unique}" in caught.value.hint


def test_unreachable_registry_is_reported(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    name = tiny(tiny_image, f"localhost:{free_port()}", unique)
    for move in (engine.push, engine.pull):
        with pytest.raises(RegistryUnreachable) as caught:
            move(name)
        assert caught.value.exit_code == 3
        assert caught.value.hint == "Start it: regctl up."
    assert not engine.can_pull(name, timeout=10)


def test_server_that_is_no_registry_is_reported(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    page = b"<html><body>It works!</body></html>"
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_all, args=(listener, answer), daemon=True).start()
        name = tiny(tiny_image, f"localhost:{listener.getsockname()[1]}", unique)
        # containerd's store does not tell a page from an answer of a registry: regctl's commands look for themselves.
        with pytest.raises(PushFailed if engine.has_containerd_store else NotARegistry):
            engine.push(name)
        with pytest.raises(NotFound if engine.has_containerd_store else NotARegistry):
            engine.pull(name)
        listener.shutdown(socket.SHUT_RDWR)


def _answer_all(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):  # it may be closed before the answer
            connection.recv(65536)
            connection.sendall(answer)


def test_no_password_and_a_wrong_one(
    engine: Engine, guarded: str, tiny_image: MakeImage, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tiny(tiny_image, guarded, unique)
    for known in (None, Credential("me", canary.password("wrong"))):
        monkeypatch.setattr(credentials, "find", lambda host, known=known, **options: known)
        for move in (engine.push, engine.pull):
            with pytest.raises(AuthenticationFailed) as caught:
                move(name)
            assert caught.value.hint == f"regctl login {guarded}"
            assert "wrong" not in str(to_json(caught.value))


def test_broken_credential_store_matters_only_where_credentials_are_needed(
    engine: Engine, guarded: str, local: LocalRegistry, tiny_image: MakeImage, unique: str, own_folders: Path
) -> None:
    folder = own_folders / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"credsStore": "no-such-helper"}')
    engine.push(tiny(tiny_image, local.address, unique))
    with pytest.raises(CredentialsError, match="no-such-helper"):
        engine.push(tiny(tiny_image, guarded, unique))


# What arrives


def test_push_and_pull_round_trip(engine: Engine, local: LocalRegistry, tiny_image: MakeImage, unique: str) -> None:
    # Of a small layer, the engine may skip "Downloading" and say at once that it is complete.
    name = tiny(tiny_image, local.address, unique, padding=8 << 20)
    image = engine.image(name)
    assert image is not None
    observer = RowObserver()
    pushed = engine.push(name, observer=observer)
    assert pushed.descriptor is not None
    assert pushed.descriptor.size > 0
    if reports_layers(engine):
        assert list(pushed.layers.values()) == ["Pushed"]
        assert pushed.bytes_moved > 0
        assert [rows[-1] for rows in observer.rows.values()] == ["Pushed."]

    again = engine.push(name)
    assert (again.digest, again.bytes_moved) == (pushed.digest, 0)
    assert list(again.layers.values()) == (["Layer already exists"] if reports_layers(engine) else [])
    assert engine.can_pull(name, timeout=600)
    assert not engine.can_pull(f"{name}-no", timeout=10)

    for known in (name, *image.names):
        if engine.image(known):
            engine.remove_image(known)
    assert engine.image(f"{local.address}/{unique}/x@{pushed.digest}") is None
    pulled = engine.pull(name, expected=pushed.digest)
    assert pulled.digest == pushed.digest
    assert pulled.status == f"Downloaded newer image for {name}"
    known_already = list(pulled.layers.values()) == ["Already exists"] and engine.has_containerd_store  # until it collects its garbage
    if reports_layers(engine) and not known_already:
        assert list(pulled.layers.values()) == ["Pull complete"]
        assert pulled.bytes_moved > 0
    result = engine.image(name)
    assert result is not None
    assert result.id == image.id
    assert engine.pull(name).status == f"Image is up to date for {name}"


def test_pulling_by_digest(engine: Engine, local: LocalRegistry, tiny_image: MakeImage, unique: str) -> None:
    name = tiny(tiny_image, local.address, unique)
    digest = engine.push(name).digest
    by_digest = f"{local.address}/{unique}/x@{digest}"
    engine.remove_image(name)
    assert engine.pull(by_digest).digest == digest
    assert engine.image(by_digest)
    engine.remove_image(by_digest)


def test_with_a_password(engine: Engine, guarded: str, tiny_image: MakeImage, unique: str, own_folders: Path) -> None:
    (own_folders / ".docker").mkdir(exist_ok=True)
    credentials.store(guarded, Credential("me", canary.password()))
    name = tiny(tiny_image, guarded, unique)
    pushed = engine.push(name).digest
    assert engine.pull(name, expected=pushed).digest == pushed
    assert engine.can_pull(name, timeout=600)


def test_with_a_password_for_the_namespace_in_a_named_file(
    engine: Engine, guarded: str, tiny_image: MakeImage, unique: str, tmp_path: Path
) -> None:
    packed = base64.b64encode(f"me:{canary.password()}".encode()).decode()
    file = canary.exempt(tmp_path / "auth.json")
    file.write_text(json.dumps({"auths": {f"{guarded}/{unique}": {"auth": packed}}}))
    name = tiny(tiny_image, guarded, unique)
    with pytest.raises(AuthenticationFailed):
        engine.push(name)
    engine.auth_file = file
    pushed = engine.push(name).digest
    assert engine.pull(name, expected=pushed).digest == pushed


def test_a_platform_that_was_not_pulled_is_missing_in_a_push_until_it_is(engine: Engine, local: LocalRegistry, unique: str) -> None:
    """docker's containerd image store pushes one platform's manifest then, with another digest."""
    if not engine.has_containerd_store:
        missing("containerd-store", "this engine keeps images in another store")
    own = engine.info.platform
    other = "linux/s390x" if own.architecture != "s390x" else "linux/amd64"
    children = [make_image(local.port, f"{unique}/source", None, platform=platform) for platform in (str(own), other)]
    made = make_index(local.port, f"{unique}/source", "1", *children)
    source, copy = f"{local.address}/{unique}/source:1", f"{local.address}/{unique}/copy:1"
    try:
        engine.pull(source)
        engine.tag(source, copy)
        pushed = engine.push(copy)
        assert str(pushed.partial_of) == made.digest
        assert [str(platform) for platform in engine.missing_platforms(copy)] == [other]
        engine.pull(f"{source.rpartition(':')[0]}@{made.digest}", platform=other)
        pushed = engine.push(copy)
        assert (pushed.partial_of, str(pushed.digest)) == (None, made.digest)
    finally:
        for name in (copy, source):
            engine.remove_image(name, force=True, missing_ok=True)
