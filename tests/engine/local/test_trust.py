"""Real clients after ``trust``: docker, podman and skopeo with an /etc of their own, and ours; and a stand-in of a cluster's node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EngineError, NotFound, RegistryToolError, RegistryUnreachable
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.engine import ContainerSpec, Endpoint, Engine, connect_to
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import DOCKER_ENGINE, BaseImageResolver
from registry_tool.local.clients import clusters, nodes, trust
from registry_tool.local.clients.trust import ClientPaths
from registry_tool.local.registry import LocalRegistry, spec
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments.clean import _CAPABILITIES
from registry_tool.verify.environments.inner_engine import INNER, SOCKET, START
from tests.support.cli_runner import Typed
from tests.support.engine_snapshot import unique_name
from tests.support.requirements import free_port, missing

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

_WAIT = 600.0
_SERVE = "until [ -f /tmp/ready ]; do sleep 0.1; done; exec registry serve /etc/docker/registry/config.yml"


@dataclass(frozen=True)
class Served:
    """A registry with TLS beyond loopback."""

    host: str
    authority: bytes


@pytest.fixture(scope="module")
def served(session_engine: Engine, registry_image: str) -> Iterator[Served]:
    """Its certificate is for the address that its container has."""
    variables = {"REGISTRY_HTTP_TLS_CERTIFICATE": "/tmp/server.crt", "REGISTRY_HTTP_TLS_KEY": "/tmp/server.key"}
    container = session_engine.create(
        ContainerSpec(image=registry_image, name=unique_name(), environment=variables, entrypoint=("sh", "-c", _SERVE))
    )
    try:
        session_engine.start(container.id)
        running = session_engine.container(container.id)
        assert running is not None
        address = next(iter(running.networks.values()))
        authority = certificates.generate_authority("test", days=3)
        server = certificates.issue(authority, addresses=[address], days=2)
        session_engine.put_files(container.id, "/tmp", {"server.crt": (server.certificate, 0o600)})
        session_engine.put_files(container.id, "/tmp", {"server.key": (server.key, 0o600)})
        # Last: a file is there before its content is.
        session_engine.put_files(container.id, "/tmp", {"ready": (b"", 0o600)})
        assert poll(lambda: b"listening on" in b"".join(chunk for _, chunk in session_engine.logs(container.id)), Deadline(_WAIT))
        yield Served(host=f"{address}:5000", authority=authority.certificate)
    finally:
        session_engine.remove(container.id, force=True)


def _isolated(etc: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in a mount namespace whose /etc/containers and /etc/docker are those in ``etc``."""
    script = f'mount --bind "{etc}/docker" /etc/docker && mount --bind "{etc}/containers" /etc/containers && exec "$@"'
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
    isolated = ["unshare", "-m", "sh", "-c", script, "sh", *command]
    return subprocess.run(isolated, capture_output=True, text=True, check=False, timeout=300, env=environment)


@pytest.fixture
def storage() -> Iterator[list[str]]:
    """Podman's options for a storage of its own, whose path it wants to be short."""
    with tempfile.TemporaryDirectory(prefix="rt") as folder:
        yield ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]


def test_podman_and_skopeo_trust_the_registry_afterwards(served: Served, storage: list[str], tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("skopeo") is None or shutil.which("podman") is None:
        missing("podman", "podman and skopeo, and root for an /etc of the test's own")
    etc = tmp_path / "etc"
    for folder in ("docker", "containers"):
        etc.joinpath(folder).mkdir(parents=True)
        if not Path("/etc", folder).is_dir():
            missing("podman", f"/etc/{folder} is not there")
    for file in Path("/etc/containers").glob("*.json"):  # the policy of signatures
        shutil.copy(file, etc / "containers")
    commands = (
        ["skopeo", "list-tags", f"docker://{served.host}/none"],
        ["podman", *storage, "pull", f"{served.host}/none:x"],
    )
    for command in commands:
        before = _isolated(etc, command)
        assert "x509" in before.stderr or "certificate" in before.stderr, before.stderr

    paths = ClientPaths(root=tmp_path, home=tmp_path, config=tmp_path / ".docker", is_root=True)
    done = trust.apply(trust.plan([served.host], served.authority, ["docker", "podman"], paths))

    assert {file.state for file in done} == {"written"}
    for command in commands:
        after = _isolated(etc, command)
        # It is let in, and there is no such image: in the words of podman, of skopeo 1.9 and of later ones.
        assert "x509" not in after.stderr, after.stderr
        assert any(words in after.stderr for words in ("unknown", "404 (Not Found)", "not known to registry")), after.stderr


@pytest.fixture
def clean_docker(session_engine: Engine, session_dirs: AppDirs) -> Iterator[tuple[Engine, str]]:
    """A docker of the test's own in a container, whose /etc nobody else has; and the container's id."""
    image = BaseImageResolver(session_engine, session_dirs.cache).ensure(DOCKER_ENGINE).name
    start = INNER["docker"].files("")[START][0].replace(f"unix://{SOCKET}".encode(), b"tcp://0.0.0.0:2375")
    plain = ContainerSpec(image=image, name=unique_name(), entrypoint=(f"/{START}",), cgroupns="private")
    narrow = replace(plain, cap_add=_CAPABILITIES, security_opt=("seccomp=unconfined", "apparmor=unconfined"), unmasked=True)
    for described in (replace(plain, privileged=True), narrow):
        container = session_engine.create(described)
        session_engine.put_files(container.id, "/", {START: (start, 0o755)})
        try:
            session_engine.start(container.id)
            break
        except EngineError:
            session_engine.remove(container.id, force=True)
    else:
        missing("docker", "this engine starts no engine in a container")
    try:
        running = session_engine.container(container.id)
        assert running is not None
        address = next(iter(running.networks.values()))
        assert poll(lambda: _answers(address), Deadline(_WAIT)), session_engine.log_tail(container.id, 20)
        with connect_to(Endpoint(url=f"tcp://{address}:2375", source="a test")) as inner:
            yield inner, container.id
    finally:
        session_engine.remove(container.id, force=True)


def _answers(address: str) -> bool:
    try:
        return get_page(f"http://{address}:2375/_ping", timeout=10).status == 200
    except NoResponse:
        return False


def test_docker_trusts_the_registry_afterwards(
    served: Served, clean_docker: tuple[Engine, str], session_engine: Engine, tmp_path: Path
) -> None:
    docker, container = clean_docker
    with pytest.raises(EngineError, match="x509"):
        docker.pull(f"{served.host}/none:x")

    paths = ClientPaths(root=tmp_path, home=tmp_path)
    for file in trust.apply(trust.plan([served.host], served.authority, ["docker"], paths)):
        name = str(file.path.relative_to(tmp_path))
        session_engine.put_files(container, "/", {name: (file.path.read_bytes(), 0o644)})

    with pytest.raises(RegistryToolError) as raised:  # it is let in, and there is no such image
        docker.pull(f"{served.host}/none:x")
    assert "x509" not in raised.value.message
    assert "unknown" in raised.value.message or "not found" in raised.value.message


def test_our_own_client_trusts_the_registry_afterwards(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / ".docker"))
    with open_registry(served.host) as registry, pytest.raises(RegistryUnreachable):
        registry.ping()

    paths = ClientPaths(root=tmp_path, home=tmp_path)
    trust.apply(trust.plan([served.host], served.authority, ["regctl"], paths))

    with open_registry(served.host) as registry:
        registry.ping()


@pytest.fixture
def up(session_engine: Engine, registry_image: str, session_dirs: AppDirs) -> Iterator[LocalRegistry]:
    name = unique_name()
    up = local_registry.up(
        session_engine, image=lambda: registry_image, name=name, port=free_port(), state=session_dirs.state, timeout=_WAIT
    )
    try:
        yield up.registry
    finally:
        local_registry.down(session_engine, name, volumes=True)


@pytest.fixture
def cluster(session_engine: Engine, registry_image: str) -> Iterator[str]:
    """A stand-in of a kind cluster: a node and a load balancer, in a network; ``kubectl`` keeps what it is given."""
    name = unique_name()
    kubectl = '#!/bin/sh\ncp /etc/registry-tool/local-registry-hosting.yaml /tmp/applied && echo "$@" >/tmp/arguments\n'
    session_engine.create_network(name, labels={})
    made = []
    try:
        for role in ("control-plane", "external-load-balancer"):
            labels = {"io.x-k8s.kind.cluster": name, "io.x-k8s.kind.role": role}
            node = session_engine.create(
                ContainerSpec(image=registry_image, name=f"{name}-{role}", labels=labels, network=name, entrypoint=("sleep", "100000"))
            )
            made.append(node.id)
            session_engine.put_files(node.id, "/usr/bin", {"kubectl": (kubectl.encode(), 0o755)})
            session_engine.start(node.id)
        yield name
    finally:
        for id in made:
            session_engine.remove(id, force=True)
        network = session_engine.network(name)
        for container in network.containers if network else ():
            session_engine.disconnect_network(name, container)
        session_engine.remove_network(name, missing_ok=True)


def test_connected_cluster_reaches_the_registry_and_has_the_config_map(
    session_engine: Engine, up: LocalRegistry, cluster: str, typed: Typed
) -> None:
    engine = session_engine
    shown = typed("connect", "kind", cluster, "--name", up.name, "--dry-run", "--json").json
    assert (shown["ok"], shown["applied"], shown["plan"]["networks"]) == (True, False, [cluster])
    assert shown["plan"]["files"][0]["state"] == "missing"
    planned = clusters.plan(engine, "kind", cluster, up)
    assert (planned.networks, [file.node for file in planned.files]) == ((cluster,), [f"{cluster}-control-plane"])

    done = clusters.connect(engine, planned, alias=spec.resource_name(up.name))

    node = f"{cluster}-control-plane"
    assert (done.error, {file.state for file in done.files}) == (None, {"written"})
    toml = (engine.get_file(node, f"/etc/containerd/certs.d/{up.address}/hosts.toml") or b"").decode()
    endpoint = f"http://{spec.resource_name(up.name)}:5000"
    assert f'[host."{endpoint}"]' in toml
    code, _ = engine.execute(node, ["wget", "-q", "-O-", f"{endpoint}/v2/"])
    assert code == 0
    applied = (engine.get_file(node, "/tmp/applied") or b"").decode()
    assert applied == planned.manifest
    assert f'host: "{up.address}"' in applied
    assert b"apply -f" in (engine.get_file(node, "/tmp/arguments") or b"")

    again = clusters.plan(engine, "kind", cluster, up)
    assert (again.networks, {file.state for file in again.files}) == ((), {"present"})
    assert clusters.connect(engine, again, alias=spec.resource_name(up.name)).error is None


def test_nodes_of_a_cluster_get_the_authority(session_engine: Engine, cluster: str, tmp_path: Path) -> None:
    authority = certificates.generate_authority("test", days=3).certificate
    paths = ClientPaths(root=tmp_path, home=tmp_path)

    planned = trust.plan(["registry.lan:5000"], authority, ["kind"], paths, engine=lambda: session_engine)
    mine = [file for file in planned if file.node == f"{cluster}-control-plane"]
    done = trust.apply(mine, engine=session_engine)

    assert {file.state for file in done} == {"written"}
    folder = "/etc/containerd/certs.d/registry.lan:5000"
    assert session_engine.get_file(mine[0].node or "", f"{folder}/registry-tool.crt") == authority
    assert b"ca = " in (session_engine.get_file(mine[0].node or "", f"{folder}/hosts.toml") or b"")


def test_kubectl_that_fails_is_reported_and_the_files_are_there(session_engine: Engine, up: LocalRegistry, cluster: str) -> None:
    node = f"{cluster}-control-plane"
    session_engine.put_files(node, "/usr/bin", {"kubectl": (b"#!/bin/sh\necho refused >&2; exit 1\n", 0o755)})

    done = clusters.connect(session_engine, clusters.plan(session_engine, "kind", cluster, up), alias=spec.resource_name(up.name))

    assert done.error == "refused"
    assert {file.state for file in done.files} == {"written"}
    with pytest.raises(NotFound, match="no kind cluster 'nobody'"):
        nodes.find(session_engine, "kind", "nobody")
