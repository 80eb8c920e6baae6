from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.auth import credential_helpers, credentials, docker_config
from registry_tool.auth.credentials import Credential, HostCredentials
from registry_tool.base.errors import CredentialsError
from tests.support import canary

HOST = "localhost:5000"
SECRET = canary.password()
MARY = Credential("mary", SECRET)

KEEPER = """#!/bin/sh
# Keeps what it is given in a file, as docker-credential-helpers describe it.
kept="$(dirname "$0")/kept"
printf '%s\\n' "$*" >> "$kept.verbs"
input="$(cat)"
case "$1" in
store) printf '%s' "$input" > "$kept" ;;
get)
    if grep -qsF "\\"$input\\"" "$kept"; then cat "$kept"; else echo 'credentials not found in native keychain'; exit 1; fi ;;
erase) rm -f "$kept" ;;
esac
"""

Helper = Callable[..., Path]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Puts a program ``docker-credential-NAME`` on PATH and names it in docker's configuration."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(script: str, name: str = "test", *, host: str | None = None) -> Path:
        program = folder / f"docker-credential-{name}"
        canary.exempt(program).write_text(script)
        program.chmod(0o755)
        docker_config.save({"credHelpers": {host: name}} if host else {"credsStore": name})
        return program

    return make


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- failures ---


def test_missing_helper_is_named_with_the_configuration() -> None:
    docker_config.save({"credsStore": "nowhere"})
    with pytest.raises(CredentialsError, match="docker-credential-nowhere is not installed") as caught:
        credentials.find(HOST)
    assert caught.value.hint
    assert "docker-credential-nowhere" in caught.value.hint
    assert str(docker_config.file()) in caught.value.hint


@pytest.mark.parametrize(
    "output",
    [
        "rubbish",
        "",
        "{}",
        "[]",
        '"text"',
        "null",
        '{"Username": "mary"}',
        '{"Username": 1, "Secret": "x"}',
        '{"Username": "mary", "Secret": null}',
        "[" * 9999,
    ],
)
def test_helper_with_invalid_output_is_named_and_not_quoted(helper: Helper, output: str) -> None:
    helper(f"#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{output}{SECRET if output == 'rubbish' else ''}\nEND\n")
    with pytest.raises(CredentialsError, match="docker-credential-test prints something that is not a credential") as caught:
        credentials.find(HOST)
    assert SECRET not in str(caught.value) + repr(caught.value) + str(caught.value.hint)


def test_helper_that_hangs_is_killed_with_its_children(helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_helpers, "HELPER_TIMEOUT", 10.0)
    helper(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/child\nwait\n")
    begun = time.monotonic()
    with pytest.raises(CredentialsError, match=r"docker-credential-test did not respond within 10 s"):
        credentials.find(HOST)
    assert time.monotonic() - begun < 60
    child = int((tmp_path / "child").read_text())
    assert _ended(child), "what the helper started is still running"


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "-x", "nul\0", "a b", 7, ["a"]])
def test_invalid_helper_name_is_refused(name: object) -> None:
    docker_config.save({"credHelpers": {HOST: name}})
    if not name:
        assert credentials.find(HOST) is None
        return
    with pytest.raises(CredentialsError, match=r"(is not the name of a credential helper|is not installed)"):
        credentials.find(HOST)


def test_helper_that_cannot_be_started_is_named(helper: Helper) -> None:
    helper("#!/no/such/interpreter\n").chmod(0o755)
    with pytest.raises(CredentialsError, match="docker-credential-test"):
        credentials.find(HOST)
    helper("\x7fELF rubbish")
    with pytest.raises(CredentialsError, match="docker-credential-test cannot be started: Exec format error"):
        credentials.find(HOST)


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_helper_that_fails_is_quoted(helper: Helper, stream: str) -> None:
    helper(f"#!/bin/sh\necho 'pass not initialized'{stream}\nexit 1\n")
    with pytest.raises(CredentialsError, match=r"failed to get \(exit code 1\): pass not initialized"):
        credentials.find(HOST)


def test_helper_that_fails_and_prints_the_secret_is_not_quoted(helper: Helper) -> None:
    helper('#!/bin/sh\necho "cannot store $(cat)"\nexit 3\n')
    with pytest.raises(CredentialsError, match=r"failed to store \(exit code 3\)") as caught:
        credentials.store(HOST, MARY)
    assert SECRET not in str(caught.value)
    assert docker_config.load().get("auths") is None


def test_find_with_on_error_reports_and_returns_none(helper: Helper) -> None:
    docker_config.save({"credsStore": "nowhere"})
    troubles: list[CredentialsError] = []
    assert credentials.find(HOST, on_error=troubles.append) is None
    assert len(troubles) == 1


@pytest.mark.parametrize("rubbish", ["%%%", "eA", auth("no colon"), 7, ["x"], base64.b64encode(b"\xff:\xff").decode()])
def test_invalid_entry_names_host_and_file_only(rubbish: object) -> None:
    docker_config.save({"auths": {HOST: {"auth": rubbish}}})
    with pytest.raises(CredentialsError, match=HOST) as caught:
        credentials.find(HOST)
    assert str(docker_config.file()) in caught.value.message
    assert str(rubbish) not in caught.value.message.replace(str(docker_config.file()), "")


def test_secret_is_in_no_repr() -> None:
    assert SECRET not in repr(MARY) + str(MARY) + f"{[MARY]}"


# --- what is found ---


def test_find_without_configuration_is_none() -> None:
    assert credentials.find(HOST) is None
    assert credentials.erase(HOST) is False


@pytest.mark.parametrize(
    "config", [{"auths": []}, {"auths": {HOST: None}}, {"auths": {HOST: {}}}, {"credHelpers": 3}, {"auths": {HOST: "x"}}]
)
def test_find_in_odd_configuration_is_none(config: dict[str, object]) -> None:
    docker_config.save(config)
    assert credentials.find(HOST) is None


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HOST, HOST),
        (f"http://{HOST}/v2/", HOST),
        (f"https://{HOST}", HOST),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_find_under_old_keys(key: str, host: str) -> None:
    docker_config.save({"auths": {key: {"auth": auth("mary:pass:word")}, "other": {"auth": auth("x:y")}}})
    assert credentials.find(host) == Credential("mary", "pass:word")


def test_find_prefers_dockers_key() -> None:
    docker_config.save({"auths": {f"http://{HOST}": {"auth": auth("old:x")}, HOST: {"auth": auth("new:y")}}})
    assert credentials.find(HOST) == Credential("new", "y")


def test_find_distinguishes_ports() -> None:
    docker_config.save({"auths": {"localhost": {"auth": auth("x:y")}, "localhost:5001": {"auth": auth("x:y")}}})
    assert credentials.find(HOST) is None


def test_identity_token_in_the_auth_config(helper: Helper) -> None:
    docker_config.save({"auths": {HOST: {"auth": auth("mary:"), "identitytoken": "token"}}})
    kept = credentials.find(HOST)
    assert kept == Credential("<token>", "token")
    assert kept.as_auth_config() == {"identitytoken": "token"}
    assert MARY.as_auth_config() == {"username": "mary", "password": SECRET}


def test_user_name_beside_an_identity_token_is_kept() -> None:
    docker_config.save({"auths": {HOST: {"auth": auth("mary:"), "identitytoken": " token\n"}}})
    stored = credentials.find(HOST)
    assert stored is not None
    assert (stored.password, stored.account) == ("token", "mary")


def test_registry_token_goes_before_all_else() -> None:
    docker_config.save({"auths": {HOST: {"auth": auth("mary:x"), "identitytoken": "t", "registrytoken": f"{SECRET}\n"}}})
    canary.exempt(docker_config.file())
    stored = credentials.find(HOST)
    assert stored is not None
    assert (stored.password, stored.is_registry_token, stored.is_identity_token) == (SECRET, True, False)
    assert stored.as_auth_config() == {"registrytoken": SECRET}
    assert SECRET not in repr(stored)


@pytest.mark.parametrize("token", [f"{SECRET}\r\nEvil: b", f"{SECRET}ü"])
def test_registry_token_that_is_no_header_is_an_error(token: str) -> None:
    docker_config.save({"auths": {HOST: {"registrytoken": token}}})
    canary.exempt(docker_config.file())
    with pytest.raises(CredentialsError, match=f"has no valid token for '{HOST}'"):
        credentials.find(HOST)


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\n    "])
def test_base_64_in_lines_is_read(end: str) -> None:
    packed = auth(f"mary:{SECRET}")
    docker_config.file().parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"auths": {HOST: {"auth": packed[:20] + "LINE" + packed[20:].rstrip("=") + "LINE"}}})
    # As ``base64`` prints it, pasted between the quotes; and as JSON wants it.
    for written in (end, json.dumps(end)[1:-1]):
        canary.exempt(docker_config.file()).write_text(text.replace("LINE", written))
        assert credentials.find(HOST) == MARY


def test_helper_of_the_host_goes_before_the_store(helper: Helper) -> None:
    helper("#!/bin/sh\nexit 9\n", "all")
    helper('#!/bin/sh\necho \'{"ServerURL": "x", "Username": "mary", "Secret": "own"}\'\n', "own", host=HOST)
    assert credentials.find(HOST) == Credential("mary", "own")
    with pytest.raises(CredentialsError, match="docker-credential-all"):
        credentials.find("localhost:5001")


@pytest.mark.parametrize("code", [0, 1])
def test_helper_is_called_once_for_all_repositories_of_a_host(helper: Helper, tmp_path: Path, code: int) -> None:
    helper(f"#!/bin/sh\ncat >> {tmp_path}/calls\necho >> {tmp_path}/calls\nexit {code}\n")
    stored = HostCredentials(HOST)
    for repository in ("", "a", "b/c"):
        with pytest.raises(CredentialsError):
            stored.find(repository)
    assert (tmp_path / "calls").read_text() == f"{HOST}\n"


def test_broken_helper_does_not_hide_what_the_files_have(helper: Helper) -> None:
    docker_config.save({"credsStore": "nowhere", "auths": {HOST: {"auth": auth("mary:old")}}})
    assert credentials.find(HOST) == Credential("mary", "old")


def test_helper_does_not_get_the_variable_with_credentials(helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"other.example.com": {"auth": auth(f"mary:{SECRET}")}}}))
    helper(f"#!/bin/sh\nenv > {tmp_path}/environment\ncat > /dev/null\necho 'credentials not found'\nexit 1\n")
    assert credentials.find(HOST) is None
    assert "DOCKER_AUTH_CONFIG" not in (tmp_path / "environment").read_text()


def test_credential_unknown_to_the_helper_is_read_from_the_file(helper: Helper) -> None:
    helper(KEEPER)
    docker_config.save({"auths": {HOST: {"auth": auth("mary:old")}}})
    assert credentials.find(HOST) == Credential("mary", "old")


# --- what is kept ---


def test_store_without_helper_writes_the_file() -> None:
    stored = credentials.store(HOST, MARY)
    assert (stored.where, stored.encrypted) == (str(docker_config.file()), False)
    assert docker_config.load() == {"auths": {HOST: {"auth": auth(f"mary:{SECRET}")}}}
    assert credentials.find(HOST) == MARY
    assert credentials.erase(HOST) is True
    assert docker_config.load() == {"auths": {}}


def test_store_replaces_an_identity_token() -> None:
    credentials.store(HOST, Credential("<token>", "token"))
    assert credentials.find(HOST) == Credential("<token>", "token")
    credentials.store(HOST, MARY)
    assert credentials.find(HOST) == MARY


def test_store_docker_hub_under_dockers_key() -> None:
    credentials.store("docker.io", MARY)
    assert list(docker_config.load()["auths"]) == ["https://index.docker.io/v1/"]


def test_store_with_helper_keeps_no_secret_in_the_file(helper: Helper) -> None:
    docker_config.save({"auths": {HOST: {"auth": auth("mary:old"), "email": "e"}}})
    program = helper(KEEPER)
    stored = credentials.store(HOST, MARY)
    assert (stored.where, stored.encrypted) == (program.name, True)
    assert docker_config.load() == {"credsStore": "test", "auths": {HOST: {"email": "e"}}}
    assert json.loads((program.parent / "kept").read_text()) == {"ServerURL": HOST, "Username": "mary", "Secret": SECRET}
    assert credentials.find(HOST) == MARY
    assert credentials.erase(HOST) is True
    assert not (program.parent / "kept").exists()
    assert docker_config.load() == {"credsStore": "test", "auths": {}}
    assert credentials.erase(HOST) is False
    arguments = (program.parent / "kept.verbs").read_text().split()
    assert set(arguments) == {"store", "get", "erase"}


def _ended(process: int) -> bool:
    for _ in range(1000):
        if _state(process) in ("", "Z"):
            return True
        time.sleep(0.05)
    return False


def _state(process: int) -> str:
    """The letter of a process's state; empty if there is none of that id. A bare Linux has no ps, others no /proc."""
    if not Path("/proc/self/stat").exists():
        return subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False).stdout.strip()[:1]
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
