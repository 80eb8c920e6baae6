"""``undo`` as it is typed, on the registry in this process."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path

import pytest

from registry_tool import server
from tests.support import canary
from tests.support.cli_runner import REGCTL, Terminal, Typed
from tests.support.content import ACCEPT, layer, make_image, put_manifest
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import Forward, faulty_proxy, respond_with
from tests.support.registry_over_http import ask, tags


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What collections keep on an engine is listed, too: those of other tests, and of whoever runs them.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "registry-tool" / "undo"


@pytest.fixture
def name(registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, state: Path) -> str:
    """A repository in the registry of this process, with three tags, which names without a host mean."""
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    for tag in ("v1", "v2", "latest"):
        make_image(registry.port, "john/app", tag, layer(tag.encode()))
    return "john/app"


def digest(registry: server.RunningRegistry, tag: str) -> str:
    return ask(registry.port, "HEAD", f"/v2/john/app/manifests/{tag}", headers={"Accept": ACCEPT})[1]["docker-content-digest"]


def delete(typed: Typed, *arguments: str) -> str:
    """Delete; the id that undo takes."""
    answer = typed("delete", "--yes", *arguments)
    assert answer.code == 0
    match = re.search(r"^Undo with: regctl undo ([0-9a-f]{8})$", answer.err, re.MULTILINE)
    assert match
    return match[1]


def test_deleted_tag_is_restored_with_its_digest(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    before = digest(registry, "v1")
    id = delete(typed, f"{name}:v1")
    assert "v1" not in (tags(registry.port, name) or [])
    answer = typed("undo", id[:4])
    assert answer.code == 0
    assert answer.out == f"Restored: {registry.host}/john/app@{before}\nRestored: {registry.host}/john/app:v1\n"
    assert digest(registry, "v1") == before
    assert typed("undo", "-q").out == ""


def test_deleted_glob_is_restored_by_one_undo(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    before = {tag: digest(registry, tag) for tag in ("v1", "v2")}
    id = delete(typed, f"{name}:v*")
    assert typed("undo", "-q", id).out.split()[-2:] == [f"{registry.host}/john/app:v1", f"{registry.host}/john/app:v2"]
    assert {tag: digest(registry, tag) for tag in before} == before


def test_list_shows_what_can_be_restored(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    first, second = delete(typed, f"{name}:v1"), delete(typed, f"{name}:v2")
    rows = [line.split() for line in typed("undo").out.splitlines()]
    assert rows[0][:4] == ["ID", "REMOVED", "BY", "REPOSITORY"]
    assert {row[0] for row in rows[1:]} == {first, second}
    document = typed("undo", "--json").json
    entry = next(entry for entry in document["entries"] if entry["id"] == first)
    assert entry["repositories"] == [f"{registry.host}/john/app"]
    assert (entry["tags"], entry["manifests"], entry["command"], entry["interrupted"], entry["lost"]) == (["v1"], 1, "delete", False, [])


def test_no_undo_keeps_nothing(typed: Typed, name: str, state: Path) -> None:
    answer = typed("delete", "--yes", "--no-undo", f"{name}:v1")
    assert answer.code == 0
    assert "undo" not in answer.err
    assert not state.exists()


def test_undo_for_says_how_long_it_is_kept(typed: Typed, name: str) -> None:
    assert "undo" not in typed("delete", "--yes", "--undo-for", "0", f"{name}:v1").err
    assert typed("undo", "-q").out == ""
    assert typed("delete", "--yes", "--undo-for", "soon", f"{name}:v2").code == 2


def test_dry_run_keeps_nothing_and_undo_dry_run_writes_nothing(
    typed: Typed, name: str, registry: server.RunningRegistry, state: Path
) -> None:
    assert typed("delete", "--dry-run", f"{name}:v1").code == 0
    assert not state.exists()
    id = delete(typed, f"{name}:v1")
    answer = typed("undo", "--dry-run", id)
    assert answer.code == 0
    assert "  restore v1 at sha256:" in answer.out
    assert "v1" not in (tags(registry.port, name) or [])
    assert typed("undo", "-q").out.split() == [id]


def test_newer_tag_without_a_terminal_is_exit_2_and_writes_nothing(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    old = digest(registry, "v1")
    id = delete(typed, f"{name}:v1")
    newer = make_image(registry.port, name, "v1", layer(b"newer")).digest
    answer = typed("undo", id)
    assert answer.code == 2
    assert "1 tag of" in answer.err
    assert "--keep-newer" in answer.err
    assert ask(registry.port, "HEAD", f"/v2/{name}/manifests/{old}", headers={"Accept": ACCEPT})[0] == 404
    assert typed("undo", "--keep-newer", id).code == 0
    assert digest(registry, "v1") == newer
    assert typed("undo", "--keep-newer", "--overwrite", id).code == 2


def test_newer_tag_is_moved_back_with_overwrite(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    old = digest(registry, "v1")
    id = delete(typed, f"{name}:v1")
    make_image(registry.port, name, "v1", layer(b"newer"))
    assert typed("undo", "--overwrite", id).code == 0
    assert digest(registry, "v1") == old


@pytest.mark.parametrize("answer", ["y", "n"])
def test_newer_tag_on_a_terminal_is_asked_about(typed: Typed, name: str, registry: server.RunningRegistry, answer: str) -> None:
    old = digest(registry, "v1")
    id = delete(typed, f"{name}:v1")
    newer = make_image(registry.port, name, "v1", layer(b"newer")).digest
    with Terminal(["undo", id]) as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type(f"{answer}\r")
        assert terminal.end() == 0
    assert digest(registry, "v1") == (old if answer == "y" else newer)


def test_protected_tag_is_not_moved_back(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    id = delete(typed, f"{name}:v1")
    newer = make_image(registry.port, name, "v1", layer(b"newer")).digest
    typed("protect", f"{name}:v1")
    answer = typed("undo", "--overwrite", id)
    assert answer.code == 1
    assert "; nothing was restored" in answer.err
    assert digest(registry, "v1") == newer


def test_content_that_was_collected_is_named(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    config = json.loads(ask(registry.port, "GET", f"/v2/{name}/manifests/v1", headers={"Accept": ACCEPT})[2])["config"]["digest"]
    id = delete(typed, f"{name}:v1")
    assert ask(registry.port, "DELETE", f"/v2/{name}/blobs/{config}")[0] == 202
    assert f"{config} (" in typed("undo", "--dry-run", id).out
    answer = typed("undo", id)
    assert answer.code == 1
    assert f"does not have {config}" in answer.err
    assert "v1" not in (tags(registry.port, name) or [])
    assert typed("undo", "--json", "--dry-run", id).json["missing"][0]["digest"] == config


def test_deletion_that_fails_halfway_names_its_undo(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    before = {tag: digest(registry, tag) for tag in ("v1", "v2")}
    with faulty_proxy(registry.port) as proxy:
        proxy.inject(respond_with(405), method="DELETE", path=before["v2"])
        answer = typed("--registry", proxy.host, "delete", "--yes", f"{name}:v*")
        assert answer.code == 1
        match = re.search(r"regctl undo ([0-9a-f]{8})", answer.err)
        assert match
        assert typed("undo", match[1]).code == 0
    assert {tag: digest(registry, tag) for tag in before} == before


def test_deletion_that_is_killed_is_listed_and_restored(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    before = {tag: digest(registry, tag) for tag in ("v1", "v2")}
    reached, released = threading.Event(), threading.Event()

    def hang(received: ReceivedRequest, forward: Forward) -> Reply:
        reached.set()
        released.wait(600)
        return Reply(status=500)

    with faulty_proxy(registry.port) as proxy:
        # One of the two is gone when the other's deletion hangs.
        proxy.inject(hang, method="DELETE", path=f"{before['v1']}|{before['v2']}", after=1)
        arguments = ["--registry", proxy.host, "delete", "--yes", f"{name}:v*"]
        process = subprocess.Popen([*REGCTL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert reached.wait(600)
        finally:
            process.kill()
            process.wait()
            released.set()
        proxy.reset()
        assert len([tag for tag in tags(registry.port, name) or [] if tag in before]) == 1
        (entry,) = typed("undo", "--json").json["entries"]
        assert (entry["tags"], entry["interrupted"]) == (["v1", "v2"], True)
        assert "did not end" in typed("undo").err
        assert typed("undo", entry["id"]).code == 0
    assert {tag: digest(registry, tag) for tag in before} == before


def test_json_tells_what_was_restored(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    before = digest(registry, "v1")
    deletion = typed("delete", "--yes", "--json", f"{name}:v1").json
    document = typed("undo", "--json", deletion["undo"]).json
    assert document["ok"]
    assert document["entry"]["id"] == deletion["undo"]
    assert document["tags"] == [
        {"repository": f"{registry.host}/john/app", "tag": "v1", "digest": before, "action": "restore", "current": None}
    ]
    assert [(each["what"], each["tag"], each["digest"]) for each in document["restored"]] == [
        ("manifest", None, before),
        ("tag", "v1", before),
    ]


def test_id_that_is_not_there_is_exit_1(typed: Typed, name: str) -> None:
    answer = typed("undo", "ffffffff")
    assert answer.code == 1
    assert "nothing is kept for undo" in answer.err
    assert typed("undo", "../x").code == 1


def test_what_is_there_already_needs_no_undo(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    raw = ask(registry.port, "GET", f"/v2/{name}/manifests/v1", headers={"Accept": ACCEPT})
    id = delete(typed, f"{name}:v1")
    put_manifest(registry.port, name, "v1", raw[2], raw[1]["content-type"])
    answer = typed("undo", id)
    assert (answer.code, answer.out) == (0, "Nothing to restore: all of it is there.\n")


def test_journal_that_cannot_be_written_stops_the_deletion(typed: Typed, name: str, registry: server.RunningRegistry, state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_text("in the way")
    answer = typed("delete", "--yes", f"{name}:v1")
    assert answer.code == 1
    assert "cannot be kept for undo" in answer.err
    assert "--no-undo" in answer.err
    assert "v1" in (tags(registry.port, name) or [])
    assert typed("delete", "--yes", "--no-undo", f"{name}:v1").code == 0


def test_no_secret_is_in_the_journal(typed: Typed, name: str, state: Path) -> None:
    delete(typed, f"{name}:v1")
    (path,) = state.iterdir()
    canary.search("in the journal", path.read_text())
