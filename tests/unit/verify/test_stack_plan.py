"""What a stack is made of, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.base.errors import NotFound, UsageError, VerificationFailed
from registry_tool.local.base_images import REDIS
from registry_tool.oci.reference import Reference
from registry_tool.verify.spec import Http, Tcp, VerifySpec
from registry_tool.verify.stack.plan import StackPlan, app_port, plan_stack
from tests.support.paths import ROOT

IMAGE = Reference.parse("localhost:5000/john/get-started:part2", default_host="")
EXAMPLE = ROOT / "examples/stack/stack.yml"


def _plan(folder: Path, text: str, image: Reference = IMAGE, **received: object) -> StackPlan:
    path = folder / "stack.yml"
    path.write_text(text, encoding="utf-8")
    planned = plan_stack(VerifySpec(image=image, stack=path, **received), {})  # type: ignore[arg-type]
    assert planned is not None
    return planned


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("services:\n  web:\n    image: postgres:16\n", "stack.yml:3: services.web.image: postgres:16 is not in localhost:5000"),
        ("services:\n  web:\n    image: docker.io/john/get-started:part2\n", "stack.yml:3: "),
        ("services:\n  web:\n    image: registry.example/redis:7\n", "stack.yml:3: "),
        ("services:\n  web:\n    image: A B\n", "stack.yml:3: services.web.image: invalid name"),
        ("services:\n  web:\n    image: redis\n", "stack.yml has no service of localhost:5000/john/get-started:part2"),
        ("services:\n  web:\n    image: localhost:5000/john/get-started:part3\n", "has no service of"),
    ],
)
def test_image_that_cannot_be_pulled_is_refused_with_its_line(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(tmp_path, text)
    assert word in caught.value.message


def test_hint_for_an_image_of_another_registry_is_to_push_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(tmp_path, "services: {web: {image: postgres}}")
    assert caught.value.hint == "Push it there, and write localhost:5000/postgres:latest"


def test_file_with_options_is_a_usage_error() -> None:
    for received in (VerifySpec(image=IMAGE, stack=EXAMPLE, redis=True), VerifySpec(image=IMAGE, stack=EXAMPLE, replicas=2)):
        with pytest.raises(UsageError, match="--stack says which services there are"):
            plan_stack(received, {})


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        plan_stack(VerifySpec(image=IMAGE, stack=tmp_path / "none.yml"), {})


def test_no_stack_is_no_plan() -> None:
    assert plan_stack(VerifySpec(image=IMAGE), {}) is None


def test_options_and_file_make_the_same_plan() -> None:
    planned = plan_stack(VerifySpec(image=IMAGE, redis=True, replicas=3, environment={"NAME": "John"}), {})
    assert planned is not None
    assert [(part.definition.name, part.source, part.definition.replicas) for part in planned.services] == [
        ("redis", REDIS, 1),
        ("app", None, 3),
    ]
    assert planned.app is planned.services[1]
    assert planned.redis is planned.services[0]
    assert planned.app.definition.environment == {"NAME": "John"}
    assert planned.services[0].definition.environment == {}
    assert planned.file is None


def test_example_is_planned() -> None:
    planned = plan_stack(VerifySpec(image=IMAGE, stack=EXAMPLE, environment={"NAME": "John"}), {})
    assert planned is not None
    assert planned.redis is planned.services[0]
    assert (planned.app.definition.name, planned.replicas, planned.networks) == ("web", 3, ("webnet",))
    assert planned.app.definition.environment == {"NAME": "John"}, "what was said for the proof comes before the file"


@pytest.mark.parametrize("written", ["john/get-started:part2", "localhost:5000/john/get-started:part2"])
def test_image_under_test_is_known_with_and_without_its_host(tmp_path: Path, written: str) -> None:
    assert _plan(tmp_path, f"services: {{web: {{image: '{written}'}}}}").app.definition.name == "web"


def test_image_under_test_is_known_by_its_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    image = Reference.parse(f"localhost:5000/app@{digest}", default_host="")
    assert _plan(tmp_path, f"services: {{web: {{image: 'app@{digest}'}}}}", image).app.definition.name == "web"
    with pytest.raises(UsageError):
        _plan(tmp_path, f"services: {{web: {{image: 'localhost:5000/app@sha256:{'b' * 64}'}}}}", image)


def test_other_images_of_the_registry_are_pulled(tmp_path: Path) -> None:
    planned = _plan(
        tmp_path,
        "services:\n"
        "  web: {image: 'john/get-started:part2'}\n"
        "  store: {image: 'localhost:5000/me/redis:7'}\n"
        "  other: {image: 'localhost:5000/other'}\n",
    )
    sources = {part.definition.name: part.source for part in planned.services}
    assert sources["other"] == Reference.parse("localhost:5000/other:latest", default_host="")
    assert planned.redis is not None
    assert planned.redis.definition.name == "store", "a Redis is known by the last part of its name"


def test_several_redises_are_not_stopped(tmp_path: Path) -> None:
    assert _plan(tmp_path, "services: {web: {image: 'john/get-started:part2'}, a: {image: redis}, b: {image: redis}}").redis is None


def test_redis_under_test_is_not_stopped(tmp_path: Path) -> None:
    redis = Reference.parse("localhost:5000/redis:7", default_host="")
    planned = _plan(tmp_path, "services: {web: {image: 'redis:7'}, store: {image: 'docker.io/redis:7'}}", redis)
    assert planned.app.definition.name == "web"
    assert planned.redis is not None
    assert (planned.redis.definition.name, planned.redis.source) == ("store", REDIS)


def test_service_with_a_port_is_the_app(tmp_path: Path) -> None:
    text = "services: {worker: {image: 'john/get-started:part2'}, web: {image: 'john/get-started:part2', ports: ['80']}}"
    assert _plan(tmp_path, text).app.definition.name == "web"


@pytest.mark.parametrize(
    ("probes", "ports", "exposed", "found"),
    [
        ((Http(published=4000, container=8000),), "[80]", ("90/tcp",), 8000),
        ((Tcp(published=6379, container=6379),), "[80]", (), 6379),
        ((), "['4000:80']", ("90/tcp",), 80),
        ((), "[]", ("53/udp", "90/tcp"), 90),
    ],
)
def test_app_port_is_a_probes_the_files_or_the_images(
    tmp_path: Path, probes: object, ports: str, exposed: tuple[str, ...], found: int
) -> None:
    planned = _plan(tmp_path, f"services: {{web: {{image: 'john/get-started:part2', ports: {ports}}}}}")
    assert app_port(planned, VerifySpec(image=IMAGE, probes=probes), exposed) == found  # type: ignore[arg-type]


def test_app_without_any_port_fails() -> None:
    received = VerifySpec(image=IMAGE, replicas=2)
    planned = plan_stack(received, {})
    assert planned is not None
    with pytest.raises(VerificationFailed, match="nothing says on which port"):
        app_port(planned, received, ("53/udp",))
