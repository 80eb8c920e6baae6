"""Several names for ``push`` and ``pull``: the others also after one failed; one name has the document it always had."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.cli_runner import Typed
from tests.support.fake_engine import events, fake_engine, query
from tests.support.fake_server import ReceivedRequest, Reply, reply

DIGEST = f"sha256:{'1' * 64}"


def pulled(request: ReceivedRequest) -> Reply:
    if query(request)["fromImage"].endswith("/bad"):
        return events({"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"})
    return events({"status": f"Digest: {DIGEST}"}, {"status": "Status: Downloaded"})


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    pushed = events({"status": f"1: digest: {DIGEST} size: 123"})
    answers: dict[str, Reply | Callable[[ReceivedRequest], Reply]] = {
        "POST /images/create": pulled,
        **{f"POST /images/10.0.0.1:5000/{name}/push": pushed for name in ("a", "b")},
        **{
            f"GET /images/10.0.0.1:5000/{name}:latest/json": reply({"Id": f"sha256:{name}", "RepoDigests": [f"mary/{name}@{DIGEST}"]})
            for name in ("a", "b")
        },
    }
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "10.0.0.1:5000")
    with fake_engine(answers) as (_, server):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        yield Typed(capsys)


@pytest.mark.parametrize("command", ["push", "pull"])
def test_without_a_name_it_is_exit_2(typed: Typed, command: str) -> None:
    assert typed(command).code == 2


def test_one_that_fails_does_not_keep_the_others(typed: Typed) -> None:
    answer = typed("pull", "-q", "a", "bad", "b")
    assert answer.code == 1
    assert answer.out.splitlines() == [f"10.0.0.1:5000/a@{DIGEST}", f"10.0.0.1:5000/b@{DIGEST}"]
    assert "there is no image 10.0.0.1:5000/bad:latest" in answer.err
    document = typed("pull", "--json", "a", "bad", "b").json
    assert document["ok"] is False
    assert [each["reference"] for each in document["pulled"]] == ["10.0.0.1:5000/a:latest", "10.0.0.1:5000/b:latest"]
    assert document["error"]["code"] == "not-found"


def test_all_are_pushed_in_order(typed: Typed) -> None:
    names = ("10.0.0.1:5000/a", "10.0.0.1:5000/b")
    assert typed("push", "--no-check", "-q", *names).out.splitlines() == [f"{name}@{DIGEST}" for name in names]
    document = typed("push", "--no-check", "--json", *names).json
    assert (document["ok"], [each["checked"] for each in document["pushed"]]) == (True, [False, False])


def test_one_name_has_the_document_of_one(typed: Typed) -> None:
    assert typed("pull", "--json", "a").json["reference"] == "10.0.0.1:5000/a:latest"
    assert typed("pull", "--json", "bad").json["error"]["code"] == "not-found"


def test_help_and_version_are_commands_and_h_is_help(typed: Typed) -> None:
    for words, option in (
        (("help",), ()),
        (("help", "push"), ("push",)),
        (("help", "image", "ls"), ("image", "ls")),
        (("rmi", "-h"), ("rmi",)),
    ):
        answer = typed(*words)
        assert (answer.code, answer.out) == (0, typed(*option, "--help").out), words
    assert typed("help", "psuh").code == 2
    assert "regctl push" in typed("help", "psuh").err
    assert typed("help", "push", "more").code == 0
    assert typed("version").out.splitlines()[0] == typed("--version").out.splitlines()[0]
