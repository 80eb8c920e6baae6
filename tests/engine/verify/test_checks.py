"""The checks of a good image, one by one, and of a registry or an engine that fails."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry_tool.base.address import HostPort
from registry_tool.base.codec import to_json
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import RegistryUnreachable
from registry_tool.base.progress import SILENT, Silent
from registry_tool.engine import Engine
from registry_tool.targets.registry import open_registry
from registry_tool.verify.checks import pull_checks
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments.clean import CleanEnvironment
from registry_tool.verify.probing import probes as probing
from registry_tool.verify.remote_image import resolve
from registry_tool.verify.result import CHECKS, Check
from registry_tool.verify.spec import Exec, Http, Log, Tcp, VerifySpec
from tests.support import broken_images as images
from tests.support.broken_images import Base, Pushed
from tests.support.content import DOCKER_IMAGE, OCI_INDEX, put_manifest
from tests.support.damage import Damageable, in_a_container
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, close_connection, faulty_proxy
from tests.support.requirements import free_port
from tests.support.verify_images import check_named, empty, failed, opened, reference

pytestmark = [pytest.mark.engine, pytest.mark.docker_proof, pytest.mark.slow]

PAGE = Http(published=4000, container=80, text=("Hello World!",))


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyProxy]:
    """What stands before this module's registry."""
    with faulty_proxy(0) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stock(stock: Damageable, proxy: FaultyProxy) -> Damageable:
    """The session's registry, behind the proxy."""
    proxy.target = stock.port
    return replace(stock, port=proxy.port)


@pytest.fixture(scope="module")
def clean(session_engine: Engine, session_dirs: AppDirs, stock: Damageable) -> Iterator[CleanEnvironment]:
    with opened(session_engine, "docker", f"localhost:{stock.port}/any:1", session_dirs) as environment:
        assert isinstance(environment, CleanEnvironment)
        yield environment


@pytest.fixture
def environment(clean: CleanEnvironment) -> CleanEnvironment:
    """A clean docker, which has nothing now."""
    empty(clean)
    return clean


def _app(stock: Damageable, base: Base, tag: str, **more: object) -> Pushed:
    return images.push_program(stock.port, tag, base, f"serve()  # {tag}", **more)  # type: ignore[arg-type]


def _tiny(stock: Damageable, tag: str, architecture: str = images.OURS) -> Pushed:
    """Nothing that starts, and quickly pulled."""
    return images.push(stock.port, tag, None, {"file": tag}, command=("/file",), architecture=architecture)


def test_good_image_passes_every_check(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _app(stock, base, unique, user="65534", stop_signal="SIGTERM")
    spec = VerifySpec(
        image=reference(pushed.name),
        expect=pushed.digest,
        environment={"COLOUR": "blue"},
        probes=(
            PAGE,
            Http(published=4000, container=80, path="/json", json=(("greeting", "Hello World!"),), within=60.0),
            Http(published=4000, container=80, path="/gone", status=410),
            Tcp(published=4001, container=80),
            Exec.parse("""python3 -c "import os; assert os.environ['COLOUR'] == 'blue'" """),
            Log(text="serving"),
        ),
    )
    finished: list[Check] = []
    result = run_checks(environment, spec, current=engine, dirs=dirs, on_check=finished.append)
    assert [(each.name, each.ok) for each in result.checks] == [(name, True) for name in CHECKS if name != "stack"], result
    assert tuple(finished) == result.checks
    assert to_json(result.pulled) == [
        {"reference": f"localhost:{stock.port}/{images.REPOSITORY}@{pushed.digest}", "digest": str(pushed.digest)}
    ]
    fetched = check_named(result, "fetched").evidence
    assert isinstance(fetched["bytes"], int)
    assert isinstance(fetched["least"], int)
    assert fetched["least"] > len(pushed.own)
    starts = check_named(result, "starts")
    assert starts.detail == "as 65534: python3 /app.py"
    assert check_named(result, "listens").evidence["seen_by"] == "/proc/net/tcp"
    assert check_named(result, "ends").evidence == {"code": 0, "signal": "SIGTERM", "within": 10.0}
    assert environment.engine.containers(all=True) == ()
    json.dumps(to_json(result))


def test_exposed_ports_are_probed_without_probes(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    """No probes, and no program in the image that could tell where it listens."""
    files: dict[str, bytes | str | None] = {"app.py": images.SERVER + f"serve()  # {unique}", "bin/cat": None, "usr/bin/cat": None}
    pushed = images.push(stock.port, unique, base, files, command=("python3", "/app.py"), expose=(80,))
    result = run_checks(environment, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    assert failed(result) == []
    assert check_named(result, "listens").ok is True
    assert check_named(result, "listens").evidence["seen_by"] == "connections"
    assert check_named(result, "probes").detail == "tcp 80:80: it takes connections"
    assert (check_named(result, "resolves").ok, "not compared" in check_named(result, "resolves").detail) == (None, True)


def test_health_check_of_the_image_is_run(
    environment: CleanEnvironment,
    stock: Damageable,
    base: Base,
    engine: Engine,
    dirs: AppDirs,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last look decides what is said: it has the time to end, too.
    monkeypatch.setattr(probing, "MIN_TIMEOUT", 60.0)
    pushed = _app(stock, base, unique, healthcheck=("CMD-SHELL", "test -e /healthy"))
    spec = VerifySpec(image=reference(pushed.name), probes=(PAGE,), timeout=10.0)
    result = run_checks(environment, spec, current=engine, dirs=dirs)
    assert failed(result) == ["probes"]
    assert check_named(result, "probes").detail.startswith("health /bin/sh -c 'test -e /healthy': it ended with code 1")


def test_closed_port_is_seen_by_connecting(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    files: dict[str, bytes | str | None] = {"app.py": images.SERVER + f"serve(8080)  # {unique}", "bin/cat": None, "usr/bin/cat": None}
    pushed = images.push(stock.port, unique, base, files, command=("python3", "/app.py"), expose=(80,))
    result = run_checks(environment, VerifySpec(image=reference(pushed.name), timeout=2.0), current=engine, dirs=dirs)
    assert failed(result) == ["listens"]


def test_taken_port_is_published_elsewhere(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _app(stock, base, unique)
    # There the registry is.
    spec = VerifySpec(image=reference(pushed.name), probes=(replace(PAGE, published=stock.port),))
    result = run_checks(environment, spec, current=engine, dirs=dirs)
    assert failed(result) == []
    assert check_named(result, "probes").ok is True


def _refusing_engines(received: ReceivedRequest, ask: Forward) -> Reply:
    """Only this process gets an answer."""
    return close_connection(received, ask) if "docker" in received.headers.get("user-agent", "") else ask(received)


def test_refused_blobs_come_from_nowhere_else(
    environment: CleanEnvironment, stock: Damageable, proxy: FaultyProxy, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _tiny(stock, unique)
    proxy.inject(_refusing_engines, path="/blobs/")
    try:
        result = run_checks(environment, VerifySpec(image=reference(pushed.name), probes=(PAGE,)), current=engine, dirs=dirs)
    finally:
        proxy.reset()
    assert failed(result) == ["fetched"]
    assert check_named(result, "fetched").hint
    assert {each.ok for each in result.checks[3:]} == {None, True}, "what cannot be looked at is not red"
    assert check_named(result, "starts").detail == "not looked at: there is no image to start"


def test_layers_already_present_are_missing_in_the_bytes(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _tiny(stock, unique)
    environment.engine.pull(f"{pushed.name.rpartition(':')[0]}@{pushed.digest}")
    result = run_checks(environment, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    assert {"clean", "fetched"} <= set(failed(result))
    assert check_named(result, "fetched").detail.startswith("too little was downloaded")


def test_missing_name_fails_and_skips_the_other_checks(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    spec = VerifySpec(image=reference(f"localhost:{stock.port}/{images.REPOSITORY}:{unique}"), redis=True)
    result = run_checks(environment, spec, current=engine, dirs=dirs)
    assert failed(result) == ["resolves"]
    assert [each.name for each in result.checks] == list(CHECKS)
    assert {each.ok for each in result.checks[1:]} == {None}
    assert result.pulled == ()


def test_index_is_pulled_for_the_engines_platform(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    app, other = _app(stock, base, unique), _tiny(stock, f"{unique}-other", images.OTHERS)
    name = _index(stock, f"{unique}-index", {images.OURS: app, images.OTHERS: other})
    result = run_checks(environment, VerifySpec(image=reference(name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert failed(result) == []
    assert check_named(result, "platform").detail == f"linux/{images.OURS}, the right one of 2"
    assert check_named(result, "platform").evidence["manifest"] == str(app.digest)


def test_index_without_the_platform_fails_platform_alone(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    name = _index(stock, f"{unique}-index", {images.OTHERS: _tiny(stock, unique, images.OTHERS)})
    result = run_checks(environment, VerifySpec(image=reference(name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert failed(result) == ["platform"]
    assert f"it has linux/{images.OTHERS}" in check_named(result, "platform").detail


def test_unreachable_registry_is_raised(environment: CleanEnvironment, engine: Engine, dirs: AppDirs) -> None:
    with pytest.raises(RegistryUnreachable):
        run_checks(environment, VerifySpec(image=reference(f"localhost:{free_port()}/john/app:1")), current=engine, dirs=dirs)


def test_registry_that_dies_before_the_pull_fails_fetched(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = _tiny(stock, unique)
    # To the clean engine alone, or nothing would be pulled.
    monkeypatch.setattr(environment._tunnel, "_registry", HostPort("localhost", free_port()))
    result = run_checks(environment, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    assert failed(result) == ["fetched"]
    assert check_named(result, "fetched").evidence["refused"] != 0
    assert "cannot reach the registry" in check_named(result, "fetched").detail


def test_stalled_pull_is_given_up(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_checks, "STALL_TIMEOUT", -1.0)
    image = reference(_tiny(stock, unique).name)
    with open_registry(image.host) as registry:
        actual = resolve(registry, image, environment.engine.info.platform)
    arrival = pull_checks.pull(environment, actual, SILENT)
    assert arrival.error is not None
    assert "made no progress" in arrival.error.message
    assert pull_checks.fetched(actual, arrival).ok is False


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("docker", "/var/lib/docker/tmp"),
        pytest.param("podman", "/var/tmp", marks=[pytest.mark.podman_proof, pytest.mark.soak]),
    ],
)
def test_full_disk_fails_fetched(stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str, kind: str, folder: str) -> None:
    """What is fetched is written to ``folder``, which has less room here than the image takes."""
    pushed = _app(stock, base, unique)
    with opened(engine, kind, pushed.name, dirs) as environment:
        [inside] = [one for one in engine.containers(labels=dict(environment.labels())) if one.name.endswith("-engine")]
        code, message = engine.execute(inside.id, ("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder))
        assert (code, message) == (0, b"")
        result = run_checks(environment, VerifySpec(image=reference(pushed.name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert failed(result) == ["fetched"]
    assert "the engine's disk is full" in check_named(result, "fetched").detail
    assert check_named(result, "fetched").hint == "Make room there, then try again."
    assert check_named(result, "starts").detail == "not looked at: there is no image to start"


@pytest.mark.soak
def test_registry_that_dies_during_the_pull_fails_fetched(
    session_engine: Engine, registry_image: str, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    with in_a_container(engine, registry_image, unique) as mortal:
        pushed = images.push_program(mortal.port, unique, base, "serve()")

        class Killer(Silent):
            def advance(self, key: str, done: int, total: int | None = None) -> None:
                container = engine.container(unique)
                if container is not None and container.running:
                    engine.kill(container.id)

        with opened(engine, "docker", pushed.name, dirs) as environment:
            result = run_checks(environment, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs, observer=Killer())
    assert failed(result) == ["fetched"]


# Between a call's return and the assignment of its result an interruption leaves a socket to the garbage collector; this process
# goes on, other than one that a person interrupts.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruption_leaves_no_container(
    environment: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = images.push_program(stock.port, unique, base, "import time\ntime.sleep(1000)")

    def interrupt() -> None:
        while not environment.engine.containers():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_checks(environment, VerifySpec(image=reference(pushed.name), probes=(PAGE,), timeout=60.0), current=engine, dirs=dirs)
    thread.join()
    assert environment.engine.containers(all=True) == ()
    gc.collect()


def test_tag_that_moved_from_the_digest_beside_it_fails_resolves(
    environment: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    meant = _tiny(stock, unique)
    now = images.push(stock.port, unique, None, {"file": f"{unique}, again"}, command=("/file",))
    spec = VerifySpec(image=replace(reference(now.name), digest=meant.digest))
    result = run_checks(environment, spec, current=engine, dirs=dirs)
    assert check_named(result, "resolves").ok is False
    assert f"resolves to {now.digest}, and {meant.digest} was expected" in check_named(result, "resolves").detail
    assert check_named(result, "fetched").ok is True, "what the tag leads to now is looked at all the same"


def _index(stock: Damageable, tag: str, children: dict[str, Pushed]) -> str:
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": DOCKER_IMAGE,
                    "digest": str(child.digest),
                    "size": child.size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, child in children.items()
            ],
        }
    ).encode()
    put_manifest(stock.port, images.REPOSITORY, tag, raw, OCI_INDEX)
    return f"localhost:{stock.port}/{images.REPOSITORY}:{tag}"
