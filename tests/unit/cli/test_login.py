"""``login`` and ``logout`` against a real registry that wants a password."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry
from tests.support import canary
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.requirements import free_port

PASSWORD, WRONG = canary.password("correct horse"), canary.password("wrong")


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
    assert "NAME_UNKNOWN" in spawn("list-tags", f"{guarded}/{unique}").err
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
