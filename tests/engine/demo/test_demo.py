"""The demo on real parts: what it proves, what it leaves, and what it does when something is wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from registry_tool.base import labels, resources, runs
from registry_tool.base.codec import to_json
from registry_tool.base.deadline import Deadline
from registry_tool.base.dirs import AppDirs, owner_id
from registry_tool.base.errors import NotFound
from registry_tool.demo import page_steps
from registry_tool.demo.demo import DemoOptions, DemoResult, DemoStep, demo
from registry_tool.engine import Container, ContainerSpec, Engine, Image, Network, PortBinding, containers
from registry_tool.local import orphans, tag_backup
from registry_tool.local.base_images import PYTHON, BaseImageResolver
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from tests.support.cli_runner import Typed
from tests.support.requirements import free_port, missing

pytestmark = [pytest.mark.engine]

Run = Callable[..., DemoResult]
Make = Callable[..., str]

STEPS = ["up", "build", "tag", "push", "remove", "pull", "run", "look"]


class Stopping:
    """A listener that interrupts, as Ctrl-C does, when a step begins or has ended."""

    def __init__(self, name: str, *, after: bool) -> None:
        self.name, self.after = name, after

    def begin(self, name: str, command: str) -> None:
        if name == self.name and not self.after:
            raise KeyboardInterrupt

    def end(self, step: DemoStep) -> None:
        if step.name == self.name and self.after:
            raise KeyboardInterrupt


@pytest.fixture
def image(unique: str) -> str:
    return f"{unique}/get-started:part2"


@pytest.fixture
def friendly(unique: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name to build under. Other tests' demos borrow ``friendlyhello`` on this engine at the same time, each for owners of its own."""
    name = f"{unique}hello"
    monkeypatch.setattr("registry_tool.demo.demo.FRIENDLY", name)
    return name


@pytest.fixture
def run(engine: Engine, dirs: AppDirs, local: LocalRegistry, image: str, friendly: str) -> Iterator[Run]:
    """Runs a demo of a name of the test's own; afterwards nothing of it is left, whatever happened."""

    def start(*, listener: Stopping | None = None, **options: object) -> DemoResult:
        chosen: dict[str, object] = {"image": image, "registry": local.name, "port": free_port(), **options}
        return demo(engine, dirs, DemoOptions(**chosen), listener=listener)  # type: ignore[arg-type]

    yield start
    # A purge takes a base image along that may have been there before the tests.
    BaseImageResolver(engine, dirs.cache).ensure(PYTHON)
    orphans.remove(engine, dirs.state, orphans.find(engine, dirs.state, labels.ROLE_DEMO, kept=True))
    for left in images_of(engine, dirs):
        for name in (*left.names, left.id):
            try:
                engine.remove_image(name, force=True)
            except NotFound:
                continue


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the sample app whose ``app.py`` is something else."""

    def write(program: str) -> Path:
        context = tmp_path / "app"
        shutil.copytree(resources.sample_app(), context)
        (context / "app.py").write_text(program)
        return context

    return write


def _is_owned(item: Container | Network | Image, dirs: AppDirs) -> bool:
    return runs.is_owned(dirs.state, item.labels.get(labels.DEMO, ""))


def images_of(engine: Engine, dirs: AppDirs) -> list[Image]:
    """Images of this test's demos, those of the builder's own keeping, too."""
    return [item for item in engine.images(all=True, labels={labels.DEMO: ""}) if _is_owned(item, dirs)]


def _friendly(names: Iterable[str]) -> bool:
    return any(name.endswith("hello:latest") for name in names)


def nothing_is_left(engine: Engine, dirs: AppDirs) -> None:
    demos = {labels.DEMO: ""}
    assert [item for item in engine.containers(all=True, labels=demos) if _is_owned(item, dirs)] == []
    assert [item for item in engine.networks(labels=demos) if _is_owned(item, dirs)] == []
    names = [name for item in engine.images() for name in item.names]
    assert not [name for name in names if f"registry-tool/kept/{owner_id(dirs.state)}" in name]
    assert not [item for item in engine.images() if _is_owned(item, dirs) and _friendly(item.names)]


SERVER = """
import http.server, os, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        {act}
http.server.HTTPServer(("", 80), Page).serve_forever()
"""

BAD_PAGES = {
    "ends": ("print('my last words'); raise SystemExit(7)", "ended with code 7", "my last words"),
    "500": (SERVER.format(act="print('oh no', flush=True); self.send_error(500)"), "answered 500, not 200", "oh no"),
    "late words": (
        SERVER.format(
            act="self.log_message = lambda *words: None; "
            "self.send_error(500); self.wfile.flush(); time.sleep(0.4); print('oh no', flush=True)"
        ),
        "answered 500, not 200",
        "oh no",
    ),
    "else": (SERVER.format(act="self.send_response(200); self.end_headers(); self.wfile.write(b'It works!')"), "'It works!'", "GET / "),
    "stranger": (
        SERVER.format(
            act="self.send_response(200); self.end_headers(); self.wfile.write(b'<h3>Hello World!</h3><b>Hostname:</b> other<br/>')"
        ),
        "host name should be",
        "GET / ",
    ),
}


LATE_PAGES = {
    "not listening": ("import time; print('my last words', flush=True); time.sleep(60)", "my last words"),
    "hanging up": (SERVER.format(act="print('my last words', flush=True); self.connection.close()"), "my last words"),
    "silent": (SERVER.format(act="print('my last words', flush=True); time.sleep(60)"), "my last words"),
    "trickling": (SERVER.format(act="[(self.wfile.write(b'H'), time.sleep(0.3)) for _ in range(200)]"), ""),
}


class TestFailures:
    @pytest.mark.parametrize("kind", LATE_PAGES)
    def test_page_that_never_responds_fails_with_the_log(
        self, run: Run, engine: Engine, dirs: AppDirs, app: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(page_steps, "FIRST_RESPONSE", 1.5)
        monkeypatch.setattr(page_steps, "REQUEST_TIMEOUT", 1.0)
        program, last_words = LATE_PAGES[kind]

        def has_said_it() -> bool:
            """Whether the program has got so far; on a busy machine it may not even have started within the time."""
            ours = [item for item in engine.containers(all=True, labels={labels.DEMO: ""}) if _is_owned(item, dirs)]
            return any(last_words in line for item in ours for line in engine.log_tail(item.id, 10, settle=False)) or not last_words

        class Patient(Deadline):
            @property
            def passed(self) -> bool:
                return super().passed and has_said_it()

        limit = page_steps.FIRST_RESPONSE
        monkeypatch.setattr(page_steps, "Deadline", lambda seconds: (Patient if seconds == limit else Deadline)(seconds))
        result = run(context=app(program))
        assert result.error is not None
        assert result.error.code == "proof-failed"
        assert "within 2 s" in result.error.message
        assert "no page at http://localhost:" in result.error.message
        assert not last_words or last_words in result.error.excerpt
        assert [step.ok for step in result.steps].count(False) == 1
        nothing_is_left(engine, dirs)

    def test_slow_page_is_waited_for(
        self, run: Run, engine: Engine, dirs: AppDirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = tmp_path / "app"
        shutil.copytree(resources.sample_app(), context)
        program = (context / "app.py").read_text()
        (context / "app.py").write_text(f"import time; time.sleep(2)\n{program.replace('from __future__ import annotations', '')}")
        result = run(context=context)
        assert result.error is None, result.error.message
        nothing_is_left(engine, dirs)

    @pytest.mark.parametrize("kind", BAD_PAGES)
    def test_page_of_another_app_fails(
        self,
        run: Run,
        engine: Engine,
        dirs: AppDirs,
        app: Callable[[str], Path],
        image: str,
        local: LocalRegistry,
        kind: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(containers, "_LOG_SETTLES", 600.0)  # each says something, however long that takes here
        program, message, last_words = BAD_PAGES[kind]
        result = run(context=app(program))
        assert not result.ok
        assert result.error is not None
        assert result.error.code == "proof-failed"
        assert message in result.error.message
        assert any(last_words in line for line in result.error.excerpt)
        assert [step.ok for step in result.steps].count(False) == 1
        assert result.ok is False
        nothing_is_left(engine, dirs)
        assert engine.image(f"{local.address}/{image}") is not None, "the pulled image stays"

    @pytest.mark.parametrize("where", ["engine and registry", "registry"])
    def test_tag_of_somebodys_is_not_moved_where_the_page_is_wrong(
        self, run: Run, engine: Engine, app: Callable[[str], Path], image: str, local: LocalRegistry, tiny_image: Make, where: str
    ) -> None:
        name = f"{local.address}/{image}"
        theirs = tiny_image(name)
        engine.push(name)
        if where == "registry":
            engine.remove_image(name)
        with open_registry(local.address) as registry:
            reference = Reference.parse(name, default_host="")
            before = registry.digest(reference.path, reference.tag or "latest")
            result = run(context=app(BAD_PAGES["stranger"][0]))
            assert result.error is not None
            assert "host name should be" in result.error.message
            assert [step.name for step in result.steps if not step.ok] == ["tag"]
            assert registry.digest(reference.path, reference.tag or "latest") == before
        left = engine.image(name)
        assert (left.id if left else None) == (theirs if where == "engine and registry" else None)

    def test_failed_build_shows_the_end_of_its_output(self, run: Run, engine: Engine, dirs: AppDirs, app: Callable[[str], Path]) -> None:
        context = app("")
        with (context / "Dockerfile").open("a") as file:
            file.write("\nRUN echo the-reason && false\n")
        result = run(context=context)
        assert result.error is not None
        assert result.error.code == "build-failed"
        assert any("the-reason" in line for line in result.error.excerpt)
        nothing_is_left(engine, dirs)

    def test_page_port_in_use_is_an_error(
        self, run: Run, engine: Engine, dirs: AppDirs, tiny_image: Make, local: LocalRegistry, unique: str
    ) -> None:
        result = run(port=local.port)
        assert result.error is not None
        assert result.error.code == "port-taken"
        assert result.steps == [], "it is said before anything is built"
        nothing_is_left(engine, dirs)

    def test_name_in_another_registry_is_a_usage_error(self, run: Run, engine: Engine, dirs: AppDirs) -> None:
        result = run(image="registry.example/john/app:1")
        assert result.error is not None
        assert result.error.code == "usage"
        nothing_is_left(engine, dirs)

    def test_invalid_name_is_an_error(self, run: Run) -> None:
        result = run(image="John/App")
        assert result.error is not None
        assert result.error.code == "invalid-reference"
        assert result.steps == []

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("name", STEPS)
    def test_interrupted_demo_cleans_up(
        self, run: Run, engine: Engine, dirs: AppDirs, image: str, local: LocalRegistry, name: str, after: bool
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            run(listener=Stopping(name, after=after))
        nothing_is_left(engine, dirs)
        pulled = (STEPS.index(name), after) >= (STEPS.index("pull"), True)
        present = engine.image(f"{local.address}/{image}")
        assert (present is not None) == pulled
        if not pulled:
            assert images_of(engine, dirs) == []


class TestSuccess:
    def test_all_steps_succeed(self, run: Run, engine: Engine, dirs: AppDirs, image: str, local: LocalRegistry) -> None:
        result = run()
        assert result.error is None
        assert [step.name for step in result.steps] == STEPS
        client = "podman " if engine.is_podman else "docker "
        assert all(step.ok and step.command.startswith((client, "curl ")) for step in result.steps)
        reference = Reference.parse(image, default_host=local.address)
        assert result.reference == str(reference)
        assert result.digest == str(open_registry(local.address).digest(reference.path, "part2"))
        present = engine.image(str(reference))
        assert present is not None
        assert present.id == result.image_id
        assert result.page is not None
        assert (result.page.status, "<h3>Hello World!</h3>" in result.page.body) == (200, True)
        assert "cannot connect to Redis, counter disabled" in result.page.body
        assert {entry.role for entry in result.images} == {"registry", "python"}
        nothing_is_left(engine, dirs)

    def test_digest_is_the_one_that_skopeo_reads(self, run: Run) -> None:
        skopeo = shutil.which("skopeo")
        if skopeo is None:
            missing("skopeo", "it is not installed")
        result = run()
        inspect = [skopeo, "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{result.reference}"]
        assert subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip() == result.digest

    def test_counter_counts_with_redis(self, run: Run, engine: Engine, dirs: AppDirs) -> None:
        result = run(redis=True)
        assert result.error is None
        assert result.visits == [1, 2, 3]
        document = to_json(result)
        assert document["probe_redis"] == {"visits": [1, 2, 3], "body": result.page_with_redis.body if result.page_with_redis else None}
        assert {entry.role for entry in result.images} == {"registry", "python", "redis"}
        nothing_is_left(engine, dirs)

    def test_changed_page_is_what_the_demo_proves(self, run: Run, engine: Engine, dirs: AppDirs, app: Callable[[str], Path]) -> None:
        program = (resources.sample_app() / "app.py").read_text(encoding="utf-8").replace("Hello {name}!", "Good day, {name}!")
        result = run(context=app(program), redis=True)
        assert result.error is None, result.error.message
        assert result.page is not None and result.page_with_redis is not None
        assert all("<h3>Good day, World!</h3>" in page.body for page in (result.page, result.page_with_redis))
        nothing_is_left(engine, dirs)

    def test_second_demo_replaces_the_image(self, run: Run, engine: Engine, dirs: AppDirs) -> None:
        first, second = run(), run()
        assert (first.error, second.error) == (None, None)
        assert first.image_id != second.image_id
        assert first.image_id is not None
        assert engine.image(first.image_id) is None
        for result in (first, second):
            images = engine.images(all=True, labels={labels.DEMO: result.run})
            assert [item.names for item in images] == ([(str(second.reference),)] if result is second else [])

    def test_friendly_name_is_restored(self, run: Run, engine: Engine, dirs: AppDirs, friendly: str, tiny_image: Make) -> None:
        image_id = tiny_image(friendly)
        for result in (run(), run(image="John/App")):
            assert result is not None
            back = engine.image(friendly)
            assert back is not None and back.id == image_id
        with pytest.raises(KeyboardInterrupt):
            run(listener=Stopping("tag", after=False))
        back = engine.image(friendly)
        assert back is not None and back.id == image_id
        nothing_is_left(engine, dirs)

    def test_keep_leaves_the_container_running(self, run: Run, engine: Engine, dirs: AppDirs) -> None:
        result = run(keep=True)
        assert result.error is None
        (name,) = result.kept
        container = engine.container(name)
        assert container is not None and container.running
        again = run()
        assert again.error is None
        assert engine.container(name) is not None, "a kept demo is nobody's leftover"
        orphans.remove(engine, dirs.state, orphans.find(engine, dirs.state, labels.ROLE_DEMO, kept=True))
        assert engine.container(name) is None

    def test_keep_with_redis_leaves_both_containers_and_their_network(
        self, run: Run, engine: Engine, dirs: AppDirs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("registry_tool.cli.session.Session.dirs", dirs)
        typed = Typed(capsys)
        result = run(keep=True, redis=True)
        assert result.error is None
        containers = engine.containers(all=True, labels={labels.DEMO: result.run})
        assert {item.name for item in containers} == set(result.kept)
        assert len(result.kept) == 2
        assert result.page is not None and result.page_with_redis is not None
        assert result.page.url == result.page_with_redis.url
        assert result.kept_network is not None and engine.network(result.kept_network) is not None
        # What the summary says removes the network as well, and with the last container only.
        for number, name in enumerate(result.kept):
            assert engine.network(result.kept_network) is not None, number
            assert typed("rm", "-f", name).code == 0
        assert engine.network(result.kept_network) is None

    def test_default_port_is_the_next_free_one(self, run: Run, engine: Engine, local: LocalRegistry) -> None:
        holder = engine.run(
            ContainerSpec(
                image=local.image, ports=(PortBinding(container_port="5000/tcp", host_port=0, host_ip="127.0.0.1"),), labels={"test": "1"}
            )
        )
        try:
            result = run(port=None)
            assert result.error is None
            assert result.page is not None
            assert result.page.url.startswith("http://localhost:4")
        finally:
            engine.remove(holder.id, force=True)

    # On an engine of its own it is in the suite (test_demo_offline); here other tests build on the base image that goes.
    @pytest.mark.soak
    def test_purge_transfers_every_layer(self, run: Run, engine: Engine, dirs: AppDirs) -> None:
        for _ in range(2):
            result = run(purge=True)
            assert result.error is None
            base = next(entry for entry in result.images if entry.role == "python")
            assert engine.image(base.name) is None, "the base image went, too"
            pull = next(step for step in result.steps if step.name == "pull")
            assert "pulled" in pull.detail


def sweep(engine: Engine, dirs: AppDirs, tag: str) -> None:
    orphans.sweep(engine, dirs.state, labels.ROLE_DEMO)
    orphans.sweep_tag(engine, dirs.state, tag)


class TestLeftovers:
    def test_sweep_removes_only_what_a_dead_run_left(self, engine: Engine, dirs: AppDirs, local: LocalRegistry, unique: str) -> None:
        with runs.begin(dirs.state) as dead:
            marks = dead.labels(labels.ROLE_DEMO)
        with runs.begin(dirs.state) as living:
            containers = {
                "dead": engine.create(ContainerSpec(image=local.image, labels=marks)),
                "living": engine.create(ContainerSpec(image=local.image, labels=living.labels(labels.ROLE_DEMO))),
                "stranger": engine.create(ContainerSpec(image=local.image, labels={**marks, labels.DEMO: "0" * 16})),
            }
            network = engine.create_network(unique, labels=marks)
            try:
                sweep(engine, dirs, f"{unique}hello")
                there = {name for name, container in containers.items() if engine.container(container.id) is not None}
                assert there == {"living", "stranger"}
                assert network.id not in {item.id for item in engine.networks(labels=marks)}
            finally:
                for container in containers.values():
                    if engine.container(container.id) is not None:
                        engine.remove(container.id, force=True)

    def test_a_container_that_somebody_started_from_a_dead_runs_image_stays(
        self, engine: Engine, dirs: AppDirs, unique: str, tiny_image: Make
    ) -> None:
        """It has the image's labels, the run's id among them."""
        with runs.begin(dirs.state) as dead:
            image = tiny_image(unique, {labels.DEMO: dead.id})
        container = engine.create(ContainerSpec(image=image, command=("/none",)))
        try:
            assert container.labels[labels.DEMO] == dead.id
            sweep(engine, dirs, f"{unique}hello")
            assert engine.container(container.id) is not None
        finally:
            engine.remove(container.id, force=True)

    def test_tag_of_a_dead_run_is_restored(self, engine: Engine, dirs: AppDirs, unique: str, tiny_image: Make) -> None:
        name = f"{unique}hello"
        image_id = tiny_image(name)
        with runs.begin(dirs.state) as dead:
            tag_backup.borrow(engine, dead.id, name, tiny_image(f"{unique}other", dead.labels(labels.ROLE_DEMO)))
        sweep(engine, dirs, name)
        back = engine.image(name)
        assert back is not None
        assert (back.id, back.names) == (image_id, (f"{name}:latest",))

    @pytest.mark.parametrize("last", ["first to borrow", "second to borrow"])
    def test_tag_of_two_parallel_runs_is_restored_by_the_last(
        self, engine: Engine, dirs: AppDirs, unique: str, tiny_image: Make, last: str
    ) -> None:
        """Also where the first one goes while the name is the second one's."""
        name = f"{unique}hello"
        image_id = tiny_image(name)
        with runs.begin(dirs.state) as one, runs.begin(dirs.state) as two:
            tag_backup.borrow(engine, one.id, name, tiny_image(f"{unique}one", one.labels(labels.ROLE_DEMO)))
            tag_backup.borrow(engine, two.id, name, tiny_image(f"{unique}two", two.labels(labels.ROLE_DEMO)))
            for each in (one, two) if last == "second to borrow" else (two, one):
                tag_backup.give_back(engine, each.id, name)
        back = engine.image(name)
        assert back is not None and back.id == image_id
        assert not [name for item in engine.images() for name in item.names if f"registry-tool/kept/{owner_id(dirs.state)}" in name]

    def test_tag_of_another_owners_run_is_not_restored(
        self, engine: Engine, dirs: AppDirs, tmp_path: Path, unique: str, tiny_image: Make
    ) -> None:
        """Whether that one's demo lives cannot be seen from here."""
        name = f"{unique}hello"
        tiny_image(name)
        with runs.begin(tmp_path / "theirs") as theirs:
            tag_backup.borrow(engine, theirs.id, name, tiny_image(f"{unique}other", theirs.labels(labels.ROLE_DEMO)))
            assert theirs.id not in orphans.find(engine, dirs.state, labels.ROLE_DEMO).runs
            tag_backup.give_back(engine, theirs.id, name)

    def test_tag_that_was_moved_meanwhile_is_not_restored(self, engine: Engine, dirs: AppDirs, unique: str, tiny_image: Make) -> None:
        name = f"{unique}hello"
        tiny_image(name)
        with runs.begin(dirs.state) as dead:
            tag_backup.borrow(engine, dead.id, name, tiny_image(f"{unique}other", dead.labels(labels.ROLE_DEMO)))
        theirs = tiny_image(name)
        sweep(engine, dirs, name)
        assert (now := engine.image(name)) is not None
        assert now.id == theirs
        # Of this owner: other tests' demos keep theirs on this engine at the same time.
        kept = f"registry-tool/kept/{owner_id(dirs.state)}"
        assert not [name for item in engine.images() for name in item.names if kept in name]
