"""The engine goes away in the middle of a call: exit 3 and a clear line, whatever the call was."""

from __future__ import annotations

import gc
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import Conflict, EngineError, EngineTimeout, NotFound, Unreachable
from registry_tool.engine import ContainerSpec, Engine, connect
from registry_tool.local.registry import LocalRegistry
from tests.support.cut_proxy import CutProxy, cut_proxy
from tests.support.engine_facts import reports_layers

pytestmark = pytest.mark.engine


@pytest.fixture
def cut(engine: Engine) -> Iterator[CutProxy]:
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    with cut_proxy(engine.endpoint, folder) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def far(cut: CutProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine, at the far end of a line that can be cut."""
    monkeypatch.setenv("DOCKER_HOST", cut.url)
    with connect() as connected:
        yield connected


def context(folder: Path, unique: str) -> Path:
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL run={unique}\nCOPY big /\nLABEL a=b\n")
    (folder / "big").write_bytes(b"here is the word" + bytes(1_000_000))
    return folder


@pytest.mark.parametrize(
    ("cut_at", "what"),
    [
        (b"/images/json", "listing the images"),
        (b"/containers/json", "listing the containers"),
        (b"/networks", "listing the networks"),
        (b"/volumes", "listing the volumes"),
    ],
)
def test_engine_that_dies_during_a_call_is_unreachable(cut: CutProxy, far: Engine, cut_at: bytes, what: str) -> None:
    questions: dict[str, Callable[[], object]] = {
        "listing the images": far.images,
        "listing the containers": far.containers,
        "listing the networks": far.networks,
        "listing the volumes": far.volumes,
    }
    cut.cut_at = cut_at
    with pytest.raises(Unreachable) as caught:
        questions[what]()
    assert caught.value.message == f"the engine stopped answering during {what}"
    assert caught.value.exit_code == 3
    assert caught.value.hint is not None
    assert cut.url in caught.value.hint


@pytest.mark.parametrize("cut_at", [b"here is the word", b"Step 3/4", b"Step 4/4", b"Successfully built"])
def test_the_engine_dies_during_a_build(cut: CutProxy, far: Engine, engine: Engine, tmp_path: Path, unique: str, cut_at: bytes) -> None:
    cut.cut_at = cut_at.replace(b"Step", b"STEP") if engine.is_podman else cut_at
    try:
        with pytest.raises(Unreachable, match="stopped answering during the build"):
            far.build(context(tmp_path, unique), no_cache=True)
    finally:
        _remove_half_built(engine, unique)


def _remove_half_built(engine: Engine, unique: str) -> None:
    """The engine needs a moment to see that nothing listens any more; what it made until then stays without a name."""
    time.sleep(0.5)

    def is_gone() -> bool:
        left = engine.images(all=True, labels={"run": unique})
        for image in left:
            if not any(other.parent == image.id for other in left):
                with suppress(Conflict, NotFound):  # the build goes on, and has made another one of it
                    engine.remove_image(image.id, force=True)
        return not left

    assert poll(is_gone, Deadline(600))


@pytest.mark.parametrize("cut_at", [b"The push refers to", b"Preparing", b": digest: sha256:", b'"aux"'])
def test_the_engine_dies_during_a_push(
    cut: CutProxy, engine: Engine, far: Engine, local: LocalRegistry, tiny_image: Callable[..., str], unique: str, cut_at: bytes
) -> None:
    name = f"{local.address}/{unique}/line:1"
    tiny_image(name)
    cut.cut_at = cut_at
    if (engine.has_containerd_store or not reports_layers(engine)) and cut_at in (b"Preparing", b'"aux"'):
        # containerd's store and podman do not report this, so that nothing is cut.
        assert far.push(name).digest is not None
        return
    with pytest.raises(Unreachable, match="stopped answering during the push"):
        far.push(name)


def test_the_engine_dies_during_a_pull(
    cut: CutProxy, engine: Engine, far: Engine, local: LocalRegistry, tiny_image: Callable[..., str], unique: str
) -> None:
    name = f"{local.address}/{unique}/line:1"
    tiny_image(name)
    engine.push(name)
    engine.remove_image(name)
    cut.cut_at = b"Trying to pull" if engine.is_podman else b"Pulling from"
    with pytest.raises(Unreachable, match="stopped answering during the pull"):
        far.pull(name)


def test_the_engine_dies_while_a_log_is_followed(cut: CutProxy, far: Engine, engine: Engine, registry_image: str) -> None:
    script = "echo one; until [ -e /go ]; do sleep 0.05; done; echo two; sleep 600"
    made = far.run(ContainerSpec(image=registry_image, entrypoint=("sh", "-c"), command=(script,)))
    try:
        read = far.logs(made.id, follow=True)
        assert next(read) == ("stdout", b"one\n")
        cut.cut_at = b"two"
        assert engine.execute(made.id, ["touch", "/go"])[0] == 0
        with pytest.raises(Unreachable, match="stopped answering during reading the log"):
            list(read)
    finally:
        cut.cut_at = None
        far.remove(made.id, force=True)


def test_the_engine_dies_while_an_image_is_saved_and_loaded(
    cut: CutProxy, far: Engine, tiny_image: Callable[..., str], unique: str
) -> None:
    tiny_image(f"{unique}:1")
    whole = io.BytesIO()
    far.save_image([f"{unique}:1"], whole)
    cut.cut_at = b"manifest.json"
    with pytest.raises(Unreachable):
        far.save_image([f"{unique}:1"], io.BytesIO())
    with pytest.raises(Unreachable):
        far.load_image(io.BytesIO(whole.getvalue()))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_engine_is_gone_for_good(cut: CutProxy, far: Engine) -> None:
    cut.close()
    with pytest.raises(Unreachable, match="stopped answering during listing the images"):
        far.images()
    # The SDK forgets to close a socket that was refused. The warning belongs to this test, not to the next one.
    gc.collect()


def test_one_connection_carries_call_after_call(cut: CutProxy, far: Engine, unique: str) -> None:
    before = cut.connections
    for name in ("a", "b", "c"):
        assert far.image(f"{unique}-{name}") is None
    assert cut.connections == before
    # connect() itself knocks with one, and asks for the version with another.
    assert before == 2


def test_silent_engine_times_out(cut: CutProxy, far: Engine) -> None:
    far._client.api.timeout = 1
    cut.cut_at, cut.stall = b"/images/json", True
    with pytest.raises(EngineTimeout, match="did not respond in time during listing the images"):
        far.images()


def test_invalid_response_is_an_engine_error(engine: Engine) -> None:
    with pytest.raises(EngineError, match="is invalid"), engine._client.call("a question") as api:
        api._result(api._get(api._url("/_ping")), json=True)  # type: ignore[attr-defined]


def test_consumer_exception_of_a_stream_is_not_converted(engine: Engine) -> None:
    for _ in engine._client.stream("counting", lambda api: iter([1])):
        with pytest.raises(OSError, match="mine"):
            raise OSError("mine")
    with pytest.raises(OSError, match="disk full"):
        engine.save_image(["nothing"], Full())


class Full(io.BytesIO):
    def writelines(self, lines: object) -> None:
        raise OSError("disk full")
