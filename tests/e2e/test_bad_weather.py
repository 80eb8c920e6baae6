"""Bad input and bad weather, as a person meets them: whole commands, on real parts.

Each failure is one line that says what happened and one that says what to do, with the right exit code, and a document
with ``--json``. What the rooms below do in bad weather is in their own tests; what registries do,
in tests/e2e/test_bad_weather_registry.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.auth import credential_helpers
from registry_tool.base.dirs import AppDirs
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import REGISTRY
from registry_tool.local.registry import Auth, LocalRegistry
from registry_tool.local.registry.spec import resource_name
from tests.support import canary
from tests.support.cli_runner import REGCTL, Answer, Typed, spawn
from tests.support.fake_server import Reply, fake_server, tcp_server
from tests.support.private_engine import PrivateEngine
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine

NOT_TEXT = "a\udcff"
"""The byte 0xff, as Python has it from a command line."""
BAD_NAMES = ("UPPER", "a//b", "../x", "x:" + "t" * 129, "x:", "ünïcode", "-x", ".x", "x@sha256:12", "", NOT_TEXT)
PASSWORD, WRONG = canary.password("correct horse"), canary.password("wrong")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", local.address)
    return Typed(capsys)


@pytest.fixture(autouse=True)
def cleaned(engine: Engine, unique: str) -> Iterator[None]:
    """Containers and image names that have the test's own name go in the end."""
    yield
    for container in engine.containers(all=True):
        if unique in container.name or unique in container.image:
            engine.remove(container.id, force=True)
    for image in engine.images():
        for name in (*image.names, *image.digests):
            if unique in name and engine.image(name) is not None:
                engine.remove_image(name, force=True)


def said(answer: Answer, code: int) -> str:
    """The line of a failure: one, with a hint below it, and nothing of Python's."""
    assert answer.code == code, answer
    assert "Traceback" not in answer.err
    lines = [line for line in answer.err.splitlines() if not line.startswith("  | ")]
    assert lines[-2].startswith("regctl: "), answer.err
    assert "this is a bug" not in lines[-2]
    assert lines[-1].startswith("hint: "), answer.err
    return lines[-2]


def refused(answer: Answer, code: int, kind: str) -> str:
    """The message of the same with ``--json``."""
    assert answer.code == code, answer
    error = answer.json["error"]
    assert error["code"] == kind
    assert error["hint"]
    return str(error["message"])


# Names


@pytest.mark.parametrize(
    "command",
    [
        ("tag", "NAME", "x"),
        ("tag", "IMAGE", "NAME"),
        ("push", "NAME"),
        ("pull", "NAME"),
        ("run", "NAME"),
        ("rmi", "NAME"),
        ("images", "NAME"),
        ("list-tags", "NAME"),
        ("build", "--tag=NAME", "."),
        ("demo", "--image=NAME"),
        ("run", "--name=NAME", "IMAGE"),
        ("up", "--name=NAME"),
        ("down", "--name=NAME"),
        ("status", "--name=NAME"),
    ],
    ids=" ".join,
)
def test_name_that_cannot_be_is_a_usage_error(typed: Typed, local: LocalRegistry, command: Sequence[str]) -> None:
    positional = "NAME" in command
    for name in BAD_NAMES:
        if "--name=NAME" in command and command[0] == "run" and name in ("", "UPPER"):
            continue  # docker takes these
        words = [word.replace("NAME", name).replace("IMAGE", local.image) for word in command]
        said(typed(words[0], *(("--",) if positional else ()), *words[1:]), 125 if command[0] == "run" else 2)
        if command[0] == "run":
            continue  # --json is for -d
        answer = typed(words[0], "--json", *(("--",) if positional else ()), *words[1:])
        assert refused(answer, 2, answer.json["error"]["code"])
        assert answer.json["error"]["code"] in ("invalid-reference", "usage")


@pytest.mark.parametrize("command", ["rm", "stop", "kill", "logs"])
def test_a_container_that_cannot_be_is_not_there(typed: Typed, command: str) -> None:
    for name in BAD_NAMES:
        answer = typed(command, "--", name)
        if name == NOT_TEXT:
            assert "not valid text" in said(answer, 2)
        else:
            said(answer, 1)
        assert answer.out == ""


def test_a_demo_of_a_name_that_cannot_be_pushed_does_nothing_first(typed: Typed, local: LocalRegistry) -> None:
    for name in (f"a@sha256:{'a' * 64}", "docker.io/john/x:1"):
        answer = typed("demo", "--json", "--name", local.name, "--image", name)
        assert refused(answer, 2, "usage")
        assert [step["name"] for step in answer.json["steps"]] in ([], ["up"])


def test_an_address_of_a_browser_is_told_from_a_name(typed: Typed, local: LocalRegistry) -> None:
    assert "is a URL, not a name" in said(typed("push", f"http://{local.address}/x"), 2)
    assert said(typed("--registry", "localhost:99999", "list-tags", "x"), 2) == "regctl: 'localhost:99999' is not a registry's address"


def test_a_signal_that_no_engine_knows(typed: Typed, local: LocalRegistry) -> None:
    assert "FOO" in said(typed("kill", "-s", "FOO", local.container_name), 2)


def test_an_option_without_its_value_is_answered_in_json_too(typed: Typed) -> None:
    for words in (("build", "--json", ".", "-t"), ("image", "build", "--json", "-t"), ("rm", "--json", "--nope")):
        assert f"regctl {words[0]}" in typed(*words).json["error"]["hint"]
        refused(typed(*words), 2, "usage")


# Builds


def test_a_context_with_a_dangling_link_a_socket_and_an_ignored_giant(typed: Typed, local: LocalRegistry, unique: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rt-") as path, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(path)  # a socket's path has 108 bytes at most
        (folder / "Dockerfile").write_text(f"FROM {local.image}\nCOPY . /context\n")
        (folder / "dangling").symlink_to("nowhere")
        listener.bind(str(folder / "socket"))
        with (folder / "giant").open("wb") as sparse:
            sparse.truncate(5 << 30)
        (folder / ".dockerignore").write_text("giant\n")
        answer = typed("build", "-q", "-t", unique, path)
    assert answer.code == 0, answer.err
    listed = typed("run", "--rm", unique, "sh", "-c", "cd /context && ls -A && readlink dangling")
    assert listed.out.split() == [".dockerignore", "Dockerfile", "dangling", "nowhere"]


def test_no_dockerfile_says_where_it_was_looked_for(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "Dockerfile") in said(typed("build", "."), 1)
    assert refused(typed("build", "--json", "."), 1, "build-failed")


@pytest.mark.netns
def test_the_engine_gone_during_a_build(empty_engine: PrivateEngine, kept_cache: Path, tmp_path: Path) -> None:
    base = _load_registry_image(empty_engine, kept_cache)
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(f"FROM {base}\nRUN echo begun; sleep 600\n")
    command = empty_engine.inside([*REGCTL, "build", str(tmp_path / "context")])
    build = subprocess.Popen(command, env=empty_engine.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _until(lambda: empty_engine.run(["docker", "ps", "-q"]).stdout.strip() != "", "the build's container")
    empty_engine.kill()
    out, err = build.communicate(timeout=600)
    assert "the engine stopped answering during the build" in said(Answer(build.returncode, out, err), 3)
    empty_engine.start()


def _load_registry_image(ours: PrivateEngine, cache: Path) -> str:
    for copy in sorted((cache / "bases").glob("*.tar.gz")):
        if REGISTRY.role in copy.name:
            loaded = ours.run(["docker", "load", "-q", "-i", str(copy)])
            assert loaded.returncode == 0, loaded.stderr
    return ours.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()[0]


def _until(there: Callable[[], bool], what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.05)


# Ports


def test_a_port_with_something_else_on_it_names_what_has_it(typed: Typed, engine: Engine, unique: str) -> None:
    with fake_server(lambda received: Reply(body=b"<html>")) as web:
        for words in (("up", "--port"), ("demo", "--registry-port")):
            message = refused(typed(words[0], "--json", "--name", unique, words[1], str(web.port)), 1, "port-taken")
            assert f"port {web.port} is in use by the process " in message
            assert f"(pid {os.getpid()})" in message
    assert engine.volume(resource_name(unique)) is None, "an up that failed leaves no volume behind"


def test_a_privileged_port_is_had_where_the_engine_may(typed: Typed, engine: Engine, local: LocalRegistry, unique: str) -> None:
    port = next((port for port in range(1023, 900, -1) if _can_be_bound(port) and _can_be_bound(port - 200)), None)
    if port is None:
        pytest.skip("this user may not even look for a free one")
    try:
        answer = typed("up", "--name", unique, "--port", str(port), "-q")
        assert (answer.code, answer.out) == (0, f"localhost:{port}\n") or "below 1024" in said(answer, 1)
        answer = typed("run", "--rm", "-p", f"127.0.0.1:{port - 200}:80", local.image, "true")
        assert answer.code == 0 or "below 1024" in answer.err
    finally:
        assert spawn("down", "--name", unique, "--volumes", "--yes", "--missing-ok").code == 0


def _can_be_bound(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# A registry that goes, is full, or is none


@contextmanager
def _registry(engine: Engine, image: str, name: str, volume: str) -> Iterator[str]:
    port = free_port()
    binding = PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1")
    made = engine.run(ContainerSpec(image=image, name=name, ports=(binding,), volumes={volume: "/var/lib/registry"}))
    try:
        _until(lambda: spawn("--registry", f"localhost:{port}", "list-tags", "x").code == 1, "the registry's answer")
        yield f"localhost:{port}"
    finally:
        engine.remove(made.id, force=True)
        engine.remove_volume(volume)


def _large_image(engine: Engine, folder: Path, name: str, megabytes: int) -> None:
    path = folder / f"{megabytes}.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("random")
        entry.size = megabytes << 20
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    engine.import_image(path, name=name)


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*REGCTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ended(process: subprocess.Popen[str], seconds: float = 600) -> Answer:
    out, err = process.communicate(timeout=seconds)
    return Answer(process.returncode, out, err)


@pytest.mark.slow  # the engine tries five times
def test_a_registry_that_goes_during_a_push_and_one_whose_disk_is_full(
    engine: Engine, registry_image: str, tmp_path: Path, unique: str
) -> None:
    with engine._client.call("making a small volume") as api:
        api.create_volume(f"{unique}-small", driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=8m"})
    with ExitStack() as stack:
        goes = stack.enter_context(_registry(engine, registry_image, f"{unique}-goes", f"{unique}-goes"))
        full = stack.enter_context(_registry(engine, registry_image, f"{unique}-full", f"{unique}-small"))
        _large_image(engine, tmp_path, f"{goes}/{unique}:1", 200)
        _large_image(engine, tmp_path, f"{full}/{unique}:1", 20)
        to_gone, to_full = _start("push", f"{goes}/{unique}:1"), _start("push", "--json", f"{full}/{unique}:1")
        uploads = f"/var/lib/registry/docker/registry/v2/repositories/{unique}/_uploads"
        _until(lambda: engine.execute(f"{unique}-goes", ["sh", "-c", f"ls {uploads}/*/data"])[0] == 0, "the upload")
        engine.kill(f"{unique}-goes")
        assert f"cannot reach the registry {goes}" in said(_ended(to_gone), 3)
        answer = _ended(to_full)
        refused(answer, 1, "push-failed")
        assert "disk full" in answer.json["error"]["hint"]
        archive = str(tmp_path / "images.tar")
        assert _ended(_start("export", f"engine:{full}/{unique}:1", "-o", archive)).code == 0
        for command in (("copy", f"oci-archive:{archive}", f"{full}/{unique}:2"), ("import", archive, f"{full}/{unique}:2")):
            answer = _ended(_start(*command))
            assert "500" in said(answer, 1)
            assert spawn("--registry", full, "list-tags", unique).code == 1, "there is no tag"


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_page_in_the_place_of_a_registry_is_named_as_such(typed: Typed, local: LocalRegistry, unique: str, status: int) -> None:
    page = Reply(status=status, body=b"<!DOCTYPE html><html>It works!</html>", headers={"Content-Type": "text/html"})
    with fake_server(lambda received: page) as web:
        assert typed("--registry", web.host, "tag", local.image, unique).code == 0
        for words in (("push", unique), ("pull", unique), ("list-tags", unique)):
            assert f"the server at {web.host} is not a registry" in said(typed("--registry", web.host, *words), 3), words
            refused(typed("--registry", web.host, words[0], "--json", unique), 3, "not-a-registry")
        answer = typed("--registry", web.host, "run", f"{unique}absent")
        assert answer.code == 125, "as docker's, where a container was not run"
        assert f"the server at {web.host} is not a registry" in answer.err.splitlines()[-2]
        answer = spawn("login", "-u", "john", "--password-stdin", web.host, stdin=PASSWORD)
        assert f"the server at {web.host} is not a registry" in said(answer, 3)


# Passwords and those who keep them


@pytest.fixture(scope="module")
def guarded(session_engine: Engine, session_dirs: AppDirs, registry_image: str) -> Iterator[str]:
    """The address of a registry for john alone."""
    name = f"guarded-{os.urandom(4).hex()}"
    try:
        yield local_registry.up(
            session_engine,
            image=lambda: registry_image,
            name=name,
            port=free_port(),
            auth=Auth(user="john", password=PASSWORD),
            state=session_dirs.state,
        ).registry.address
    finally:
        local_registry.down(session_engine, name, volumes=True)


def _configured(home: Path, config: object) -> Path:
    file = home / ".docker" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


def test_a_wrong_password_is_exit_1_everywhere(typed: Typed, local: LocalRegistry, guarded: str, own_folders: Path, unique: str) -> None:
    typed("--registry", guarded, "tag", local.image, unique)
    _configured(own_folders, {"auths": {guarded: {"auth": base64.b64encode(f"john:{WRONG}".encode()).decode()}}})
    for command in ("push", "pull", "list-tags"):
        said(typed("--registry", guarded, command, unique), 1)
        assert guarded in refused(typed("--registry", guarded, command, "--json", unique), 1, "authentication-failed")
    assert guarded in said(spawn("login", "-u", "john", "--password-stdin", guarded, stdin=f"{WRONG}\n"), 1)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "is not installed"),
        ("echo '<html>'", "prints something that is not a credential"),
        ("sleep 600", "did not respond within"),
        ("echo no such keychain; exit 3", "no such keychain"),
    ],
    ids=["missing", "rubbish", "hangs", "fails"],
)
def test_a_credential_helper_that_does_not_do_its_part(
    typed: Typed,
    local: LocalRegistry,
    guarded: str,
    own_folders: Path,
    tmp_path: Path,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    words: str,
) -> None:
    if script is not None:
        helper = tmp_path / "docker-credential-ailing"
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if words == "did not respond within":  # the others need their time to start on a busy machine
        monkeypatch.setattr(credential_helpers, "HELPER_TIMEOUT", 0.5)
    config = _configured(own_folders, {"credsStore": "ailing"})
    before = config.read_bytes()
    typed("--registry", guarded, "tag", local.image, unique)
    for command in ("push", "pull", "list-tags"):
        message = refused(typed("--registry", guarded, command, "--json", unique), 1, "credentials")
        assert "docker-credential-ailing" in message
        assert words in message
    said(typed("--registry", guarded, "logout"), 1)
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    login = typed("login", "-u", "john", "--password-stdin", guarded)
    if words == "prints something that is not a credential":
        assert login.code == 0, "it kept the password; what it said beside does not matter"
        assert PASSWORD not in config.read_text()
    else:
        said(login, 1)
        assert config.read_bytes() == before
    # A registry that asks for nothing does not care.
    assert typed("tag", local.image, unique).code == 0
    assert typed("push", "-q", unique).code == 0


@pytest.mark.parametrize("content", ["{rubbish", "[]", "\x00"])
def test_a_docker_configuration_that_is_rubbish(
    typed: Typed, local: LocalRegistry, own_folders: Path, unique: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _configured(own_folders, content)
    assert typed("ps").code == 0
    assert typed("tag", local.image, unique).code == 0
    assert typed("push", "-q", unique).code == 0, "nobody asked for a password"
    answer = spawn("login", "-u", "john", "--password-stdin", local.address, stdin=PASSWORD)
    assert str(config) in said(answer, 1)
    assert config.read_text() == content
    monkeypatch.delenv("DOCKER_HOST")  # now the configuration says which engine is meant
    assert str(config) in refused(typed("ps", "--json"), 1, "credentials")


# What belongs to somebody else


def test_a_container_of_somebody_else_stays_as_it_is(typed: Typed, engine: Engine, registry_image: str, unique: str) -> None:
    theirs = engine.create(ContainerSpec(image=registry_image, name=resource_name(unique)))
    for words in (("up", "--port", str(free_port())), ("demo",)):
        assert "somebody else" in refused(typed(words[0], "--json", "--name", unique, *words[1:]), 1, "conflict")
    refused(typed("down", "--json", "--name", unique, "--volumes", "--yes"), 1, "not-found")
    assert engine.container(theirs.id) == theirs
    engine.remove(theirs.id)
    assert engine.volume(resource_name(unique)) is None, "an up that failed leaves no volume behind"


# Clocks, proxies, homes


ODD_TIMES = {
    "2999-01-01T00:00:00Z": "2999-01-01",
    "9999-12-31T23:59:59.999999999Z": "9999-12-31",
    "1970-01-01T00:00:00Z": "years ago",
    "1969-12-31T23:59:59Z": "years ago",
    "0001-01-01T00:00:00Z": "N/A",
    None: "N/A",
}


@pytest.mark.parametrize("created", ODD_TIMES)
def test_a_clock_that_was_wrong_when_the_image_was_made(typed: Typed, engine: Engine, unique: str, created: str | None) -> None:
    engine.load_image(io.BytesIO(_image_of(f"{unique}:1", created)))
    (row,) = [line for line in typed("images").out.splitlines() if unique in line]
    shown = ODD_TIMES[created]
    if created is None and not engine.is_podman and (engine.has_containerd_store or _api(engine) >= (1, 44)):
        created, shown = "1970-01-01T00:00:00Z", "years ago"
    listed = typed("images", "--json", unique).json["images"][0]["created"]
    if shown == "N/A" and engine.is_podman:
        # An image without a date gets that of its import.
        age = datetime.now(timezone.utc) - datetime.fromisoformat(listed.replace("Z", "+00:00"))
        assert timedelta(0) <= age < timedelta(hours=1)
    else:
        assert shown in row
        assert listed == (None if shown == "N/A" else created[:19] + "Z" if created else None)
    assert typed("push", "-q", f"{unique}:1").code == 0
    assert typed("pull", "-q", f"{unique}:1").code == 0
    engine.create(ContainerSpec(image=f"{unique}:1", name=unique, command=("x",)))
    assert unique in typed("ps", "-a").out
    assert typed("ps", "-a", "--json").code == 0


def _api(engine: Engine) -> tuple[int, ...]:
    return tuple(map(int, engine.info.api_version.split(".")))


def _image_of(name: str, created: str | None) -> bytes:
    """A tar for ``docker load``: an image of one empty layer, made at that time."""
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    diff = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"unlike": name}},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    }
    if created is not None:
        config["created"] = created
    files = {"config.json": json.dumps(config).encode(), "layer.tar": layer.getvalue()}
    files["manifest.json"] = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def test_a_proxy_is_not_asked_for_loopback_by_any_command(local: LocalRegistry, own_folders: Path, unique: str) -> None:
    dead = "http://127.0.0.1:9"
    proxied = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), dead)
    proxied["REGISTRY_TOOL_REGISTRY"] = local.address
    for words in (
        ("tag", local.image, unique),
        ("push", unique),
        ("pull", unique),
        ("list-tags", unique),
        ("status", "--name", local.name),
    ):
        answer = spawn(*words, environment=proxied)
        assert answer.code == 0, (words, answer.err)
    assert spawn("login", "-u", "john", "--password-stdin", stdin=PASSWORD, environment=proxied).code == 0


def test_without_a_home_the_users_own_is_taken(local: LocalRegistry, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment |= {"XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    done = subprocess.run([*REGCTL, "status", "--name", local.name, "-q"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{local.address}\n"), done.stderr


# Ctrl-C


@pytest.mark.parametrize("command", ["push", "pull", "list-tags"])
def test_ctrl_c_ends_the_waiting_for_a_registry_that_says_nothing(typed: Typed, local: LocalRegistry, unique: str, command: str) -> None:
    received, over = threading.Event(), threading.Event()

    def silent(connection: socket.socket) -> None:
        received.set()
        over.wait(600)

    with tcp_server(silent) as address:
        assert typed("--registry", address, "tag", local.image, unique).code == 0
        waiting = _start("--registry", address, command, unique)
        try:
            assert received.wait(600), "nobody was asked"
            waiting.send_signal(signal.SIGINT)
            answer = _ended(waiting)
        finally:
            over.set()
            waiting.kill()
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "interrupted"


def test_ctrl_c_ends_the_following_of_a_log(local: LocalRegistry) -> None:
    following = _start("logs", "-f", local.name)
    assert following.stderr is not None
    following.stderr.readline()
    following.send_signal(signal.SIGINT)
    answer = _ended(following)
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "interrupted"
