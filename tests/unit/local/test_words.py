"""What a beginner types by mistake, or offline, gets the word that helps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry_tool.base.errors import BuildFailed, InvalidReference
from registry_tool.engine import Endpoint
from registry_tool.engine.build.classic import BaseImageUnavailable, _build_error
from registry_tool.engine.build.dockerfile import added_hosts
from registry_tool.local.images import build_inputs, resolve
from tests.support.cli_runner import Typed
from tests.support.fake_engine import Answers, events, fake_engine
from tests.support.fake_server import reply
from tests.support.requirements import free_port

ID = f"sha256:{'1' * 64}"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "localhost:5999")
    return Typed(capsys)


@pytest.fixture
def answers() -> dict[str, object]:
    return {}


@pytest.fixture
def engine(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fake_engine(answers) as (_, server):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        yield


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("-t", "x"), "regctl build -t x ."), ((), "regctl build ."), (("-t", "a", "-t", "b:1"), "regctl build -t a -t b:1 .")],
)
def test_a_build_without_its_dot_is_told_of_it(typed: Typed, arguments: tuple[str, ...], hint: str) -> None:
    answer = typed("build", *arguments)
    assert answer.code == 2
    assert hint in answer.err


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("command", [("push", ID), ("pull", ID), ("tag", "x", ID), ("push", "sha256:123456789abc")])
def test_an_id_in_the_place_of_a_name_is_told_from_one(typed: Typed, answers: dict[str, object], command: tuple[str, ...]) -> None:
    answers["GET /images/x/json"] = reply({"Id": ID})
    answer = typed(*command)
    assert answer.code == 2
    assert "is an image's id or digest, and a name is needed" in answer.err
    assert "regctl tag ID NAME" in answer.err


@pytest.mark.usefixtures("engine")
def test_a_short_id_is_named_before_it_is_pushed(typed: Typed, answers: dict[str, object]) -> None:
    answers["GET /images/123456789abc/json"] = reply({"Id": f"sha256:123456789abc{'0' * 52}", "RepoTags": ["x:latest"]})
    answer = typed("push", "123456789abc")
    assert answer.code == 1
    assert "regctl tag 123456789abc NAME, then: regctl push NAME" in answer.err


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("message", ["manifest unknown", "dial tcp 127.0.0.1:5999: connect: connection refused"])
def test_a_pull_of_an_image_of_docker_hub_has_its_name_there(typed: Typed, answers: dict[str, object], message: str) -> None:
    answers["POST /images/create"] = events({"errorDetail": {"message": message}, "error": message})
    assert "From Docker Hub it is spelled out: docker.io/library/alpine:latest" in typed("pull", "alpine").err
    assert "Docker Hub" not in typed("pull", "localhost:5999/alpine").err


@pytest.mark.usefixtures("engine")
def test_without_a_local_registry_a_pull_has_the_name_on_docker_hub(
    typed: Typed, answers: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGISTRY_TOOL_REGISTRY")
    answers["GET /containers/json"] = reply([])
    answer = typed("pull", "alpine")
    assert answer.code == 3
    assert "docker.io/library/alpine:latest" in answer.err


def test_names_that_begin_like_a_digest_are_names() -> None:
    for text in ("sha256", "sha256/app", "sha256:latest", "localhost:5000/sha256:1111", "sha2566:1111"):
        assert resolve.registry_reference(text, "localhost:5000").path.startswith("sha2")
    with pytest.raises(InvalidReference):
        resolve.registry_reference(ID, "localhost:5000")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unix:///no/such.sock", "correct DOCKER_HOST"),
        ("tcp://127.0.0.1:PORT", "correct DOCKER_HOST"),
        ("/var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("unix:/var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("tcp://localhost", "tcp://localhost:2375"),
        ("localhost", "tcp://localhost:2375"),
        ("unix://", "looks like unix:///"),
        ("fd://", "looks like unix:///"),
    ],
)
def test_a_wrong_docker_host_is_what_is_blamed(typed: Typed, monkeypatch: pytest.MonkeyPatch, host: str, words: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host.replace("PORT", str(free_port())))
    answer = typed("ps")
    assert "DOCKER_HOST" in answer.err
    assert words in answer.err
    assert "service docker start" not in answer.err


NO_NETWORK = 'Get "https://{host}/x": dial tcp: lookup {host} on 10.0.0.1:53: no such host'


def test_what_add_cannot_download_is_not_blamed_on_the_base_image() -> None:
    text = "FROM scratch\nADD --chown=1:1 https://files.example/x.txt /x\n"
    error = _build_error(f"ADD failed: {NO_NETWORK.format(host='files.example')}", text, ())
    assert error.hint is not None
    assert "COPY it" in error.hint
    assert "base image" not in (_build_error("exit status 1", text, ()).hint or "")


def test_hosts_that_are_added_from() -> None:
    text = 'ADD https://a.example/x http://user@b.example:80/y /z\nADD ["https://c.example/x", "/x"]\nADD d /e\nCOPY https://f/x /x\n'
    assert added_hosts(text) == ("a.example", "b.example", "c.example")


@pytest.mark.parametrize(
    ("base", "official"),
    [("python:3.12-slim", "python:3.13-slim"), ("docker.io/library/redis", "redis:7-alpine"), ("alpine", None), ("quay.io/python:3", None)],
)
def test_a_base_image_that_cannot_be_pulled_has_its_stand_in_named(base: str, official: str | None) -> None:
    failed = _build_error(NO_NETWORK.format(host="registry-1.docker.io"), f"FROM {base}\n", ())
    assert isinstance(failed, BaseImageUnavailable)
    build_inputs.suggest_stand_in(failed, f"FROM {base}\n", {})
    assert failed.hint is not None
    assert (f"ARG BASE={official}" in failed.hint) == (official is not None)
    other = BuildFailed("exit status 1")
    build_inputs.suggest_stand_in(other, f"FROM {base}\n", {})
    assert other.hint is None


def test_the_engine_of_a_context_is_named_by_it() -> None:
    from registry_tool.base.errors import EngineNotFound
    from registry_tool.engine import connect_to

    with pytest.raises(EngineNotFound) as raised:
        connect_to(Endpoint(url="unix:///no/such.sock", source="context far"))
    assert raised.value.hint is not None
    assert "--context default" in raised.value.hint
