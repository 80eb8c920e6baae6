"""``prune`` as it is typed, on the registry in this process."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from docs import generate_schemas
from registry_tool import server
from registry_tool.content.protection import add_protection
from registry_tool.targets.registry import Registry
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.content import ACCEPT, PushedManifest, layer, make_artifact, make_image, make_index, put_manifest
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.faulty_proxy import FaultyProxy, Forward, faulty_proxy, respond_with
from tests.support.recording_server import recording_server
from tests.support.registry_over_http import ask, tags
from tests.support.schema import fits

NAME = "john/app"


@pytest.fixture
def host(registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> server.RunningRegistry:
    """The registry in this process, which names without a host mean."""
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    # undo lists what collections keep on an engine, too: those of other tests, and of whoever runs them.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    return registry


def ago(days: float) -> str:
    """The date of an image that was made ``days`` ago."""
    return (datetime.now(timezone.utc) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def actions(document: dict[str, object], number: int = 0) -> dict[str, str]:
    return {tag["tag"]: tag["action"] for tag in document["repositories"][number]["tags"]}  # type: ignore[index]


def there(port: int, made: PushedManifest) -> bool:
    return ask(port, "GET", f"/v2/{NAME}/manifests/{made.digest}", headers={"Accept": ACCEPT})[0] == 200


# --- plans ---


def test_plan_says_of_each_tag_what_decided(typed: Typed, host: server.RunningRegistry) -> None:
    for tag, days in (("old", 60), ("new", 2), ("newest", 1)):
        make_image(host.port, NAME, tag, created=ago(days))
    answer = typed("prune", "--keep-last", "1", "--keep-within", "7d", NAME)
    assert answer.code == 0
    rows = {line.split()[1]: line for line in answer.out.splitlines()[2:5]}
    assert rows["old"].split()[0] == "go"
    assert rows["old"].endswith("no rule keeps it")
    assert rows["newest"].endswith("keep-last 1 by date: among the newest 1")
    assert rows["new"].endswith("keep-within 7d: made within 7d")
    assert "To delete: 1 of 3 tags, 1 manifest; garbage collection can then free" in answer.out
    assert "Delete it with --apply" in answer.err


def test_what_a_kept_tag_index_or_referrer_needs_stays_and_is_named(typed: Typed, host: server.RunningRegistry) -> None:
    shared = make_image(host.port, NAME, "shared")
    put_manifest(host.port, NAME, "keep-1", shared.raw, shared.media_type)
    child = make_image(host.port, NAME, "child")
    index = make_index(host.port, NAME, "keep-2", child)
    subject = make_image(host.port, NAME, "subject")
    referrer = make_artifact(host.port, NAME, subject=subject)
    put_manifest(host.port, NAME, "keep-3", referrer.raw, referrer.media_type)
    document = typed("prune", "--json", "--keep-tags", "^keep-", NAME).json
    needed = {tag["tag"]: tag["needed_by"] for tag in document["repositories"][0]["tags"] if tag["action"] == "go"}
    assert needed == {"shared": ["keep-1"], "child": [index.digest], "subject": [referrer.digest]}
    assert all(manifest["alone"] for manifest in document["repositories"][0]["manifests"])
    assert document["bytes_freed"] == 0


def test_plan_without_apply_sends_nothing_but_get_and_head(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_server() as watching:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", watching.host)
        image = make_image(watching.port, NAME, "v1")
        make_artifact(watching.port, NAME, subject=image)
        make_index(watching.port, NAME, "v2", image)
        watching.forget()
        for arguments in (
            ("--keep-tags", "none", NAME),
            ("--keep-last", "1", "--untagged", "john/*"),
            ("--keep-semver", "1 per minor", "--keep-within", "1d", NAME, "--json"),
        ):
            assert typed("prune", *arguments).code == 0
        assert set(watching.counts) == {"GET", "HEAD"}


def test_requests_of_a_plan_are_those_of_a_list_of_tags(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the registry keeps no lists of referrers, as registry:2."""
    with recording_server() as watching:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", watching.host)
        for number in range(40):
            make_image(watching.port, NAME, f"1.0.{number}", created=ago(number + 1))
        monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/cache")
        watching.forget()
        typed("list-tags", NAME)
        listing = sum(watching.counts.values())
        watching.forget()
        assert actions(typed("prune", "--json", "--keep-last", "3", NAME).json)["1.0.39"] == "go"
        assert sum(watching.counts.values()) <= listing * 1.2


def test_glob_selects_repositories_and_the_rules_of_a_file_are_by_repository(
    typed: Typed, host: server.RunningRegistry, tmp_path: Path
) -> None:
    for repository in ("john/a", "john/b", "jane/a"):
        make_image(host.port, repository, "v1")
        make_image(host.port, repository, "x")
    rules = tmp_path / "retention.toml"
    rules.write_text(
        '[[repository]]\nrepositories = "john/a"\nkeep-tags = "^v"\n[[repository]]\nrepositories = "john/*"\nkeep-tags = "x"\n'
    )
    document = typed("prune", "--json", "--rules", str(rules)).json
    assert [each["repository"].partition("/")[2] for each in document["repositories"]] == ["john/a", "john/b"]
    assert actions(document, 0) == {"v1": "keep", "x": "go"}
    assert actions(document, 1) == {"v1": "go", "x": "keep"}
    assert document["notes"] == [f"no rule is for {host.host}/jane/a: all of it stays"]
    assert len(typed("prune", "--json", "--rules", str(rules), "j*/b").json["repositories"]) == 1


def test_quiet_prints_the_names_that_go(typed: Typed, host: server.RunningRegistry) -> None:
    made = make_image(host.port, NAME, "v1")
    make_image(host.port, NAME, "keep")
    answer = typed("prune", "-q", "--keep-tags", "keep", NAME)
    assert answer.out.splitlines() == [f"{host.host}/{NAME}:v1", f"{host.host}/{NAME}@{made.digest}"]


def test_tag_that_cannot_be_read_is_kept_and_no_image_goes(typed: Typed, host: server.RunningRegistry) -> None:
    for tag in ("v1", "v2", "odd"):
        make_image(host.port, NAME, tag)
    with faulty_proxy(host.port) as proxy:
        proxy.inject(respond_with(403), path="manifests/odd")
        document = typed("--registry", proxy.host, "prune", "--json", "--keep-tags", "none", NAME).json
    assert actions(document) == {"odd": "keep", "v1": "go", "v2": "go"}
    assert all(manifest["alone"] for manifest in document["repositories"][0]["manifests"])
    assert document["repositories"][0]["unread"]


def test_protected_tags_are_kept(typed: Typed, host: server.RunningRegistry) -> None:
    for tag in ("v1", "v2"):
        make_image(host.port, NAME, tag)
    with Registry.open(host.host) as opened:
        add_protection(opened.repository(NAME), "v1")
    document = typed("prune", "--json", "--keep-tags", "none", NAME).json
    assert actions(document) == {"v1": "keep", "v2": "go"}
    assert document["repositories"][0]["tags"][0]["rule"] == "protected"
    answer = typed("prune", "--apply", "--yes", "--keep-tags", "none", NAME)
    assert answer.code == 0
    assert "protected by 'v1'" in answer.err
    left = tags(host.port, NAME) or []
    assert "v1" in left
    assert "v2" not in left


def test_untagged_manifests_that_a_registry_lists_go(typed: Typed, host: server.RunningRegistry) -> None:
    """Google's list of tags has every manifest with its tags. What was pushed just now may be part of a push that goes on."""
    kept = make_image(host.port, NAME, "v1")
    child = make_image(host.port, NAME)
    make_index(host.port, NAME, "many", child)
    loose, new, undated = (make_image(host.port, NAME, None, layer(content)) for content in (b"loose", b"new", b"undated"))
    old, now = (str(int((datetime.now(timezone.utc) - timedelta(days=days)).timestamp() * 1000)) for days in (2, 0))
    listed = {
        kept.digest: {"tag": ["v1"], "timeUploadedMs": old},
        child.digest: {"tag": [], "timeUploadedMs": old},
        loose.digest: {"tag": [], "timeUploadedMs": old},
        new.digest: {"tag": [], "timeUploadedMs": now},
        undated.digest: {"tag": []},
    }

    def respond(received: ReceivedRequest) -> Reply:
        if received.path.startswith(f"/v2/{NAME}/tags/list"):
            return reply({"name": NAME, "tags": ["v1", "many"], "manifest": listed})
        status, headers, body = ask(host.port, received.method, received.path, headers=dict(received.headers))
        passed = {name: value for name, value in headers.items() if name.lower() in ("content-type", "docker-content-digest")}
        return Reply(status=status, headers=passed, body=body)

    with fake_server(respond) as fake:
        document = typed("--registry", fake.host, "prune", "--json", "--untagged", NAME).json
    assert [manifest["digest"] for manifest in document["repositories"][0]["manifests"]] == [loose.digest]
    assert document["notes"] == []


def test_registry_that_lists_no_untagged_manifests_is_noted(typed: Typed, host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    document = typed("prune", "--json", "--untagged", NAME).json
    assert document["notes"] == [f"{host.host}/{NAME}: manifests without a tag are not listed by this registry"]


def test_pulls_of_a_registry_elsewhere_are_not_known_and_all_is_kept(typed: Typed, host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    document = typed("prune", "--json", "--keep-pulled-within", "30d", NAME).json
    assert actions(document) == {"v1": "keep"}
    assert "when it was pulled is not known" in document["repositories"][0]["tags"][0]["reason"]


# --- what is wrong ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no repository is named"),
        ((NAME,), "no rule says what is kept"),
        (("--by", "version", NAME), "--by says how --keep-last counts"),
        (("--keep-last", "0", NAME), "--keep-last"),
        (("--keep-tags", "(", NAME), "--keep-tags: not a regular expression"),
        (("--keep-within", "soon", NAME), "--keep-within: 'soon' is not a time"),
        (("--keep-semver", "3 per day", NAME), "--keep-semver: '3 per day'"),
        (("--keep-pulled-within", "", NAME), "--keep-pulled-within: '' is not a time"),
        (("--keep-last", "1", f"{NAME}:v1"), "is an image, and a repository is needed"),
        (("--keep-last", "1", "john/*:v1"), "has a tag or a digest"),
        (("--keep-last", "1", "UPPER"), "UPPER"),
        (("--keep-last", "1", "a.example/x", "b.example/x"), "are two registries"),
        (("--keep-last", "1", "--rules", "f.toml", NAME), "rules are both typed and in a file"),
        (("--plan", "p.json", NAME), "--plan has its repositories"),
        (("--plan", "p.json", "--keep-last", "1"), "--plan has its repositories"),
    ],
)
def test_wrong_command_is_exit_2(typed: Typed, host: server.RunningRegistry, arguments: tuple[str, ...], message: str) -> None:
    answer = typed("prune", *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_regular_expression_that_does_not_end_is_exit_2(
    typed: Typed, host: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry_tool.content.retention.planner.REGEX_SECONDS", 0.2)
    make_image(host.port, NAME, "a" * 60 + "_")
    answer = typed("prune", "--keep-tags", "(a+)+$", NAME)
    assert answer.code == 2
    assert "takes too long" in answer.err


def test_missing_repository_is_exit_1_and_ends_no_other(typed: Typed, host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    document = typed("prune", "--json", "--keep-tags", "v", NAME, "john/missing").json
    assert not document["ok"]
    assert [each["repository"] for each in document["errors"]] == [f"{host.host}/john/missing"]
    assert len(document["repositories"]) == 1
    assert typed("prune", "--keep-tags", "v", "nobody/*").code == 1


# --- applying ---


def test_apply_deletes_what_the_plan_says(typed: Typed, host: server.RunningRegistry) -> None:
    made = make_image(host.port, NAME, "v1")
    make_image(host.port, NAME, "v2")
    put_manifest(host.port, NAME, "keep", made.raw, made.media_type)
    document = typed("prune", "--json", "--apply", "--yes", "--keep-tags", "keep", NAME).json
    assert (document["ok"], document["applied"]) == (True, True)
    assert sorted(tag for step in document["done"] for tag in step["tags"]) == ["v1", "v2"]
    assert tags(host.port, NAME) == ["keep"]


def test_undo_restores_what_was_pruned(typed: Typed, host: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for repository in (NAME, f"{NAME}2"):
        for tag in ("v1", "v2", "keep"):
            make_image(host.port, repository, tag)
    document = typed("prune", "--json", "--apply", "--yes", "--keep-tags", "keep", "john/*").json
    assert tags(host.port, NAME) == tags(host.port, f"{NAME}2") == ["keep"]
    entries = typed("undo", "--json").json["entries"]
    assert sorted(entry["id"] for entry in entries) == sorted(document["undo"])
    assert {entry["command"] for entry in entries} == {"prune"}
    for id in document["undo"]:
        assert typed("undo", id).code == 0
    assert sorted(tags(host.port, NAME) or []) == sorted(tags(host.port, f"{NAME}2") or []) == ["keep", "v1", "v2"]


def test_pruning_without_undo_keeps_nothing(
    typed: Typed, host: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for tag in ("v1", "keep"):
        make_image(host.port, NAME, tag)
    typed("prune", "--keep-tags", "keep", NAME)
    assert typed("undo", "-q").out == ""
    document = typed("prune", "--json", "--apply", "--yes", "--no-undo", "--keep-tags", "keep", NAME).json
    assert (document["ok"], document["undo"]) == (True, [])
    assert typed("undo", "-q").out == ""


def test_apply_without_terminal_shows_the_plan_and_is_refused(host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    make_image(host.port, NAME, "keep")
    answer = spawn("prune", "--apply", "--keep-tags", "keep", NAME)
    assert answer.code == 2
    assert "no rule keeps it" in answer.err
    assert "--yes" in answer.err
    assert sorted(tags(host.port, NAME) or ()) == ["keep", "v1"]


def test_apply_asks_on_a_terminal(host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    make_image(host.port, NAME, "keep")
    with Terminal(["prune", "--apply", "--keep-tags", "keep", NAME]) as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert sorted(tags(host.port, NAME) or ()) == ["keep", "v1"]


def test_rules_that_keep_nothing_need_allow_empty(typed: Typed, host: server.RunningRegistry) -> None:
    make_image(host.port, NAME, "v1")
    assert "No tag is left in the repository: --apply needs --allow-empty" in typed("prune", "--keep-tags", "none", NAME).out
    refused = typed("prune", "--apply", "--yes", "--keep-tags", "none", NAME)
    assert refused.code == 2
    assert "--allow-empty" in refused.err
    assert tags(host.port, NAME) == ["v1"]
    assert typed("prune", "--apply", "--yes", "--allow-empty", "--keep-tags", "none", NAME).code == 0
    assert not tags(host.port, NAME)


def test_one_repository_that_would_be_empty_keeps_all_from_being_pruned(typed: Typed, host: server.RunningRegistry) -> None:
    for repository, tag in (("john/a", "keep"), ("john/a", "x"), ("john/b", "x")):
        make_image(host.port, repository, tag)
    assert typed("prune", "--apply", "--yes", "--keep-tags", "keep", "john/*").code == 2
    assert sorted(tags(host.port, "john/a") or ()) == ["keep", "x"]


def test_referrers_go_with_their_image_and_stay_with_one_that_stays(typed: Typed, host: server.RunningRegistry) -> None:
    going, kept = make_image(host.port, NAME, "v1"), make_image(host.port, NAME, "keep")
    of_going, of_kept = (make_artifact(host.port, NAME, subject=image) for image in (going, kept))
    make_image(host.port, NAME, f"sha256-{going.digest[7:]}.sig")
    signature = f"sha256-{kept.digest[7:]}.sig"
    make_image(host.port, NAME, signature)
    assert typed("prune", "--apply", "--yes", "--keep-tags", "keep", NAME).code == 0
    assert [there(host.port, each) for each in (going, of_going, kept, of_kept)] == [False, False, True, True]
    assert sorted(tags(host.port, NAME) or ()) == sorted(["keep", signature, f"sha256-{kept.digest[7:]}"])


@pytest.fixture
def proxy(host: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Before the registry in this process; names without a host mean it."""
    with faulty_proxy(host.port) as proxy:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", proxy.host)
        yield proxy


def after_the_plan(proxy: FaultyProxy, act: Callable[[], object]) -> None:
    """Have ``act`` called when the application of the plan begins, by asking whether deletion is on."""

    def meddle(request: ReceivedRequest, forward: Forward) -> Reply:
        act()
        return forward(request)

    proxy.inject(meddle, method="DELETE", times=1)


def test_what_moved_meanwhile_is_left_and_named_and_the_others_go(typed: Typed, proxy: FaultyProxy) -> None:
    for tag in ("v1", "v2", "v3", "keep"):
        make_image(proxy.target, NAME, tag)
    after_the_plan(proxy, lambda: make_image(proxy.target, NAME, "v2", layer(b"other")))
    answer = typed("prune", "--apply", "--yes", "--keep-tags", "keep", NAME)
    assert answer.code == 1
    assert "the tag v2 moved" in answer.err
    assert "it was left" in answer.err
    assert sorted(tags(proxy.target, NAME) or ()) == ["keep", "v2"]


def test_image_that_got_another_tag_meanwhile_is_left_with_its_referrers(typed: Typed, proxy: FaultyProxy) -> None:
    image = make_image(proxy.target, NAME, "v1")
    referrer = make_artifact(proxy.target, NAME, subject=image)
    for tag in ("v2", "keep"):
        make_image(proxy.target, NAME, tag)
    after_the_plan(proxy, lambda: put_manifest(proxy.target, NAME, "release", image.raw, image.media_type))
    document = typed("prune", "--json", "--apply", "--yes", "--keep-tags", "keep", NAME).json
    assert not document["ok"]
    assert any("release" in each["message"] for each in document["errors"])
    assert there(proxy.target, referrer)
    left = tags(proxy.target, NAME) or []
    assert {"keep", "release", "v1", f"sha256-{image.digest[7:]}"} == set(left)


def test_tag_that_was_protected_meanwhile_is_left(typed: Typed, proxy: FaultyProxy) -> None:
    for tag in ("v1", "v2", "keep"):
        make_image(proxy.target, NAME, tag)

    def protect() -> None:
        with Registry.open(f"127.0.0.1:{proxy.target}") as opened:
            add_protection(opened.repository(NAME), "v1")

    after_the_plan(proxy, protect)
    answer = typed("prune", "--apply", "--yes", "--keep-tags", "keep", NAME)
    assert answer.code == 1
    assert "v1 is protected by 'v1'; it was left" in answer.err
    left = tags(proxy.target, NAME) or []
    assert "v1" in left
    assert "v2" not in left


@pytest.mark.parametrize("status", [405, 403, 501], ids=["off", "forbidden", "unsupported"])
def test_registry_or_proxy_that_forbids_deletion_loses_nothing(typed: Typed, proxy: FaultyProxy, status: int) -> None:
    for tag in ("v1", "keep"):
        make_image(proxy.target, NAME, tag)
    proxy.inject(respond_with(status), method="DELETE")
    before = proxy.count("PUT|POST|PATCH")
    answer = typed("prune", "--apply", "--yes", "--keep-tags", "keep", NAME)
    assert answer.code == 1
    assert answer.out == ""
    assert proxy.count("PUT|POST|PATCH") == before
    assert sorted(tags(proxy.target, NAME) or ()) == ["keep", "v1"]


def test_one_locked_image_ends_no_other(typed: Typed, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.content.delete.writes.PATIENCE", 0.0)
    locked = make_image(proxy.target, NAME, "v1")
    for tag in ("v2", "keep"):
        make_image(proxy.target, NAME, tag)
    proxy.inject(respond_with(403), method="DELETE", path=locked.digest)
    document = typed("prune", "--json", "--apply", "--yes", "--keep-tags", "keep", NAME).json
    assert [step["tags"] for step in document["done"]] == [["v2"]]
    assert len(document["errors"]) == 1
    assert document["error"]["code"] == document["errors"][0]["code"]
    assert sorted(tags(proxy.target, NAME) or ()) == ["keep", "v1"]


def test_registry_that_requires_a_password_is_read_with_it(typed: Typed, tmp_path: Path) -> None:
    storage = server.MemoryStorage()
    with server.run_registry(server.Application(storage)) as running:
        make_image(running.port, NAME, "a")
    application = server.Application(storage, authorize=lambda user, password: (user, password) == ("john", "secret"))
    with server.run_registry(application) as running:
        auth = tmp_path / "auth.json"
        entry = base64.b64encode(b"john:secret").decode()
        auth.write_text(json.dumps({"auths": {running.host: {"auth": entry}}}))
        assert typed("prune", "--keep-tags", "a", f"{running.host}/{NAME}").code == 1
        assert typed("prune", "--keep-tags", "a", "--authfile", str(auth), f"{running.host}/{NAME}").code == 0


# --- plans in files ---


@pytest.fixture
def plan(typed: Typed, proxy: FaultyProxy, tmp_path: Path) -> Path:
    """A plan in a file: v1 goes with its referrer, v2 goes, keep stays."""
    image = make_image(proxy.target, NAME, "v1")
    make_artifact(proxy.target, NAME, subject=image)
    for tag in ("v2", "keep"):
        make_image(proxy.target, NAME, tag)
    file = tmp_path / "plan.json"
    file.write_text(typed("prune", "--json", "--keep-tags", "keep", NAME).out)
    return file


def test_plan_from_a_file_is_shown_and_applied(typed: Typed, proxy: FaultyProxy, plan: Path) -> None:
    assert actions(typed("prune", "--plan", str(plan), "--json").json) == {"v1": "go", "v2": "go", "keep": "keep"}
    assert len(tags(proxy.target, NAME) or ()) == 4
    assert typed("prune", "--plan", str(plan), "--apply", "--yes").code == 0
    assert tags(proxy.target, NAME) == ["keep"]
    again = typed("prune", "--plan", str(plan), "--apply", "--yes")
    assert again.code == 1
    assert "changed since the plan was made: the tag v1 is gone, the tag v2 is gone" in again.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda port: make_image(port, NAME, "new"), "the tag new is new"),
        (lambda port: make_image(port, NAME, "keep", layer(b"other")), "the tag keep moved"),
        (lambda port: make_image(port, NAME, "v2", layer(b"other")), "the tag v2 moved"),
        (lambda port: make_artifact(port, NAME, subject=make_image(port, NAME, "v2")), "its indexes, referrers or untagged manifests"),
        (lambda port: make_index(port, NAME, "index", make_image(port, NAME, "v2")), "the tag index is new"),
    ],
    ids=["new", "kept-moved", "going-moved", "referrer", "index"],
)
def test_plan_is_refused_where_the_registry_changed(
    typed: Typed, proxy: FaultyProxy, plan: Path, change: Callable[[int], object], message: str
) -> None:
    change(proxy.target)
    before = tags(proxy.target, NAME)
    answer = typed("prune", "--plan", str(plan), "--apply", "--yes")
    assert answer.code == 1
    assert message in answer.err
    assert tags(proxy.target, NAME) == before


def test_plan_whose_tag_is_protected_now_is_refused(typed: Typed, proxy: FaultyProxy, plan: Path) -> None:
    with Registry.open(proxy.host) as opened:
        add_protection(opened.repository(NAME), "v1")
    answer = typed("prune", "--plan", str(plan), "--apply", "--yes")
    assert answer.code == 1
    assert "v1 is protected by 'v1'" in answer.err


def test_plan_for_another_registry_is_refused(typed: Typed, host: server.RunningRegistry, proxy: FaultyProxy, plan: Path) -> None:
    answer = typed("--registry", host.host, "prune", "--plan", str(plan), "--apply", "--yes")
    assert answer.code == 2
    assert f"is a plan for {proxy.host}, not for {host.host}" in answer.err
    assert len(tags(proxy.target, NAME) or ()) == 4


def test_plan_for_a_registry_that_holds_something_else_is_refused(typed: Typed, plan: Path) -> None:
    """The same address, and another registry behind it now."""
    with server.run_registry() as other:
        make_image(other.port, NAME, "v1")
        document = plan.read_text().replace(json.loads(plan.read_text())["registry"], other.host)
        plan.write_text(document)
        answer = typed("--registry", other.host, "prune", "--plan", str(plan), "--apply", "--yes")
        assert answer.code == 1
        assert "changed since the plan was made" in answer.err
        assert tags(other.port, NAME) == ["v1"]


_HEAD = '{"registry": "a:1", "planned": "2026-01-31T12:00:00Z", "bytes_freed": 0,'
_END = '"bytes_freed": 0, "unread": []}]}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ("[]", "a JSON object is required"),
        ("{}", "registry: missing"),
        ('{"registry": "a:1", "planned": "today"}', "planned: not a time"),
        (f'{_HEAD} "repositories": [{{}}]}}', "repositories[0].repository: missing"),
        (
            f'{_HEAD} "repositories": [{{"repository": "b:1/x", "tags": [], "manifests": [], "unfinished": [], "tags_left": 0, {_END}',
            "b:1/x is not a repository of a:1",
        ),
    ],
    ids=["empty", "array", "object", "time", "repository", "other-registry"],
)
def test_file_that_is_no_plan_is_exit_2(typed: Typed, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    answer = typed("prune", "--plan", str(file))
    assert answer.code == 2
    assert message in answer.err


def test_missing_plan_is_exit_1(typed: Typed, tmp_path: Path) -> None:
    assert typed("prune", "--plan", str(tmp_path / "missing.json")).code == 1


def test_plan_is_as_the_schema_says(typed: Typed, proxy: FaultyProxy, plan: Path) -> None:
    text = generate_schemas.PRUNE.read_text(encoding="utf-8")
    assert text == generate_schemas.as_text(generate_schemas.prune_schema()), "make reference"
    schema = json.loads(text)
    assert fits(json.loads(plan.read_text()), schema)
    assert not fits({}, schema)
