"""Clean engines: really clean, really alone with the registry, and gone without a trace."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from registry_tool import server
from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base import concurrency, labels, runs
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import AppDirs, owner_id
from registry_tool.base.errors import EngineError, EnvironmentUnavailable, ProvisionFailed, PullFailed, RegistryUnreachable, UsageError
from registry_tool.base.page_client import PageClient
from registry_tool.engine import Container, ContainerSpec, Engine, EngineInfo, PortBinding, connect
from registry_tool.local import orphans
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import Base, BaseImage, BaseImageResolver
from registry_tool.local.bring_up import registry_up
from registry_tool.local.registry import Auth, LocalRegistry
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments import inner_engine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.environments.selection import open_environment, validate_name
from tests.support.faulty_proxy import close_connection, faulty_proxy
from tests.support.requirements import free_port
from tests.support.verify_images import opened, reference

pytestmark = [pytest.mark.engine]

each_kind = pytest.mark.parametrize(
    "kind", [pytest.param("docker", marks=pytest.mark.docker_proof), pytest.param("podman", marks=pytest.mark.podman_proof)]
)
with_docker = pytest.mark.docker_proof

OURS = {labels.VERIFY: ""}
ALLOWANCE = 256 << 10
PAGE = "mkdir /www; echo hello >/www/index.html; exec busybox httpd -f -p 80 -h /www"

Result = TypeVar("Result")


@pytest.fixture(scope="session")
def shell_image(session_engine: Engine, registry_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with busybox in it and nothing else, of two megabytes: its name."""
    made = session_engine.create(ContainerSpec(image=registry_image))
    try:
        busybox = session_engine.get_file(made.id, "/usr/bin/busybox")
    finally:
        session_engine.remove(made.id)
    assert busybox is not None
    path, name = tmp_path_factory.mktemp("shell") / "shell.tar", f"shell-{uuid.uuid4().hex[:10]}:1"
    with tarfile.open(path, "w") as archive:
        file = tarfile.TarInfo("bin/busybox")
        file.size, file.mode = len(busybox), 0o755
        archive.addfile(file, io.BytesIO(busybox))
        for applet in ("sh", "sleep", "mkdir", "wget", "nc", "nslookup", "timeout"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    session_engine.import_image(path, name=name, changes=("ENV PATH=/bin",))
    yield name
    session_engine.remove_image(name, force=True)


@pytest.fixture
def pushed(engine: Engine, local: LocalRegistry, shell_image: str, unique: str) -> Iterator[str]:
    """The same in the local registry: its full name."""
    yield from _pushed(engine, shell_image, f"{local.address}/{unique}/shell:1")


def _pushed(engine: Engine, image: str, name: str) -> Iterator[str]:
    engine.tag(image, name)
    digest = engine.push(name).digest
    yield name
    engine.remove_image(name)
    repository = name.rpartition(":")[0]
    if engine.image(f"{repository}@{digest}"):
        engine.remove_image(f"{repository}@{digest}")


def things(engine: Engine, run_id: str) -> list[str]:
    """What is on the engine of one run."""
    ours = {labels.VERIFY: run_id}
    result: list[Any] = [*engine.containers(all=True, labels=ours), *engine.networks(labels=ours), *engine.volumes(labels=ours)]
    return [item.name for item in result]


def networks(engine: Engine, registry: LocalRegistry) -> frozenset[str]:
    container = engine.container(registry.container_id)
    assert container is not None
    return frozenset(container.networks)


def traces(ids: list[str]) -> list[str]:
    """Mounts, control groups and processes of these containers, as far as this machine shows any."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if any(name in line for name in ids)]
    groups = [str(path) for name in ids for path in Path("/sys/fs/cgroup").glob(f"*/docker/{name}")]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            text = path.read_text()
        except OSError:
            continue  # it has ended meanwhile
        processes += [str(path) for name in ids if name in text]
    return [*mounts, *groups, *processes]


def shell(environment: Environment, image: str, script: str = "sleep 600", **options: Any) -> Container:
    spec = ContainerSpec(image=image, entrypoint=("sh", "-c"), command=(script,), labels=environment.labels(), **options)
    return environment.engine.run(spec)


# What may go wrong


@pytest.mark.parametrize("name", ["", "dock", "context:", "Docker", "here:"])
def test_unknown_environment_is_a_usage_error_that_names_all(name: str) -> None:
    with pytest.raises(UsageError, match="not an engine to verify on") as caught:
        validate_name(name)
    assert caught.value.hint is not None and "docker, podman, here, context:NAME" in caught.value.hint


def test_clean_engine_for_a_remote_registry_is_unavailable(engine: Engine, dirs: AppDirs) -> None:
    image = reference("registry.example.com/john/app:1")
    with (
        pytest.raises(EnvironmentUnavailable, match=r"registry\.example\.com is elsewhere") as caught,
        open_environment(engine, "docker", image=image, dirs=dirs),
    ):
        pass
    assert caught.value.exit_code == 3
    assert caught.value.hint is not None and "--on here" in caught.value.hint


def test_engine_that_is_too_old_makes_clean_ones_unavailable(engine: Engine, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    info = engine.info
    old = EngineInfo(name="old", version="19.03.15", api_version="1.40", platform=info.platform, storage="overlay2", product="Docker")
    monkeypatch.setattr(engine, "info", old)
    with (
        pytest.raises(EnvironmentUnavailable, match="Docker 19.03.15 is too old"),
        open_environment(engine, "docker", image=reference("localhost:5000/a:1"), dirs=dirs),
    ):
        pass


@with_docker
def test_engine_that_forbids_inner_engines_leaves_nothing(
    engine: Engine, pushed: str, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Engine.start

    def forbidding(self: Engine, id: str) -> None:
        container = self.container(id)
        if container is not None and container.name.endswith("-engine"):
            raise EngineError("not on this machine")
        start(self, id)

    monkeypatch.setattr(Engine, "start", forbidding)
    observed: list[str] = []
    monkeypatch.setattr(runs, "begin", _noting(runs.begin, observed))
    with (
        pytest.raises(EnvironmentUnavailable, match="not on this machine") as caught,
        open_environment(engine, "docker", image=reference(pushed), dirs=dirs),
    ):
        pass
    assert "--privileged" in caught.value.message and caught.value.hint is not None
    assert things(engine, observed[0]) == []


@with_docker
def test_missing_base_image_makes_clean_engines_unavailable(
    engine: Engine, pushed: str, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ensure(self: BaseImageResolver, base: Base) -> BaseImage:
        raise ProvisionFailed("no base image anywhere", hint="Bring one.", excerpt=("E: nothing",))

    monkeypatch.setattr(BaseImageResolver, "ensure", ensure)
    with pytest.raises(EnvironmentUnavailable, match="a clean docker is not available: no base image anywhere") as caught:
        open_environment(engine, "docker", image=reference(pushed), dirs=dirs).__enter__()
    assert (caught.value.exit_code, caught.value.hint, caught.value.excerpt) == (3, "Bring one.", ("E: nothing",))


@with_docker
def test_inner_engine_that_ends_is_unavailable_with_its_log(
    engine: Engine, pushed: str, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inner_engine, "_DOCKER", "echo the disk is on fire >&2\nexit 1\n")
    with (
        pytest.raises(EnvironmentUnavailable, match="ended while it started") as caught,
        open_environment(engine, "docker", image=reference(pushed), dirs=dirs),
    ):
        pass
    assert "the disk is on fire" in caught.value.excerpt


@with_docker
def test_inner_engine_that_never_answers_is_unavailable_with_its_log(
    engine: Engine, pushed: str, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inner_engine, "_DOCKER", "echo nearly there\nexec sleep 600\n")
    monkeypatch.setattr("registry_tool.verify.environments.clean.READY_WITHIN", 5)
    with (
        pytest.raises(EnvironmentUnavailable, match="does not answer within 5 s") as caught,
        open_environment(engine, "docker", image=reference(pushed), dirs=dirs),
    ):
        pass
    assert caught.value.excerpt == ("nearly there",)


@each_kind
def test_refused_blobs_come_from_nowhere_else(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs, kind: str) -> None:
    with faulty_proxy(local.port) as proxy:
        name = pushed.replace(local.address, f"localhost:{proxy.port}")
        proxy.inject(close_connection, path="/blobs/")
        with opened(engine, kind, name, dirs) as environment:
            with pytest.raises((PullFailed, RegistryUnreachable)):
                environment.engine.pull(name)
            traffic = environment.traffic()
            assert proxy.count(path="/blobs/") > 0
            assert traffic is not None and traffic.down < 20_000
            assert environment.engine.image(name) is None
            proxy.reset()
            environment.engine.pull(name)
            assert environment.engine.image(name) is not None


# What is there


@each_kind
def test_clean_engine_has_nothing_and_reaches_the_registry_only(
    engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs, kind: str
) -> None:
    before = networks(engine, local)
    with opened(engine, kind, pushed, dirs) as environment:
        run_id = environment.labels()[labels.VERIFY]
        ids = [item.id for item in engine.containers(labels={labels.VERIFY: run_id})]
        assert len(ids) == 2
        assert environment.info.kind == environment.info.name == kind
        assert (
            environment.info.engine.lower().startswith(kind) and environment.info.kernel and environment.info.platform.startswith("linux/")
        )
        assert environment.info.clean and environment.isolated
        assert environment.engine.images() == () and environment.engine.containers(all=True) == ()
        _pulls_by_digest(environment, pushed)
        _publishes(environment, pushed)
        _resolves_container_names(environment, pushed)
        _reaches_nothing_else(engine, local, environment, pushed)
    assert things(engine, run_id) == []
    assert poll(partial(_is_without_traces, ids), Deadline(600)), traces(ids)
    assert networks(engine, local) == before


def _pulls_by_digest(environment: Environment, name: str) -> None:
    image = reference(name)
    repository = open_registry(image.host).repository(image.path)
    digest = repository.resolve(image.tag or "").digest
    moved = environment.engine.pull(str(image.with_digest(digest)))
    traffic = environment.traffic(reset=True)
    assert moved.digest == digest and traffic is not None
    manifest = repository.manifest(digest)
    least = len(manifest.raw) + sum(part.size for part in (manifest.config, *manifest.layers) if part is not None)
    assert least <= traffic.down <= least * 1.01 + ALLOWANCE
    assert traffic.refused == 0
    environment.engine.pull(name)
    result = environment.engine.image(name)
    assert result is not None and any(str(digest) in known for known in result.digests)


def _publishes(environment: Environment, name: str) -> None:
    binding = PortBinding(container_port="80/tcp", host_port=4000, host_ip="127.0.0.1")
    container = shell(environment, name, PAGE, ports=(binding,))
    _eventually(lambda: environment.connect(4000, timeout=5).close())
    with pytest.raises(ConnectionRefusedError):
        environment.connect(4001, timeout=60)
    with closing(PageClient(lambda timeout: environment.connect(4000, timeout=timeout))) as client:
        assert client.get("/", timeout=600).body == "hello\n"
    environment.engine.remove(container.id, force=True)


def _output(environment: Environment, container: Container, *command: str) -> bytes:
    code, output = environment.engine.execute(container.id, command)
    if code != 0:
        raise OSError(output)
    return output


def _resolves_container_names(environment: Environment, name: str) -> None:
    network = environment.engine.create_network("neighbours", labels=environment.labels())
    shell(environment, name, PAGE, network="neighbours", aliases=("other",), name="one")
    two = shell(environment, name, network="neighbours", name="two")
    message = _eventually(lambda: _output(environment, two, "wget", "-q", "-O-", "http://other/"))
    assert message == b"hello\n"
    for container in environment.engine.containers(all=True):
        environment.engine.remove(container.id, force=True)
    environment.engine.remove_network(network.name)


def _reaches_nothing_else(engine: Engine, local: LocalRegistry, environment: Environment, name: str) -> None:
    container = shell(environment, name)
    registry = engine.container(local.container_id)
    assert registry is not None
    [straight, *_] = registry.networks.values()
    gateway = straight.rpartition(".")[0] + ".1"
    for host, port in ((straight, 5000), (gateway, local.port), ("192.0.2.1", 80)):
        code, _ = environment.engine.execute(container.id, ("timeout", "2", "nc", host, str(port)))
        assert code != 0, f"{host}:{port} can be reached"
    code, _ = environment.engine.execute(container.id, ("timeout", "5", "nslookup", "registry"))
    assert code != 0
    environment.engine.remove(container.id, force=True)


@each_kind
def test_registry_in_this_process_is_reached_through_the_tunnel(
    engine: Engine, registry: server.RunningRegistry, shell_image: str, dirs: AppDirs, kind: str
) -> None:
    name = f"{registry.host}/john/shell:1"
    for pushed in _pushed(engine, shell_image, name):
        with opened(engine, kind, pushed, dirs) as environment:
            run_id = environment.labels()[labels.VERIFY]
            assert engine.networks(labels={labels.VERIFY: run_id}) == ()
            moved = environment.engine.pull(pushed)
            traffic = environment.traffic()
            assert traffic is not None and traffic.down > 500_000
            assert moved.digest == open_registry(registry.host).digest("john/shell", "1")
        assert things(engine, run_id) == []


@each_kind
def test_password_is_neither_stored_nor_logged(engine: Engine, shell_image: str, dirs: AppDirs, unique: str, kind: str) -> None:
    password = f"secret-{unique}"
    try:
        registry = registry_up(engine, dirs, name=unique, port=free_port(), auth=Auth(user="mary", password=password)).up.registry
        credentials.store(registry.address, Credential("mary", password))
        for pushed in _pushed(engine, shell_image, f"{registry.address}/john/shell:1"):
            with opened(engine, kind, pushed, dirs) as environment:
                environment.engine.pull(pushed)
                observed = _everything_of(engine, environment)
            assert password.encode() not in observed
    finally:
        local_registry.down(engine, unique, volumes=True)


def _everything_of(engine: Engine, environment: Environment) -> bytes:
    """What the engine knows of the proof's containers, what they logged, and the clean engine's own files."""
    observed = b""
    for listed in engine.containers(labels={labels.VERIFY: environment.labels()[labels.VERIFY]}):
        observed += repr(engine.container(listed.id)).encode() + b"".join(content for _, content in engine.logs(listed.id))
        if listed.name.endswith("-engine"):
            command = ("sh", "-c", "cat /root/.docker/* /run/containers/0/auth.json /root/.config/containers/* /proc/[0-9]*/cmdline")
            observed += engine.execute(listed.id, command)[1]
    return observed


@with_docker
def test_two_clean_engines_at_once_are_separate(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs) -> None:
    before = networks(engine, local)
    with opened(engine, "docker", pushed, dirs) as one, opened(engine, "docker", pushed, dirs) as two:
        one.engine.pull(pushed)
        assert two.engine.image(pushed) is None
        traffic = two.traffic()
        assert traffic is not None and traffic.down == 0
        two.engine.pull(pushed)
        assert networks(engine, local) == before, "the registry is in no network of theirs"
    assert networks(engine, local) == before


@with_docker
@pytest.mark.parametrize("moment", [-86_400.0, 4_300_000_000.0])
def test_broken_clock_does_not_matter(engine: Engine, pushed: str, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """Before 1970, as where a battery is empty, and beyond 32 bits; it stands still, too."""
    monkeypatch.setattr(time, "time", lambda: moment)
    with opened(engine, "docker", pushed, dirs) as environment:
        assert environment.engine.pull(pushed).digest is not None


@with_docker
def test_interruption_leaves_nothing(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs) -> None:
    before, run_id = networks(engine, local), ""
    with pytest.raises(KeyboardInterrupt), opened(engine, "docker", pushed, dirs) as environment:
        run_id = environment.labels()[labels.VERIFY]
        environment.engine.pull(pushed)
        raise KeyboardInterrupt
    assert things(engine, run_id) == []
    assert networks(engine, local) == before


# Those that were killed

CHILD = """
import sys, time
from pathlib import Path
from registry_tool.engine import connect
from registry_tool.base.dirs import AppDirs
from registry_tool.verify.environments.selection import open_environment
from registry_tool.oci.reference import Reference
name, state, cache = sys.argv[1:]
with connect() as engine:
    image = Reference.parse(name, default_host="")
    with open_environment(engine, "docker", image=image, dirs=AppDirs(state=Path(state), cache=Path(cache))) as environment:
        environment.engine.pull(name)
        print("pulled", flush=True)
        time.sleep(600)
"""


def _child(pushed: str, dirs: AppDirs) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, pushed, str(dirs.state), str(dirs.cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _end(child: subprocess.Popen[str], number: signal.Signals) -> str:
    child.send_signal(number)
    return child.communicate(timeout=600)[1]


def _owned(engine: Engine, dirs: AppDirs) -> list[str]:
    ours = owner_id(dirs.state)
    result: list[Any] = [*engine.containers(all=True, labels=OURS), *engine.networks(labels=OURS), *engine.volumes(labels=OURS)]
    return [item.name for item in result if item.labels[labels.VERIFY].startswith(ours)]


def _is_swept(engine: Engine, dirs: AppDirs) -> bool:
    orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY)
    return not _owned(engine, dirs)


def _is_without_traces(ids: list[str]) -> bool:
    """Whether nothing is left of these containers: the kernel ends their processes a moment after the engine has removed them."""
    return not traces(ids)


def _killed_at_random(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs, times: int, number: signal.Signals) -> None:
    before = networks(engine, local)
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    moments = random.Random(seed)
    for _ in range(times):
        child = _child(pushed, dirs)
        time.sleep(moments.uniform(0.3, 3.5))
        ids = [item.id for item in engine.containers(all=True, labels=OURS) if item.name in _owned(engine, dirs)]
        message = _end(child, number)
        if number is signal.SIGKILL:
            # What the engine was asked for last, it may still be doing.
            time.sleep(0.5)
            assert poll(partial(_is_swept, engine, dirs), Deadline(600)), message
        assert _owned(engine, dirs) == [], message
        assert poll(partial(_is_without_traces, ids), Deadline(600)), traces(ids)
        assert networks(engine, local) == before


@with_docker
def test_run_killed_at_a_random_moment_is_cleaned_up_by_the_next(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs) -> None:
    _killed_at_random(engine, local, pushed, dirs, 3, signal.SIGKILL)


@with_docker
def test_interruption_at_a_random_moment_leaves_nothing(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs) -> None:
    _killed_at_random(engine, local, pushed, dirs, 3, signal.SIGINT)


@with_docker
@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_end_at_many_random_moments_leaves_nothing(
    engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs, number: signal.Signals
) -> None:
    _killed_at_random(engine, local, pushed, dirs, 10, number)


@with_docker
def test_sweep_removes_dead_runs_and_leaves_living_ones(engine: Engine, local: LocalRegistry, pushed: str, dirs: AppDirs) -> None:
    before = networks(engine, local)
    child = _child(pushed, dirs)
    try:
        assert child.stdout is not None and child.stdout.readline() == "pulled\n"
        living = _owned(engine, dirs)
        assert len(living) == 3
        assert orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY) == frozenset()
        assert _owned(engine, dirs) == living
    finally:
        _end(child, signal.SIGKILL)
    assert _owned(engine, dirs) == living
    result = orphans.find(engine, dirs.state, labels.ROLE_VERIFY)
    names = [[item.name for item in items] for items in (result.containers, result.networks, result.volumes)]
    assert sorted(name for each in names for name in each) == sorted(living)
    with opened(engine, "docker", pushed, dirs) as environment:
        assert not set(_owned(engine, dirs)) & set(living)
        assert environment.engine.images() == ()
    assert networks(engine, local) == before


def test_concurrent_sweeps_do_not_fail(engine: Engine, registry_image: str, dirs: AppDirs, unique: str) -> None:
    with runs.begin(dirs.state) as run:
        marks = run.labels(labels.ROLE_VERIFY)
    other = engine.run(ContainerSpec(image=registry_image, entrypoint=("sleep",), command=("600",), name=unique))
    try:
        for _ in range(3):
            engine.create_network(unique, labels=marks, internal=True)
            engine.create_volume(unique, labels=marks)
            engine.connect_network(unique, other.id)
            for _ in range(2):
                spec = ContainerSpec(
                    image=registry_image, entrypoint=("sleep",), command=("600",), network=unique, volumes={unique: "/v"}, labels=marks
                )
                engine.run(spec)
            for _ in concurrency.map_unordered(lambda _: _sweep(dirs), range(4), threads=4):
                continue
            assert things(engine, run.id) == []
        left = engine.container(other.id)
        assert left is not None and left.running and unique not in left.networks
    finally:
        orphans.clear(engine, marks)
        engine.remove(other.id, force=True)


def _sweep(dirs: AppDirs) -> None:
    with connect() as engine:
        orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY)


def test_sweep_leaves_other_owners_things(engine: Engine, dirs: AppDirs, unique: str) -> None:
    foreign = {labels.ROLE: labels.ROLE_VERIFY, labels.VERIFY: f"0000000{unique}"}
    engine.create_volume(unique, labels=foreign)
    try:
        assert orphans.sweep(engine, dirs.state, labels.ROLE_VERIFY) == frozenset()
        assert engine.volume(unique) is not None
    finally:
        engine.remove_volume(unique)


def _noting(begin: Any, observed: list[str]) -> Any:
    @contextmanager
    def noting(state: Path) -> Iterator[runs.Run]:
        with begin(state) as run:
            observed.append(run.id)
            yield run

    return noting


def _eventually(look: Callable[[], Result]) -> Result:
    deadline = time.monotonic() + 600
    while True:
        try:
            return look()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
