"""What ``push`` prints of an image of which the engine does not have all."""

from __future__ import annotations

import pytest

from tests.support.cli_runner import Typed
from tests.support.fake_engine import events, fake_engine
from tests.support.fake_server import reply

NAME = "localhost:5999/x:1"
INDEX, MANIFEST = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
ANSWERS = {
    "GET /images/localhost:5999/x:1/json": reply(
        {
            "Id": INDEX,
            "RepoTags": [NAME],
            "RepoDigests": [f"localhost:5999/x@{INDEX}", f"docker.io/john/x@{INDEX}"],
            "Manifests": [{"Kind": "image", "Available": False, "Descriptor": {"platform": {"os": "linux", "architecture": "arm64"}}}],
        }
    ),
    "POST /images/localhost:5999/x/push": events(
        {"aux": {"manifestPushedInsteadOfIndex": True, "originalIndex": {"digest": INDEX}}},
        {"status": f"1: digest: {MANIFEST} size: 498"},
    ),
}


def test_push_of_one_platform_says_what_is_missing_also_in_json(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_engine(ANSWERS) as (_, server):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        answer = typed("push", "--no-check", NAME)
        document = typed("push", "--no-check", "--json", NAME).json
    assert answer.code == 0
    assert f"one platform of {INDEX} was pushed, and not the index: the engine does not have linux/arm64" in answer.err
    assert f"regctl copy docker.io/john/x@{INDEX} {NAME}" in answer.err
    assert (document["digest"], document["partial_of"], document["missing"]) == (MANIFEST, INDEX, ["linux/arm64"])
