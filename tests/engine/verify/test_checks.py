"""The proof of an image that is as it should be, point by point, and of a way to it that is not."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry_tool.base.codec import to_json
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import RegistryUnreachable
from registry_tool.base.progress import SILENT, Silent
from registry_tool.engine import Engine
from registry_tool.targets.registry import open_registry
from registry_tool.verify.checks import pull_checks
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments.clean import CleanEnvironment
from registry_tool.verify.remote_image import resolve
from registry_tool.verify.result import CHECKS, Check
from registry_tool.verify.spec import Exec, Http, Log, Tcp, VerifySpec
from tests.support import broken_images as images
from tests.support.broken_images import Base, Pushed
from tests.support.content import DOCKER_IMAGE, OCI_INDEX, put_manifest
from tests.support.damage import Damageable, in_a_container
from tests.support.requirements import free_port
from tests.support.verify_images import empty, opened, point, red, reference

pytestmark = [pytest.mark.engine, pytest.mark.docker_proof, pytest.mark.slow]

PAGE = Http(published=4000, container=80, text=("Hello World!",))


@pytest.fixture(scope="module")
def clean(session_engine: Engine, session_dirs: AppDirs, stock: Damageable) -> Iterator[CleanEnvironment]:
    with opened(session_engine, "docker", f"localhost:{stock.port}/any:1", session_dirs) as place:
        assert isinstance(place, CleanEnvironment)
        yield place


@pytest.fixture
def place(clean: CleanEnvironment) -> CleanEnvironment:
    """A clean docker, which has nothing now."""
    empty(clean)
    return clean


def _app(stock: Damageable, base: Base, tag: str, **more: object) -> Pushed:
    return images.push_program(stock.port, tag, base, f"serve()  # {tag}", **more)  # type: ignore[arg-type]


def _tiny(stock: Damageable, tag: str, architecture: str = images.OURS) -> Pushed:
    """Nothing that starts, and quickly pulled."""
    return images.push(stock.port, tag, None, {"file": tag}, command=("/file",), architecture=architecture)


def test_an_image_that_is_as_it_should_be_is_green_on_each_point(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _app(stock, base, unique, user="65534", stop_signal="SIGTERM")
    asked = VerifySpec(
        image=reference(pushed.name),
        expect=pushed.digest,
        environment={"COLOUR": "blue"},
        probes=(
            PAGE,
            Http(published=4000, container=80, path="/json", json=(("greeting", "Hello World!"),), within=5.0),
            Http(published=4000, container=80, path="/gone", status=410),
            Tcp(published=4001, container=80),
            Exec.parse("""python3 -c "import os; assert os.environ['COLOUR'] == 'blue'" """),
            Log(text="serving"),
        ),
    )
    told: list[Check] = []
    proven = run_checks(place, asked, current=engine, dirs=dirs, on_check=told.append)
    assert [(each.name, each.ok) for each in proven.checks] == [(name, True) for name in CHECKS if name != "stack"], proven
    assert tuple(told) == proven.checks
    assert to_json(proven.pulled) == [
        {"reference": f"localhost:{stock.port}/{images.REPOSITORY}@{pushed.digest}", "digest": str(pushed.digest)}
    ]
    fetched = point(proven, "fetched").evidence
    assert isinstance(fetched["bytes"], int)
    assert isinstance(fetched["least"], int)
    assert fetched["least"] > len(pushed.own)
    starts = point(proven, "starts")
    assert starts.detail == "as 65534: python3 /app.py"
    assert point(proven, "listens").evidence["seen_by"] == "/proc/net/tcp"
    assert point(proven, "ends").evidence == {"code": 0, "signal": "SIGTERM", "within": 10.0}
    assert place.engine.containers(all=True) == ()
    json.dumps(to_json(proven))


def test_what_is_not_asked_is_looked_at_by_connecting(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    """No probes, and no program in the image that could tell where it listens."""
    files: dict[str, bytes | str | None] = {"app.py": images.SERVER + f"serve()  # {unique}", "bin/cat": None, "usr/bin/cat": None}
    pushed = images.push(stock.port, unique, base, files, command=("python3", "/app.py"), expose=(80,))
    proven = run_checks(place, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    assert red(proven) == []
    assert point(proven, "listens").ok is True
    assert point(proven, "listens").evidence["seen_by"] == "connections"
    assert point(proven, "probes").detail == "tcp 80:80: it takes connections"
    assert (point(proven, "resolves").ok, "not compared" in point(proven, "resolves").detail) == (None, True)


def test_where_nobody_listens_that_is_seen_by_connecting_too(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    files: dict[str, bytes | str | None] = {"app.py": images.SERVER + f"serve(8080)  # {unique}", "bin/cat": None, "usr/bin/cat": None}
    pushed = images.push(stock.port, unique, base, files, command=("python3", "/app.py"), expose=(80,))
    proven = run_checks(place, VerifySpec(image=reference(pushed.name), timeout=2.0), current=engine, dirs=dirs)
    assert red(proven) == ["listens"]


def test_a_port_that_is_taken_inside_is_published_elsewhere(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _app(stock, base, unique)
    # There the registry is.
    asked = VerifySpec(image=reference(pushed.name), probes=(replace(PAGE, published=stock.port),))
    proven = run_checks(place, asked, current=engine, dirs=dirs)
    assert red(proven) == []
    assert point(proven, "probes").ok is True


def test_where_blobs_are_refused_nothing_comes_from_elsewhere(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _tiny(stock, unique)
    place.refuse("blobs")
    try:
        proven = run_checks(place, VerifySpec(image=reference(pushed.name), probes=(PAGE,)), current=engine, dirs=dirs)
    finally:
        place.refuse("nothing")
    assert red(proven) == ["fetched"]
    assert point(proven, "fetched").evidence["refused"] != 0
    assert point(proven, "fetched").hint
    assert {each.ok for each in proven.checks[3:]} == {None, True}, "what cannot be looked at is not red"
    assert point(proven, "starts").detail == "not looked at: there is no image to start"


def test_layers_that_were_there_already_are_missed_in_the_count(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _tiny(stock, unique)
    place.engine.pull(f"{pushed.name.rpartition(':')[0]}@{pushed.digest}")
    proven = run_checks(place, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    assert {"clean", "fetched"} <= set(red(proven))
    assert point(proven, "fetched").detail.startswith("too little was fetched")


def test_a_name_that_leads_nowhere_is_red_and_the_rest_is_not_looked_at(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    asked = VerifySpec(image=reference(f"localhost:{stock.port}/{images.REPOSITORY}:{unique}"), redis=True)
    proven = run_checks(place, asked, current=engine, dirs=dirs)
    assert red(proven) == ["resolves"]
    assert [each.name for each in proven.checks] == list(CHECKS)
    assert {each.ok for each in proven.checks[1:]} == {None}
    assert proven.pulled == ()


def test_of_an_index_the_engine_takes_the_right_one(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    app, other = _app(stock, base, unique), _tiny(stock, f"{unique}-other", images.OTHERS)
    name = _index(stock, f"{unique}-index", {images.OURS: app, images.OTHERS: other})
    proven = run_checks(place, VerifySpec(image=reference(name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert red(proven) == []
    assert point(proven, "platform").detail == f"linux/{images.OURS}, the right one of 2"
    assert point(proven, "platform").evidence["manifest"] == str(app.digest)


def test_an_index_without_this_platform_is_red_on_that_alone(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    name = _index(stock, f"{unique}-index", {images.OTHERS: _tiny(stock, unique, images.OTHERS)})
    proven = run_checks(place, VerifySpec(image=reference(name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert red(proven) == ["platform"]
    assert f"it has linux/{images.OTHERS}" in point(proven, "platform").detail


def test_a_registry_that_does_not_answer_at_all_is_no_proof(place: CleanEnvironment, engine: Engine, dirs: AppDirs) -> None:
    with pytest.raises(RegistryUnreachable):
        run_checks(place, VerifySpec(image=reference(f"localhost:{free_port()}/john/app:1")), current=engine, dirs=dirs)


def test_a_registry_that_dies_before_the_pull_is_a_red_point(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = _tiny(stock, unique)
    place.refuse("everything")
    try:
        proven = run_checks(place, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)
    finally:
        place.refuse("nothing")
    assert red(proven) == ["fetched"]
    assert "cannot reach the registry" in point(proven, "fetched").detail


def test_a_pull_that_stands_still_is_given_up(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_checks, "STANDS_STILL", -1.0)
    image = reference(_tiny(stock, unique).name)
    with open_registry(image.host) as registry:
        found = resolve(registry, image, place.engine.info.platform)
    arrival = pull_checks.pull(place, found, SILENT)
    assert arrival.error is not None
    assert "stood still" in arrival.error.message
    assert pull_checks.fetched(found, arrival).ok is False


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("docker", "/var/lib/docker/tmp"),
        pytest.param("podman", "/var/tmp", marks=[pytest.mark.podman_proof, pytest.mark.soak]),
    ],
)
def test_a_full_disk_in_the_engines_volume_is_a_red_point(
    stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str, kind: str, folder: str
) -> None:
    """What is fetched is written to ``folder``, which has less room here than the image takes."""
    pushed = _app(stock, base, unique)
    with opened(engine, kind, pushed.name, dirs) as place:
        [inside] = [one for one in engine.containers(labels=dict(place.labels())) if one.name.endswith("-engine")]
        code, said = engine.execute(inside.id, ("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder))
        assert (code, said) == (0, b"")
        proven = run_checks(place, VerifySpec(image=reference(pushed.name), probes=(PAGE,)), current=engine, dirs=dirs)
    assert red(proven) == ["fetched"]
    assert "the engine's disk is full" in point(proven, "fetched").detail
    assert point(proven, "fetched").hint == "Make room there, then try again."
    assert point(proven, "starts").detail == "not looked at: there is no image to start"


@pytest.mark.soak
def test_a_registry_that_dies_during_the_pull_is_a_red_point(
    session_engine: Engine, registry_image: str, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    with in_a_container(engine, registry_image, unique) as mortal:
        pushed = images.push_program(mortal.port, unique, base, "serve()")

        class Killer(Silent):
            def advance(self, key: str, done: int, total: int | None = None) -> None:
                container = engine.container(unique)
                if container is not None and container.running:
                    engine.kill(container.id)

        with opened(engine, "docker", pushed.name, dirs) as place:
            proven = run_checks(place, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs, observer=Killer())
    assert red(proven) == ["fetched"]


def test_an_interruption_leaves_nothing_that_runs(
    place: CleanEnvironment, stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    pushed = images.push_program(stock.port, unique, base, "import time\ntime.sleep(1000)")

    def interrupt() -> None:
        while not place.engine.containers():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_checks(place, VerifySpec(image=reference(pushed.name), probes=(PAGE,), timeout=60.0), current=engine, dirs=dirs)
    thread.join()
    assert place.engine.containers(all=True) == ()


def test_a_tag_that_moved_from_the_digest_beside_it_is_red(
    place: CleanEnvironment, stock: Damageable, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    meant = _tiny(stock, unique)
    now = images.push(stock.port, unique, None, {"file": f"{unique}, again"}, command=("/file",))
    asked = VerifySpec(image=replace(reference(now.name), digest=meant.digest))
    proven = run_checks(place, asked, current=engine, dirs=dirs)
    assert point(proven, "resolves").ok is False
    assert f"leads to {now.digest}, and {meant.digest} was expected" in point(proven, "resolves").detail
    assert point(proven, "fetched").ok is True, "what the tag leads to now is looked at all the same"


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
