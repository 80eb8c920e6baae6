"""A stack, proven on real engines: what it bears, and what is red when it does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_tool.base import labels, resources
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EnvironmentUnavailable, NotFound, UsageError
from registry_tool.engine import Engine
from registry_tool.local.base_images import PROXY, REDIS, BaseImageResolver
from registry_tool.local.images import build_inputs
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments.selection import open_environment
from registry_tool.verify.result import Check, EnvironmentKind
from registry_tool.verify.spec import Http, Limits, Tcp, VerifySpec
from registry_tool.verify.stack import compose, resilience, stack_check, stack_client
from tests.support.documents import commands
from tests.support.paths import ROOT
from tests.support.requirements import missing
from tests.support.verify_images import ThisEngine, opened

pytestmark = [pytest.mark.engine]

DOCUMENT = ROOT / "docs/stack.md"
PAGE = Http(published=4000, container=80)
Prove = Callable[..., Check]


@pytest.fixture(scope="module")
def app(session_engine: Engine, session_dirs: AppDirs, local: LocalRegistry) -> Iterator[Reference]:
    """The sample app, built and pushed to the session's registry."""
    context = resources.sample_app()
    bases = BaseImageResolver(session_engine, session_dirs.cache)
    prepared = build_inputs.prepare(session_engine, bases, session_dirs.cache, context)
    name = f"{local.address}/stacked/get-started:part2"
    image = session_engine.build(context, build_args=prepared.build_args, labels={"for": "stack"}, extra=prepared.extra, tags=(name,))
    session_engine.push(name)
    yield Reference.parse(name, default_host="")
    result = session_engine.image(image)
    for known in (*result.names, *result.digests) if result else ():
        if known.startswith(local.address):
            with suppress(NotFound):  # a digest goes with the last tag beside it
                session_engine.remove_image(known)


@pytest.fixture
def marks(unique: str, engine: Engine) -> Iterator[Mapping[str, str]]:
    """Labels of the test's own; nothing that carries them is left."""
    ours = {labels.ROLE: labels.ROLE_PROBE, "test": unique}
    yield ours
    containers, networks = engine.containers(all=True, labels=ours), engine.networks(labels=ours)
    for container in containers:
        engine.remove(container.id, force=True)
    for network in networks:
        engine.remove_network(network.name)
    assert (containers, networks) == ((), ()), "a stack left something behind"


@pytest.fixture
def prove(engine: Engine, dirs: AppDirs, app: Reference, marks: Mapping[str, str]) -> Prove:
    """Proves a stack of the sample app on the present engine."""

    def run(kind: EnvironmentKind = "here", **received: Any) -> Check:
        wanted = VerifySpec(image=app, **{"probes": (PAGE,), **received})
        point, _ = stack_check.check_stack(ThisEngine(engine, kind, marks), wanted, image=str(app), current=engine, dirs=dirs)
        assert point is not None
        return point

    return run


@pytest.fixture
def written(prove: Prove, tmp_path: Path, app: Reference) -> Prove:
    """Proves a stack whose app is ``program`` (Python, in the sample app's image), beside a Redis."""

    def run(
        program: str,
        *,
        replicas: int = 2,
        redis: Mapping[str, object] | None = None,
        others: Mapping[str, Mapping[str, object]] = {},
        **received: Any,
    ) -> Check:
        command = ["python", "-c", program.replace("$", "$$")]
        web = {"image": str(app), "command": command, "scale": replicas, "ports": ["80"]}
        path = tmp_path / "stack.yml"
        services = {
            "web": web,
            "redis": {"image": "redis", **(redis or {})},
            **{name: {"image": str(app), **one} for name, one in others.items()},
        }
        path.write_text(yaml.safe_dump({"services": services}), encoding="utf-8")
        return prove(stack=path, **received)

    return run


# A page as the tutorial's, which counts as that one does, with ``say()`` to be filled in.
SERVING = """
import http.server, socket, sys, time
from app import counter
TUTORIAL = "<b>Hostname:</b> " + socket.gethostname() + "<br/><b>Visits:</b> "
DISABLED = "<i>cannot connect to Redis, counter disabled</i>"
def count():
    visits = counter.visit()
    return DISABLED if visits is None else str(visits)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = say().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
%s
print("listening", flush=True)
http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
"""


def _serving(say: str) -> str:
    return SERVING % say


# --- what is red ---


@pytest.mark.soak
def test_replicas_with_counters_of_their_own_fail(written: Prove) -> None:
    point = written(_serving("seen = iter(range(1, 10000))\ndef say(): return TUTORIAL + str(next(seen))"))
    assert point.ok is False
    assert "200 answers carry 10" in point.detail
    assert point.hint == "Each visit should be counted once, by one Redis for all replicas."
    assert point.excerpt == ("listening",)


def test_page_that_hangs_without_redis_fails(written: Prove) -> None:
    slow = "def say():\n    said = count()\n    if said == DISABLED: time.sleep(6)\n    return TUTORIAL + said"
    point = written(_serving(slow))
    assert (point.ok, point.detail) == (False, "with Redis stopped: no response within 4 s")


@pytest.mark.soak
def test_time_limit_of_the_verification_is_kept(written: Prove) -> None:
    point = written(_serving("def say():\n    time.sleep(.1)\n    return TUTORIAL + count()"), limits=Limits(seconds=2.0))
    assert (point.ok, point.detail) == (False, "while all was well: timed out")


@pytest.mark.soak
def test_page_without_the_counter_message_fails(written: Prove) -> None:
    point = written(_serving("def say():\n    said = count()\n    return 'sorry' if said == DISABLED else TUTORIAL + said"))
    assert point.ok is False
    assert point.detail == "with Redis stopped the page should say 'cannot connect to Redis, counter disabled', and it says something else"


def test_page_that_does_not_count_again_fails(written: Prove, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resilience, "RECOVERY_TIMEOUT", 1.0)
    once = (
        "lost = []\ndef say():\n    said = DISABLED if lost else count()\n"
        "    if said == DISABLED: lost.append(1)\n    return TUTORIAL + said"
    )
    # The first look may come before Redis does.
    patient = "while counter.visit() is None: time.sleep(.05)\n"
    point = written(_serving(patient + once))
    assert point.ok is False
    assert point.detail.startswith("1 s after Redis was started again the page still says")


def test_page_that_needs_all_its_replicas_fails(written: Prove) -> None:
    needy = (
        "def say():\n    there = {a[4][0] for a in socket.getaddrinfo('web', 80)}\n"
        "    if len(there) < 2: raise SystemExit\n    return TUTORIAL + count()"
    )
    patient = "while len({a[4][0] for a in socket.getaddrinfo('web', 80)}) < 2: time.sleep(.05)\n"
    point = written(_serving(patient + needy))
    assert point.ok is False
    assert point.detail.startswith("after web-1 was killed: / answered 50")
    assert "redis_started" in point.evidence, "everything before that was well"


def test_app_that_ends_at_once_fails_with_its_log(written: Prove) -> None:
    point = written("import sys; sys.exit('no luck today')", replicas=1)
    assert point.ok is False
    # Whichever is seen first: that it is gone after its start, or how it ended.
    assert point.detail == "a container of the stack ended as soon as it was started" or point.detail.endswith(" ended with code 1")
    assert point.excerpt == ("no luck today",)


def test_service_that_ends_at_once_fails_beside_a_good_app(written: Prove) -> None:
    point = written(_serving("def say(): return TUTORIAL + count()"), others={"worker": {"command": ["sh", "-c", "echo no luck; false"]}})
    assert point.ok is False
    assert point.detail.endswith("worker-1 ended with code 1")
    assert point.excerpt == ("no luck",)


def test_conditions_are_waited_for_and_health_checks_run(written: Prove) -> None:
    job = {"command": ["python", "-c", "import time; time.sleep(1)"]}
    after = {"command": ["sleep", "600"], "depends_on": {"job": {"condition": "service_completed_successfully"}}}
    ping = {"healthcheck": {"test": "redis-cli ping | grep PONG"}}
    after["depends_on"]["redis"] = {"condition": "service_healthy"}  # type: ignore[index]
    point = written(_serving("def say(): return TUTORIAL + count()"), replicas=1, redis=ping, others={"job": job, "after": after})
    assert point.ok, point
    checked: Any = point.evidence["checked"]
    assert checked["job-1"] == {"ended": 0}
    assert checked["redis-1"] == {"probes": 0, "health": ["/bin/sh", "-c", "redis-cli ping | grep PONG"], "listening": [6379]}
    assert checked["web-1"]["listening"] == [80]
    assert "after: it runs; no port and no health check says more" in point.unchecked


@pytest.mark.soak
def test_app_that_does_not_listen_fails_after_the_timeout(written: Prove) -> None:
    point = written("import time; time.sleep(60)", timeout=1.0)
    assert point.ok is False
    assert point.detail == "after 1 s, / answered 503"
    assert point.hint is not None


@pytest.mark.soak
def test_page_that_does_not_count_beside_redis_fails(written: Prove) -> None:
    point = written(_serving("def say(): return TUTORIAL + DISABLED"), timeout=5.0)
    assert point.ok is False
    assert point.detail == "after 5 s, the page beside Redis says 'cannot connect to Redis, counter disabled'"


def test_image_removed_meanwhile_fails(engine: Engine, dirs: AppDirs, local: LocalRegistry, marks: Mapping[str, str]) -> None:
    absent = Reference.parse(f"{local.address}/nobody/nothing:1", default_host="")
    environment, received = ThisEngine(engine, "here", marks), VerifySpec(image=absent, replicas=2)
    point, pulled = stack_check.check_stack(environment, received, image=str(absent), current=engine, dirs=dirs)
    assert point is not None
    assert (point.ok, point.detail, pulled) == (False, f"{absent} is not on the engine any more", {})


def test_image_that_was_not_pulled_is_not_looked_at(engine: Engine, dirs: AppDirs, app: Reference) -> None:
    """Which is no stack's fault: the points before it are red."""
    received = VerifySpec(image=app, replicas=2)
    point, pulled = stack_check.check_stack(ThisEngine(engine, "here", {}), received, image=None, current=engine, dirs=dirs)
    assert point is not None
    assert (point.ok, point.detail, pulled) == (None, "not looked at: there is no image to start", {})


def test_unsupported_file_is_refused_before_the_start(tmp_path: Path, app: Reference) -> None:
    path = tmp_path / "stack.yml"
    path.write_text("services: {web: {build: .}}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"stack\.yml:1: services\.web\.build: not supported"):
        stack_check.validate_stack(VerifySpec(image=app, stack=path))


def test_interruption_leaves_nothing(prove: Prove, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: resilience.Resilience) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resilience.Resilience, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prove(replicas=2, redis=True)


# --- what holds ---


def test_three_replicas_count_as_one_and_withstand_all_faults(prove: Prove) -> None:
    point = prove(redis=True, replicas=3)
    assert point.ok, point
    _check_tutorial(point, "app")


def _check_tutorial(point: Check, name: str) -> None:
    observed: Any = point.evidence
    answers = observed["answers"]
    assert (answers["answers"], answers["different_numbers"]) == (300, 300)
    assert answers["last"] - answers["first"] == 299
    assert len(answers["host_names"]) == 3
    assert answers["replicas"] == [f"{name}-1", f"{name}-2", f"{name}-3"]
    assert observed["redis_stopped"]["slowest"] < 4
    assert observed["redis_started"]["kept"] is True
    assert observed["redis_started"]["first"] > observed["redis_stopped"]["last_number"]
    assert observed["replica_killed"]["replicas"] == [f"{name}-2", f"{name}-3"]
    assert observed["counter"] is True


def test_one_replica_is_published_without_a_proxy(prove: Prove) -> None:
    point = prove(redis=True)
    assert point.ok, point
    observed: Any = point.evidence
    assert [image["role"] for image in observed["images"]] == ["redis"]
    assert (observed["proxied"], observed["answers"]["different_numbers"]) == (False, 100)
    assert "replica_killed" not in observed


@pytest.mark.soak
def test_redis_of_a_file_may_begin_counting_again(written: Prove) -> None:
    point = written(_serving("def say(): return TUTORIAL + count()"), redis={"command": ["redis-server", "--save", ""]})
    assert point.ok, point
    observed: Any = point.evidence
    assert observed["redis_started"]["kept"] is False
    assert "counting begins at 1" in point.detail


def test_page_without_expectations_keeps_its_redis(written: Prove) -> None:
    point = written(_serving("def say(): return 'It works!'"))
    assert point.ok, point
    observed: Any = point.evidence
    assert (observed["counter"], observed["answers"]["answers"], observed["answers"]["host_names"]) == (False, 20, [])
    assert observed["replica_killed"]["replicas"] == ["web-2"]
    assert "redis_stopped" not in observed
    assert [text.partition(":")[0] for text in point.unchecked] == ["visit numbers", "Redis's faults", "the image redis"]


def test_page_with_an_expected_text_must_hold_it_without_redis(written: Prove) -> None:
    expecting = (replace(PAGE, text=("It works!",)),)
    point = written(_serving("def say(): return 'It works!'"), probes=expecting)
    assert point.ok, point
    observed: Any = point.evidence
    assert (observed["redis_stopped"]["answers"], observed["redis_started"]["answers"]) == (4, 4)
    assert [text.partition(":")[0] for text in point.unchecked] == ["visit numbers", "the image redis"]
    point = written(_serving("def say(): return 'sorry' if counter.visit() is None else 'It works!'"), probes=expecting)
    assert point.ok is False
    assert point.detail == "with Redis stopped: /: 'It works!' is not in the response: 'sorry'"


@pytest.mark.soak
def test_replicas_behind_a_tcp_port_are_known_by_the_proxys_log(prove: Prove, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_client, "_CLOSE_WAIT", 0.05)
    point = prove(replicas=2, probes=(Tcp(published=4000, container=80),))
    assert point.ok, point
    observed: Any = point.evidence
    assert observed["answers"]["replicas"] == ["app-1", "app-2"]
    assert observed["replica_killed"]["replicas"] == ["app-2"]


def test_no_stack_is_no_check(engine: Engine, dirs: AppDirs, app: Reference) -> None:
    assert stack_check.check_stack(ThisEngine(engine, "here", {}), VerifySpec(image=app), image=str(app), current=engine, dirs=dirs) == (
        None,
        {},
    )


# --- helper images ---


def test_stack_file_leaves_registry_and_engine_as_they_were(
    prove: Prove, engine: Engine, local: LocalRegistry, app: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_APP_IMAGE", str(app))
    point = prove("context", stack=ROOT / "examples/stack/stack.yml")
    assert point.ok, point
    _check_tutorial(point, "web")
    images: Any = point.evidence["images"]
    assert [(image["role"], image["loaded"]) for image in images] == [("proxy", False), ("redis", False)]
    assert all(any(map(engine.image, base.names)) for base in (PROXY, REDIS)), "they were there before"
    with open_registry(local.address) as registry:
        assert registry.repository(app.path).tags() == (app.tag,)
        assert [name for name in registry.catalog() if name.startswith("registry-tool/")] == []


def test_helper_images_loaded_into_a_contexts_engine_are_removed(
    engine: Engine, dirs: AppDirs, app: Reference, marks: Mapping[str, str]
) -> None:
    received = VerifySpec(image=app, probes=(PAGE,), replicas=2)
    with opened(engine, "docker", str(app), dirs) as clean:
        clean.engine.pull(str(app))
        environment = ThisEngine(clean.engine, "context", marks, connects=clean.connect)
        point, pulled = stack_check.check_stack(environment, received, image=str(app), current=engine, dirs=dirs)
        assert point is not None and point.ok, point
        images: Any = point.evidence["images"]
        assert [(image["role"], image["loaded"]) for image in images] == [("proxy", True)]
        assert pulled == {}
        assert [image.names for image in clean.engine.images()] == [(str(app),)]


@pytest.mark.soak
def test_stack_on_a_clean_podman(engine: Engine, dirs: AppDirs, app: Reference) -> None:
    received = VerifySpec(image=app, probes=(PAGE,), redis=True, replicas=3)
    try:
        with open_environment(engine, "podman", image=app, dirs=dirs) as environment:
            environment.engine.pull(environment.local_name(app))
            point, pulled = stack_check.check_stack(environment, received, image=environment.local_name(app), current=engine, dirs=dirs)
    except EnvironmentUnavailable as error:
        missing("podman-proof", error.message)
    assert point is not None
    assert point.ok, point
    _check_tutorial(point, "app")
    images: Any = point.evidence["images"]
    assert {image["role"]: image["loaded"] for image in images} == {"proxy": True, "redis": True}
    assert pulled == {}


# --- what docs/stack.md says ---


@pytest.mark.slow
@pytest.mark.documents
def test_commands_of_the_document_work_on_a_clean_docker(app: Reference, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "REGISTRY_TOOL_REGISTRY": app.host,
        "REGISTRY_TOOL_APP_IMAGE": str(app),
        "XDG_CACHE_HOME": str(dirs.cache.parent),
    }
    lines = commands(DOCUMENT)
    assert len(lines) == 2
    for line, name in zip(lines, ("app", "web"), strict=True):
        typed = line.replace("john/get-started:part2", str(app)) + " --json"
        done = subprocess.run(["sh", "-c", typed], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600)
        if done.returncode == EnvironmentUnavailable.exit_code:
            missing("docker-proof", done.stdout)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        [proven] = json.loads(done.stdout)["proven"]
        [stack] = [point for point in proven["points"] if point["name"] == "stack"]
        _check_tutorial(Check(name="stack", ok=stack["ok"], detail=stack["detail"], evidence=stack["evidence"]), name)
        assert all(image["loaded"] for image in stack["evidence"]["images"])


def _row(text: str, first: str) -> set[str]:
    """The words in backquotes of the row that begins with ``first``."""
    [row] = re.findall(rf"^\| {re.escape(first)} \| (.*) \|$", text, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", row))


def test_document_names_the_supported_keys_and_figures() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert _row(text, "the file") == set(compose.FILE_KEYS)
    assert _row(text, "a service") == set(compose.SERVICE_KEYS)
    assert _row(text, "without effect") == set(compose.IGNORED_SERVICE_KEYS)
    assert {key.partition(":")[0] for key in _row(text, "`deploy`")} - {"memory", "pids"} == set(compose.DEPLOY_KEYS)
    assert f"At most {compose.MAX_SERVICES} services are allowed" in text
    assert f"{resilience.COUNTED_PER_REPLICA} responses for each replica (at most {resilience.MAX_COUNTED})" in text
    assert f"within {resilience.NO_REDIS_TIMEOUT:g} s (and {resilience.NO_REDIS_MARGIN:g} s of overhead)" in text
    assert f"again within {resilience.RECOVERY_TIMEOUT:g} s" in text
