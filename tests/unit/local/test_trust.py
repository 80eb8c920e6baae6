"""What clients need to trust a registry, in a root folder of the test's own; real clients are in ``tests/engine/local/test_trust.py``."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.errors import Conflict, NotFound, RegistryToolError, UsageError
from registry_tool.cli.commands import trust as command
from registry_tool.local.clients import trust
from registry_tool.local.clients.trust import ClientPaths
from tests.support.cli_runner import Typed
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply

HOST = "registry.lan:5000"


@pytest.fixture(scope="module")
def pair() -> certificates.KeyPair:
    return certificates.generate_authority("test", days=3)


@pytest.fixture
def paths(tmp_path: Path) -> ClientPaths:
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)
    return ClientPaths(root=tmp_path, home=tmp_path / "home", config=tmp_path / "home/.docker", is_root=True)


def _never(words: Sequence[str]) -> None:
    raise AssertionError(words)


@pytest.mark.parametrize(
    ("client", "written"),
    [
        ("regctl", ["home/.docker/certs.d/registry.lan:5000/registry-tool.crt"]),
        ("docker", ["etc/docker/certs.d/registry.lan:5000/registry-tool.crt"]),
        ("podman", ["etc/containers/certs.d/registry.lan:5000/registry-tool.crt"]),
        ("containerd", [f"etc/containerd/certs.d/registry.lan:5000/{name}" for name in ("registry-tool.crt", "hosts.toml")]),
    ],
)
def test_each_client_has_its_place(client: str, written: list[str], paths: ClientPaths, pair: certificates.KeyPair) -> None:
    planned = trust.plan([HOST], pair.certificate, [client], paths)
    assert not any(file.path.exists() for file in planned)

    done = trust.apply(planned, run=_never)

    assert [(str(file.path.relative_to(paths.root)), file.state) for file in done] == [(name, "written") for name in written]
    assert (paths.root / written[0]).read_bytes() == pair.certificate
    assert stat.S_IMODE((paths.root / written[0]).stat().st_mode) == 0o644
    again = trust.apply(trust.plan([HOST], pair.certificate, [client], paths), run=_never)
    assert {file.state for file in again} == {"present"}


def test_folders_are_readable_by_everybody_whatever_the_umask(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    before = os.umask(0o077)
    try:
        trust.apply(trust.plan([HOST], pair.certificate, ["docker"], paths))
    finally:
        os.umask(before)
    assert stat.S_IMODE((paths.root / "etc/docker/certs.d").stat().st_mode) == 0o755


def test_podman_without_root_has_a_folder_at_home(tmp_path: Path, pair: certificates.KeyPair) -> None:
    paths = ClientPaths(root=tmp_path, home=tmp_path / "home", config=tmp_path, is_root=False)

    [planned] = trust.plan([HOST], pair.certificate, ["podman"], paths)

    assert planned.path == tmp_path / "home/.config/containers/certs.d" / HOST / "registry-tool.crt"


def test_system_store_is_updated_and_left_where_that_fails(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    commands: list[list[str]] = []

    def fail(words: Sequence[str]) -> None:
        commands.append(list(words))
        raise RegistryToolError("no such command")

    planned = trust.plan([HOST], pair.certificate, ["system"], paths)
    [failed] = trust.apply(planned, run=fail)
    assert (failed.state, failed.error) == ("failed", "no such command")
    assert not failed.path.exists()  # a second run would take it for done

    [done] = trust.apply(trust.plan([HOST], pair.certificate, ["system"], paths), run=lambda words: commands.append(list(words)))
    assert (done.state, done.path.name, commands) == ("written", "registry-tool-registry.lan-5000.crt", 2 * [["update-ca-certificates"]])


def test_daemon_json_is_merged_and_never_overwritten(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    file = paths.root / "etc/docker/daemon.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"insecure-registries": ["old:1"], "log-level": "wärn", "dns": ["1.1.1.1"]}')
    file.chmod(0o600)
    reloaded: list[Sequence[str]] = []

    [done] = trust.apply(trust.plan([HOST], pair.certificate, ["insecure"], paths), run=reloaded.append)

    expected = {"insecure-registries": ["old:1", HOST], "log-level": "wärn", "dns": ["1.1.1.1"]}
    assert (done.state, json.loads(file.read_text())) == ("written", expected)
    assert file.stat().st_mode & 0o777 == 0o600, "it may hold a proxy's password"
    assert reloaded == [["systemctl", "reload", "docker"]]
    [again] = trust.plan([HOST], pair.certificate, ["insecure"], paths)
    assert again.state == "present"


@pytest.mark.parametrize("content", ["{", "[]", '{"insecure-registries": "a"}'], ids=["cut", "a list", "a text"])
def test_damaged_daemon_json_is_left_as_it_is(content: str, paths: ClientPaths, pair: certificates.KeyPair) -> None:
    file = paths.root / "etc/docker/daemon.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)

    with pytest.raises(RegistryToolError, match="cannot be read"):
        trust.plan([HOST], pair.certificate, ["insecure"], paths)
    assert file.read_text() == content


def test_hosts_toml_of_somebody_else_is_left_as_it_is(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    file = paths.root / "etc/containerd/certs.d" / HOST / "hosts.toml"
    file.parent.mkdir(parents=True)
    file.write_text('server = "https://other"\n')

    with pytest.raises(Conflict, match="is not this tool's"):
        trust.plan([HOST], pair.certificate, ["containerd"], paths)


def test_renewed_authority_replaces_the_old_one_beside_files_of_others(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    trust.apply(trust.plan([HOST], pair.certificate, ["docker"], paths))
    other = paths.root / "etc/docker/certs.d" / HOST / "ca.crt"
    other.write_text("somebody else's")
    renewed = certificates.renew_authority(pair, days=9).certificate

    [done] = trust.apply(trust.plan([HOST], renewed, ["docker"], paths))

    assert (done.state, done.path.read_bytes(), other.read_text()) == ("written", renewed, "somebody else's")


def test_file_that_may_not_be_written_is_reported_with_commands_that_write_it(
    paths: ClientPaths, pair: certificates.KeyPair, tmp_path: Path
) -> None:
    (paths.root / "etc").write_text("a file in the place of the folder")  # as root may write everywhere else

    done = trust.apply(trust.plan([HOST], pair.certificate, ["docker", "regctl"], paths))

    assert [file.state for file in done] == ["failed", "written"]
    assert done[0].error
    shown = list(command.lines([HOST], done, is_applied=True))
    assert "was not written" in shown[0]
    assert any("sudo tee" in line for line in shown)
    # The commands do it, in another root and without sudo.
    other = tmp_path / "other's root"
    script = done[0].shell.replace(shlex.quote(str(done[0].path)), shlex.quote(str(other / "x.crt")))
    script = script.replace(shlex.quote(str(done[0].path.parent)), shlex.quote(str(other))).replace("sudo ", "")
    subprocess.run(["sh", "-ec", script], check=True)
    assert (other / "x.crt").read_bytes() == pair.certificate


def test_private_key_is_refused_and_only_certificates_are_read(pair: certificates.KeyPair) -> None:
    with pytest.raises(UsageError, match="private key"):
        trust.read_authorities(pair.certificate + pair.key, "ca.pem")
    with pytest.raises(UsageError):
        trust.read_authorities(b"nothing", "ca.pem")
    assert trust.read_authorities(b"words before\n" + pair.certificate, "ca.pem") == pair.certificate


def test_cluster_that_is_not_there_is_an_error(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    with fake_engine({"GET /containers/json": reply([])}) as (engine, _), pytest.raises(NotFound, match="no kind cluster"):
        trust.plan([HOST], pair.certificate, ["kind"], paths, engine=lambda: engine)


def test_lines_say_what_is_missing_and_the_certificate_once(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    shown = list(command.lines([HOST], trust.plan([HOST], pair.certificate, ["docker", "podman", "system"], paths), is_applied=False))

    assert sum("BEGIN CERTIFICATE" in line for line in shown) == 1
    assert "  then: update-ca-certificates" in shown
    assert shown[-1] == f"Nothing was written; --apply does it, so that {HOST} is trusted."


def test_trust_of_our_own_client(typed: Typed, tmp_path: Path, pair: certificates.KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    file = tmp_path / "ca.crt"
    file.write_bytes(pair.certificate)
    arguments = ("trust", HOST, "--ca", str(file), "--for", "regctl", "--json")

    assert [entry["state"] for entry in typed(*arguments).json["files"]] == ["missing"]
    done = typed(*arguments, "--apply")
    assert (done.code, done.json["hosts"], done.json["applied"]) == (0, [HOST], True)
    assert (tmp_path / "docker/certs.d" / HOST / "registry-tool.crt").read_bytes() == pair.certificate
    assert typed("trust", HOST, "--ca", str(tmp_path / "none")).code == 1
    assert typed("trust", HOST, "--for", "nobody").code == 2
    assert typed("trust", "a/b", "--ca", str(file)).code == 2


def test_several_names_of_a_registry_are_all_in_daemon_json(paths: ClientPaths, pair: certificates.KeyPair) -> None:
    [done] = trust.apply(trust.plan([HOST, "10.0.0.1:5000"], pair.certificate, ["insecure"], paths), run=lambda words: None)

    assert json.loads(done.path.read_text()) == {"insecure-registries": [HOST, "10.0.0.1:5000"]}
    assert len(trust.plan([HOST, "10.0.0.1:5000"], pair.certificate, ["docker", "system"], paths)) == 3
