"""The current engine, or a context's, as an environment: what is removed from it, what is not, and that it is restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from registry_tool.base import runs
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Mismatch, NotFound, UsageError, VerificationFailed
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments import current
from registry_tool.verify.environments.current import CurrentEngine
from registry_tool.verify.environments.selection import open_environment
from registry_tool.verify.remote_image import resolve
from registry_tool.verify.spec import VerifySpec
from tests.support import broken_images as images
from tests.support.broken_images import Pushed
from tests.support.damage import Damageable, in_a_container
from tests.support.verify_images import check_named, failed, reference
from tests.unit.engine.test_endpoint import make_context

pytestmark = pytest.mark.engine

LABELS = {"io.example.test": "present"}


@pytest.fixture
def stock(engine: Engine, registry_image: str, unique: str) -> Iterator[Damageable]:
    with in_a_container(engine, registry_image, unique) as running:
        yield running


@pytest.fixture
def pushed(engine: Engine, stock: Damageable, unique: str) -> Iterator[Pushed]:
    """An image that the registry has; whatever the test brings to the engine under its name goes in the end."""
    image = images.push(stock.port, "1", None, {"file": unique, "large": os.urandom(1 << 16)}, command=("/file",))
    yield image
    for name in (image.name, _by_digest(image)):
        actual = engine.image(name)
        for known in (*actual.names, *actual.digests, actual.id) if actual else ():
            try:
                engine.remove_image(known)
            except NotFound:
                continue


def _by_digest(image: Pushed) -> str:
    return f"{image.name.rpartition(':')[0]}@{image.digest}"


def _open(engine: Engine, image: Pushed, use: Callable[[CurrentEngine], object]) -> None:
    name = reference(image.name)
    with open_registry(name.host) as registry, current.open_here(engine, name, registry, labels=LABELS) as environment:
        use(environment)


def test_image_is_removed_and_has_its_names_again_at_the_end(engine: Engine, pushed: Pushed) -> None:
    engine.pull(pushed.name)
    before = engine.image(pushed.name)
    assert before is not None

    def use(environment: CurrentEngine) -> None:
        assert [engine.image(name) for name in (pushed.name, _by_digest(pushed), before.id)] == [None, None, None]
        assert (environment.info.kind, environment.info.clean, environment.isolated, environment.traffic()) == ("here", False, False, None)
        assert environment.host_ip == "127.0.0.1"
        assert environment.labels() == LABELS
        engine.pull(environment.local_name(reference(_by_digest(pushed))))

    _open(engine, pushed, use)
    assert engine.image(pushed.name) == before


def test_image_that_was_not_pulled_is_restored_after_an_interruption(engine: Engine, pushed: Pushed) -> None:
    engine.pull(pushed.name)
    before = engine.image(pushed.name)

    def use(environment: CurrentEngine) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _open(engine, pushed, use)
    assert engine.image(pushed.name) == before


def test_image_is_restored_by_the_next_run_after_a_kill(
    engine: Engine, pushed: Pushed, dirs: AppDirs, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.pull(pushed.name)
    before = engine.image(pushed.name)
    name = reference(pushed.name)
    with runs.begin(dirs.state) as run, open_registry(name.host) as registry:
        record = current.record_file(dirs.state, run.id)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(current, "_restore", _interrupt)
            with current.open_here(engine, name, registry, labels=LABELS, record=record):
                assert record.exists()
        current.restore_interrupted(engine, dirs.state)
        assert engine.image(pushed.name) is None, "that run is alive"
    with open_environment(engine, "here", image=reference(f"{name.repository}:none"), dirs=dirs):
        assert engine.image(pushed.name) == before
    assert not record.exists()
    record.write_text("not JSON")
    current.restore_interrupted(engine, dirs.state)
    assert record.exists(), "what cannot be read is left for a person"


def _interrupt(*args: object, **more: object) -> None:
    raise KeyboardInterrupt


def test_image_that_cannot_be_pulled_again_is_a_failure_with_a_hint(engine: Engine, pushed: Pushed, stock: Damageable) -> None:
    engine.pull(pushed.name)
    with open_registry(f"localhost:{stock.port}") as registry:
        image = resolve(registry, reference(pushed.name), engine.info.platform).image
    assert image is not None and image.config is not None
    config = str(image.config.digest)

    def use(environment: CurrentEngine) -> None:
        # The config: a layer that is missing, an engine asks for again and again, and of manifests it keeps copies.
        stock.change(config, None)

    with pytest.raises(VerificationFailed, match="was removed from this engine and cannot be pulled again: ") as caught:
        _open(engine, pushed, use)
    assert caught.value.hint is not None
    assert _by_digest(pushed) in caught.value.hint


def test_image_that_was_absent_is_absent_at_the_end(engine: Engine, pushed: Pushed) -> None:
    _open(engine, pushed, lambda environment: engine.pull(_by_digest(pushed)))
    assert engine.image(_by_digest(pushed)) is None


def test_other_image_under_the_tag_stays(engine: Engine, pushed: Pushed, tiny_image: Callable[..., str]) -> None:
    built = tiny_image(pushed.name)
    _open(engine, pushed, lambda environment: None)
    left = engine.image(pushed.name)
    assert left is not None
    assert left.id == built


def _stays(engine: Engine, pushed: Pushed, kept: str) -> None:
    """The image is in the engine all the time, with its names, also where the process is killed."""
    before = engine.image(pushed.name)
    assert before is not None

    def use(environment: CurrentEngine) -> None:
        assert environment.kept == kept
        engine.pull(environment.local_name(reference(_by_digest(pushed))))
        inside = engine.image(pushed.name)
        assert inside is not None
        assert inside.names == before.names

    _open(engine, pushed, use)
    assert engine.image(pushed.name) == before


def test_image_with_another_name_stays(engine: Engine, pushed: Pushed, unique: str, dirs: AppDirs) -> None:
    """As after the documented build, tag and push."""
    engine.pull(pushed.name)
    other = f"{unique}:kept"
    engine.tag(pushed.name, other)
    try:
        _stays(engine, pushed, f"{other} is the same image")
        results = []
        spec = VerifySpec(image=reference(pushed.name))
        _open(engine, pushed, lambda environment: results.append(run_checks(environment, spec, current=engine, dirs=dirs)))
        [result] = results
        assert [(check_named(result, name).ok) for name in ("resolves", "clean", "fetched", "content")] == [True, None, None, True]
        assert f"it stays there: {other} is the same image" in check_named(result, "clean").detail
        assert "2 blobs were read from the registry instead" in check_named(result, "fetched").detail
    finally:
        engine.remove_image(other)


def test_digest_that_the_pull_added_is_removed(engine: Engine, pushed: Pushed, unique: str) -> None:
    engine.pull(_by_digest(pushed))
    other = f"{unique}:kept"
    engine.tag(_by_digest(pushed), other)
    engine.remove_image(_by_digest(pushed))
    before = engine.image(other)
    try:
        _open(engine, pushed, lambda environment: engine.pull(_by_digest(pushed)))
        assert engine.image(other) == before
        assert engine.image(_by_digest(pushed)) is None
    finally:
        engine.remove_image(other)


def test_image_of_a_container_stays(engine: Engine, pushed: Pushed, unique: str) -> None:
    engine.pull(pushed.name)
    container = engine.create(ContainerSpec(image=pushed.name, name=f"{unique}-user"))
    try:
        _stays(engine, pushed, f"the container {unique}-user uses it")
    finally:
        engine.remove(container.id, force=True)


def test_image_that_stays_and_is_damaged_in_the_registry_fails_fetched(
    engine: Engine, pushed: Pushed, stock: Damageable, unique: str, dirs: AppDirs
) -> None:
    engine.pull(pushed.name)
    other = f"{unique}:kept"
    engine.tag(pushed.name, other)
    stock.flip(pushed.own, at=len(pushed.own) // 2)
    try:
        results = []
        spec = VerifySpec(image=reference(pushed.name))
        _open(engine, pushed, lambda environment: results.append(run_checks(environment, spec, current=engine, dirs=dirs)))
        assert "fetched" in failed(results[0]), "no engine noticed, as it has all of it"
    finally:
        engine.remove_image(other)


def test_image_damaged_in_the_registry_is_not_removed(engine: Engine, pushed: Pushed, stock: Damageable) -> None:
    engine.pull(pushed.name)
    stock.flip(pushed.own, at=len(pushed.own) // 2)
    before = engine.image(pushed.name)
    with pytest.raises(Mismatch, match="digest"):
        _open(engine, pushed, lambda environment: pytest.fail("it was opened"))
    assert engine.image(pushed.name) == before is not None


def test_unknown_name_removes_nothing(engine: Engine, stock: Damageable) -> None:
    nowhere = Pushed(name=f"localhost:{stock.port}/no/such:1", digest=Digest.of(b""), size=0, own=b"")
    _open(engine, nowhere, lambda environment: None)


def test_removed_image_is_compared_with_the_registrys(engine: Engine, pushed: Pushed, dirs: AppDirs) -> None:
    engine.pull(pushed.name)
    actual = []
    _open(
        engine,
        pushed,
        lambda environment: actual.append(run_checks(environment, VerifySpec(image=reference(pushed.name)), current=engine, dirs=dirs)),
    )
    [result] = actual
    assert check_named(result, "resolves").ok is True
    assert "as on the current engine" in check_named(result, "resolves").detail
    assert (check_named(result, "clean").ok, check_named(result, "fetched").ok) == (None, None), "nobody can tell"
    assert check_named(result, "content").ok is True


def test_context_needs_its_own_name_for_a_local_registry(engine: Engine, pushed: Pushed) -> None:
    make_context("lab", engine.endpoint.url)
    name = reference(pushed.name)
    with open_registry(name.host) as registry:
        with (
            pytest.raises(UsageError, match="to the engine of the context lab") as caught,
            current.open_context("lab", name, registry, registry_as=None, labels=LABELS),
        ):
            pytest.fail("it was opened")
        assert caught.value.hint is not None
        assert "--registry-as HOST:PORT" in caught.value.hint
        other = f"127.0.0.1:{name.host.partition(':')[2]}"
        with current.open_context("lab", name, registry, registry_as=other, labels=LABELS) as environment:
            assert environment.info.name == "context:lab"
            there = environment.local_name(name.with_digest(pushed.digest))
            assert there == f"{other}/{name.path}@{pushed.digest}"
            environment.engine.pull(there)
        assert engine.image(there) is None


def test_unknown_context_is_a_usage_error(pushed: Pushed) -> None:
    name = reference(pushed.name)
    with (
        open_registry(name.host) as registry,
        pytest.raises(UsageError, match="no docker context 'nope'"),
        current.open_context("nope", name, registry, registry_as="registry.example:5000", labels=LABELS),
    ):
        pytest.fail("it was opened")
