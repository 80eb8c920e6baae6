"""``prune`` on the real registry: its storage and its log."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from datetime import datetime, timedelta, tzinfo

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.content.retention import planner
from registry_tool.content.retention.pulls import PullLog
from registry_tool.engine import Engine
from registry_tool.local.registry import LocalRegistry
from registry_tool.local.registry.pull_log import read_pulls
from tests.support.cli_runner import Typed
from tests.support.content import ACCEPT, layer, make_artifact, make_image, make_index, put_manifest
from tests.support.registry_over_http import tags

pytestmark = pytest.mark.engine

STORAGE = "/var/lib/registry/docker/registry/v2"


def storage(engine: Engine, container: str, repository: str) -> bytes:
    """Each file and folder of a repository with its size and its time of change, and the bytes of its links."""
    path = f"{STORAGE}/repositories/{repository}"
    script = f"find {path} | sort | xargs stat -c '%n %s %Y %Z'; find {path} -type f | sort | xargs cat"
    code, listed = engine.execute(container, ["sh", "-c", script])
    assert code == 0
    return listed


def test_plan_leaves_storage_as_it_was_and_applied_it_frees_what_it_says(
    typed: Typed, engine: Engine, local: LocalRegistry, unique: str
) -> None:
    image = make_image(local.port, unique, "v1")
    put_manifest(local.port, unique, "keep", image.raw, image.media_type)
    make_artifact(local.port, unique, subject=image)
    gone = make_image(local.port, unique, "v2")
    make_artifact(local.port, unique, subject=gone)
    make_index(local.port, unique, "many", make_image(local.port, unique))
    name = f"{local.address}/{unique}"
    before = storage(engine, local.container_id, unique)
    for arguments in (("--keep-tags", "^keep$"), ("--keep-last", "1", "--untagged"), ("--keep-within", "1d", "--json")):
        assert typed("prune", *arguments, name).code == 0
    assert storage(engine, local.container_id, unique) == before
    answer = typed("prune", "--apply", "--yes", "--keep-tags", "^keep$", name)
    assert answer.code == 0, answer.err
    assert sorted(tags(local.port, unique) or ()) == ["keep", f"sha256-{image.digest[7:]}"]
    assert typed("check", name).code == 0


def test_pulls_are_read_from_the_log_of_the_registry(typed: Typed, engine: Engine, local: LocalRegistry, unique: str) -> None:
    made = make_image(local.port, unique, "used")
    make_image(local.port, unique, "unused")
    with closing(http.client.HTTPConnection("127.0.0.1", local.port, timeout=60)) as connection:
        connection.request("GET", f"/v2/{unique}/manifests/{made.digest}", headers={"Accept": ACCEPT, "User-Agent": "docker/28.0.0"})
        assert connection.getresponse().status == 200

    def pulls() -> list[str]:
        log = read_pulls(engine, local.address)
        return [reference for (name, reference) in log.pulls if name == unique] if isinstance(log, PullLog) else []

    assert poll(lambda: pulls() == [made.digest], Deadline(600), pause=0.5)
    typed("prune", "--json", "--keep-pulled-within", "1y", f"{local.address}/{unique}")
    assert pulls() == [made.digest], "what this program reads is no pull"
    document = typed("prune", "--json", "--keep-pulled-within", "1y", f"{local.address}/{unique}").json
    assert {tag["action"] for tag in document["repositories"][0]["tags"]} == {"keep"}
    assert "the registry's log begins" in document["repositories"][0]["tags"][0]["reason"]


def test_untagged_manifests_of_the_local_registry_go_an_hour_after_their_push(
    typed: Typed, engine: Engine, local: LocalRegistry, unique: str
) -> None:
    kept, child = make_image(local.port, unique, "v1"), make_image(local.port, unique, None, layer(b"child"))
    make_index(local.port, unique, "many", child)
    make_artifact(local.port, unique, subject=kept)
    loose, new = (make_image(local.port, unique, None, layer(content)) for content in (b"loose", b"new"))
    for made in (child, loose):
        link = f"{STORAGE}/repositories/{unique}/_manifests/revisions/sha256/{made.digest[7:]}/link"
        assert engine.execute(local.container_id, ["touch", "-d", "2020-01-01 00:00:00", link])[0] == 0
    document = typed("prune", "--json", "--untagged", f"{local.address}/{unique}").json
    assert [manifest["digest"] for manifest in document["repositories"][0]["manifests"]] == [loose.digest]
    assert document["notes"] == []
    assert typed("prune", "--apply", "--yes", "--untagged", f"{local.address}/{unique}").code == 0
    listed = storage(engine, local.container_id, unique)
    assert [made.digest[7:].encode() in listed for made in (kept, child, new)] == [True] * 3
    assert typed("check", f"{local.address}/{unique}").code == 0


def test_engine_with_another_clock_decides_which_untagged_manifests_are_young(
    typed: Typed, engine: Engine, local: LocalRegistry, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(local.port, unique, "v1")
    # A child of an index that is being pushed.
    make_image(local.port, unique, None, layer(b"child"))
    loose = make_image(local.port, unique, None, layer(b"loose"))
    link = f"{STORAGE}/repositories/{unique}/_manifests/revisions/sha256/{loose.digest[7:]}/link"
    assert engine.execute(local.container_id, ["touch", "-d", "2020-01-01 00:00:00", link])[0] == 0
    here = time.time

    class Ahead(datetime):
        """This machine's clock, two hours ahead: by it the child is older than the grace."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Ahead:
            return super().now(tz) + timedelta(hours=2)

    monkeypatch.setattr(time, "time", lambda: here() + 7200)
    monkeypatch.setattr(planner, "datetime", Ahead)
    document = typed("prune", "--json", "--untagged", f"{local.address}/{unique}").json
    assert [manifest["digest"] for manifest in document["repositories"][0]["manifests"]] == [loose.digest]
