"""One tag that cannot be read, among good ones: it is a row or a note, ends no command, and can itself be shown and deleted."""

from __future__ import annotations

import json
import re

import pytest

from registry_tool.oci.digest import Digest
from tests.support.cli_runner import Typed
from tests.support.content import PushedManifest, layer, make_artifact, make_image, put_manifest
from tests.support.odd_manifests import KINDS, STATUSES, TYPES, push_odd
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import tags

APP = "john/app"


@pytest.fixture
def made(watching: RecordingServer) -> PushedManifest:
    return make_image(watching.port, APP, "v1", layer(b"base"))


def is_there(watching: RecordingServer, digest: str) -> bool:
    return watching.registry.storage.linked(APP, "manifest", Digest.parse(digest)) is not None


# --- the others ---


@pytest.mark.parametrize("kind", KINDS)
def test_good_tags_are_listed_beside_an_odd_one(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    put_manifest(watching.port, APP, "v2", made.raw, made.media_type)
    push_odd(watching, APP, "odd", kind)
    answer = typed("list-tags", APP)
    rows = {line.split()[0]: line for line in answer.out.splitlines()[1:]}
    assert list(rows) == ["odd", "v1", "v2"]
    assert answer.code == (1 if kind in STATUSES else 0), "of what is refused something is not known"
    assert ("not readable: " if kind in STATUSES else "unknown: ") in rows["odd"]
    assert "linux/amd64" in rows["v1"]
    assert rows["v1"].split()[-2:] == ["v2", "image"]
    document = typed("list-tags", "--json", APP).json
    result = {tag["name"]: tag for tag in document["tags"]}
    assert result["v1"]["siblings"] == ["v2"]
    assert (result["v1"]["size"], "note" in result["v1"]) == (made.size, False)
    assert ("note" in result["odd"]) == (kind in TYPES)
    assert [error["tag"] for error in document["errors"]] == (["odd"] if kind in STATUSES else [])
    assert typed("list-tags", "--sort", "size", "--platform", "linux/amd64", APP).out.count("linux/amd64") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_good_image_is_inspected_beside_an_odd_one(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    put_manifest(watching.port, APP, "v2", made.raw, made.media_type)
    push_odd(watching, APP, "odd", kind)
    answer = typed("inspect", f"{APP}:v1")
    assert (answer.code, answer.err) == (0, "")
    assert "unread tags      odd" in answer.out
    document = typed("inspect", "--json", f"{APP}:v1").json
    assert (document["siblings"], document["unread_tags"], document["errors"]) == (["v2"], ["odd"], [])
    assert document["layers"][0]["shared_with"] == ["v2"]


@pytest.mark.parametrize("kind", KINDS)
def test_tag_beside_an_odd_one_is_deleted(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    digest = push_odd(watching, APP, "odd", kind)
    answer = typed("delete", "--yes", f"{APP}:v1")
    assert answer.code == 0
    assert f"Untagged: {watching.host}/{APP}:v1" in answer.out
    assert "Could not be read: " in answer.err
    assert tags(watching.port, APP) == ["odd"]
    assert is_there(watching, digest)


# --- what an unread tag may be on is not deleted ---


@pytest.mark.parametrize("kind", STATUSES)
def test_manifest_that_an_unreadable_tag_may_be_on_is_only_untagged(
    typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str
) -> None:
    """Here it is on it: a deletion by digest would take it along."""
    storage = watching.registry.storage
    storage.tag(APP, "odd", Digest.parse(made.digest))
    watching.instead = lambda method, path: (kind, [], b"") if path.endswith("/manifests/odd") else None
    plan = typed("delete", "--dry-run", f"{APP}:v1")
    assert f"untag v1; image {made.digest} stays" in plan.out
    assert "what could not be read may need it" in plan.out
    assert "Could not be read: odd: " in plan.out
    answer = typed("delete", "--yes", f"{APP}:v1")
    assert answer.code == 0
    assert "Deleted" not in answer.out
    assert dict(storage.tags(APP) or {}) == {"odd": Digest.parse(made.digest)}
    assert is_there(watching, made.digest)


def test_named_digest_says_that_an_unreadable_tag_may_go_with_it(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    push_odd(watching, APP, "odd", "403 Forbidden")
    answer = typed("delete", "--yes", f"{APP}@{made.digest}")
    assert answer.code == 0
    assert "tags that could not be read are deleted, too, if they are on it: odd" in answer.err
    assert not is_there(watching, made.digest)


@pytest.mark.parametrize("kind", ["artifact manifest", "unknown type"])
@pytest.mark.parametrize("member", ["manifests", "subject", "odd"])
def test_manifest_that_an_unknown_one_mentions_is_only_untagged(
    typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str, member: str
) -> None:
    push_odd(watching, APP, "odd", kind, **{member: [{"digest": made.digest}]})
    answer = typed("delete", "--yes", f"{APP}:v1")
    assert (answer.code, answer.out) == (0, f"Untagged: {watching.host}/{APP}:v1\n")
    assert is_there(watching, made.digest)


@pytest.mark.parametrize("kind", ["schema 1", "artifact manifest", "unknown type"])
def test_manifest_that_an_unknown_one_does_not_mention_is_deleted(
    typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str
) -> None:
    push_odd(watching, APP, "odd", kind)
    assert f"Deleted: {watching.host}/{APP}@{made.digest}" in typed("delete", "--yes", f"{APP}:v1").out
    assert not is_there(watching, made.digest)


def test_tag_that_becomes_unreadable_after_the_plan_is_a_conflict(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    make_image(watching.port, APP, "other")

    def refuse_later(method: str, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        begun = any(method == "DELETE" for method, _ in watching.requests)
        return ("403 Forbidden", [], b"") if begun and path.endswith("/manifests/other") else None

    watching.instead = refuse_later
    answer = typed("delete", "--yes", f"{APP}:v1")
    assert answer.code == 1
    assert "other cannot be read any more" in answer.err
    assert is_there(watching, made.digest)


def test_many_unreadable_tags_end_nothing_of_a_readable_one(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    for number in range(40):
        put_manifest(watching.port, APP, f"odd{number}", made.raw, made.media_type)
    watching.instead = lambda method, path: ("403 Forbidden", [], b"") if "/manifests/odd" in path else None
    answer = typed("inspect", f"{APP}:v1")
    assert (answer.code, "step 0" in answer.out) == (0, True)
    assert re.search(r"^  same digest as +not known: .*403", answer.out, re.MULTILINE)
    for name in (f"{APP}:v1", f"{APP}@{made.digest}"):
        plan = typed("delete", "--dry-run", name)
        assert plan.code == 0
        assert "and 35 more could not be read" in plan.out
    assert typed("delete", "--yes", f"{APP}:v1").out == f"Untagged: {watching.host}/{APP}:v1\n"
    assert is_there(watching, made.digest)


def test_repository_that_is_refused_as_a_whole_is_an_error(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    for number in range(40):
        put_manifest(watching.port, APP, f"t{number}", made.raw, made.media_type)
    watching.instead = lambda method, path: ("403 Forbidden", [], b"") if "/manifests/" in path else None
    for command in ("delete", "inspect", "list-tags"):
        watching.forget()
        name = APP if command == "list-tags" else f"{APP}:v1"
        answer = typed(command, *(["--yes"] if command == "delete" else []), name)
        assert answer.code == 1
        assert "403" in answer.err
        assert len(watching.requests) < 60
    assert len(tags(watching.port, APP) or ()) == 41


# --- itself ---


@pytest.mark.parametrize("kind", TYPES)
def test_odd_tag_is_shown_raw_and_by_its_digest(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    digest = push_odd(watching, APP, "odd", kind)
    storage = watching.registry.storage
    content = storage.open(storage.linked(APP, "manifest", Digest.parse(digest)) or Digest.of(b""))
    assert content is not None
    assert typed("inspect", "-q", f"{APP}:odd").out == f"{digest}\n"
    if kind != "no manifest":  # the terminal of the tests wants text
        assert typed("inspect", "--raw", f"{APP}:odd").out.encode() == content.read()
    answer = typed("inspect", f"{APP}:odd")
    assert answer.code == 1
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]


@pytest.mark.parametrize("kind", TYPES)
def test_tag_of_an_odd_type_is_deleted(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    digest = push_odd(watching, APP, "odd", kind)
    answer = typed("delete", "--yes", f"{APP}:odd")
    assert (answer.code, answer.out) == (0, f"Untagged: {watching.host}/{APP}:odd\nDeleted: {watching.host}/{APP}@{digest}\n")
    assert tags(watching.port, APP) == ["v1"]


@pytest.mark.parametrize("kind", STATUSES)
def test_tag_that_cannot_be_read_is_removed_alone(typed: Typed, watching: RecordingServer, made: PushedManifest, kind: str) -> None:
    digest = push_odd(watching, APP, "odd", kind)
    plan = typed("delete", "--dry-run", "--json", f"{APP}:odd").json
    assert (plan["removals"], plan["unresolved"], plan["tags_left"]) == ([], ["odd"], 1)
    answer = typed("delete", "--yes", f"{APP}:odd")
    assert (answer.code, answer.out) == (0, f"Untagged: {watching.host}/{APP}:odd\n")
    assert tags(watching.port, APP) == ["v1"]
    assert is_there(watching, digest)


def test_tag_whose_manifest_is_missing_is_removed(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    watching.registry.storage.tag(APP, "lost", Digest.of(b"nowhere"))
    answer = typed("delete", "--yes", f"{APP}:lost")
    assert (answer.code, answer.out) == (0, f"Untagged: {watching.host}/{APP}:lost\n")
    assert tags(watching.port, APP) == ["v1"]


def test_other_tag_whose_manifest_is_missing_is_a_note(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    watching.registry.storage.tag(APP, "lost", Digest.of(b"nowhere"))
    answer = typed("delete", "--yes", f"{APP}:v1")
    assert f"Deleted: {watching.host}/{APP}@{made.digest}" in answer.out
    assert "Could not be read: lost: it is listed, but its manifest is missing" in answer.err


def test_unreadable_tag_typed_with_a_digest_is_a_conflict(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    digest = push_odd(watching, APP, "odd", "403 Forbidden")
    answer = typed("delete", "--yes", f"{APP}:odd@{digest}")
    assert answer.code == 1
    assert "is not known: nothing was removed" in answer.err
    assert sorted(tags(watching.port, APP) or ()) == ["odd", "v1"]


def test_referrer_of_an_odd_image_keeps_it(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    digest = push_odd(watching, APP, "odd", "unknown type")
    content = watching.registry.storage.open(Digest.parse(digest))
    assert content is not None
    make_artifact(watching.port, APP, PushedManifest(repository=APP, tag="odd", media_type=TYPES["unknown type"], raw=content.read()))
    assert typed("delete", "--yes", f"{APP}:odd").out == f"Untagged: {watching.host}/{APP}:odd\n"
    assert is_there(watching, digest)


# --- lists with rubbish ---

RUBBISH: list[object] = [None, 5, "", "v1", "a b", {"x": 1}, ["y"], "sha256:" + "0" * 64, "../../x", "t" * 129, True, 1.5]


def with_rubbish(watching: RecordingServer, entries: list[object]) -> None:
    body = json.dumps({"name": APP, "tags": entries, "repositories": entries}).encode()
    is_list = ("/tags/list", "/_catalog")
    watching.instead = lambda method, path: ("200 OK", [("Content-Type", "application/json")], body) if path.endswith(is_list) else None


@pytest.mark.parametrize("arguments", [(), ("-q",), ("--no-details",)])
def test_entries_that_are_no_tags_are_skipped_and_noted(
    typed: Typed, watching: RecordingServer, made: PushedManifest, arguments: tuple[str, ...]
) -> None:
    with_rubbish(watching, RUBBISH)
    watching.forget()
    answer = typed("list-tags", *arguments, APP)
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines() if line != "TAG"][-1:] == ["v1"]
    assert len(answer.out.splitlines()) == (1 if "-q" in arguments else 2)
    assert "skipped" in answer.err
    assert "null, 5, ''" in answer.err
    assert {path for _, path in watching.requests if "/manifests/" in path} <= {
        f"/v2/{APP}/manifests/{each}" for each in ("v1", made.digest)
    }
    document = typed("list-tags", "--json", APP).json
    assert [tag["name"] for tag in document["tags"]] == ["v1"]
    assert len(document["notes"]) == 1


def test_digest_in_the_list_keeps_no_image_alive(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    with_rubbish(watching, ["v1", made.digest])
    answer = typed("delete", "--dry-run", f"{APP}:v1")
    assert f"delete v1 with image {made.digest}" in answer.out
    assert "skipped" in answer.out
    assert typed("inspect", "--json", f"{APP}:v1").json["siblings"] == []


@pytest.mark.parametrize("name", ["v1+build", "-v1", "t" * 129, "größe"])
def test_name_of_another_grammar_may_keep_the_image_alive(typed: Typed, watching: RecordingServer, made: PushedManifest, name: str) -> None:
    with_rubbish(watching, ["v1", name])
    answer = typed("delete", "--dry-run", f"{APP}:v1")
    assert f"untag v1; image {made.digest} stays" in answer.out


def test_entries_that_are_no_repositories_are_skipped_and_noted(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    with_rubbish(watching, [APP, None, 3, "", "UPPER", "a//b", "../x", "x" * 256])
    for arguments in (("-q",), ()):
        answer = typed("catalog", *arguments)
        assert "skipped" in answer.err
        assert [line.split()[0] for line in answer.out.splitlines() if "REPOSITORY" not in line] == [APP]


def test_check_notes_what_is_no_tag(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    with_rubbish(watching, [APP])
    body = b'{"name": "x", "tags": ["v1", null, 7]}'
    before = watching.instead
    watching.instead = lambda method, path: ("200 OK", [], body) if path.endswith("/tags/list") else before(method, path)
    answer = typed("check", APP)
    assert answer.code == 0
    assert "skipped" in answer.err
