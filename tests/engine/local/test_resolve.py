"""What a typed name means, and that a push always pushes the image that was meant."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from registry_tool.base.errors import InvalidReference, NotFound, RegistryUnreachable, UsageError
from registry_tool.engine import Engine
from registry_tool.local.images import resolve, transfer
from registry_tool.local.registry import LocalRegistry
from registry_tool.targets.registry import open_registry
from tests.support.requirements import free_port

Make = Callable[[str], str]

BAD_NAMES = ["John/App:x", "a//b", "../x", "-x", "ü/x", f"a:{'x' * 129}", "a:", "", "a b", "a@sha256:12"]


class TestOnRegistry:
    @pytest.mark.parametrize("text", BAD_NAMES)
    def test_invalid_name_is_reported(self, text: str) -> None:
        with pytest.raises(InvalidReference):
            resolve.registry_reference(text, "localhost:5000")

    def test_name_without_host_needs_a_registry(self) -> None:
        with pytest.raises(RegistryUnreachable) as caught:
            resolve.registry_reference("john/get-started", None)
        assert caught.value.hint is not None and "regctl up" in caught.value.hint

    def test_invalid_name_is_reported_before_a_missing_registry(self) -> None:
        with pytest.raises(InvalidReference):
            resolve.registry_reference("John/App", None)

    def test_a_name_without_a_host_is_the_local_registrys(self) -> None:
        assert str(resolve.registry_reference("john/get-started:part2", "localhost:5001")) == "localhost:5001/john/get-started:part2"
        assert str(resolve.registry_reference("alpine", "localhost:5001")) == "localhost:5001/alpine:latest"

    def test_docker_hub_needs_its_host(self) -> None:
        assert str(resolve.registry_reference("docker.io/alpine", "localhost:5001")) == "docker.io/library/alpine:latest"


@pytest.mark.engine
class TestOnEngine:
    @pytest.mark.parametrize("text", BAD_NAMES)
    def test_a_wrong_name_never_reaches_the_engine(self, engine: Engine, text: str) -> None:
        with pytest.raises(InvalidReference):
            resolve.engine_image(engine, "localhost:5000", text)

    def test_unknown_name_is_not_found(self, engine: Engine, unique: str) -> None:
        with pytest.raises(NotFound) as caught:
            resolve.engine_image(engine, "localhost:5000", unique)
        assert caught.value.hint is not None and f"docker.io/library/{unique}:latest" in caught.value.hint

    def test_image_by_id(self, engine: Engine, unique: str, tiny_image: Make) -> None:
        image_id = tiny_image(unique)
        for text in (image_id, image_id.removeprefix("sha256:"), image_id.removeprefix("sha256:")[:12]):
            assert resolve.engine_image(engine, "localhost:5000", text).image.id == image_id

    def test_the_local_registrys_name_is_tried_second(self, engine: Engine, unique: str, tiny_image: Make) -> None:
        image_id = tiny_image(f"localhost:5999/{unique}:v1")
        result = resolve.engine_image(engine, "localhost:5999", f"{unique}:v1")
        assert (result.image.id, result.name, result.note) == (image_id, f"localhost:5999/{unique}:v1", None)

    def test_of_two_images_the_typed_name_wins_and_the_note_says_so(self, engine: Engine, unique: str, tiny_image: Make) -> None:
        typed, local = tiny_image(unique), tiny_image(f"localhost:5999/{unique}")
        result = resolve.engine_image(engine, "localhost:5999", unique)
        assert result.image.id == typed
        assert result.note is not None and local.removeprefix("sha256:")[:12] in result.note

    def test_one_image_under_both_names_needs_no_note(self, engine: Engine, unique: str, tiny_image: Make) -> None:
        engine.tag(tiny_image(unique), f"localhost:5999/{unique}:latest")
        assert resolve.engine_image(engine, "localhost:5999", unique).note is None


@pytest.mark.engine
class TestPush:
    def test_push_without_either_name_is_not_found(self, engine: Engine, local: LocalRegistry, unique: str) -> None:
        with pytest.raises(NotFound, match=rf"neither {unique} nor {local.address}/{unique}:latest"):
            transfer.push(engine, local.address, unique)

    def test_a_digest_cannot_be_pushed(self, engine: Engine, local: LocalRegistry, unique: str) -> None:
        with pytest.raises(UsageError):
            transfer.push(engine, local.address, f"{unique}@sha256:{'0' * 64}")

    def test_push_to_a_stopped_registry_is_unreachable(self, engine: Engine, unique: str, tiny_image: Make) -> None:
        tiny_image(unique)
        with pytest.raises(RegistryUnreachable):
            transfer.push(engine, f"localhost:{free_port()}", unique)

    @pytest.mark.parametrize(("typed", "tagged", "stored"), list(itertools.product((False, True), repeat=3)))
    def test_typed_image_is_pushed_whatever_names_exist(
        self, engine: Engine, local: LocalRegistry, unique: str, tiny_image: Make, typed: bool, tagged: bool, stored: bool
    ) -> None:
        """All combinations of: the name as typed, the registry's name in the engine, the tag in the registry; each another image."""
        name, full = f"{unique}/app:v1", f"{local.address}/{unique}/app:v1"
        registry = open_registry(local.address)
        if stored:
            tiny_image(full)
            transfer.push(engine, local.address, full)
            engine.remove_image(full)
        tagged_id = tiny_image(full) if tagged else None
        typed_id = tiny_image(name) if typed else None
        wanted = typed_id or tagged_id
        if wanted is None:
            with pytest.raises(NotFound):
                transfer.push(engine, local.address, name)
            return
        pushed = transfer.push(engine, local.address, name)
        assert registry.digest(f"{unique}/app", "v1") == pushed.result.digest
        present = engine.image(full)
        assert present is not None and present.id == wanted
        engine.remove_image(full)
        engine.pull(full)
        back = engine.image(full)
        assert back is not None and back.id == wanted
        if typed:
            assert pushed.note is not None
            assert ("it was" in pushed.note) == tagged

    def test_build_push_edit_build_push_with_the_tutorials_names(
        self, engine: Engine, local: LocalRegistry, unique: str, tiny_image: Make
    ) -> None:
        friendly, target = f"{unique}hello", f"{unique}/get-started:part2"
        digests = []
        for _ in range(2):
            image_id = tiny_image(friendly)
            result = resolve.engine_image(engine, local.address, friendly)
            engine.tag(result.image.id, str(resolve.registry_reference(target, local.address)))
            pushed = transfer.push(engine, local.address, target)
            digests.append(pushed.result.digest)
            present = engine.image(f"{local.address}/{target}")
            assert present is not None and present.id == image_id
        assert len(set(digests)) == 2

    def test_an_id_that_begins_with_the_name_is_not_the_name(
        self, engine: Engine, local: LocalRegistry, unique: str, tiny_image: Make
    ) -> None:
        digits = tiny_image(unique).removeprefix("sha256:")[:12]
        with pytest.raises(NotFound):
            transfer.push(engine, local.address, digits)


@pytest.mark.engine
class TestHave:
    def test_missing_image_is_pulled_from_the_local_registry(
        self, engine: Engine, local: LocalRegistry, unique: str, tiny_image: Make
    ) -> None:
        image_id = tiny_image(unique)
        full = str(transfer.push(engine, local.address, unique).reference)
        engine.remove_image(full)
        engine.remove_image(unique)
        present = transfer.ensure_image(engine, local.address, unique)
        assert (present.name, present.image_id) == (full, image_id)
        assert present.result is not None

    def test_image_found_nowhere_is_not_found(self, engine: Engine, local: LocalRegistry, unique: str) -> None:
        with pytest.raises(NotFound) as caught:
            transfer.ensure_image(engine, local.address, unique)
        assert caught.value.hint is not None and f"docker.io/library/{unique}" in caught.value.hint
