from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from registry_tool.auth import docker_config
from registry_tool.base.errors import CredentialsError


@pytest.fixture
def config(own_folders: Path) -> Path:
    path = own_folders / ".docker" / "config.json"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("content", ["{", "[]", "null", "3", "{" * 3, "[" * 100_000, '{"a": "\udcff"}'])
def test_invalid_file_is_named_and_not_quoted(config: Path, content: str) -> None:
    config.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CredentialsError) as caught:
        docker_config.load()
    assert str(config) in caught.value.message
    assert content not in caught.value.message.replace(str(config), "")
    assert caught.value.hint


def test_folder_instead_of_the_file_is_an_error(config: Path) -> None:
    config.mkdir()
    with pytest.raises(CredentialsError, match=r"cannot be read: Is a directory"):
        docker_config.load()


def test_file_instead_of_the_folder_is_an_error(own_folders: Path) -> None:
    (own_folders / ".docker").write_text("")
    with pytest.raises(CredentialsError, match=r"cannot be (read|written): Not a directory"):
        docker_config.save({"credsStore": "pass"})


def test_save_does_not_overwrite_an_invalid_file(config: Path) -> None:
    config.write_text("{broken")
    with pytest.raises(CredentialsError):
        docker_config.save({"credsStore": "pass"})
    assert config.read_text() == "{broken"


def test_absent_file_is_empty(own_folders: Path) -> None:
    assert docker_config.load() == {}
    assert docker_config.current_context() is None
    assert not (own_folders / ".docker").exists()


def test_empty_file_is_empty(config: Path) -> None:
    config.write_text("")
    assert docker_config.load() == {}


def test_without_docker_config_it_is_in_the_home_folder(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG")
    assert docker_config.file() == own_folders / ".docker" / "config.json"


def test_save_keeps_unknown_members(config: Path) -> None:
    before = {"HttpHeaders": {"X": "ü"}, "auths": {"a": {"auth": "eDp5", "email": "e"}, "b": {"auth": "eA=="}}, "experimental": "on"}
    config.write_text(json.dumps(before))
    docker_config.save({"auths": {"a": {"auth": "bmV3"}, "b": None, "c": {"auth": None}}, "experimental": None})
    assert docker_config.load() == {"HttpHeaders": {"X": "ü"}, "auths": {"a": {"auth": "bmV3", "email": "e"}, "c": {}}}


def test_save_replaces_what_is_no_object(config: Path) -> None:
    config.write_text('{"auths": "rubbish"}')
    docker_config.save({"auths": {"a": {"auth": "eDp5"}}})
    assert docker_config.load() == {"auths": {"a": {"auth": "eDp5"}}}


def test_save_is_readable_by_the_owner_only(config: Path) -> None:
    config.write_text("{}")
    config.chmod(0o644)
    docker_config.save({"auths": {}})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_save_to_a_symbolic_link_replaces_its_target(config: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text("{}")
    config.symlink_to(target)
    docker_config.save({"credsStore": "pass"})
    assert config.is_symlink()
    assert json.loads(target.read_text()) == {"credsStore": "pass"}


def test_save_that_fails_keeps_the_old_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('{"credsStore": "pass"}')

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CredentialsError, match="No space left on device"):
        docker_config.save({"credsStore": "other"})
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]
    assert docker_config.load() == {"credsStore": "pass"}


def test_concurrent_saves_are_all_kept(config: Path) -> None:
    names = [f"registry{number}.example.com" for number in range(20)]
    threads = [threading.Thread(target=docker_config.save, args=({"auths": {name: {"auth": "eDp5"}}},)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(docker_config.load()["auths"]) == sorted(names)


@pytest.mark.parametrize(
    ("environment", "configured", "context"),
    [
        (None, "colima", "colima"),
        ("rootless", "colima", "rootless"),
        (None, "default", None),
        ("default", "colima", None),
        (None, "", None),
        (None, 7, None),
        ("", "colima", "colima"),
    ],
)
def test_current_context_is_dockers(
    config: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None, configured: object, context: str | None
) -> None:
    config.write_text(json.dumps({"currentContext": configured}))
    if environment is not None:
        monkeypatch.setenv("DOCKER_CONTEXT", environment)
    assert docker_config.current_context() == context


@pytest.mark.parametrize("proxies", [None, 3, [], {}, {"default": None}, {"default": 3}, {"default": {"httpProxy": 3, "noProxy": ""}}])
def test_proxies_without_a_value_are_no_variables(config: Path, proxies: object) -> None:
    config.write_text(json.dumps({"proxies": proxies}))
    assert docker_config.proxy_variables("unix:///var/run/docker.sock", pytest.fail) == {}


def test_proxies_of_the_engine_count_before_the_default(config: Path) -> None:
    default = {"httpProxy": "http://p:1", "httpsProxy": "http://p:2", "noProxy": "a,b", "ftpProxy": "f", "allProxy": "s", "other": "x"}
    config.write_text(json.dumps({"proxies": {"default": default, "tcp://far:2375": {"httpProxy": "http://q"}}}))
    assert docker_config.proxy_variables("tcp://far:2375", pytest.fail) == {"HTTP_PROXY": "http://q", "http_proxy": "http://q"}
    expected = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2", "NO_PROXY": "a,b", "FTP_PROXY": "f", "ALL_PROXY": "s"}
    assert docker_config.proxy_variables("unix:///x", pytest.fail) == expected | {name.lower(): value for name, value in expected.items()}


def test_unreadable_configuration_is_a_warning_where_its_proxies_are_wanted(config: Path) -> None:
    config.write_text('{"auths": ')
    warnings: list[str] = []
    assert docker_config.proxy_variables("unix:///x", warnings.append) == {}
    assert warnings == [f"docker's configuration {config} is not a JSON object: going on without its proxies"]
