"""Set-ups that are broken, one thing at a time: the doctor names it, and mends what it says it can."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry_tool import server
from registry_tool.base import dirs, labels
from registry_tool.base.deadline import DeadlineExceeded
from registry_tool.content import check as content_check
from registry_tool.doctor import engine_checks, network_checks, registry_checks
from registry_tool.oci.descriptor import Platform
from registry_tool.targets.registry import Registry
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image, sha256
from tests.support.damage import Damageable, in_this_process
from tests.support.fake_server import Reply, fake_server, reply, self_signed
from tests.support.recording_server import RecordingServer
from tests.support.requirements import free_port, missing
from tests.support.set_up import SetUp, helper, served

Diagnosed = dict[str, Any]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SetUp]:
    """A healthy set-up, to be broken; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    setup = SetUp()
    with served(setup, monkeypatch):
        yield setup


@pytest.fixture
def diagnose(typed: Typed) -> Callable[..., Diagnosed]:
    """``diagnose("clock")``: the result of one check; the exit code is 1 exactly where it is wrong."""

    def diagnose(name: str, *options: str, before: tuple[str, ...] = ()) -> Diagnosed:
        answer = typed(*before, "doctor", "--json", *options, name)
        document = answer.json
        (check,) = document["checks"]
        assert check["name"] == name
        assert answer.code == int(check["state"] == "wrong"), answer
        assert document["ok"] is (check["state"] != "wrong")
        if check["state"] in ("wrong", "warning"):
            assert check["seen"]
            assert check["why"]
            assert check["fix"]
        result: Diagnosed = check
        return result

    return diagnose


Diagnose = Callable[..., Diagnosed]


def is_wrong(check: Diagnosed, *words: str, state: str = "wrong", mendable: bool = False) -> None:
    assert check["state"] == state, check
    assert [word for word in words if word not in check["seen"] + check["fix"]] == [], check
    assert check["mendable"] is mendable, check


def mends(diagnose: Diagnose, name: str, *before: str) -> None:
    """``--fix --yes`` mends it, and so it stays."""
    check = diagnose(name, "--fix", "--yes", before=before)
    assert (check["state"], check["mended"], check["mendable"]) == ("ok", True, False), check
    assert diagnose(name, before=before)["state"] == "ok"


# --- the engine ---


def test_no_engine_at_its_socket(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    is_wrong(diagnose("engine"), "no container engine found", "DOCKER_HOST")


def test_engine_that_has_died_and_left_its_socket(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "docker.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    is_wrong(diagnose("engine"), "installed but not running")


def test_engine_that_does_not_answer(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("registry_tool.doctor.run.LIMIT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        is_wrong(diagnose("engine"), "no result within 0.2 s")


def test_server_that_is_no_engine(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(lambda request: Reply(body=b"<html>", headers={"Content-Type": "text/html"})) as page:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{page.host}")
        is_wrong(diagnose("engine"), "is not a container engine")


def test_invalid_docker_host(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "/var/run/docker.sock")
    is_wrong(diagnose("engine"), "not an address of an engine", "unix:///var/run/docker.sock")


def test_context_that_does_not_exist(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "laptop")
    is_wrong(diagnose("engine"), "no docker context 'laptop'")


@pytest.mark.usefixtures("setup")
def test_docker_host_that_hides_a_context(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "laptop")
    is_wrong(diagnose("engine"), "goes before docker's context laptop", state="warning")


@pytest.mark.parametrize(("podman", "version"), [("", "19.03.8"), ("3.4.4", "3.4.4")], ids=["docker", "podman"])
def test_engine_that_is_too_old(setup: SetUp, diagnose: Diagnose, podman: str, version: str) -> None:
    setup.podman, setup.version = podman, version
    is_wrong(diagnose("engine-version"), version, "is older than")


@pytest.mark.parametrize("driver", ["vfs", "devicemapper", "aufs"])
def test_storage_driver_that_is_slow_or_gone(setup: SetUp, diagnose: Diagnose, driver: str) -> None:
    setup.info["Driver"] = driver
    is_wrong(diagnose("engine-store"), driver, "overlay2", state="warning")


def test_engine_without_cgroups(setup: SetUp, diagnose: Diagnose) -> None:
    setup.info["CgroupDriver"] = "none"
    is_wrong(diagnose("cgroup"), "no effect", state="warning")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a tmpfs with an option that makes it small."""
    if os.geteuid() != 0 or sys.platform != "linux":
        missing("root", "it mounts a tmpfs")
    with ExitStack() as mounted:

        def mount(option: str) -> Path:
            folder = tmp_path / "small"
            folder.mkdir()
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)], capture_output=True, text=True, check=False)
            if done.returncode:
                missing("root", f"no tmpfs can be mounted: {done.stderr.strip()}")
            mounted.callback(subprocess.run, ["umount", str(folder)], check=True)
            return folder

        yield mount


def test_engine_s_disk_that_is_full(setup: SetUp, diagnose: Diagnose, small_disk: Callable[[str], Path]) -> None:
    setup.info["DockerRootDir"] = str(small_disk("size=64k"))
    is_wrong(diagnose("disk"), "the engine's disk has 65.5kB free", "regctl gc")


def test_engine_s_disk_without_inodes(setup: SetUp, diagnose: Diagnose, small_disk: Callable[[str], Path]) -> None:
    setup.info["DockerRootDir"] = str(small_disk("nr_inodes=100"))
    is_wrong(diagnose("disk"), "inodes free")


def test_disk_of_an_engine_elsewhere_is_not_looked_at_here(setup: SetUp, diagnose: Diagnose) -> None:
    setup.info |= {"DockerRootDir": "/", "Name": "another-machine"}
    assert diagnose("disk")["state"] == "skipped"


@pytest.mark.usefixtures("setup")
def test_cache_on_a_disk_that_is_full(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("size=64k")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    dirs.app_dirs()
    (folder / "filling").write_bytes(b"0" * 65536)
    is_wrong(diagnose("folders"), "No space left", "XDG_CACHE_HOME")


@pytest.mark.usefixtures("setup")
def test_home_that_cannot_be_written_to(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, own_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    is_wrong(diagnose("folders"), "the home folder cannot be written to", state="warning")


@pytest.mark.parametrize(("seconds", "shown"), [(3600, "ahead"), (-7200, "behind")])
def test_engine_whose_clock_is_wrong(setup: SetUp, diagnose: Diagnose, seconds: int, shown: str) -> None:
    setup.skew = seconds
    is_wrong(diagnose("clock"), "the engine's clock", shown)


def test_registry_whose_clock_is_wrong(setup: SetUp, diagnose: Diagnose) -> None:
    with fake_server(lambda request: reply({}, date="Mon, 06 May 2024 07:08:09 GMT")) as registry:
        registry.server.RequestHandlerClass.date_time_string = lambda self, timestamp=None: "Mon, 06 May 2024 07:08:09 GMT"  # type: ignore[attr-defined]
        setup.registry(registry.port)
        is_wrong(diagnose("clock"), "the registry default's clock", "behind")


@pytest.mark.usefixtures("setup")
def test_clock_of_a_machine_without_a_battery(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    class Beginning(engine_checks.datetime):  # type: ignore[name-defined, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(engine_checks, "datetime", Beginning)
    is_wrong(diagnose("clock"), "1970-01-01")


# --- ports, names, proxies ---


@pytest.fixture
def held() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.usefixtures("setup")
def test_default_port_that_another_process_holds(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(network_checks, "DEFAULT_PORT", held)
    is_wrong(diagnose("port"), f"port {held} is in use by", str(os.getpid()), "next free port", state="warning")


def test_default_port_that_another_registry_holds(setup: SetUp, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(network_checks, "DEFAULT_PORT", port)
    setup.container("registry", {}, port=port, inside=5000)
    is_wrong(diagnose("port"), "the container 'registry'", state="warning")


@pytest.mark.usefixtures("setup")
def test_default_port_that_airplay_holds(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.local.registry.ports.platform.system", lambda: "Darwin")
    with fake_server(lambda request: Reply(status=403, headers={"Server": "AirTunes/770.8.1"})) as airplay:
        airplay.server.RequestHandlerClass.version_string = lambda self: "AirTunes/770.8.1"  # type: ignore[attr-defined]
        monkeypatch.setattr(network_checks, "DEFAULT_PORT", airplay.port)
        is_wrong(diagnose("port"), "AirPlay", state="warning")


def test_port_of_a_stopped_registry_that_another_process_holds(setup: SetUp, diagnose: Diagnose, held: int) -> None:
    setup.registry(held, state="exited")
    is_wrong(diagnose("port"), f"port {held} of the registry default", f"--port {held + 1}")


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let ``localhost`` have these addresses."""
    real = socket.getaddrinfo

    def fake(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "localhost":
            return real(host, *arguments, **options)
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


@pytest.mark.usefixtures("setup")
@pytest.mark.parametrize("addresses", [("::1",), ("10.1.2.3",), ("127.0.0.1", "192.0.2.1")], ids=["only-ipv6", "elsewhere", "two"])
def test_localhost_that_is_not_this_machine_s_ipv4(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]) -> None:
    resolves_to(monkeypatch, *addresses)
    is_wrong(diagnose("localhost"), addresses[-1], "/etc/hosts")


def test_another_server_on_ipv6_s_localhost(
    setup: SetUp, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, registry: server.RunningRegistry
) -> None:
    setup.registry(registry.port)
    resolves_to(monkeypatch, "::1", "127.0.0.1")
    with socket.socket(socket.AF_INET6) as other:
        try:
            other.bind(("::1", registry.port))
        except OSError:
            pytest.skip("no IPv6 loopback on this machine")
        assert diagnose("localhost")["state"] == "ok"  # nothing listens there yet
        other.listen()
        other.settimeout(60)
        monkeypatch.setattr(network_checks, "_TIMEOUT", 0.5)
        is_wrong(diagnose("localhost"), "something else than the registry", f"127.0.0.1:{registry.port}")


@pytest.mark.usefixtures("setup")
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxy_that_swallows_localhost(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://mary:secret-of-mary@proxy.example.com:3128")
    check = diagnose("proxy")
    is_wrong(check, "proxy.example.com:3128", "localhost", "NO_PROXY")
    assert "secret-of-mary" not in json.dumps(check)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")
    assert diagnose("proxy")["state"] == "ok"


@pytest.mark.usefixtures("setup")
def test_proxy_that_containers_get_for_localhost(diagnose: Diagnose) -> None:
    docker_config({"proxies": {"default": {"httpProxy": "http://proxy.example.com:3128"}}})
    is_wrong(diagnose("proxy"), "containers get the proxy", "noProxy", state="warning")


# --- HTTP and TLS ---


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """A host name that is not loopback's, and leads to this machine all the same."""
    name = "registry.example.com"
    real = socket.getaddrinfo

    def fake(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == name else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return name


def test_registry_elsewhere_that_speaks_plain_http(
    setup: SetUp, diagnose: Diagnose, elsewhere: str, registry: server.RunningRegistry
) -> None:
    host = f"{elsewhere}:{registry.port}"
    setup.info["RegistryConfig"] = {}
    is_wrong(diagnose("https", before=("--registry", host)), "the engine expects TLS", "insecure-registries")
    setup.info["RegistryConfig"] = {"IndexConfigs": {host: {"Secure": False}}}
    is_wrong(diagnose("https", before=("--registry", host)), "this tool does not", "--plain-http", state="warning")


@pytest.mark.usefixtures("has_openssl", "setup")
def test_registry_that_is_remembered_to_speak_plain_http_and_speaks_tls(diagnose: Diagnose, elsewhere: str, tmp_path: Path) -> None:
    from registry_tool.auth import host_settings

    with fake_server(lambda request: reply({}), certificate=self_signed(tmp_path)) as secure:
        host = f"{elsewhere}:{secure.port}"
        host_settings.remember(host, host_settings.HostSettings(plain_http=True))
        is_wrong(diagnose("https", before=("--registry", host)), "speaks TLS, and is remembered", mendable=True)
        mends(diagnose, "https", "--registry", host)


@pytest.mark.usefixtures("has_openssl", "setup")
def test_certificate_that_nobody_trusts(diagnose: Diagnose, elsewhere: str, tmp_path: Path) -> None:
    with fake_server(lambda request: reply({}), certificate=self_signed(tmp_path)) as secure:
        host = f"{elsewhere}:{secure.port}"
        is_wrong(diagnose("certificates", before=("--registry", host)), "is not trusted", f"certs.d/{host}")


@pytest.mark.usefixtures("has_openssl", "setup")
def test_authority_that_has_expired(diagnose: Diagnose, own_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = time.time() + 2 * 86400
    folder = own_folders / ".docker" / "certs.d" / "registry.example.com"
    folder.mkdir(parents=True)
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=old")
    subprocess.run(["openssl", *new, "-days", "1", "-keyout", tmp_path / "key", "-out", folder / "ca.crt"], check=True, capture_output=True)
    is_wrong(diagnose("certificates"), "the authority of registry.example.com ends on", state="warning")
    monkeypatch.setattr(network_checks, "time", SimpleNamespace(time=lambda: end, strftime=time.strftime, gmtime=time.gmtime))
    is_wrong(diagnose("certificates"), "expired on")


@pytest.mark.usefixtures("setup")
def test_certificate_that_is_none(diagnose: Diagnose, own_folders: Path) -> None:
    folder = own_folders / ".docker" / "certs.d" / "registry.example.com"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("not a certificate")
    is_wrong(diagnose("certificates"), str(folder / "ca.crt"), "cannot be trusted")


@pytest.mark.usefixtures("setup")
def test_variable_that_names_authorities_which_are_not_there(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    is_wrong(diagnose("certificates"), "SSL_CERT_FILE", "does not exist")


@pytest.mark.usefixtures("setup")
def test_authority_of_this_tool_that_is_damaged(diagnose: Diagnose) -> None:
    folder = dirs.app_dirs().state / "ca"
    folder.mkdir()
    (folder / "ca.pem").write_text("cut short")
    is_wrong(diagnose("certificates"), "is damaged", "regctl up --tls")


# --- credentials ---


def docker_config(document: dict[str, Any] | str, *, mode: int = 0o600) -> Path:
    """Write docker's configuration of this test."""
    file = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    file.chmod(mode)
    return file


@pytest.mark.usefixtures("setup")
def test_configuration_that_is_no_json(diagnose: Diagnose) -> None:
    docker_config("{'auths': {}}")
    is_wrong(diagnose("credentials"), "is not a JSON object")


@pytest.mark.usefixtures("setup")
@pytest.mark.parametrize("config", [{"credsStore": "desktop"}, {"credHelpers": {"quay.io": "desktop"}}], ids=["for-all", "for-one"])
def test_credential_helper_that_is_not_installed(diagnose: Diagnose, config: dict[str, Any]) -> None:
    file = docker_config({**config, "detachKeys": "ctrl-z"})
    is_wrong(diagnose("credentials"), "docker-credential-desktop is not installed", mendable=True)
    mends(diagnose, "credentials")
    left = json.loads(file.read_text())
    assert left["detachKeys"] == "ctrl-z"
    assert "desktop" not in json.dumps(left)


@pytest.mark.usefixtures("setup")
@pytest.mark.parametrize("body", ["echo the keychain is locked; exit 1", "echo '{broken'; exit 3"], ids=["locked", "nonsense"])
def test_credential_helper_that_fails(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    helper(tmp_path, "keys", body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker_config({"credsStore": "keys"})
    is_wrong(diagnose("credentials"), "docker-credential-keys failed")


@pytest.mark.usefixtures("setup")
def test_credential_helper_that_hangs(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("registry_tool.auth.credential_helpers.HELPER_TIMEOUT", 0.2)
    helper(tmp_path, "keys", "sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker_config({"credsStore": "keys"})
    is_wrong(diagnose("credentials"), "did not respond within 0.2 s")


@pytest.mark.usefixtures("setup")
def test_stored_entry_that_is_no_password(diagnose: Diagnose) -> None:
    docker_config({"auths": {"quay.io": {"auth": "bm90aGluZw=="}}})
    is_wrong(diagnose("credentials"), "no valid user name and password for 'quay.io'")


@pytest.mark.usefixtures("setup")
def test_passwords_that_others_can_read(diagnose: Diagnose) -> None:
    entry = base64.b64encode(b"mary:what-mary-knows").decode()
    file = docker_config({"auths": {"quay.io": {"auth": entry}}}, mode=0o644)
    is_wrong(diagnose("credentials"), "others may read it", state="warning", mendable=True)
    mends(diagnose, "credentials")
    assert file.stat().st_mode & 0o777 == 0o600


def test_registry_with_a_password_that_is_not_stored(setup: SetUp, diagnose: Diagnose) -> None:
    setup.registry(free_port(), **{labels.USER: "john"})
    is_wrong(diagnose("credentials"), "requires a login", "regctl login", state="warning")


# --- the registry ---


@pytest.mark.parametrize("state", ["exited", "created"])
def test_registry_that_is_stopped(setup: SetUp, diagnose: Diagnose, registry: server.RunningRegistry, state: str) -> None:
    container = setup.registry(registry.port, state=state)
    is_wrong(diagnose("registry"), f"its container is {state}", "regctl up", mendable=True)
    mends(diagnose, "registry")
    assert setup.calls.count(f"POST /containers/{container['Id']}/start") == 1


def test_registry_that_hangs(setup: SetUp, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr("registry_tool.doctor.surroundings._PROBE_TIMEOUT", 0.2)
    setup.registry(held)
    is_wrong(diagnose("registry"), "runs and does not respond", "docker restart", mendable=True)


def test_registry_whose_storage_fails(setup: SetUp, diagnose: Diagnose) -> None:
    with fake_server(lambda request: reply({"errors": []}, 503)) as failing:
        setup.registry(failing.port)
        is_wrong(diagnose("registry"), "reports an error (HTTP 503", "regctl logs")


def test_web_server_on_the_registry_s_port(setup: SetUp, diagnose: Diagnose) -> None:
    with fake_server(lambda request: Reply(body=b"hello", headers={"Content-Type": "text/html"})) as page:
        setup.registry(page.port)
        is_wrong(diagnose("registry"), "no registry (HTTP 200, text/html)", f"--port {page.port + 1}")


def test_garbage_collection_that_was_interrupted(setup: SetUp, diagnose: Diagnose, registry: server.RunningRegistry) -> None:
    container = setup.registry(registry.port, state="exited")
    run_id = f"{dirs.owner_id(dirs.app_dirs().state)}0badcafe"
    part = {
        labels.ROLE: labels.ROLE_COLLECTION, labels.COLLECTION: run_id, labels.REGISTRY: "default",
        labels.COLLECTED: container["Id"], labels.COLLECTED_RESTART: "true",
    }  # fmt: skip
    setup.container("worker", {**part, labels.COLLECTION_PART: "worker"}, state="exited")
    is_wrong(diagnose("registry"), "was interrupted", mendable=True)
    mends(diagnose, "registry")
    assert container["State"]["Status"] == "running"
    assert len(setup.containers) == 1


def test_registry_elsewhere_that_is_not_there(diagnose: Diagnose, setup: SetUp) -> None:
    host = f"localhost:{free_port()}"
    is_wrong(diagnose("registry", before=("--registry", host)), host)


@pytest.fixture
def other_registry() -> Iterator[Callable[..., int]]:
    """Runs a registry with options of the server's; its port."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(server.run_registry(server.Application(server.MemoryStorage(), **options))).port


def test_registry_that_does_not_delete(setup: SetUp, diagnose: Diagnose, other_registry: Callable[..., int]) -> None:
    setup.registry(other_registry(delete=False))
    is_wrong(diagnose("delete"), "does not delete", "REGISTRY_STORAGE_DELETE_ENABLED", state="warning")


def test_registry_that_is_read_only(setup: SetUp, diagnose: Diagnose, other_registry: Callable[..., int]) -> None:
    setup.registry(other_registry(read_only=True))
    is_wrong(diagnose("write"), "is read-only")


def test_registry_whose_disk_is_full(setup: SetUp, diagnose: Diagnose, watching: RecordingServer) -> None:
    def full(method: str, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        return ("500 Internal Server Error", [("Content-Type", "application/json")], b"{}") if method == "POST" else None

    watching.instead = full
    setup.registry(watching.port)
    is_wrong(diagnose("write", before=("--registry", f"localhost:{watching.port}")), "takes no uploads", "full")


def test_trial_of_an_upload_leaves_nothing(
    setup: SetUp, diagnose: Diagnose, watching: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGISTRY_TOOL_REGISTRY")
    setup.registry(watching.port)
    assert diagnose("write")["state"] == "ok"
    assert [method for method, _ in watching.requests if method not in ("GET", "HEAD")] == ["POST", "DELETE"]


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch, setup: SetUp) -> Iterator[Damageable]:
    """A registry with an image whose layer is gone."""
    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 600.0)
    with in_this_process() as running:
        content = layer(b"what will be gone")
        make_image(running.port, "john/app", "part2", content)
        running.remove(content)
        setup.registry(running.port)
        yield running


@pytest.mark.usefixtures("damaged")
def test_image_whose_layer_is_gone(diagnose: Diagnose) -> None:
    is_wrong(diagnose("storage"), "missing-layer", "1 repository checked", "regctl check")


def test_registry_that_still_reports_a_layer_that_was_collected(
    setup: SetUp, diagnose: Diagnose, watching: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGISTRY_TOOL_REGISTRY")
    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 600.0)
    content = layer(b"what was collected")
    make_image(watching.port, "john/app", "part2", content)
    container = setup.registry(watching.port)

    def cached(method: str, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        if not path.endswith(sha256(content)) or f"POST /containers/{container['Id']}/restart" in setup.calls:
            return None
        return ("200 OK", [], b"x" * len(content)) if method == "HEAD" else ("404 Not Found", [], b"")

    watching.instead = cached
    is_wrong(diagnose("stale-cache"), "still reports", "docker restart", mendable=True)
    mends(diagnose, "stale-cache")


@pytest.mark.parametrize("name", ["storage", "stale-cache"])
def test_registry_of_which_nothing_could_be_looked_at_in_time_is_not_ok(
    setup: SetUp, diagnose: Diagnose, registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    setup.registry(registry.port)
    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 0.0)
    ended = threading.Event()
    monkeypatch.setattr(Registry, "catalog", lambda self: iter([str(ended.wait(600))]))
    try:
        check = diagnose(name)
    finally:
        ended.set()
    assert (check["state"], "no list of repositories in 0 s" in check["seen"]) == ("skipped", True), check


@pytest.mark.parametrize("name", ["storage", "stale-cache"])
@pytest.mark.parametrize(("in_time", "state"), [(0, "skipped"), (1, "ok"), (2, "ok")])
def test_look_at_storage_says_how_much_it_saw(
    setup: SetUp, diagnose: Diagnose, watching: RecordingServer, monkeypatch: pytest.MonkeyPatch, name: str, in_time: int, state: str
) -> None:
    monkeypatch.delenv("REGISTRY_TOOL_REGISTRY")
    for repository in ("john/one", "john/two"):
        make_image(watching.port, repository, "part2", layer(b"x"))
    setup.registry(watching.port)
    checked: list[object] = []
    check = content_check.check

    def check_in_time(*arguments: Any, **options: Any) -> Any:
        if len(checked) == in_time:
            raise DeadlineExceeded
        checked.append(arguments)
        return check(*arguments, **options)

    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 600.0)
    monkeypatch.setattr(content_check, "check", check_in_time)
    seen = diagnose(name)
    extent = "2 repositories checked" if in_time == 2 else f"looked at {in_time} of 2 repositories in 600 s"
    assert (seen["state"], extent in seen["seen"]) == (state, True), seen


@pytest.mark.parametrize("name", ["storage", "stale-cache", "write", "delete"])
def test_registry_that_does_not_respond_is_not_hidden_by_one_that_is_well(
    setup: SetUp, diagnose: Diagnose, registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(registry_checks, "STORAGE_BUDGET", 600.0)
    setup.registry(registry.port)
    setup.registry(free_port(), name="mirror", state="exited")
    check = diagnose(name)
    assert (check["state"], check["seen"]) == ("skipped", "mirror does not respond, or is being collected")


# --- the machine ---


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!{shutil.which('sh', path=os.defpath)}\n{body}\n")
    file.chmod(0o755)


@pytest.mark.usefixtures("setup")
def test_classic_builder_where_buildkit_is_needed(diagnose: Diagnose, without_programs: Path) -> None:
    Path("Dockerfile").write_text("FROM scratch\nRUN --mount=type=cache,target=/x true\n")
    is_wrong(diagnose("builder"), "needs BuildKit (RUN --mount)", "buildx")
    program(without_programs, "docker", "echo github.com/docker/buildx v0.29.1")
    assert diagnose("builder")["state"] == "ok"


@pytest.mark.usefixtures("setup")
def test_buildkit_that_is_switched_off_where_it_is_needed(
    diagnose: Diagnose, without_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("Dockerfile").write_text("# syntax=docker/dockerfile:1\nFROM scratch\n")
    program(without_programs, "docker", "echo github.com/docker/buildx v0.29.1")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    is_wrong(diagnose("builder"), "DOCKER_BUILDKIT=0", state="warning")


@pytest.mark.usefixtures("setup")
def test_compose_that_is_too_old(diagnose: Diagnose, without_programs: Path) -> None:
    program(without_programs, "docker-compose", "echo 1.21.0")
    is_wrong(diagnose("compose"), "compose 1.21.0 is older than 1.27")
    program(without_programs, "docker", "echo v2.40.3")
    assert diagnose("compose")["state"] == "ok"


@pytest.mark.usefixtures("without_programs")
def test_no_base_images_and_no_network(setup: SetUp, diagnose: Diagnose) -> None:
    setup.images.clear()
    is_wrong(diagnose("base-images"), "registry:2 is neither in the engine nor kept", "docker load", state="warning")


@pytest.mark.usefixtures("setup")
def test_kept_base_image_that_is_damaged(diagnose: Diagnose) -> None:
    from registry_tool.local.base_images.archive import ImageArchive

    archive = ImageArchive(dirs.app_dirs().cache / "bases")
    archive.folder.mkdir(parents=True)
    path = archive.path("registry", Platform.parse("linux/amd64"))
    path.write_bytes(b"cut short")
    description = {"name": "registry:2", "id": "x", "source": "docker.io", "platform": "linux/amd64", "sha256": "0" * 64, "size": 9}
    path.with_name(path.name.removesuffix(".tar.gz") + ".json").write_text(json.dumps(description))
    is_wrong(diagnose("base-images"), "registry:2 is damaged", mendable=True)
    mends(diagnose, "base-images")
    assert not path.exists()


def test_containers_of_a_demo_that_was_killed(setup: SetUp, diagnose: Diagnose) -> None:
    run_id = f"{dirs.owner_id(dirs.app_dirs().state)}0badcafe"
    setup.container("demo-web", {labels.ROLE: labels.ROLE_DEMO, labels.DEMO: run_id})
    is_wrong(diagnose("leftovers"), "1 container of 1 dead run", state="warning", mendable=True)
    mends(diagnose, "leftovers")
    assert setup.containers == []
