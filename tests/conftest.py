"""What every test stands on: folders of its own, a name of its own, and an engine where there is one."""

from __future__ import annotations

import gc
import io
import os
import shutil
import signal
import tarfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from registry_tool import server
from registry_tool.base import concurrency, resources
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import NotFound, Unreachable
from registry_tool.base.progress import SILENT
from registry_tool.engine import Engine, connect
from registry_tool.local import registry as local_registry
from registry_tool.local.base_images import PYTHON, REDIS, REGISTRY, Base, BaseImageResolver, wheelhouse, wheels
from registry_tool.local.bring_up import registry_up
from registry_tool.local.registry import LocalRegistry
from registry_tool.targets.registry import Registry, Repository, open_registry
from registry_tool.transport import retry
from tests.support import broken_images, canary, damage
from tests.support.cli_runner import Typed
from tests.support.engine_snapshot import Snapshot, differences, snapshot, unique_name
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.private_engine import PrivateEngine, private_engine, why_not
from tests.support.recording_server import RecordingServer, recording_server
from tests.support.requirements import free_port, missing
from tests.support.selection import is_deselected

# How many cases each property is tried with. A slow machine is no failure, neither in a case nor in what makes them.
for _profile, _cases in (("fast", 50), ("usual", 200), ("soak", 10_000)):
    settings.register_profile(_profile, max_examples=_cases, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")


def pytest_configure(config: pytest.Config) -> None:
    """Every password of the tests is looked for in all that comes of them."""
    # Some hundred Python programs are started, and what each would have to compile takes longer than most of them run.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Who runs this in the background of a shell gives it a Ctrl-C that does nothing, and every child would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):  # nohup does the same to the first
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    canary.watch(config)


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A module's tests stay in one worker, as they share fixtures; so do modules that share what takes long to start."""

    SHARED = (
        ("tests/contract/", "contract"),
        ("tests/e2e/test_demo_", "private engine"),
        ("tests/e2e/test_docs", "documents"),
        ("tests/e2e/test_tutorial", "documents"),
    )

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return next((group for prefix, group in self.SHARED if module.startswith(prefix)), module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling:
    """In the order of collection: what takes long, with an engine, comes before what is quick."""
    config.option.loadscopereorder = False
    return ModuleScheduling(config, log)


# The engine of whoever runs the tests is looked at before and after, by the one process that outlives all workers.
_BEFORE = pytest.StashKey[Snapshot]()
_DAMAGE = pytest.StashKey[list[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """See what is on the engine before anything of ours is."""
    if not hasattr(session.config, "workerinput"):
        with suppress(Unreachable), connect() as engine:
            session.config.stash[_BEFORE] = snapshot(engine)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules all of whose tests ``-m`` deselects: each worker would read them for nothing."""
    is_module = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    return True if is_module and is_deselected(collection_path.read_text(encoding="utf-8"), config.option.markexpr) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and leave out of its rounds what stays: otherwise they take a twentieth of all time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run that took or left something there."""
    before = session.config.stash.get(_BEFORE, None)
    if before is None:
        return
    folders: Path = getattr(session.config, "_tmp_path_factory").getbasetemp()  # noqa: B009 - pytest has no other name for it
    with connect() as engine:
        # What was asked for last, the engine may still be doing: containers that remove themselves, builds that were broken off.
        poll(lambda: not differences(before, engine, folders), Deadline(60), pause=1.0)
        lines = session.config.stash[_DAMAGE] = differences(before, engine, folders)
    if lines and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was taken or left."""
    for line in config.stash.get(_DAMAGE, []):
        terminalreporter.write_line(f"the tests did not leave the engine as it was: {line}", red=True)


@pytest.fixture(scope="session")
def has_openssl() -> None:
    """What makes certificates."""
    if shutil.which("openssl") is None:
        missing("openssl", "it makes certificates")


@pytest.fixture(scope="session")
def real_endpoint() -> str | None:
    """The engine as the person who typed the command would find it, before the tests hide the configuration."""
    try:
        with connect() as engine:
            return engine.endpoint.url
    except Unreachable:
        return None


@pytest.fixture(scope="session")
def unused_homes() -> list[Path]:
    """Homes that tests left as empty as they were: the next test may have them, as making and removing thousands takes seconds."""
    return []


@pytest.fixture(autouse=True)
def own_folders(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, real_endpoint: str | None, unused_homes: list[Path]
) -> Iterator[Path]:
    """HOME, XDG folders and docker's configuration of the test's own; never those of whoever runs the tests."""
    home = unused_homes.pop() if unused_homes else tmp_path_factory.mktemp("home")
    if not _is_empty(home):  # by a process that outlived its test
        home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "REGISTRY_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    if real_endpoint is not None:
        monkeypatch.setenv("DOCKER_HOST", real_endpoint)
    yield home
    if _is_empty(home):
        unused_homes.append(home)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@pytest.fixture(autouse=True)
def not_on_podman(request: pytest.FixtureRequest) -> None:
    """Skip what is marked ``docker_only`` where the engine is podman."""
    for mark in request.node.iter_markers("docker_only"):
        if request.getfixturevalue("session_engine").is_podman:
            pytest.skip(f"podman as the engine: {mark.args[0]}")


@pytest.fixture(autouse=True)
def soon_again_and_near(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once what is tried again, and let registries be near, as they are, except where that is the question.

    On a busy machine they answer as if they were far away, and get more requests at a time. One fixture, as each costs every test time.
    """
    module = request.module.__name__.rpartition(".")[2]
    if module != "test_retry":
        monkeypatch.setattr(retry, "FIRST_DELAY", 0.001)
        monkeypatch.setattr(retry, "REPEAT_DELAYS", (0.0, 0.0, 0.0))
    if module != "test_concurrency":
        monkeypatch.setattr(concurrency, "FAR_REQUESTS", concurrency.NEAR_REQUESTS)


@pytest.fixture
def unique() -> str:
    """A short name that nothing else has, fit for tags, containers, volumes and repositories."""
    return unique_name()


@pytest.fixture
def engine(real_endpoint: str | None, own_folders: Path) -> Iterator[Engine]:
    """The real engine."""
    try:
        connected = connect()
    except Unreachable as error:
        missing("engine", error.message)
    with connected:
        yield connected


@pytest.fixture(scope="session")
def session_engine(real_endpoint: str | None) -> Iterator[Engine]:
    """The real engine, for what a whole session shares."""
    try:
        connected = connect()
    except Unreachable as error:
        missing("engine", error.message)
    with connected:
        yield connected


@pytest.fixture(scope="session")
def session_dirs(tmp_path_factory: pytest.TempPathFactory) -> AppDirs:
    """State of this worker's own, and one cache for all: base images and wheels are brought once."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    cache.mkdir(exist_ok=True)
    return AppDirs(state=tmp_path_factory.mktemp("state"), cache=cache)


@pytest.fixture(scope="session")
def registry_image(session_engine: Engine, session_dirs: AppDirs) -> str:
    """The registry's base image, from wherever it can be had here; TEST_REGISTRY_IMAGE names another one to test with."""
    return os.environ.get("TEST_REGISTRY_IMAGE") or BaseImageResolver(session_engine, session_dirs.cache, SILENT).ensure(REGISTRY).name


@pytest.fixture
def dirs(tmp_path: Path, session_dirs: AppDirs) -> AppDirs:
    """State of the test's own; base images and wheels are the session's."""
    (tmp_path / "state").mkdir()
    return AppDirs(state=tmp_path / "state", cache=session_dirs.cache)


@pytest.fixture(scope="session")
def local(session_engine: Engine, session_dirs: AppDirs) -> Iterator[LocalRegistry]:
    """A real registry container of the session's own, on a port that nobody has."""
    name = unique_name()
    try:
        yield registry_up(session_engine, session_dirs, name=name, port=free_port(), timeout=600).up.registry
    finally:
        local_registry.down(session_engine, name, volumes=True)


@pytest.fixture
def registry() -> Iterator[server.RunningRegistry]:
    """An empty registry in this process, for the test alone; ``tests/support/content.py`` fills it. Needs no engine."""
    with server.run_registry() as running:
        yield running
    assert running.errors == [], "the registry of the tests has a bug"


@pytest.fixture(params=["registry", pytest.param("local", marks=pytest.mark.engine)])
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultyProxy]:
    """A proxy before the registry in this process, and before the real one."""
    with faulty_proxy(request.getfixturevalue(request.param).port) as proxy:
        yield proxy


@pytest.fixture
def opened(proxy: FaultyProxy) -> Iterator[Registry]:
    """The registry behind the proxy."""
    with open_registry(proxy.host) as opened:
        yield opened


@pytest.fixture
def repository(opened: Registry, unique: str) -> Repository:
    """A repository of the test's own in it."""
    return opened.repository(f"{unique}/app")


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    """An empty registry in this process that is watched; it is what a name without a host means."""
    with recording_server() as watching:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", watching.host)
        yield watching


@pytest.fixture
def other() -> Iterator[RecordingServer]:
    """A second registry in this process, which is watched, too: where images are copied to."""
    with recording_server() as server:
        yield server


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Commands in this process."""
    return Typed(capsys)


@pytest.fixture
def tiny_image(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes a tiny image, unlike any other, under a name; gives its id. All that came of it is removed in the end.

    ``padding`` is bytes that do not compress, for what an engine only tells of content that takes it a moment.
    """
    made: list[str] = []

    def make(name: str, labels: Mapping[str, str] | None = None, *, padding: int = 0) -> str:
        path = tmp_path / f"{uuid.uuid4().hex}.tar"
        with tarfile.open(path, "w") as archive:
            content = uuid.uuid4().hex.encode() + os.urandom(padding)
            entry = tarfile.TarInfo("unlike-any-other")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        changes = [f"LABEL {key}={value}" for key, value in (labels or {}).items()]
        made.append(engine.import_image(path, name=name, changes=changes))
        return made[-1]

    yield make
    for image_id in made:
        image = engine.image(image_id)
        for name in (*image.names, *image.digests, image_id) if image else ():
            try:
                engine.remove_image(name, force=True)
            except NotFound:
                continue


@pytest.fixture(scope="module")
def base(session_engine: Engine, session_dirs: AppDirs) -> broken_images.Base:
    """What the broken images stand on."""
    return broken_images.python_base(session_engine, BaseImageResolver(session_engine, session_dirs.cache).ensure(PYTHON).name)


@pytest.fixture(scope="module")
def stock(session_engine: Engine, registry_image: str) -> Iterator[damage.Damageable]:
    """A registry of a module's own, whose content can be damaged."""
    with damage.in_a_container(session_engine, registry_image, unique_name()) as running:
        yield running


@pytest.fixture(scope="session")
def kept_cache(session_engine: Engine, session_dirs: AppDirs) -> Path:
    """The cache as one demo with a network leaves it: base images and wheels, all that an engine without one needs."""
    bases = BaseImageResolver(session_engine, session_dirs.cache, SILENT)
    for base in (REGISTRY, PYTHON, REDIS):
        _set_aside(bases, base)
    python = bases.ensure(PYTHON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheelhouse, "IDLE_TIMEOUT", 600.0)  # on a busy machine, pip needs seconds before it prints anything
        result = wheels(session_engine, python.name, python.id, resources.sample_app() / "requirements.txt", session_dirs.cache, SILENT)
    assert result is not None, "the wheels of the sample app are not available"
    return session_dirs.cache


def _set_aside(bases: BaseImageResolver, base: Base) -> None:
    # Another worker's purge may take the image between the two; it comes back from the shelf.
    for _ in range(3):
        with suppress(NotFound):
            bases.archive(bases.ensure(base))
            return
    bases.archive(bases.ensure(base))


@pytest.fixture(scope="session")
def session_private_engine(own_engine_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine in a network namespace of its own, started once in each worker that wants one."""
    with private_engine(tmp_path_factory.mktemp("private") / "engine") as engine:
        yield engine


@pytest.fixture
def own_engine(session_private_engine: PrivateEngine) -> PrivateEngine:
    """An engine of the test's own, which may have base images and a build cache, and nothing else."""
    session_private_engine.empty(keep_bases=True)
    return session_private_engine


@pytest.fixture
def empty_engine(session_private_engine: PrivateEngine) -> PrivateEngine:
    """An engine of the test's own, which has nothing."""
    session_private_engine.empty()
    return session_private_engine


@pytest.fixture(scope="session")
def own_engine_possible() -> None:
    """Skips (or fails, see ``missing``) where no engine of the tests' own can be had."""
    reason = why_not()
    if reason is not None:
        missing("netns", reason)
