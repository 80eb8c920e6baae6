"""The plugin's registry in a container: a real one, somebody's own, and gone afterwards however the run ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry
from registry_tool.local.registry.spec import resource_name
from tests.unit.pytest_plugin.test_plugin import no_other_plugin, parallel, run

pytestmark = [pytest.mark.engine]
pytest_plugins = ["pytester"]
__all__ = ["no_other_plugin"]

NOTE = """
    from pathlib import Path
    import os
    import time

    def note(registry):
        Path(f"host-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}").write_text(registry.host)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_image: str) -> Path:
    """State of the inner runs' own; the registry's base image is in the engine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("REGISTRY_TOOL_REQUIRE", "engine")
    return tmp_path / "state" / "registry-tool" / "runs"


@pytest.fixture
def inner(pytester: pytest.Pytester, engine: Engine) -> Iterator[pytest.Pytester]:
    """Where inner runs are; what one of them leaves when a test fails is removed."""
    pytester.makepyfile(noted=NOTE)
    yield pytester
    for registry in ours(pytester, engine):
        local_registry.down(engine, registry.name, volumes=True)


def ours(pytester: pytest.Pytester, engine: Engine) -> list[LocalRegistry]:
    """The registries on the engine that inner runs noted."""
    return [registry for registry in local_registry.find_all(engine) if registry.address in hosts(pytester)]


def hosts(pytester: pytest.Pytester) -> set[str]:
    # A file is there before its content is.
    return {host for path in pytester.path.glob("host-*") if (host := path.read_text())}


def locks(state: Path) -> list[str]:
    return sorted(path.stem for path in state.rglob("*.lock"))


def begun(pytester: pytest.Pytester, engine: Engine, *options: str) -> tuple[subprocess.Popen[bytes], list[LocalRegistry]]:
    """A run that was begun, and its registries when its tests are in the midst of it."""
    command = [sys.executable, "-m", "pytest", "-p", "registry_tool.pytest_plugin", "-p", "no:cacheprovider", *options]
    workers = 2 if "-n" in options else 1
    process = subprocess.Popen(command, cwd=pytester.path, env={**os.environ, "PYTHONPATH": str(pytester.path)}, start_new_session=True)
    deadline = time.monotonic() + 600
    while len(hosts(pytester)) < workers:
        assert process.poll() is None, "the run ended before it should have"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    actual = ours(pytester, engine)
    assert len(actual) == workers
    return process, actual


def assert_gone(engine: Engine, *registries: LocalRegistry) -> None:
    for registry in registries:
        assert engine.container(registry.container_id) is None
        assert engine.volume(resource_name(registry.name)) is None


# How a run may end.


FAILS = """
    from noted import note

    def test_first(local_registry):
        note(local_registry)
        assert False

    def test_second(local_registry):
        pass
"""
WAITS = """
    from noted import note

    def test_waits(local_registry):
        note(local_registry)
        import time
        time.sleep(600)
"""


@pytest.mark.parametrize("workers", [False, True], ids=["alone", "xdist"])
def test_nothing_is_left_after_the_first_failure(inner: pytest.Pytester, engine: Engine, state: Path, workers: bool) -> None:
    inner.makepyfile(FAILS)
    result = (parallel if workers else run)(inner, "-x")
    assert result.ret != 0
    assert hosts(inner)
    assert ours(inner, engine) == []
    assert locks(state) == []


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2", "--dist", "loadfile")], ids=["alone", "xdist"])
def test_nothing_is_left_after_ctrl_c(inner: pytest.Pytester, engine: Engine, state: Path, options: tuple[str, ...]) -> None:
    inner.makepyfile(test_one=WAITS, test_two=WAITS)
    process, registries = begun(inner, engine, *options)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=600) == pytest.ExitCode.INTERRUPTED
    assert_gone(engine, *registries)
    assert locks(state) == []


def test_registry_of_a_killed_run_is_removed_by_the_next(inner: pytest.Pytester, engine: Engine, state: Path) -> None:
    inner.makepyfile(WAITS)
    killed, dead = begun(inner, engine)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert engine.container(dead[0].container_id) is not None, "nobody could clean up"
    try:
        living, registries = begun_again(inner, engine, dead)
    finally:
        left = local_registry.find(engine, dead[0].name)
        if left is not None:
            local_registry.down(engine, left.name, volumes=True)
    try:
        assert left is None
        assert_gone(engine, *dead)
        inner.makepyfile(test_other="def test_other(local_registry):\n    assert local_registry.client.ping() is None\n")
        run(inner, "test_other.py").assert_outcomes(passed=1)
        assert engine.container(registries[0].container_id) is not None
        assert [registry.name.rpartition("-")[2] for registry in registries] == locks(state)
    finally:
        os.killpg(living.pid, signal.SIGINT)
        living.wait(timeout=600)
    assert_gone(engine, *registries)
    assert locks(state) == []


def begun_again(
    pytester: pytest.Pytester, engine: Engine, dead: list[LocalRegistry]
) -> tuple[subprocess.Popen[bytes], list[LocalRegistry]]:
    for path in pytester.path.glob("host-*"):
        path.unlink()
    process, registries = begun(pytester, engine)
    assert {registry.name for registry in registries}.isdisjoint(registry.name for registry in dead)
    return process, registries


def test_failed_start_has_the_tools_message_and_leaves_nothing(inner: pytest.Pytester, engine: Engine, state: Path, unique: str) -> None:
    inner.makepyfile("def test_registry(local_registry):\n    pass\n")
    result = run(inner, f"--registry-image=localhost:1/{unique}:1")
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    # pytest repeats it in its summary, whole where CI is set and cut to the line's width elsewhere.
    stated, _, _ = text.partition("short test summary info")
    assert stated.count("the engine cannot reach the registry localhost:1") == 1
    assert "Start it: regctl up." in text
    assert "Traceback" not in text
    assert locks(state) == []


# What it is.


def test_local_registry_is_a_real_one_for_the_session(inner: pytest.Pytester, engine: Engine) -> None:
    inner.makepyfile(
        """
        from noted import note

        seen = set()

        def test_push(local_registry, image_factory):
            note(local_registry)
            seen.add(local_registry.host)
            image = image_factory({"greeting": "hello"}, name="john/app:1", to=local_registry)
            assert image.reference == f"localhost:{local_registry.port}/john/app:1"
            assert str(local_registry.client.digest("john/app", "1")) == image.digest

        def test_again(local_registry):
            assert seen == {local_registry.host}
            assert local_registry.client.repository("john/app").tags() == ("1",)

        def test_another(registry):
            assert list(registry.client.catalog()) == []
        """
    )
    before = local_registry.find(engine)
    run(inner).assert_outcomes(passed=3)
    [host] = hosts(inner)
    assert not host.endswith(":5000")
    assert ours(inner, engine) == []
    assert local_registry.find(engine) == before, "the registry that people use is not touched"


def test_engine_pulls_a_factory_image(inner: pytest.Pytester, engine: Engine, unique: str) -> None:
    inner.makepyfile(
        f"""
        from registry_tool.engine import connect

        def test_pull(local_registry, image_factory):
            image = image_factory({{"{unique}": "hello"}}, to=local_registry, entrypoint=["/none"], exposed=[80])
            with connect() as engine:
                try:
                    engine.pull(image.reference)
                    assert any(name.endswith("@" + image.digest) for name in engine.image(image.reference).digests)
                finally:
                    engine.remove_image(image.reference, force=True)
        """
    )
    run(inner).assert_outcomes(passed=1)


def test_registry_image_option(inner: pytest.Pytester, engine: Engine, registry_image: str, unique: str) -> None:
    name = f"localhost/{unique}:1"
    engine.tag(registry_image, name)
    try:
        inner.makepyfile(
            f"""
            from registry_tool.local import registry as registries
            from registry_tool.engine import connect

            def test_image(local_registry):
                with connect() as engine:
                    assert [each.image for each in registries.find_all(engine) if each.address == local_registry.host] == ["{name}"]
            """
        )
        run(inner, f"--registry-image={name}").assert_outcomes(passed=1)
    finally:
        engine.remove_image(name)


def test_each_worker_has_its_own_registry(inner: pytest.Pytester, engine: Engine, state: Path) -> None:
    body = """
        from noted import note

        def test_push(local_registry, image_factory):
            note(local_registry)
            image_factory(name="john/app:1", to=local_registry)

        def test_alone(local_registry):
            assert local_registry.client.repository("john/app").tags() == ("1",)
        """
    inner.makepyfile(test_one=body, test_two=body)
    parallel(inner).assert_outcomes(passed=4)
    assert len(hosts(inner)) == 2
    assert ours(inner, engine) == []
    assert locks(state) == []
