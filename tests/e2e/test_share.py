"""A registry with TLS and users, reached by docker, podman, skopeo and this tool from another network namespace."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.crypto.certificates import KeyPair
from registry_tool.base.deadline import Deadline, poll
from registry_tool.engine import Endpoint, connect_to
from registry_tool.local.registry import authority, spec
from registry_tool.targets.layout import Layout
from tests.support import canary, sample_archives
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine, private_engine
from tests.support.requirements import missing

pytestmark = [pytest.mark.engine, pytest.mark.netns, pytest.mark.podman, pytest.mark.slow]

SERVER, PEER = "198.51.100.1", "198.51.100.2"
HOST = f"{SERVER}:5000"
USER, PASSWORD, WRONG = "O'Brien 约翰 @x", canary.password("$`\"' : ключ 🔑"), "a wrong password"
GUESSES = """
import base64, http.client, json, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = http.client.HTTPSConnection(sys.argv[1], 5000, context=context)
connection.connect()
began, statuses = time.monotonic(), []
for number in range(10):
    login = base64.b64encode(f"{sys.argv[2]}:guess {number}".encode()).decode()
    connection.request("GET", "/v2/", headers={"Authorization": f"Basic {login}"})
    response = connection.getresponse()
    response.read()
    statuses.append(response.status)
print(json.dumps([statuses, time.monotonic() - began]))
"""
"""Ten wrong passwords over one connection."""
Done = subprocess.CompletedProcess[str]


@dataclass(kw_only=True)
class Share:
    """``server`` runs the registry, ``peer`` is another machine's engine; they see each other, and nothing else."""

    server: PrivateEngine
    peer: PrivateEngine
    folder: Path
    certs: Path
    """The folder ``certs.d/HOST`` that podman and skopeo get; docker's and ours have one of their own."""
    runroot: str
    """Of podman, which takes no path beyond 50 characters."""

    @property
    def own_podman(self) -> list[str]:
        """podman with storage of the test's own."""
        return ["podman", "--root", f"{self.folder}/podman", "--runroot", self.runroot, "--storage-driver", "vfs"]

    @property
    def state(self) -> Path:
        return self.folder / "state" / "registry-tool"

    def regctl(self, *words: str, engine: PrivateEngine | None = None, input: str | None = None) -> Done:
        """Our program, on the server unless ``engine`` is the other machine's."""
        where = "peer" if engine is self.peer else "server"
        own = {"HOME": str(self.folder / where), "DOCKER_CONFIG": str(self.folder / where / ".docker"), "PYTHONPATH": str(ROOT)}
        state = {} if engine is self.peer else {"XDG_STATE_HOME": str(self.state.parent)}
        return self.call(engine or self.server, [sys.executable, "-m", "registry_tool", *words], input=input, **own, **state)

    def call(self, engine: PrivateEngine, command: list[str], *, input: str | None = None, **env: str) -> Done:
        environment = {name: value for name, value in engine.environment(env).items() if not name.lower().endswith("_proxy")}
        return subprocess.run(
            engine.inside(command),
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
        )

    # --- the clients on the other machine: each pushes and pulls, as the user of `auth` or as nobody ---

    def docker(self, *, auth: bool) -> list[Done]:
        name = f"{HOST}/docker/app:1"
        config = {"DOCKER_CONFIG": str(self.folder / ("docker-auth" if auth else "docker-none") / ".docker")}
        assert self.call(self.peer, ["docker", "tag", "tiny", name]).returncode == 0
        pushed = self.call(self.peer, ["docker", "push", name], **config)
        return [pushed, self.call(self.peer, ["docker", "pull", name], **config)]

    def podman(self, *, auth: bool) -> list[Done]:
        file = str(self.folder / ("auth.json" if auth else "none.json"))
        access = ["--cert-dir", str(self.certs), "--authfile", file]
        name = f"{HOST}/podman/app:1"
        return [
            self.call(self.peer, [*self.own_podman, *words, name]) for words in (["push", *access, "localhost/tiny"], ["pull", *access])
        ]

    def skopeo(self, *, auth: bool) -> list[Done]:
        file = str(self.folder / ("auth.json" if auth else "none.json"))
        layout, name = f"oci:{self.folder}/layout:tiny", f"docker://{HOST}/skopeo/app:1"
        pushed = ["--dest-cert-dir", str(self.certs), "--dest-authfile", file, layout, name]
        pulled = ["--src-cert-dir", str(self.certs), "--src-authfile", file, name, f"dir:{self.folder}/pulled"]
        return [self.call(self.peer, ["skopeo", "--insecure-policy", "copy", *words]) for words in (pushed, pulled)]

    def ours(self, *, auth: bool) -> list[Done]:
        file = str(self.folder / ("auth.json" if auth else "none.json"))
        shutil.rmtree(self.folder / "copied", ignore_errors=True)
        places = ((f"oci:{self.folder}/layout:tiny", f"{HOST}/ours/app:1"), (f"{HOST}/ours/app:1", f"oci:{self.folder}/copied:tiny"))
        own = {"HOME": str(self.folder / "peer"), "PYTHONPATH": str(ROOT), "REGISTRY_AUTH_FILE": file}
        own["DOCKER_CONFIG"] = str(self.folder / "peer" / ".docker")
        return [self.call(self.peer, [sys.executable, "-m", "registry_tool", "copy", *words], **own) for words in places]

    def each(self, *, auth: bool) -> dict[str, list[Done]]:
        return {name: getattr(self, name)(auth=auth) for name in ("docker", "podman", "skopeo", "ours")}

    def trust(self, certificate: bytes | None) -> None:
        """What `trust` does on the other machine, for each client; None: nobody."""
        folders = (self.certs, self.folder / "etc" / "certs.d" / HOST, self.folder / "peer" / ".docker" / "certs.d" / HOST)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if certificate is not None:
                (folder / "ca.crt").write_bytes(certificate)


def tiny() -> bytes:
    """A file system of one file, as ``docker import`` and ``podman import`` read it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    return buffer.getvalue()


@pytest.fixture
def share(own_engine_possible: None, empty_engine: PrivateEngine, registry_image: str, tmp_path: Path) -> Iterator[Share]:
    for program in ("podman", "skopeo"):
        if shutil.which(program) is None:
            missing("podman", f"{program} is not installed")
    with subprocess.Popen(["docker", "save", registry_image], stdout=subprocess.PIPE) as saved:
        subprocess.run(["docker", "load", "-q"], stdin=saved.stdout, check=True, env=empty_engine.environment(), stdout=subprocess.DEVNULL)
    (tmp_path / "etc").mkdir()
    with private_engine(tmp_path / "engine", settings=tmp_path / "etc") as peer, tempfile.TemporaryDirectory(prefix="rt-") as runroot:
        link(empty_engine.namespace, peer.namespace)
        share = Share(server=empty_engine, peer=peer, folder=tmp_path, certs=tmp_path / "certs", runroot=runroot)
        (tmp_path / "none.json").write_text("{}")
        with Layout.open(tmp_path / "layout", write=True) as layout:
            sample_archives.put(layout, "tiny", b"a layer")
        (tmp_path / "tiny.tar").write_bytes(tiny())
        assert share.call(peer, ["docker", "import", str(tmp_path / "tiny.tar"), "tiny"]).returncode == 0
        done = share.call(peer, [*share.own_podman, "import", str(tmp_path / "tiny.tar"), "localhost/tiny"])
        assert done.returncode == 0, done.stderr
        yield share
        share.regctl("down", "--volumes", "--yes")


def link(server: str, peer: str) -> None:
    """Join two network namespaces; deleting one removes the link."""
    ends = (("one", server, SERVER), ("two", peer, PEER))
    words = ["ip", "link", "add", "one", "netns", server, "type", "veth", "peer", "name", "two", "netns", peer]
    subprocess.run(words, check=True)
    for end, namespace, address in ends:
        for step in (["address", "add", f"{address}/24", "dev", end], ["link", "set", end, "up"]):
            subprocess.run(["ip", "-n", namespace, *step], check=True)


def refused(results: dict[str, list[Done]], *words: str) -> None:
    """Each push and pull failed, and says one of ``words``."""
    for name, dones in results.items():
        for verb, done in zip(("push", "pull"), dones, strict=True):
            text = (done.stdout + done.stderr).lower()
            assert done.returncode != 0, f"{name} {verb} was not refused"
            assert any(word in text for word in words), f"{name} {verb}: {text}"


def test_colleagues_reach_a_registry_with_tls_and_nobody_else_does(share: Share) -> None:
    password = canary.exempt(share.folder / "password")
    password.write_text(PASSWORD)
    password.chmod(0o600)
    up = ("up", "--listen", SERVER, "--tls", "--auth", USER, "--password-file", str(password), "--json")
    done = share.regctl(*up)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert HOST in document["hosts"]
    trusted = authority.certificate(share.state)
    assert trusted is not None

    share.trust(None)
    refused(share.each(auth=False), "unknown authority", "unable to get local issuer", "self-signed certificate")
    share.trust(trusted)
    refused(share.each(auth=False), "no basic auth", "unauthorized", "authentication required", "needs a login", "denied")

    _log_in(share, WRONG, works=False)
    _log_in(share, PASSWORD, works=True)
    for name, dones in share.each(auth=True).items():
        assert [each.returncode for each in dones] == [0, 0], f"{name}: {[each.stderr for each in dones]}"
    listed = share.regctl("catalog", "--json")
    assert sorted(each["name"] for each in json.loads(listed.stdout)["repositories"]) == [
        "docker/app",
        "ours/app",
        "podman/app",
        "skopeo/app",
    ]

    guessed = share.call(share.peer, [sys.executable, "-c", GUESSES, SERVER, USER])
    statuses, seconds = json.loads(guessed.stdout)
    assert statuses == [401] * 10
    assert seconds > 10 * 0.02, "a guess costs the registry a hash with 2**10 rounds, tens of milliseconds on any machine"

    _scan(share)

    now = datetime.now(timezone.utc)
    pair = authority.load_or_create(share.state)
    _serve(share, certificates.issue(pair, names=["other.example"], days=30))
    refused(share.each(auth=True), "doesn't contain any ip sans", "not valid for", "is valid for", "mismatch", "cannot validate")
    _serve(share, certificates.issue(pair, addresses=[SERVER], days=29, now=now - timedelta(days=30)))
    refused(share.each(auth=True), "expired")
    renewed = share.regctl("up", "--json")
    assert json.loads(renewed.stdout)["created"], renewed.stderr
    for name, dones in share.each(auth=True).items():
        assert [each.returncode for each in dones] == [0, 0], f"{name} after the renewal: {[each.stderr for each in dones]}"


def _log_in(share: Share, password: str, *, works: bool) -> None:
    """``login`` of each client, and of ours on the server."""
    file, certs = str(share.folder / "auth.json"), str(share.certs)
    commands = (
        ["docker", "login", "-u", USER, "--password-stdin", HOST],
        ["podman", "login", "--authfile", file, "--cert-dir", certs, "-u", USER, "--password-stdin", HOST],
        ["skopeo", "login", "--authfile", file, "--cert-dir", certs, "-u", USER, "--password-stdin", HOST],
        [sys.executable, "-m", "registry_tool", "login", "-u", USER, "--password-stdin", HOST],
    )
    for command in commands:
        home = share.folder / ("docker-auth" if command[0] == "docker" else "peer")
        own = {"HOME": str(home), "DOCKER_CONFIG": str(home / ".docker"), "PYTHONPATH": str(ROOT)}
        done = share.call(share.peer, command, input=password, **own)
        assert (done.returncode == 0) == works, f"{command[:2]}: {done.stdout}{done.stderr}"
    if works:
        assert share.regctl("login", "-u", USER, "--password-stdin", input=password).returncode == 0


def _serve(share: Share, pair: KeyPair) -> None:
    """Let the registry serve another certificate, as if the one it has were that."""
    with connect_to(Endpoint(url=share.server.socket, source="a test")) as engine:
        folder = spec.SETTINGS_FOLDER
        files = {f"{folder}/server.crt": (pair.certificate, 0o644), f"{folder}/server.key": (pair.key, 0o600)}
        engine.put_files("registry-tool-default", spec.STORAGE, files)
        engine.restart("registry-tool-default")
    trial = ["openssl", "s_client", "-connect", HOST]
    assert poll(lambda: "BEGIN CERTIFICATE" in share.call(share.peer, trial, input="").stdout, Deadline(300), pause=0.2)


def _scan(share: Share) -> None:
    """No password and no private key is where others could read it: processes, the engine's records, logs, files."""
    secrets = (PASSWORD.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()), b"PRIVATE KEY-----\nM")
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        for name in ("cmdline", "environ"):
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue  # it has ended
            assert not any(secret in content for secret in secrets), f"{name} of {folder}"
    everything = share.call(share.server, ["docker", "inspect", "registry-tool-default"]).stdout
    logs = share.call(share.server, ["docker", "logs", "registry-tool-default"])
    for text in (everything, logs.stdout, logs.stderr):
        assert not any(secret.decode() in text for secret in secrets)
    holders = []
    for top in (share.folder, share.server.folder / "data" / "volumes", share.server.folder / "data" / "containers"):
        for path in (Path(folder, name) for folder, _, names in os.walk(top) for name in names):
            try:
                if path.is_symlink() or not path.is_file() or path.is_relative_to(share.peer.folder) or "podman" in path.parts[-3:]:
                    continue
                holds, mode = any(secret in path.read_bytes() for secret in secrets), stat.S_IMODE(path.stat().st_mode)
            except FileNotFoundError:
                continue  # the engine renames what it writes
            if holds:
                holders.append(path.name)
                assert mode & 0o077 == 0, f"others may read {path}"
    assert {"ca.pem", "password", "server.key"} <= set(holders)
