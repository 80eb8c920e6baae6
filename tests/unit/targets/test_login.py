from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.auth import credentials, docker_config, host_settings
from registry_tool.auth.credentials import Credential
from registry_tool.auth.host_settings import HostSettings
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import AuthenticationFailed, CredentialsError, NotARegistry, RegistryUnreachable, UsageError
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import Auth
from registry_tool.targets.registry import login as login_module
from registry_tool.targets.registry import open_registry
from registry_tool.targets.registry import registry as registry_module
from registry_tool.targets.registry.login import Login, Logout, login, logout
from registry_tool.transport import pool, transport
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply, self_signed
from tests.support.requirements import free_port

MARY = Credential("mary", canary.password("right"))
WRONG = Credential("mary", canary.password("wrong"))
BASIC = "Basic " + base64.b64encode(f"mary:{MARY.password}".encode()).decode()


def guarded(received: ReceivedRequest) -> Reply:
    return Reply() if received.headers.get("authorization") == BASIC else reply({}, 401, www_authenticate='Basic realm="x"')


def open_to_all(received: ReceivedRequest) -> Reply:
    return Reply()


# --- failures: nothing is ever kept ---


def test_wrong_password_is_not_stored() -> None:
    with (
        fake_server(guarded) as server,
        pytest.raises(AuthenticationFailed, match="does not accept") as caught,
    ):
        login(server.host, WRONG)
    assert WRONG.password not in f"{caught.value}{caught.value.hint}"
    assert not docker_config.file().exists()


def test_wrong_password_leaves_the_stored_one() -> None:
    with fake_server(guarded) as server:
        login(server.host, MARY)
        with pytest.raises(AuthenticationFailed):
            login(server.host, WRONG)
        assert credentials.find(server.host) == MARY


def test_wrong_password_at_a_token_server_is_not_stored() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if received.path.startswith("/token"):
            return reply({"token": "t"}) if received.headers.get("authorization") == BASIC else reply({}, 401)
        known = received.headers.get("authorization") == "Bearer t"
        return Reply() if known else reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token",service="r"')

    with fake_server(answer) as server:
        with pytest.raises(AuthenticationFailed):
            login(server.host, WRONG)
        assert credentials.find(server.host) is None
        assert login(server.host, MARY).username == "mary"
        assert credentials.find(server.host) == MARY


def test_unreachable_registry_stores_nothing() -> None:
    with pytest.raises(RegistryUnreachable):
        login("localhost:1", MARY)
    assert not docker_config.file().exists()


def test_host_without_a_registry_stores_nothing() -> None:
    with fake_server(lambda received: Reply(headers={"Content-Type": "text/html"})) as server, pytest.raises(NotARegistry):
        login(server.host, MARY)
    assert not docker_config.file().exists()


def test_missing_credential_helper_is_named() -> None:
    docker_config.save({"credsStore": "nowhere"})
    with fake_server(guarded) as server, pytest.raises(CredentialsError, match="docker-credential-nowhere is not installed"):
        login(server.host, MARY)


@pytest.mark.parametrize(
    ("credential", "why"),
    [
        (Credential("", "x"), "needs a user name"),
        (Credential("mary", ""), "needs a user name"),
        (Credential("a:b", "x"), "cannot contain ':'"),
    ],
)
def test_invalid_credential_is_refused_before_any_request(credential: Credential, why: str) -> None:
    with fake_server(open_to_all) as server:
        with pytest.raises(UsageError, match=why):
            login(server.host, credential)
        assert server.requests == []


def test_logout_of_an_invalid_host_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="is not a registry's address"):
        logout("a b")


# --- what is kept ---


@pytest.mark.parametrize(("registry", "checked"), [(guarded, True), (open_to_all, False)])
def test_accepted_password_is_stored_in_the_file(registry: Callable[[ReceivedRequest], Reply], checked: bool) -> None:
    with fake_server(registry) as server:
        file = str(docker_config.file())
        assert login(server.host, MARY) == Login(host=server.host, username="mary", stored_in=file, encrypted=False, checked=checked)
        assert credentials.find(server.host) == MARY
        assert logout(server.host) == Logout(host=server.host, was_logged_in=True)
        assert logout(server.host) == Logout(host=server.host, was_logged_in=False)
        assert credentials.find(server.host) is None


def test_configured_helper_stores_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-box"
    program.write_text('#!/bin/sh\ncat > "$(dirname "$0")/box"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with fake_server(guarded) as server:
        docker_config.save({"credHelpers": {server.host: "box"}})
        done = login(server.host, MARY)
        assert (done.stored_in, done.encrypted) == ("docker-credential-box", True)
        assert MARY.password in (tmp_path / "box").read_text()
        assert MARY.password not in docker_config.file().read_text()
        assert BASIC.partition(" ")[2] not in docker_config.file().read_text()


def test_login_at_an_address_uses_its_host() -> None:
    with fake_server(guarded) as server:
        assert login(f"http://{server.host}/v2/", MARY).host == server.host
    assert list(docker_config.load()["auths"]) == [server.host]


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is on loopback pass for a registry elsewhere."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport, pool, registry_module, login_module):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)


def test_plain_http_is_remembered_from_login_to_logout(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(guarded) as server:
        with pytest.raises(RegistryUnreachable):
            login(server.host, MARY)
        assert login(server.host, MARY, plain_http=True).is_remembered
        with open_registry(server.host) as registry:
            registry.ping()
        assert not login(server.host, MARY).is_remembered, "it was, and is still"
        with open_registry(server.host) as registry:
            registry.ping()
        assert logout(server.host) == Logout(host=server.host, was_logged_in=True, forgotten=True)
        with open_registry(server.host) as registry, pytest.raises(RegistryUnreachable):
            registry.ping()


def test_refused_login_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(guarded) as server, pytest.raises(AuthenticationFailed):
        login(server.host, WRONG, plain_http=True)
    assert host_settings.load(server.host) == HostSettings()


@pytest.mark.usefixtures("has_openssl")
def test_insecure_login_sends_the_password_to_the_host_only_and_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    certificate, warnings = self_signed(tmp_path), list[str]()
    token_server = reply({}, 401, www_authenticate="")

    def answer(received: ReceivedRequest) -> Reply:
        return reply({}, 401, www_authenticate=f'Bearer realm="https://{other.host}/token"')

    with (
        fake_server(lambda received: token_server, address="127.0.0.2", certificate=certificate) as other,
        fake_server(guarded, certificate=certificate) as server,
    ):
        assert login(server.host, MARY, insecure=True, on_warning=warnings.append).is_remembered
        assert host_settings.load(server.host) == HostSettings(insecure=True)
        server.respond = answer
        with pytest.raises(RegistryUnreachable, match="cannot be trusted"):
            login(server.host, MARY, on_warning=warnings.append)
        assert other.requests == []
    assert len(warnings) == 2


@pytest.mark.parametrize("variable", ["REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG"])
@pytest.mark.parametrize("other", [True, False])
def test_login_that_another_store_goes_before_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, other: bool
) -> None:
    warnings: list[str] = []
    with fake_server(guarded) as server:
        packed = base64.b64encode(f"mary:{(WRONG if other else MARY).password}".encode()).decode()
        text = json.dumps({"auths": {server.host: {"auth": packed}}})
        file = canary.exempt(tmp_path / "auth.json")
        file.write_text(text)
        monkeypatch.setenv(variable, str(file) if variable == "REGISTRY_AUTH_FILE" else text)
        login(server.host, MARY, on_warning=warnings.append)
    said = f"{variable} has other credentials for {server.host}, and is read first: these are not used until it is unset"
    assert warnings == ([said] if other else [])


def test_loopback_is_not_remembered() -> None:
    with fake_server(guarded) as server:
        assert not login(server.host, MARY, plain_http=True).is_remembered
    assert host_settings.load(server.host) == HostSettings()


@pytest.mark.engine
def test_login_at_a_real_registry(engine: Engine, registry_image: str, dirs: AppDirs, unique: str) -> None:
    auth = Auth(user="mary", password=MARY.password)
    registry = local_registry.up(engine, image=lambda: registry_image, name=unique, port=free_port(), auth=auth, state=dirs.state).registry
    try:
        with open_registry(registry.address) as client, pytest.raises(AuthenticationFailed, match="no credentials stored for"):
            client.ping()
        with pytest.raises(AuthenticationFailed, match="does not accept"):
            login(registry.address, WRONG)
        login(registry.address, MARY)
        with open_registry(registry.address) as client:
            client.ping()
    finally:
        local_registry.down(engine, unique, volumes=True)
