"""The engine is found as docker finds it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from registry_tool.base.errors import CredentialsError, UsageError
from registry_tool.engine import endpoint
from registry_tool.engine.endpoint import Endpoint


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch, own_folders: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def make_context(name: str, host: str | None, *, skip_verify: bool = False, tls: tuple[str, ...] = ()) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()
    folder = Path(os.environ["DOCKER_CONFIG"]) / "contexts"
    meta = folder / "meta" / digest
    meta.mkdir(parents=True)
    docker = {"SkipTLSVerify": skip_verify} | ({"Host": host} if host is not None else {})
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    for file in tls:
        path = folder / "tls" / digest / "docker" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pem")
    return meta / "meta.json"


def configure(content: str) -> None:
    folder = Path(os.environ["DOCKER_CONFIG"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(content)


def test_unknown_context_lists_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    make_context("lab", "unix:///lab.sock")
    make_context("attic", "unix:///attic.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")
    with pytest.raises(UsageError, match="no docker context 'nope'") as caught:
        endpoint.find()
    assert caught.value.hint == "Those that exist: default, attic, lab."
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "url", ["tcp://host", "fd://", "unix://", "tcp://host:port", "tcp://", "nonsense", "npipe:////./pipe/docker_engine"]
)
def test_invalid_address_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(UsageError, match=r"DOCKER_HOST is .*not an address") as caught:
        endpoint.find()
    assert caught.value.hint is not None
    assert "unix:///var/run/docker.sock" in caught.value.hint


def test_context_without_address_is_a_usage_error() -> None:
    make_context("empty", None)
    with pytest.raises(UsageError, match="'empty' names no engine"):
        endpoint.find(context="empty")


@pytest.mark.parametrize("content", ["{not json", "[]"])
def test_damaged_context_file_is_a_usage_error(content: str) -> None:
    file = make_context("broken", "unix:///x.sock")
    file.write_text(content)
    with pytest.raises(UsageError):
        endpoint.find(context="broken")


def test_damaged_configuration_is_named() -> None:
    configure("{rubbish")
    with pytest.raises(CredentialsError, match=r"config\.json"):
        endpoint.find()


def test_docker_host_takes_precedence_over_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    make_context("lab", "unix:///lab.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert endpoint.find() == Endpoint(url="unix:///host.sock", source="DOCKER_HOST")


def test_docker_host_takes_precedence_over_a_damaged_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    configure("{rubbish")
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert endpoint.find().url == "unix:///host.sock"


def test_explicit_context_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    make_context("lab", "unix:///lab.sock")
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert endpoint.find(context="lab") == Endpoint(url="unix:///lab.sock", source="context lab")


def test_docker_context_takes_precedence_over_current_context(monkeypatch: pytest.MonkeyPatch) -> None:
    make_context("lab", "unix:///lab.sock")
    make_context("home", "unix:///home.sock")
    configure('{"currentContext": "home"}')
    assert endpoint.find().source == "context home"
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    assert endpoint.find().source == "context lab"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert endpoint.find().source == "the default socket"


def test_context_with_tls() -> None:
    make_context("far", "tcp://far.example:2376", tls=("ca.pem", "cert.pem", "key.pem"), skip_verify=True)
    tls = endpoint.find(context="far").tls
    assert tls is not None
    assert [path.name for path in (tls.ca, tls.certificate, tls.key) if path] == ["ca.pem", "cert.pem", "key.pem"]
    assert not tls.verify


def test_environment_with_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("pem")
    monkeypatch.setenv("DOCKER_HOST", "tcp://far.example:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    tls = endpoint.find().tls
    assert tls == endpoint.Tls(ca=tmp_path / "ca.pem", certificate=None, key=None, verify=True)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("unix:///var/run/docker.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://127.0.3.1:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://[::1]:2375", True),
        ("tcp://far.example:2376", False),
        ("tcp://10.0.0.1:2375", False),
        ("ssh://me@far.example", False),
    ],
)
def test_endpoint_on_loopback_or_socket_is_local(monkeypatch: pytest.MonkeyPatch, url: str, local: bool) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    assert endpoint.find().is_local is local


@pytest.mark.parametrize(
    ("written", "meant"),
    [("127.0.0.1:2375", "tcp://127.0.0.1:2375"), ("http://h:1", "tcp://h:1"), ("https://h:2", "tcp://h:2")],
)
def test_http_https_and_bare_addresses_are_tcp(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", written)
    assert endpoint.find().url == meant


@pytest.mark.parametrize(
    ("programs", "expected"),
    [((), "run/podman/podman.sock"), (("dockerd",), "absent.sock")],
    ids=["podman alone", "docker is installed"],
)
def test_podmans_rootless_socket_is_used_where_docker_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, programs: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(endpoint, "DEFAULT_SOCKET", str(tmp_path / "absent.sock"))
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run" / "podman").mkdir(parents=True)
    (tmp_path / "run" / "podman" / "podman.sock").touch()
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert endpoint.find() == Endpoint(url=f"unix://{tmp_path}/{expected}", source="the default socket")


def test_rootless_socket_is_used_without_the_default_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "DEFAULT_SOCKET", str(tmp_path / "absent.sock"))
    monkeypatch.setattr(endpoint, "PODMAN_SOCKET", str(tmp_path / "absent-podman.sock"))
    assert endpoint.find() == Endpoint(url=f"unix://{tmp_path}/absent.sock", source="the default socket")
    desktop = Path.home() / ".docker" / "run" / "docker.sock"
    desktop.parent.mkdir(parents=True)
    desktop.touch()
    assert endpoint.find().socket_path == desktop
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        assert endpoint.find().socket_path == tmp_path / "docker.sock"
    (tmp_path / "absent.sock").touch()
    assert endpoint.find().socket_path == tmp_path / "absent.sock"
