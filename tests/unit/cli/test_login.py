"""``login`` and ``logout`` against a real registry that wants a password."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.auth import docker_config
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry
from registry_tool.targets.registry import login as login_module
from registry_tool.targets.registry import registry as registry_module
from registry_tool.transport import pool, transport
from tests.support import canary
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply, self_signed
from tests.support.requirements import free_port

PASSWORD, WRONG = canary.password("correct horse"), canary.password("wrong")
BASIC = "Basic " + base64.b64encode(f"john:{PASSWORD}".encode()).decode()


@pytest.fixture
def guarded(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[str]:
    """The address of a registry for john alone."""
    canary.exempt(tmp_path / "password").write_text(f"{PASSWORD}\n")
    port = free_port()
    try:
        answer = spawn("up", "--name", unique, "--port", str(port), "--auth", "john", "--password-file", str(tmp_path / "password"), "-q")
        assert answer.code == 0, answer.err
        yield answer.out.strip()
    finally:
        local_registry.down(engine, unique, volumes=True)


@pytest.mark.parametrize("arguments", [("-p", "secret"), ("--password", "secret"), ("-psecret",)])
def test_password_argument_is_refused_and_not_printed(typed: Typed, arguments: tuple[str, ...]) -> None:
    answer = typed("login", "-u", "john", *arguments, "localhost:5000")
    assert answer.code == 2
    assert "--password-stdin" in answer.err
    assert "secret" not in answer.err


def test_missing_terminal_for_the_password_is_exit_2(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spawn("login", "localhost:1").code == 2
    for arguments in (("-u", "john"), ("-u", "john", "--password-stdin")):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        assert typed("login", *arguments, "localhost:1").code == 2, arguments


def test_unreachable_registry_stores_nothing(typed: Typed, own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    answer = typed("login", "-u", "john", "--password-stdin", "localhost:1")
    assert answer.code == 3
    assert not (own_folders / ".docker" / "config.json").exists()


def guarded_by_basic(received: ReceivedRequest) -> Reply:
    known = received.headers.get("authorization") == BASIC
    return reply({"repositories": ["app"]}) if known else reply({}, 401, www_authenticate='Basic realm="x"')


def test_plain_http_of_a_login_holds_for_other_commands_until_the_logout(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (transport, pool, registry_module, login_module):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with fake_server(guarded_by_basic) as server:
        assert typed("catalog", "-q", server.host).code == 3
        monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
        answer = typed("login", "-u", "john", "--password-stdin", "--plain-http", server.host)
        assert (answer.code, answer.out) == (0, f"Logged in to {server.host} as john\n")
        assert f"remembered: {server.host} is reached by plain HTTP, unencrypted; to forget it: regctl logout {server.host}" in answer.err
        answer = typed("catalog", "-q", server.host)
        assert (answer.code, answer.out) == (0, "app\n")
        assert "unencrypted" not in answer.err
        monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
        again = typed("login", "-u", "john", "--password-stdin", server.host)
        assert (again.code, again.err.count(f"the password is sent to {server.host} unencrypted")) == (0, 1)
        answer = typed("logout", server.host)
        assert answer.code == 0
        assert f"{server.host} is reached by TLS again" in answer.err
        assert typed("catalog", "-q", server.host).code == 3


@pytest.mark.usefixtures("has_openssl")
def test_unchecked_certificate_is_said_by_each_command(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport, pool, registry_module, login_module):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with fake_server(guarded_by_basic, certificate=self_signed(tmp_path)) as server:
        monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
        answers = [typed("login", "-u", "john", "--password-stdin", "--insecure", server.host)]
        answers += [typed("catalog", "-q", server.host) for _ in range(2)]
    for answer in answers:
        assert answer.code == 0
        assert f"the certificate of {server.host} is not checked" in answer.err


@pytest.mark.parametrize("command", [("catalog", "-q"), ("list-tags", "-q"), ("inspect", "-q"), ("check",), ("delete", "--dry-run", "-q")])
def test_named_file_has_the_credentials(typed: Typed, tmp_path: Path, command: tuple[str, ...]) -> None:
    file = canary.exempt(tmp_path / "auth.json")
    with fake_server(guarded_by_basic) as server:
        file.write_text(json.dumps({"auths": {server.host: {"auth": BASIC.partition(" ")[2]}}}))
        name = server.host if command[0] == "catalog" else f"{server.host}/app" + (":v1" if command[0] in ("inspect", "delete") else "")
        typed(*command, "--authfile", str(file), name)
        assert any(received.headers.get("authorization") == BASIC for received in server.requests)
        assert typed(*command, "--authfile", str(tmp_path / "nowhere.json"), name).code == 2


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        ({"registrytoken": PASSWORD.replace(" ", "-")}, "nothing"),
        ({"identitytoken": PASSWORD}, "POST"),
        ({"auth": BASIC.partition(" ")[2]}, "GET"),
        ({"auth": BASIC.partition(" ")[2]}, "both"),
    ],
)
def test_secret_of_each_kind_is_in_no_debug_output(typed: Typed, tmp_path: Path, entry: dict[str, str], refused: str) -> None:
    secrets: list[str] = []

    def answer(received: ReceivedRequest) -> Reply:
        authorization = received.headers.get("authorization", "")
        secrets.append(authorization + received.body.decode())
        if received.path.startswith("/token"):
            return reply({}, 405) if refused in (received.method, "both") else reply({"token": "t0ken"})
        if authorization.startswith(("Bearer", "Basic")):
            return reply({"repositories": ["app"]})
        return reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token",service="r", Basic realm="x"')

    file = canary.exempt(tmp_path / "auth.json")
    with fake_server(answer) as server:
        file.write_text(json.dumps({"auths": {server.host: entry}}))
        result = typed("--debug", "catalog", "-q", "--authfile", str(file), server.host)
    assert (result.code, result.out) == (0, "app\n")
    assert "/v2/_catalog" in result.err
    assert any(secret.startswith(("Basic ", "Bearer ")) or "password=" in secret for secret in secrets)


def test_broken_helper_is_a_note_where_a_public_registry_answers(typed: Typed) -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if received.path.startswith("/token"):
            return reply({"token": "anonymous"})
        known = "authorization" in received.headers
        return reply({"repositories": ["app"]}) if known else reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token"')

    docker_config.save({"credsStore": "nowhere"})
    with fake_server(answer) as server:
        result = typed("catalog", "-q", server.host)
    assert (result.code, result.out) == (0, "app\n")
    assert "docker-credential-nowhere is not installed, or not on PATH: going on without credentials" in result.err


def test_logout_without_credentials_is_exit_1(typed: Typed, own_folders: Path) -> None:
    assert typed("logout", "localhost:1").code == 1
    assert typed("logout", "--missing-ok", "localhost:1").code == 0


@pytest.mark.engine
def test_wrong_password_is_exit_1_and_stores_nothing(guarded: str, own_folders: Path) -> None:
    answer = spawn("login", "-u", "john", "--password-stdin", "--json", guarded, stdin=WRONG)
    assert answer.code == 1
    assert answer.json["error"]["code"] == "authentication-failed"
    assert not (own_folders / ".docker" / "config.json").exists()


@pytest.mark.engine
def test_login_stores_and_logout_removes_credentials(guarded: str, own_folders: Path, unique: str) -> None:
    assert spawn("list-tags", f"{guarded}/{unique}").code == 1
    answer = spawn("login", "-u", "john", "--password-stdin", guarded, stdin=f"{PASSWORD}\n")
    assert (answer.code, answer.out) == (0, f"Logged in to {guarded} as john\n")
    assert "unencrypted" in answer.err
    config = own_folders / ".docker" / "config.json"
    assert config.stat().st_mode & 0o777 == 0o600
    assert guarded in json.loads(config.read_text())["auths"]
    assert f"there is no repository {unique} at {guarded}" in spawn("list-tags", f"{guarded}/{unique}").err
    assert spawn("logout", guarded).code == 0
    assert guarded not in json.loads(config.read_text()).get("auths", {})


@pytest.mark.engine
def test_password_is_asked_for_on_a_terminal_without_echo(guarded: str) -> None:
    with Terminal(["login", guarded]) as terminal:
        terminal.wait_for("User name")
        terminal.type("john\n")
        terminal.wait_for("Password for john")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0
        assert PASSWORD not in terminal.text


@pytest.mark.engine
def test_login_without_server_uses_the_local_registry(local: LocalRegistry) -> None:
    answer = spawn("--registry", local.address, "login", "-u", "john", "--password-stdin", "--json", stdin=PASSWORD)
    assert answer.code == 0
    assert answer.json["registry"] == local.address
    assert answer.json["checked"] is False
    assert "requires no login" in answer.err
