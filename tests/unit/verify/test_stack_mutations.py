"""Every part of a stack can fail it: a good stack passes, and each change of one service makes the check red, and says which service."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EngineError, EnvironmentUnavailable
from registry_tool.engine import ContainerSpec, Engine, Image
from registry_tool.local.base_images import PROXY, REDIS, Base
from registry_tool.local.sample_page import NO_REDIS
from registry_tool.oci.reference import Reference
from registry_tool.verify.result import Check
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, Tcp, VerifySpec
from registry_tool.verify.stack import resilience, service_checks, stack_check
from registry_tool.verify.stack.helper_images import HelperImage
from tests.support.fake_containers import FakeContainers, FakeEnvironment, Program, hello

APP = Reference.parse("localhost:5000/john/app:1", default_host="")
WORKER = "localhost:5000/john/worker:1"
PAGE = Http(published=4000, container=80, text=("Hello World!",))
HEALTHCHECK = {"test": ["CMD", "look"]}


@dataclass(kw_only=True)
class Stack:
    """Two replicas of an app, a Redis, and a worker that listens on 9000. ``programs`` are by service, or ``web-2`` for one replica."""

    services: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "web": {"image": str(APP), "scale": 2, "ports": ["4000:80"], "depends_on": ["redis"]},
            "redis": {"image": REDIS.official},
            "worker": {"image": WORKER, "expose": ["9000"]},
        }
    )
    programs: dict[str, Program] = field(
        default_factory=lambda: {
            "web": Program(),
            "redis": Program(listens=frozenset({6379})),
            "worker": Program(listens=frozenset({9000})),
            "job": Program(ends=0),
            "proxy": Program(listens=frozenset({8080})),
        }
    )
    engine: FakeContainers = field(default_factory=FakeContainers)
    spec: VerifySpec = field(default_factory=lambda: VerifySpec(image=APP, probes=(PAGE,), timeout=60.0))

    def verify(self, monkeypatch: pytest.MonkeyPatch, folder: Path, dirs: AppDirs) -> Check:
        path = folder / "stack.yml"
        path.write_text(yaml.safe_dump({"services": self.services}), encoding="utf-8")
        engine = self.engine
        engine.known |= {str(APP): Image(id="app", exposed=("80/tcp",)), "redis": Image(id="redis", exposed=("6379/tcp",))}
        engine.programs = self._program

        def provided(base: Base, target: Engine, resolver: object) -> HelperImage:
            return HelperImage(role=base.role, name=base.role, id=base.role, source="docker.io", loaded=True)

        monkeypatch.setattr(stack_check, "ensure_helper_image", provided)
        monkeypatch.setattr(service_checks, "_SETTLES", 0.1)
        spec = replace(self.spec, stack=path)
        environment = FakeEnvironment(engine=engine)
        check, _ = stack_check.check_stack(environment, spec, image=str(APP), current=cast(Engine, engine), dirs=dirs)
        assert check is not None
        return check

    def _program(self, spec: ContainerSpec) -> Program:
        name = spec.aliases[0]
        number = sum(name in one.spec.aliases for one in self.engine.running.values()) + 1
        return self.programs.get(f"{name}-{number}") or self.programs[name]


Change = Callable[[Stack], None]


def _programs(**programs: Program) -> Change:
    return lambda stack: stack.programs.update({name.replace("_", "-"): program for name, program in programs.items()})


def _service(name: str, **members: Any) -> Change:
    return lambda stack: stack.services.setdefault(name, {}).update(members)


def _spec(**members: Any) -> Change:
    def change(stack: Stack) -> None:
        stack.spec = replace(stack.spec, **members)

    return change


_patient = _spec(timeout=60.0)
"""What fails only after all was well, which takes a busy machine a moment."""


def _engine(name: str, value: object) -> Change:
    return lambda stack: setattr(stack.engine, name, value)


def _image_healthcheck(image: str) -> Change:
    return lambda stack: stack.engine.health_commands.update({image: ("look",)})


def _job(condition: str = "service_completed_successfully", **members: Any) -> tuple[Change, ...]:
    return (_service("job", image=WORKER, **members), _service("web", depends_on={"job": {"condition": condition}}))


def _lost_after_restart(stack: Stack) -> None:
    """Redis ends as soon as it is started for the second time."""
    redis, start, starts = stack.programs["redis"], stack.engine.start, itertools.count(1)

    def started(id: str) -> None:
        is_redis = "redis" in stack.engine.running[id].spec.aliases
        redis.ends = 1 if is_redis and next(starts) > 1 else None
        start(id)

    stack.engine.start = started  # type: ignore[method-assign]


GREEN: Mapping[str, tuple[Change, ...]] = {
    "as it is": (),
    "a job that ends well": _job(),
    "health checks that succeed": (
        _service("worker", healthcheck=HEALTHCHECK),
        _service("web", depends_on={"worker": {"condition": "service_healthy"}}),
        _image_healthcheck("app"),
    ),
    "a health check of the image that the file turns off": (
        _image_healthcheck(WORKER),
        _programs(worker=Program(listens=frozenset({9000}), health=1)),
        _service("worker", healthcheck={"disable": True}),
    ),
    "no program in a service tells where it listens": (_programs(worker=Program(listens=frozenset({9000}), cat=False)),),
    "every kind of probe": (_spec(probes=(Tcp(published=4001, container=80), PAGE, Exec(command=("look",)), Log(text="serving"))),),
    "an image that exposes more than it listens on": (
        _service("worker", expose=[]),
        _engine("pulled", Image(id=WORKER, exposed=("7000/tcp", "9000/tcp"))),
    ),
    "a worker of the app's own image, with a command of its own": (
        _service("worker", image=str(APP), command=["work"], expose=[]),
        _programs(worker=Program(listens=frozenset())),
    ),
}

RED: Mapping[str, tuple[str, tuple[Change, ...]]] = {
    "a service ends at once": ("worker-1 ended with code 1", (_programs(worker=Program(ends=1)),)),
    "a service ends at once, and well": ("worker-1 ended with code 0", (_programs(worker=Program(ends=0)),)),
    "a service ends later": ("worker-1 ended with code 1", (_patient, _programs(worker=Program(listens=frozenset({9000}), then_ends=4)))),
    "a replica ends later": ("web-2 ended with code 1", (_patient, _programs(web_2=Program(then_ends=4)))),
    "the database ends at once": ("redis-1 ended with code 1", (_programs(redis=Program(ends=1)),)),
    "the database does not come back": ("redis-1 ended with code 1", (_patient, _lost_after_restart)),
    "a service does not listen": ("worker-1 does not listen on 9000/tcp", (_programs(worker=Program(listens=frozenset())),)),
    "a service does not listen, and no program in it tells": (
        "worker-1 does not listen on 9000/tcp",
        (_programs(worker=Program(listens=frozenset(), accepts=True, cat=False)),),
    ),
    "a service listens on its loopback": (
        "worker-1 does not listen on 9000/tcp",
        (_programs(worker=Program(listens=frozenset(), loopback=frozenset({9000}))),),
    ),
    "a service does not listen where its image exposes": (
        "worker-1 does not listen on 7000/tcp",
        (_service("worker", expose=[]), _engine("pulled", Image(id=WORKER, exposed=("7000/tcp",)))),
    ),
    "a service is unhealthy": (
        "worker-1: its health check: it ended with code 1",
        (_service("worker", healthcheck=HEALTHCHECK), _programs(worker=Program(listens=frozenset({9000}), health=1))),
    ),
    "a service is unhealthy by its image": (
        "worker-1: its health check: it ended with code 1",
        (_image_healthcheck(WORKER), _programs(worker=Program(listens=frozenset({9000}), health=1))),
    ),
    "a replica is unhealthy by its image": (
        "web-2: its health check: it ended with code 1",
        (_image_healthcheck("app"), _programs(web_2=Program(health=1))),
    ),
    "what another waits for is unhealthy": (
        "redis-1: its health check: it ended with code 1",
        (
            _service("redis", healthcheck=HEALTHCHECK),
            _service("web", depends_on={"redis": {"condition": "service_healthy"}}),
            _programs(redis=Program(listens=frozenset({6379}), health=1)),
        ),
    ),
    "nothing says when a service is healthy": (
        "web waits until redis is healthy, and nothing says when it is",
        (_service("web", depends_on={"redis": {"condition": "service_healthy"}}),),
    ),
    "a job fails": ("job-1 ended with code 1", (*_job(), _programs(job=Program(ends=1)))),
    "a job does not end": ("job-1 did not end within 1 s", (*_job(), _programs(job=Program()))),
    "what ends is no job": ("job-1 ended with code 0", _job("service_started")),
    "one replica has another page": (
        "no answer comes from web-2 (/: 'Hello World!' is not in the response",
        (_programs(web_2=Program(page=lambda path: (200, ""))),),
    ),
    "the page says something else": (
        "'Hello World!' is not in the response",
        (_programs(web=Program(page=lambda path: (200, "Goodbye"))),),
    ),
    "a page after a port": (
        "'Goodbye' is not in the response",
        (_spec(probes=(Tcp(published=4001, container=81), replace(PAGE, text=("Goodbye",)))),),
    ),
    "a second page": ("the status is 404", (_spec(probes=(PAGE, replace(PAGE, path="/other"))),)),
    "another port": ("tcp 4001:81", (_spec(probes=(PAGE, Tcp(published=4001, container=81))),)),
    "a command fails in one replica": (
        "web-2: exec look: it ended with code 1",
        (_spec(probes=(PAGE, Exec(command=("look",)))), _programs(web_2=Program(health=1))),
    ),
    "text missing in the log of one replica": (
        "web-2: log serving: it is not in the log",
        (_spec(probes=(PAGE, Log(text="serving"))), _programs(web_2=Program(log=b"starting\n"))),
    ),
    "a replica gets no requests": ("no answer comes from web-2", (_engine("choose", lambda turn, replicas: 0),)),
    "a survivor gets no requests": (
        "after web-1 was killed, answers came from web-3",
        (_service("web", scale=3), _engine("choose", lambda turn, replicas: turn % 3 if replicas == 3 else 1)),
    ),
    "one Redis, and a page that does not count": (
        f"the page beside Redis says {NO_REDIS!r}",
        (_programs(web=Program(page=lambda path: (200, f"Hello World! <b>Visits:</b> <i>{NO_REDIS}</i>"))),),
    ),
}


@pytest.mark.parametrize("name", GREEN)
def test_good_stack_passes(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    stack = Stack()
    for change in GREEN[name]:
        change(stack)
    check = stack.verify(monkeypatch, tmp_path, dirs)
    assert check.ok, check
    assert "2 replicas; 20 answers" in check.detail


@pytest.mark.parametrize("name", RED)
def test_changed_stack_fails(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    detail, changes = RED[name]
    stack = Stack()
    for change in (_spec(timeout=1.0), *changes):
        change(stack)
    check = stack.verify(monkeypatch, tmp_path, dirs)
    assert check.ok is False, check
    assert detail in check.detail
    assert check.hint


def test_failed_service_is_shown_with_its_own_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    stack = Stack()
    stack.programs["worker"] = Program(ends=1, log=b"no luck today\n")
    assert stack.verify(monkeypatch, tmp_path, dirs).excerpt == ("no luck today",)


def test_each_service_is_in_the_evidence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    check = Stack().verify(monkeypatch, tmp_path, dirs)
    assert check.evidence["checked"] == {
        "redis-1": {"probes": 0, "health": [], "listening": [6379]},
        "web-1": {"probes": 1, "health": [], "listening": [80]},
        "web-2": {"probes": 1, "health": [], "listening": [80]},
        "worker-1": {"probes": 0, "health": [], "listening": [9000]},
    }


@pytest.mark.parametrize(
    ("changes", "unchecked"),
    [
        ((), ["visit numbers: the page has no line of visits", "faults of worker: only a Redis is stopped"]),
        (
            (_service("worker", expose=[]), _programs(worker=Program(listens=frozenset()))),
            [
                "worker: it runs; no port and no health check says more",
                "visit numbers: the page has no line of visits",
                "faults of worker: only a Redis is stopped",
            ],
        ),
        (
            (_service("worker", expose=[]), _engine("pulled", Image(id=WORKER, exposed=("7000/tcp", "9000/tcp")))),
            [
                "worker: 7000/tcp of its image, where nothing listens",
                "visit numbers: the page has no line of visits",
                "faults of worker: only a Redis is stopped",
            ],
        ),
        (
            (_spec(probes=(Http(published=4000, container=80), Exit(code=0))), lambda stack: stack.services.pop("worker")),
            [
                "visit numbers: the page has no line of visits",
                "Redis's faults: neither a line of visits nor a probe says what to expect then",
                "exit 0: a service does not end",
            ],
        ),
        (
            (_service("web", scale=1), _service("redis", image="redis:6"), lambda stack: stack.services.pop("worker")),
            [
                "visit numbers: the page has no line of visits",
                "the death of a replica: there is one",
                "the image redis:6: redis ran the helper image instead",
            ],
        ),
        (
            (lambda stack: stack.services.pop("worker"), _service("other", image="redis:7-alpine")),
            ["faults of other, redis: only one Redis with one container is stopped"],
        ),
    ],
)
def test_check_says_what_it_did_not_look_at(
    changes: tuple[Change, ...], unchecked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs
) -> None:
    stack = Stack()
    stack.programs["other"] = stack.programs["redis"]
    for change in changes:
        change(stack)
    check = stack.verify(monkeypatch, tmp_path, dirs)
    assert check.ok, check
    assert sorted(check.unchecked) == sorted(unchecked)


def test_failure_of_the_engines_own_parts_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    stack = Stack()
    stack.engine.network_error = EngineError("netavark: no nft")
    with pytest.raises(EnvironmentUnavailable, match="failed at creating the network default: netavark: no nft"):
        stack.verify(monkeypatch, tmp_path, dirs)
    stack = Stack()
    stack.engine.refuse = lambda spec: EngineError("no conmon") if "proxy" in spec.aliases else None
    with pytest.raises(EnvironmentUnavailable, match="failed at starting the proxy: no conmon"):
        stack.verify(monkeypatch, tmp_path, dirs)


def test_settings_of_the_file_reach_the_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    stack, specs = Stack(), []
    _service("worker", container_name="the-worker", user="7", tty=True, stdin_open=True, mem_limit="32m", pids_limit=5)(stack)
    _service("redis", mem_limit="10g", pids_limit=100_000)(stack)
    create = stack.engine.create

    def created(spec: ContainerSpec) -> Any:
        specs.append(spec)
        return create(spec)

    monkeypatch.setattr(stack.engine, "create", created)
    monkeypatch.setattr(stack, "programs", {**stack.programs, "the-worker": stack.programs["worker"]})
    assert stack.verify(monkeypatch, tmp_path, dirs).ok
    worker = next(spec for spec in specs if "worker" in spec.aliases)
    assert worker.aliases == ("worker", "the-worker")
    assert (worker.user, worker.tty, worker.interactive, worker.memory, worker.processes) == ("7", True, True, 32 << 20, 5)
    redis = next(spec for spec in specs if "redis" in spec.aliases)
    assert (redis.memory, redis.processes) == (Limits().memory, Limits().processes), "no more than the verification's own limits"


def test_pages_that_count_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dirs: AppDirs) -> None:
    """The tutorial's page, whose visits are counted in Redis as long as that runs."""
    stack, visits = Stack(), itertools.count(1)

    def counting(path: str) -> tuple[int, str]:
        shown = str(next(visits)) if stack.engine.alive("redis") else f"<i>{NO_REDIS}</i>"
        return 200, f"{hello(path)[1]}<b>Visits:</b> {shown}"

    stack.programs["web"] = Program(page=counting)
    monkeypatch.setattr(resilience, "RECOVERY_TIMEOUT", 5.0)
    check = stack.verify(monkeypatch, tmp_path, dirs)
    assert check.ok, check
    assert "200 answers with 200 consecutive numbers" in check.detail
    assert PROXY.role in [image["role"] for image in cast(Any, check.evidence["images"])]
