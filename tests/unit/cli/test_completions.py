"""Names for the shell: what the engine and the registry have, and nothing where they cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from registry_tool.cli import completions
from registry_tool.cli.output import Output
from registry_tool.cli.session import Session
from tests.support.content import make_image
from tests.support.damage import Damageable, in_this_process
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply
from tests.support.requirements import free_port

CONTAINERS = [{"Id": "c" * 64, "Names": ["/web"]}, {"Id": "d" * 64, "Names": ["/webnet"]}, {"Id": "e" * 64, "Names": ["/other"]}]
IMAGES = [{"Id": f"sha256:{'a' * 64}", "RepoTags": ["friendlyhello:latest", "john/get-started:part2"]}]


@pytest.fixture(scope="module")
def registry() -> Iterator[Damageable]:
    with in_this_process() as running:
        for tag in ("part1", "part2"):
            make_image(running.port, "john/get-started", tag)
        make_image(running.port, "mary/app", "1")
        yield running


def context(registry: str | None = None) -> click.Context:
    made = click.Context(click.Command("regctl"), obj=Session(Output()))
    made.params = {"registry": registry, "context": None}
    return made


PARAMETER = click.Argument(["name"])


def test_nothing_is_known_without_engine_registry_or_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    for complete in (completions.containers, completions.running_containers, completions.images, completions.repositories):
        assert complete(context(), PARAMETER, "") == []
        assert complete(click.Context(click.Command("regctl")), PARAMETER, "") == []
    for typed in ("", "x", "x:", ":", "UPPER/", "localhost:1/x", "a/b:c:d", "/"):
        assert completions.repositories(context(f"localhost:{free_port()}"), PARAMETER, typed) == []


def test_containers_and_images_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_engine({"GET /containers/json": reply(CONTAINERS), "GET /images/json": reply(IMAGES)}) as (_, server):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        assert completions.containers(context(), PARAMETER, "web") == ["web", "webnet"]
        assert completions.running_containers(context(), PARAMETER, "dd") == ["d" * 12]
        assert completions.images(context(), PARAMETER, "") == ["friendlyhello", "friendlyhello:latest", "john/get-started:part2"]
        assert completions.images(context(), PARAMETER, "aaa") == ["a" * 12]


def test_repositories_and_tags_of_the_registry(registry: Damageable) -> None:
    host = f"localhost:{registry.port}"
    assert completions.repositories(context(host), PARAMETER, "") == ["john/get-started", "mary/app"]
    assert completions.repositories(context(host), PARAMETER, "john/get-started:p") == ["john/get-started:part1", "john/get-started:part2"]
    assert completions.repositories(context(), PARAMETER, f"{host}/m") == [f"{host}/mary/app"]
    assert completions.repositories(context(), PARAMETER, f"{host}/mary/app:") == [f"{host}/mary/app:1"]
