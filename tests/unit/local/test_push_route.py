"""Who pushes an image, by what the engine knows; and that the whole push takes that way."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from registry_tool import server
from registry_tool.base.errors import AuthenticationFailed, NotFound, PushFailed, RegistryToolError, RegistryUnreachable, UsageError
from registry_tool.engine import Engine, Image, Platform, TransferResult
from registry_tool.local.images import transfer
from registry_tool.local.images.push_route import Via, choose_route
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.targets.layer_cache import CompressedLayer, LayerCache
from registry_tool.targets.registry import open_registry
from tests.support.content import sha256
from tests.support.faulty_proxy import Fault, close_connection, faulty_proxy, respond_with
from tests.support.requirements import free_port
from tests.support.saved_images import SavedImage

LAYERS = tuple(bytes([number]) * 1000 for number in range(4))
MB = 1_000_000


class FakeEngine:
    """An engine with ``saved`` as the image ``name``, and others that it has from a registry or pushed there."""

    def __init__(self, saved: SavedImage, name: str, *, known: Sequence[Image] = (), sizes: Sequence[int] = (), **image: object) -> None:
        self.saved, self.name, self.known, self.sizes = saved, name, tuple(known), tuple(sizes)
        self.image_ = dataclasses.replace(saved.image, names=(name,), size=sum(sizes), **image)  # type: ignore[arg-type]
        self.is_podman = False
        self.auth_file: Path | None = None
        self.endpoint = SimpleNamespace(is_local=True)
        self.pushed: list[str] = []

    def image(self, name: str) -> Image | None:
        if name in (self.name, self.image_.id):
            return self.image_
        return next((image for image in self.known if name == image.id), None)

    def images(self) -> tuple[Image, ...]:
        # A listing has no layers.
        return tuple(dataclasses.replace(image, layers=()) for image in (self.image_, *self.known))

    def history_sizes(self, name: str) -> tuple[int, ...]:
        if not self.sizes:
            raise NotFound("gone")
        return (0, *self.sizes)

    def image_archive(self, names: Sequence[str]) -> Generator[bytes, None, None]:
        assert names == [self.image_.id]
        return self.saved.archive()

    def push(self, name: str, *, observer: object) -> TransferResult:
        self.pushed.append(name)
        return TransferResult(reference=name, descriptor=Descriptor(media_type="", digest=Digest.of(b""), size=0))


@pytest.fixture
def registry() -> Iterator[server.RunningRegistry]:
    with server.run_registry() as running:
        yield running


def known(host: str, *layers: bytes, id: str = "sha256:known", digests: tuple[str, ...] = ()) -> Image:
    return Image(id=id, digests=digests or (f"{host}/any/thing@{Digest.of(b'known')}",), layers=tuple(map(sha256, layers)))


def route(engine: FakeEngine, port: int, via: Via = "auto") -> tuple[str, str]:
    target = Reference(host=f"localhost:{port}", path="john/app", tag="1")
    with open_registry(target.host) as opened:
        chosen = choose_route(cast(Engine, engine), engine.image_, target, opened, via)
    return chosen.via, chosen.reason


def test_an_image_that_the_engine_does_not_know_there_is_pushed_directly(registry: server.RunningRegistry) -> None:
    elsewhere = known("localhost:1", *LAYERS)
    engine = FakeEngine(SavedImage(LAYERS), "app", known=[elsewhere], sizes=[MB, MB, MB, 97 * MB])
    assert route(engine, registry.port) == ("direct", "the engine would compress all layers")


@pytest.mark.parametrize(
    ("new", "via", "reason"),
    [
        (1, "engine", "the engine knows 3 of 4 layers at localhost:PORT"),
        (25, "engine", "the engine knows 3 of 4 layers at localhost:PORT"),
        (26, "direct", "the engine would compress 26MB of 100MB"),
    ],
)
def test_the_engine_pushes_where_little_is_new(registry: server.RunningRegistry, new: int, via: str, reason: str) -> None:
    before = known(f"localhost:{registry.port}", *LAYERS[:3], b"older")
    engine = FakeEngine(SavedImage(LAYERS), "app", known=[before], sizes=[new * MB, 1 * MB, 2 * MB, (97 - new) * MB])
    assert route(engine, registry.port) == (via, reason.replace("PORT", str(registry.port)))


def test_a_layer_above_new_ones_does_not_count_as_known(registry: server.RunningRegistry) -> None:
    before = known(f"localhost:{registry.port}", *LAYERS[1:])
    engine = FakeEngine(SavedImage(LAYERS), "app", known=[before], sizes=[MB] * 4)
    assert route(engine, registry.port)[0] == "direct"


def test_an_image_keeps_its_way_and_so_its_digest_in_every_registry(registry: server.RunningRegistry, tmp_path: Path) -> None:
    digests = (f"localhost:1/john/app@{Digest.of(b'before')}",)
    engine = FakeEngine(SavedImage(LAYERS), "app", sizes=[MB] * 4, digests=digests)
    target = Reference(host=f"localhost:{registry.port}", path="john/app", tag="1")
    with open_registry(target.host) as opened, LayerCache(tmp_path / "layers.sqlite") as cache:

        def chosen() -> tuple[str, str]:
            way = choose_route(cast(Engine, engine), engine.image_, target, opened, "auto", cache)
            return way.via, way.reason

        for layer in LAYERS[:3]:
            cache.put("localhost:1/john/app", sha256(layer), CompressedLayer(digest=Digest.of(layer), size=1))
        assert chosen() == ("engine", "the engine pushed or pulled it before")
        cache.put("localhost:2/mary/app", sha256(LAYERS[3]), CompressedLayer(digest=Digest.of(b"3"), size=1))
        assert chosen() == ("direct", "it was pushed directly before")


def test_an_image_that_is_gone_meanwhile_is_as_large_as_it_was(registry: server.RunningRegistry) -> None:
    assert route(FakeEngine(SavedImage(LAYERS), "app"), registry.port)[0] == "direct"


WINDOWS = Platform(os="windows", architecture="amd64")


@pytest.mark.parametrize(
    ("image", "podman", "local", "words"),
    [
        ({"in_containerd_store": True}, False, True, "containerd"),
        ({}, True, True, "podman"),
        ({}, False, False, "on the engine's machine"),
        ({"platform": WINDOWS}, False, True, "Windows"),
    ],
    ids=["containerd", "podman", "remote", "windows"],
)
def test_what_cannot_be_pushed_directly_is_pushed_by_the_engine(image: dict[str, object], podman: bool, local: bool, words: str) -> None:
    port = free_port()
    engine = FakeEngine(SavedImage(LAYERS), "app", **image)  # type: ignore[arg-type]
    engine.is_podman, engine.endpoint.is_local = podman, local
    via, reason = route(engine, port)
    assert via == "engine"
    assert words in reason
    with pytest.raises(UsageError, match=words):
        route(engine, port, "direct")
    assert route(engine, port, "engine") == ("engine", "as requested")


def test_a_registry_that_does_not_answer_here_is_left_to_the_engine() -> None:
    via, reason = route(FakeEngine(SavedImage(LAYERS), "app"), free_port())
    assert via == "engine"
    assert reason.startswith("the registry does not let us in from here: ")


def test_what_is_typed_is_what_is_done(registry: server.RunningRegistry) -> None:
    before = known(f"localhost:{registry.port}", *LAYERS)
    engine = FakeEngine(SavedImage(LAYERS), "app", known=[before], sizes=[MB] * 4)
    assert route(engine, registry.port) == ("engine", f"the engine knows 4 of 4 layers at localhost:{registry.port}")
    assert route(engine, registry.port, "direct") == ("direct", "as requested")


# --- the whole push ---


def test_a_direct_push_is_checked_and_its_result_has_docker_s_words(registry: server.RunningRegistry, tmp_path: Path) -> None:
    name = f"localhost:{registry.port}/john/app:1"
    engine = FakeEngine(SavedImage(LAYERS), name)
    with LayerCache(tmp_path / "layers.sqlite") as cache:
        pushed = transfer.push(cast(Engine, engine), None, name, via="auto", cache=cache)
    assert (pushed.route.via, pushed.checked, pushed.warning, engine.pushed) == ("direct", True, None, [])
    assert pushed.result.layers == {sha256(layer)[7:19]: "Pushed" for layer in LAYERS}
    assert pushed.result.digest is not None
    with open_registry(f"localhost:{registry.port}") as opened:
        assert opened.digest("john/app", "1") == pushed.result.digest
        assert pushed.result.bytes_moved == sum(layer.size for layer in opened.repository("john/app").manifest("1").layers)


def test_a_push_by_the_library_is_the_engine_s(registry: server.RunningRegistry) -> None:
    name = f"localhost:{registry.port}/john/app:1"
    engine = FakeEngine(SavedImage(LAYERS), name)
    pushed = transfer.push(cast(Engine, engine), None, name, check=False)
    assert (pushed.route.via, engine.pushed) == ("engine", [name])


@pytest.mark.parametrize(
    ("fault", "error", "message", "hint"),
    [
        (respond_with(500), PushFailed, "the push of NAME failed: ", "is its disk full?"),
        (respond_with(400), PushFailed, "the push of NAME failed: ", ""),
        (respond_with(403), AuthenticationFailed, "", ""),
        (close_connection, RegistryUnreachable, "cannot reach the registry HOST: ", "regctl up"),
    ],
    ids=["500", "400", "403", "gone"],
)
def test_a_failure_of_the_registry_is_a_failed_push(
    registry: server.RunningRegistry, fault: Fault, error: type[RegistryToolError], message: str, hint: str
) -> None:
    with faulty_proxy(registry.port) as proxy:
        name = f"{proxy.host}/john/app:1"
        proxy.inject(fault, method="POST|PUT|PATCH")
        with pytest.raises(error) as raised:
            transfer.push(cast(Engine, FakeEngine(SavedImage(LAYERS), name)), None, name, via="direct")
    assert message.replace("NAME", name).replace("HOST", proxy.host) in raised.value.message
    assert hint in (raised.value.hint or "")
