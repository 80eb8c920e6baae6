"""Pushes and pulls as podman answers them: its form of errors, and the parameter that lets it use plain HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.base.errors import EngineError, NotFound, PullFailed, PushFailed, RegistryToolError, RegistryUnreachable
from registry_tool.engine import Engine
from tests.support.fake_engine import Answers, call, events, fake_engine, query
from tests.support.fake_server import ReceivedRequest, Reply, reply

DIGEST = f"sha256:{'1' * 64}"
OTHER = f"sha256:{'2' * 64}"
HTTP = "trying to reuse blob sha256:12 at destination: http: server gave HTTP response to HTTPS client"

# What may go wrong


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        # podman 4 and 5 report a failed push as one event of its stream, with the status 500.
        (reply({"errorDetail": {"message": HTTP}, "error": HTTP}, 500), PushFailed, "speaks plain HTTP"),
        (reply({"errorDetail": {"message": HTTP}}, 500), PushFailed, "speaks plain HTTP"),
        (reply({"error": "dial tcp 10.0.0.1:5000: connect: connection refused"}, 500), RegistryUnreachable, "connection refused"),
        (reply({"errorDetail": {"message": "An image does not exist locally with the tag: x"}}, 404), NotFound, "has no image"),
        (reply({"cause": "a cause", "message": "a message", "response": 500}, 500), PushFailed, "a message"),
        (reply({"cause": "a cause", "response": 500}, 500), PushFailed, "a cause"),
        (reply({"message": ""}, 500), PushFailed, '{"message": ""}'),
        (reply({"message": {"no": "text"}}, 500), PushFailed, "no"),
        (reply(["a list"], 500), PushFailed, "a list"),
        (reply(None, 500), PushFailed, "null"),
        (Reply(status=500, body=b"not JSON"), PushFailed, "not JSON"),
        (Reply(status=500, body=b""), PushFailed, "without a message (status 500)"),
        (events({"status": "Preparing"}, {"errorDetail": {"message": HTTP}, "error": HTTP}), PushFailed, "speaks plain HTTP"),
    ],
)
def test_a_failed_push_says_why_in_whatever_form(answer: Reply, error: type[RegistryToolError], words: str) -> None:
    with fake_engine({"POST /images/10.0.0.1:5000/a/push": answer}) as (engine, _), pytest.raises(error) as raised:
        engine.push("10.0.0.1:5000/a:1")
    assert words in raised.value.message
    assert "KeyError" not in raised.value.message


def test_a_failed_pull_says_why_in_podmans_form() -> None:
    with fake_engine({"POST /images/create": reply({"error": HTTP}, 500)}) as (engine, _), pytest.raises(PullFailed, match="plain HTTP"):
        engine.pull("10.0.0.1:5000/a:1")


@pytest.mark.parametrize("document", [{"errorDetail": {"message": "so it is"}}, {"error": "so it is"}, {"cause": "so it is"}])
def test_any_call_reads_podmans_form(document: object) -> None:
    calls: list[Callable[[Engine], object]] = [lambda engine: engine.containers(), lambda engine: engine.tag("a", "b:1")]
    answers = {"GET /containers/json": reply(document, 500), "POST /images/a/tag": reply(document, 500)}
    with fake_engine(answers) as (engine, _):
        for work in calls:
            with pytest.raises(EngineError, match="so it is"):
                work(engine)


def test_a_pull_over_plain_http_that_podman_refuses_twice_fails_as_the_first() -> None:
    answers = {"POST /images/create": reply({"error": HTTP}, 500), "POST /libpod/images/pull": events({"error": HTTP})}
    with fake_engine(answers) as (engine, _), pytest.raises(PullFailed, match="speaks plain HTTP"):
        engine.pull("localhost:5000/a:1")


def test_podmans_own_interface_is_not_tried_beyond_loopback() -> None:
    with fake_engine({"POST /images/create": reply({"error": HTTP}, 500)}) as (engine, server):
        with pytest.raises(PullFailed, match="speaks plain HTTP"):
            engine.pull("10.0.0.1:5000/a:1")
        assert "POST /libpod/images/pull" not in map(call, server.requests)


# What goes well


def test_where_podmans_compatible_interface_cannot_pull_over_plain_http_its_own_does() -> None:
    image = {"Id": "sha256:1", "RepoDigests": [f"localhost:5000/a@{DIGEST}"]}
    answers = {
        "POST /images/create": reply({"error": HTTP}, 500),
        "POST /libpod/images/pull": events({"stream": "Trying to pull…"}, {"images": ["1"], "id": "1"}),
        "GET /images/localhost:5000/a:1/json": reply(image),
    }
    with fake_engine(answers) as (engine, server):
        assert str(engine.pull("localhost:5000/a:1", platform="linux/arm64").digest) == DIGEST
        (request,) = (each for each in server.requests if call(each) == "POST /libpod/images/pull")
    assert query(request) == {"reference": "localhost:5000/a:1", "OS": "linux", "Arch": "arm64", "tlsVerify": "false"}


@pytest.mark.parametrize(
    ("host", "insecure"),
    [("localhost:5000", True), ("127.0.0.1:5000", True), ("[::1]:5000", True), ("10.0.0.1:5000", False), ("docker.io", False)],
)
def test_plain_http_is_allowed_on_loopback_alone(host: str, insecure: bool) -> None:
    name = f"{host}/library/a"
    answers = {
        f"POST /images/{name}/push": events({"status": f"1: digest: {DIGEST} size: 123"}),
        "POST /images/create": events({"status": f"Digest: {DIGEST}"}),
    }
    with fake_engine(answers) as (engine, server):
        engine.push(f"{name}:1")
        engine.pull(f"{name}:1", platform="linux/arm64")
        engine.pull(f"{name}@{DIGEST}")
    push, pull, by_digest = (request for request in server.requests if call(request) in answers)
    expected = {"tlsVerify": "false"} if insecure else {}
    assert query(push) == {"tag": "1"} | expected
    assert query(pull) == {"fromImage": name, "tag": "1", "platform": "linux/arm64"} | expected
    assert query(by_digest) == {"fromImage": name, "tag": DIGEST} | expected
    assert all("x-registry-auth" in request.headers for request in (push, pull, by_digest))


def test_an_image_that_podman_imported_as_latest_gets_its_tag(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"")
    names: list[str] = []

    def tag(request: ReceivedRequest) -> Reply:
        names.append(f"{query(request)['repo']}:{query(request)['tag']}")
        return reply(None, 201)

    answers: Answers = {
        "POST /images/create": events({"status": "sha256:1", "id": "sha256:1"}),
        "POST /images/sha256:1/tag": tag,
        "GET /images/localhost/a:1/json": lambda request: reply({"Id": "sha256:1"}) if names else reply({"message": "no such image"}, 404),
        "GET /images/localhost/a:latest/json": reply({"Id": "sha256:1"}),
        "DELETE /images/localhost/a:latest": reply([{"Untagged": "localhost/a:latest"}]),
    }
    with fake_engine(answers) as (engine, server):
        assert engine.import_image(tmp_path / "x.tar", name="localhost/a:1") == "sha256:1"
        assert "DELETE /images/localhost/a:latest" in map(call, server.requests)
    assert names == ["localhost/a:1"]


def test_a_push_of_one_platform_in_the_place_of_an_index_tells_which_index() -> None:
    aux = {"manifestPushedInsteadOfIndex": True, "originalIndex": {"digest": DIGEST}, "selectedManifest": {"digest": OTHER}}
    answers = {"POST /images/localhost:5000/x/push": events({"aux": aux}, {"status": f"1: digest: {OTHER} size: 498"})}
    with fake_engine(answers) as (engine, _):
        pushed = engine.push("localhost:5000/x:1")
    assert (str(pushed.partial_of), str(pushed.digest)) == (DIGEST, OTHER)


@pytest.mark.parametrize("index", [None, {}, {"digest": 1}, {"digest": "sha256:no"}, []])
def test_a_push_whose_index_cannot_be_read_is_a_push(index: object) -> None:
    aux = {"manifestPushedInsteadOfIndex": True, "originalIndex": index}
    answers = {"POST /images/localhost:5000/x/push": events({"aux": aux}, {"status": f"1: digest: {OTHER} size: 498"})}
    with fake_engine(answers) as (engine, _):
        assert engine.push("localhost:5000/x:1").partial_of is None


def test_missing_platforms_are_those_of_images_whose_content_is_not_there() -> None:
    def manifest(kind: str, available: bool, architecture: str, **extra: str) -> dict[str, object]:
        return {"Kind": kind, "Available": available, "Descriptor": {"platform": {"os": "linux", "architecture": architecture, **extra}}}

    manifests = [
        manifest("image", True, "amd64"),
        manifest("image", False, "arm", variant="v7"),
        manifest("attestation", False, "unknown"),
        {"Kind": "image", "Available": False, "Descriptor": {}},
    ]
    with fake_engine({"GET /images/x/json": reply({"Manifests": manifests})}) as (engine, _):
        assert [str(platform) for platform in engine.missing_platforms("x")] == ["linux/arm/v7"]
    with fake_engine({"GET /images/x/json": reply({"Id": "an older engine"})}) as (engine, _):
        assert engine.missing_platforms("x") == ()
