from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from registry_tool.auth import credentials, docker_config
from registry_tool.auth.credentials import Credential, HostCredentials
from registry_tool.base.errors import CredentialsError, UsageError
from tests.support import canary

HOST = "registry.example.com"
SECRET = canary.password()


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def podmans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """podman's file, in the place that it has for a user who is logged in; not made yet."""
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    path = tmp_path / "run" / "containers" / "auth.json"
    path.parent.mkdir(parents=True)
    return path


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canary.exempt(path).write_text(json.dumps(document))


@pytest.mark.parametrize("content", [b"rubbish", b"[]", b"null", b"[" * 99_999, b"\xff", b'"SECRET"'])
def test_invalid_file_is_named_and_not_quoted(podmans: Path, content: bytes) -> None:
    canary.exempt(podmans).write_bytes(content.replace(b"SECRET", SECRET.encode()))
    with pytest.raises(CredentialsError, match="is not a JSON object") as caught:
        credentials.find(HOST)
    assert str(podmans) in caught.value.message
    assert SECRET not in str(caught.value) + str(caught.value.hint)


def test_invalid_entry_is_named_with_its_file(podmans: Path) -> None:
    write(podmans, {"auths": {HOST: {"auth": "%%%"}}})
    with pytest.raises(CredentialsError, match=str(podmans)):
        credentials.find(HOST)


def test_folder_instead_of_the_file_is_an_error(tmp_path: Path, podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path))
    with pytest.raises(CredentialsError, match="cannot be read"):
        credentials.find(HOST)


def test_absent_file_is_empty(podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials.find(HOST) is None
    podmans.write_bytes(b"")
    assert credentials.find(HOST) is None
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nowhere/auth.json")
    assert credentials.find(HOST) is None


def test_auth_json_is_read_where_docker_has_no_credential(podmans: Path) -> None:
    write(podmans, {"auths": {HOST: auth("podman")}})
    assert credentials.find(HOST) == Credential("podman", SECRET)
    assert credentials.find("other.example.com") is None
    credentials.store(HOST, Credential("docker", "x"))
    assert credentials.find(HOST) == Credential("docker", "x")


def test_auth_json_is_never_written(podmans: Path) -> None:
    write(podmans, {"auths": {HOST: auth("podman")}})
    before = podmans.read_bytes()
    credentials.store(HOST, Credential("mary", "x"))
    credentials.erase(HOST)
    assert podmans.read_bytes() == before
    assert credentials.find(HOST) == Credential("podman", SECRET)


def test_registry_auth_file_overrides_the_folders(podmans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(podmans, {"auths": {HOST: auth("runtime")}})
    write(tmp_path / "named.json", {"auths": {HOST: auth("named")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    assert credentials.find(HOST) == Credential("named", SECRET)


def test_without_runtime_folder_it_is_in_the_home_folder(own_folders: Path, podmans: Path) -> None:
    path = own_folders / ".config" / "containers" / "auth.json"
    write(path, {"auths": {HOST: auth("home")}})
    assert credentials.auth_file() == path
    assert credentials.find(HOST) == Credential("home", SECRET)
    write(podmans, {})
    assert credentials.auth_file() == podmans


def test_credential_of_a_namespace_is_not_used_for_the_registry(podmans: Path) -> None:
    write(podmans, {"auths": {f"{HOST}/john": auth("john")}})
    assert credentials.find(HOST) is None


# --- parts of a registry ---


def namespaced(*keys: str) -> dict[str, object]:
    """A file with a user for each key, named after it."""
    return {"auths": {key: auth(key.rpartition("://")[2]) for key in keys}}


@pytest.mark.parametrize(
    ("repository", "user"),
    [
        ("", HOST),
        ("mary/app", HOST),
        ("john", f"{HOST}/john"),
        ("john/app", f"{HOST}/john/app"),
        ("john/app/web", f"{HOST}/john/app"),
        ("john/application", f"{HOST}/john"),
        ("johnny/app", HOST),
    ],
)
@pytest.mark.parametrize("where", ["podman", "docker"])
def test_longest_key_that_a_repository_lies_in_is_used(podmans: Path, repository: str, user: str, where: str) -> None:
    file = podmans if where == "podman" else docker_config.file()
    write(file, namespaced(f"{HOST}/john", HOST, f"{HOST}/john/app", "other.example.com/mary"))
    assert credentials.find(HOST, repository=repository) == Credential(user, SECRET)


def test_namespace_goes_before_the_helper_of_its_host(podmans: Path) -> None:
    write(podmans, {**namespaced(f"{HOST}/john"), "credHelpers": {HOST: "nowhere"}})
    assert credentials.find(HOST, repository="john/app") == Credential(f"{HOST}/john", SECRET)
    with pytest.raises(CredentialsError, match="nowhere"):
        credentials.find(HOST, repository="mary/app")


def test_namespace_on_docker_hub(podmans: Path) -> None:
    write(podmans, namespaced("docker.io/john", "https://index.docker.io/v1/"))
    assert credentials.find("docker.io", repository="john/app") == Credential("docker.io/john", SECRET)
    assert credentials.find("docker.io", repository="library/alpine") == Credential("index.docker.io/v1/", SECRET)


def test_logout_leaves_credentials_of_namespaces() -> None:
    write(docker_config.file(), namespaced(HOST, f"{HOST}/john"))
    assert credentials.erase(HOST)
    assert list(docker_config.load()["auths"]) == [f"{HOST}/john"]


# --- stores that are named ---


def test_registry_auth_file_goes_before_docker(tmp_path: Path, podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(HOST, Credential("docker", "x"))
    write(podmans, {"auths": {"other.example.com": auth("podman")}})
    write(tmp_path / "named.json", {"auths": {HOST: auth("named")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    assert credentials.find(HOST) == Credential("named", SECRET)
    assert credentials.find("other.example.com") is None
    write(tmp_path / "named.json", {})
    assert credentials.find(HOST) == Credential("docker", "x")


def test_docker_auth_config_goes_before_dockers_file(podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(HOST, Credential("docker", "x"))
    credentials.store("other.example.com", Credential("docker", "x"))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: auth("ci")}}))
    assert credentials.find(HOST) == Credential("ci", SECRET)
    assert credentials.find("other.example.com") == Credential("docker", "x")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", " ")
    assert credentials.find(HOST) == Credential("docker", "x")


@pytest.mark.parametrize("content", ["rubbish SECRET", '["SECRET"]', '"SECRET"'])
def test_invalid_docker_auth_config_is_named_and_not_quoted(podmans: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", content.replace("SECRET", SECRET))
    with pytest.raises(CredentialsError) as caught:
        credentials.find(HOST)
    assert (caught.value.message, caught.value.hint) == ("DOCKER_AUTH_CONFIG is not a JSON object", "Repair or unset DOCKER_AUTH_CONFIG.")
    credentials.store(HOST, Credential("docker", "x"))
    assert credentials.find(HOST) == Credential("docker", "x"), "a broken store hides a good one"


def test_invalid_entry_of_docker_auth_config_is_named_with_it(podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: {"auth": "%%%"}}}))
    with pytest.raises(CredentialsError, match=f"DOCKER_AUTH_CONFIG has no valid user name and password for '{HOST}'"):
        credentials.find(HOST)


def test_named_file_is_the_only_store(tmp_path: Path, podmans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(HOST, Credential("docker", "x"))
    write(podmans, {"auths": {HOST: auth("podman")}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: auth("ci")}}))
    write(tmp_path / "named.json", {"auths": {"other.example.com": auth("named")}})
    assert HostCredentials("other.example.com", auth_file=tmp_path / "named.json").find() == Credential("named", SECRET)
    assert HostCredentials(HOST, auth_file=tmp_path / "named.json").find("john/app") is None


def test_named_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: .*named\.json"):
        HostCredentials(HOST, auth_file=tmp_path / "named.json")


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"])
def test_docker_hub_by_each_of_its_keys(podmans: Path, key: str) -> None:
    write(podmans, {"auths": {key: auth("mary")}})
    assert credentials.find("docker.io") == Credential("mary", SECRET)


def test_cred_helpers_are_used(podmans: Path) -> None:
    write(podmans, {"credHelpers": {HOST: "nowhere"}})
    with pytest.raises(CredentialsError, match="docker-credential-nowhere is not installed"):
        credentials.find(HOST)
    assert not docker_config.file().exists()
