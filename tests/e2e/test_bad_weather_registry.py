"""Bad input and bad weather from registries, as a person meets them: whole commands before a registry that misbehaves.

A failure is one line that says what happened and one that says what to do, or a document with ``--json``; what was not
hit is told beside it. What there is of such weather, and where each room is held to it as well:

============================================  ===========================================================================================
a page of HTML in an answer's place           test_web_page_is_not_a_registry, test_response_that_is_no_manifest_is_an_invalid_manifest
an empty body                                 test_response_that_is_no_manifest_is_an_invalid_manifest, test_json_of_no_json_is_an_error
a wrong ``Content-Type``                      test_wrong_content_type_is_an_invalid_manifest, test_parse_differing_media_types_are_an_error
a wrong ``Docker-Content-Digest``             test_wrong_digest_header_is_a_mismatch, test_wrong_headers_of_a_manifest_are_found
a manifest of 100 MB                          test_manifest_of_100_megabytes_is_not_read
10,000 indexes inside each other              test_ten_thousand_nested_indexes_are_too_deep, test_nested_indexes_end_at_the_limit
10,000 images in an index                     test_index_of_ten_thousand_images_is_not_read
a circle of manifests                         test_cycle_of_referrers_ends, test_circular_referrers_end
a config that is not JSON                     test_invalid_config_is_found, test_invalid_config_is_an_error_and_the_size_is_known
dates before 1970, dates without a zone       test_parse_time_is_in_utc, test_parse_time_of_placeholders_is_none, test_invalid_date_is_none
tags that are ``null``                        test_repository_without_tags_lists_none
a ``Link`` to another host                    test_link_to_another_host_stays_on_the_registry
a ``Link`` in a circle, or without end        test_loop_of_links_ends_with_a_warning, test_endless_links_are_an_error
redirects in a circle                         test_endless_redirects_are_an_error
redirects to ``file:`` and away from TLS      test_redirect_from_tls_to_http_is_not_followed
a plain HTTP realm, named over TLS            test_password_is_not_sent_to_a_realm_without_tls
bodies and headers without end                test_endless_body_is_refused, test_endless_headers_are_refused
an endless blob                               test_endless_blob_ends
slow bytes                                    test_response_below_the_least_rate_is_too_slow, test_body_has_a_time_out_at_any_rate
what is packed in ``Content-Encoding``        test_compressed_response_is_refused_unread
bombs of gzip and zstd in layers              test_layer_that_unpacks_to_a_thousand_times_its_size_is_not_held_in_memory
TLS with a wrong name                         test_certificate_of_another_name_is_not_trusted
names and words that steer a terminal         test_server_message_has_no_control_characters, test_tag_names_have_no_control_characters
a cache that is damaged                       test_damaged_file_is_recreated_with_one_note,
                                              test_damaged_page_is_noticed_while_reading
a cache that is read-only or full             test_full_disk_and_read_only_file_cost_one_note, test_full_database_can_still_be_read
a cache of another version                    test_file_of_another_version_is_left_alone
a cache that ten processes use                test_ten_processes_share_one_file
a tag that moves while the table is made      test_tag_moved_concurrently_is_shown_at_its_new_digest,
                                              test_tag_deleted_meanwhile_is_a_note
deletion off, read-only                       test_registry_without_deletion_is_not_written_to, test_registry_without_deletion_is_an_error
deletion forbidden                            test_forbidden_deletion_writes_nothing
============================================  ===========================================================================================
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base.dirs import app_dirs
from registry_tool.oci.digest import Digest
from registry_tool.transport import Transport, pool
from registry_tool.transport import transport as transport_module
from tests.support import canary
from tests.support.cli_runner import Answer, Typed
from tests.support.content import PushedManifest, layer, make_image, put_manifest
from tests.support.damage import image_of
from tests.support.fake_server import JSON, ReceivedRequest, Reply, fake_server, reply, self_signed, tcp_server
from tests.support.paths import ROOT
from tests.support.recording_server import RecordingServer
from tests.support.recording_server import Reply as Other
from tests.unit.transport.test_stream import OK, dripping

APP = "john/app"
COMMANDS = (
    ("list-tags", APP),
    ("list-tags", "--no-details", APP),
    ("catalog",),
    ("inspect", f"{APP}:bad"),
    ("check",),
    ("check", "--deep", APP),
    ("delete", "--yes", f"{APP}:bad"),
)
STEERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def test_what_the_table_names_is_there() -> None:
    named = set(re.findall(r"test_\w+", __doc__ or ""))
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert named <= there
    assert len(named) > 40


def failed(answer: Answer, codes: tuple[int, ...] = (1, 3)) -> str:
    """What was said of a failure: nothing of Python's, and what to do."""
    assert answer.code in codes, answer
    assert "Traceback" not in answer.err
    assert "this is a bug" not in answer.err
    assert not STEERS.search(answer.out + answer.err)
    return answer.out + answer.err


def in_json(typed: Typed, *words: str) -> list[dict[str, str]]:
    """The errors and findings of the same with ``--json``."""
    answer = typed(words[0], "--json", *words[1:])
    failed(answer)
    document = answer.json
    result = [*([document["error"]] if document.get("error") else []), *document.get("errors", []), *document.get("findings", [])]
    assert result, document
    return result


# --- one image of several ---


def said(status: str, media_type: str, body: bytes, **headers: str) -> Other:
    return status, [("Content-Type", media_type), *((name.replace("_", "-"), value) for name, value in headers.items())], body


@functools.cache
def gzip_bomb() -> bytes:
    """64 MiB in a few kB."""
    return gzip.compress(bytes(64 << 20), 1)


IMAGE = "application/vnd.oci.image.manifest.v1+json"
WEATHER: dict[str, Callable[[PushedManifest], Other]] = {
    "HTML": lambda made: said("200 OK", "text/html", b"<!DOCTYPE html><html>It works!</html>"),
    "an empty body": lambda made: said("200 OK", IMAGE, b""),
    "a wrong Content-Type": lambda made: said("200 OK", "application/vnd.oci.image.index.v1+json", made.raw),
    "no Content-Type of a manifest": lambda made: said("200 OK", "application/pdf", made.raw),
    "a wrong digest": lambda made: said("200 OK", IMAGE, made.raw, Docker_Content_Digest=f"sha256:{'0' * 64}"),
    "a manifest of 100 MB": lambda made: said("200 OK", IMAGE, made.raw[:-1] + b" " * (100 << 20) + b"}"),
    "a gzip bomb": lambda made: said("200 OK", IMAGE, gzip_bomb(), Content_Encoding="gzip"),
    "a redirect to itself": lambda made: said("307 Go", IMAGE, b"", Location="bad"),
    "a redirect to a file": lambda made: said("307 Go", IMAGE, b"", Location="file:///etc/passwd"),
    "an error of the server": lambda made: said("500 Oh", JSON, b'{"errors": [{"code": "UNKNOWN", "message": "\x1b[2J disk\x07"}]}'),
    "it is forbidden": lambda made: said("403 No", JSON, b'{"errors": [{"code": "DENIED", "message": "not for you"}]}'),
}


@pytest.fixture(params=WEATHER)
def bad(request: pytest.FixtureRequest, watching: RecordingServer) -> PushedManifest:
    """One of three images whose manifest is not available as it should."""
    for tag in ("good", "whole"):
        make_image(watching.port, APP, tag, layer(tag.encode()))
    made = make_image(watching.port, APP, "bad", layer(b"bad"))
    answer = WEATHER[request.param](made)
    hit = ("/manifests/bad", f"/manifests/{made.digest}")
    watching.instead = lambda method, path: answer if path.endswith(hit) else None
    return made


def test_one_image_that_cannot_be_read_is_told_beside_the_others(
    request: pytest.FixtureRequest, typed: Typed, watching: RecordingServer, bad: PushedManifest
) -> None:
    answer = typed("list-tags", APP)
    failed(answer)
    if request.node.callspec.params["bad"] == "it is forbidden":
        return  # who may not read one may read none: that ends it
    rows = {line.split()[0]: line for line in answer.out.splitlines()[1:]}
    assert sorted(rows) == ["bad", "good", "whole"]
    assert all(rows[tag].endswith("image") for tag in ("good", "whole"))
    [error] = in_json(typed, "list-tags", APP)
    assert error["tag"] == "bad"
    assert error["code"]


def test_one_image_that_cannot_be_read_is_a_finding_and_the_others_are_whole(
    typed: Typed, watching: RecordingServer, bad: PushedManifest
) -> None:
    failed(typed("check"))
    result = in_json(typed, "check", "--deep")
    assert {tag for finding in result for tag in finding["tags"]} == {"bad"}
    assert len(result) == 1


def test_an_image_that_cannot_be_read_is_not_inspected(typed: Typed, watching: RecordingServer, bad: PushedManifest) -> None:
    words = failed(typed("inspect", f"{APP}:bad"))
    assert "hint: " in words
    in_json(typed, "inspect", f"{APP}:bad")


# --- all that it answers ---


def whole_registry(body: bytes, content_type: str = JSON, **more: str) -> Callable[[ReceivedRequest], Reply]:
    headers = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in more.items()}}
    return lambda received: Reply(body=body, headers=headers)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (whole_registry(b"<html>", "text/html"), (3,)),
        (whole_registry(b""), (1, 3)),
        (whole_registry(b"null"), (1, 3)),
        (whole_registry(b"[" * 99_999), (1,)),
        (whole_registry(b'{"tags": "all", "repositories": 7, "config": []}'), (1,)),
        (whole_registry(bytes(40 << 20)), (1,)),
        (lambda received: Reply(body=gzip_bomb(), headers={"Content-Type": JSON, "Content-Encoding": "gzip"}), (1,)),
        (lambda received: Reply(status=307, headers={"Location": received.path}), (1,)),
        (lambda received: Reply(status=307, headers={"Location": "file:///etc/passwd"}), (1,)),
        (lambda received: Reply(status=307, headers={"Location": "http://[::1"}), (1,)),
        (lambda received: Reply(hang_up=True), (3,)),
        (lambda received: Reply(body=b'{"tags": [', missing=100), (3,)),
        (lambda received: reply({"errors": [{"code": "\x1b[2J", "message": "\x07\u202e\nregctl: all is well"}]}, 500), (1, 3)),
        (lambda received: reply({"errors": "all"}, 418), (1, 3)),
    ],
    ids=["HTML", "empty", "null", "nested", "odd", "40 MB", "bomb", "circle", "file:", "no URL", "hangs up", "cut short", "500", "418"],
)
def test_whatever_it_answers_the_command_ends_with_a_word(
    typed: Typed,
    command: tuple[str, ...],
    answer: Callable[[ReceivedRequest], Reply],
    codes: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_server(answer) as server:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", server.host)
        words = failed(typed(*command), codes)
        if "1 finding" not in words:
            assert re.search(r"^regctl: ", words, re.MULTILINE), words
            assert re.search(r"^hint: ", words, re.MULTILINE), words
        for error in in_json(typed, *command):
            assert error["hint"]
            assert error.get("message", error.get("detail"))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than a moment."""
    assert Transport.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Transport.__init__.__kwdefaults__, "timeouts", (1.0, 0.3))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("head", "piece", "pause"),
    [
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x", 0.05),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * (1 << 16) + b"\r\n", 0.0),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 10_000 + b"\r\n", 0.0),
        (b"", b"", 1.0),
    ],
    ids=["slow bytes", "a body without end", "headers without end", "silence"],
)
def test_what_has_no_end_is_not_waited_for(
    typed: Typed, hurried: None, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], head: bytes, piece: bytes, pause: float
) -> None:
    with tcp_server(dripping(head, piece, pause)) as host:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", host)
        words = failed(typed(*command))
        assert "1 finding" in words or re.search(r"^hint: ", words, re.MULTILINE), words


# --- where it leads ---


@pytest.mark.parametrize(
    "link", ["/v2/john/app/tags/list?n=1", "http://OTHER/v2/john/app/tags/list?n=1", "file:///etc/passwd", "//OTHER/x", "?last=2"]
)
def test_a_list_whose_next_page_leads_elsewhere_or_round_in_circles(typed: Typed, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"/v2/john/app/tags/list": ["a", "b"], "/v2/john/app/tags/list?n=1": ["c"], "/v2/john/app/tags/list?last=2": ["c"]}

    def answer(received: ReceivedRequest) -> Reply:
        tags = pages.get(received.path)
        return reply({"name": APP, "tags": tags}, Link=f'<{link.replace("OTHER", other.host)}>; rel="next"') if tags else reply({}, 404)

    with fake_server(lambda received: Reply()) as other, fake_server(answer) as server:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", server.host)
        result = typed("list-tags", "-q", "--no-details", APP)
        assert other.requests == [], "nobody else is asked"
    if result.code:
        assert "hint: " in failed(result)
    else:
        assert result.out.split() in (["a", "b"], ["a", "b", "c"])


def test_a_repository_whose_tags_are_null_is_empty(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, APP, "bad")
    watching.registry.storage.untag(APP, "bad")
    assert typed("list-tags", APP).code == 0
    assert typed("list-tags", "--json", APP).json["tags"] == []
    assert typed("check").code == 0
    assert APP in typed("catalog").out
    for command in (("inspect", f"{APP}:bad"), ("delete", "--yes", f"{APP}:bad")):
        assert "hint: " in failed(typed(*command), (1,))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_password_goes_to_no_realm_that_a_registry_names_in_the_open(
    typed: Typed, tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_server(lambda received: reply({"token": "t"})) as realm:
        challenge = f'Bearer realm="http://realm.invalid:{realm.port}/token",service="r"'
        guarded = fake_server(lambda received: reply({}, 401, www_authenticate=challenge), certificate=self_signed(tmp_path))
        with guarded as server:
            monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", server.host)
            monkeypatch.setenv("http_proxy", f"http://{realm.host}")
            credentials.store(server.host, Credential("mary", canary.password()))
            assert "not TLS: refused" in failed(typed(*command), (1,))
        assert realm.requests == []


def test_a_certificate_of_another_name_is_not_trusted(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for module in (transport_module, pool):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with fake_server(lambda received: reply({"tags": ["a"]}), address="127.0.0.2", certificate=certificate) as server:
        monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", server.host)
        for command in COMMANDS:
            words = failed(typed(*command), (3,))
            assert "certificate" in words
            assert "hint: " in words
        assert server.requests == []


# --- what it has ---


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("1969-07-20T20:17:40Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2024-05-06T07:08:09", None),
        ("2024-05-06", None),
        ("yesterday", None),
        ("9999-99-99T99:99:99Z", None),
        ("2024-05-06T07:08:09+23:59", "2024-05-05T07:09:09Z"),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_odd_dates(typed: Typed, watching: RecordingServer, created: str, shown: str | None) -> None:
    make_image(watching.port, APP, "bad", created=created)
    answer = typed("list-tags", "--json", APP)
    assert answer.code in (0, 1), answer
    assert [tag["created"] for tag in answer.json["tags"]] == [shown]
    for command in COMMANDS[:-1]:
        result = typed(*command)
        assert "Traceback" not in result.err
        assert "this is a bug" not in result.err


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b"\xff", b"[" * 99_999])
def test_a_config_that_is_none_is_told_beside_the_others(typed: Typed, watching: RecordingServer, content: bytes) -> None:
    make_image(watching.port, APP, "good")
    image_of(watching.port, APP, "bad", content, {}, content=layer(b"x"))
    answer = typed("list-tags", APP)
    failed(answer, (1,))
    assert sorted(line.split()[0] for line in answer.out.splitlines()[1:]) == ["bad", "good"]
    assert {tag for finding in in_json(typed, "check") for tag in finding["tags"]} == {"bad"}
    failed(typed("inspect", f"{APP}:bad"), (0, 1))


NASTY = "x\x1b]0;title\x07\x9b2J\u202e"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_words_of_a_registry_steer_a_terminal(typed: Typed, watching: RecordingServer, command: tuple[str, ...]) -> None:
    """On a pipe, where nobody else would take them out."""
    made = make_image(watching.port, APP, "bad", layer(b"x"), labels={NASTY: NASTY})
    put_manifest(watching.port, APP, "also", made.raw, made.media_type)
    names = {"/v2/_catalog": {"repositories": [APP, NASTY]}, f"/v2/{APP}/tags/list": {"name": NASTY, "tags": ["bad", NASTY]}}

    def instead(method: str, path: str) -> Other | None:
        if path in names:
            return said("200 OK", JSON, json.dumps(names[path]).encode())
        refused = said("500 Oh", JSON, json.dumps({"errors": [{"code": NASTY, "message": NASTY}]}).encode())
        return refused if path.startswith(f"/v2/{APP}/blobs") or method == "DELETE" else None

    watching.instead = instead
    answer = typed(*command)
    assert "Traceback" not in answer.err
    assert not STEERS.search(answer.out + answer.err), answer


# --- what we keep of it ---


def damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)


def another_version(path: Path) -> None:
    line = sqlite3.connect(path)
    line.execute("PRAGMA user_version = 99")
    line.close()


def no_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [damaged, another_version, no_file])
def test_a_cache_that_cannot_be_used_costs_a_word_and_nothing_else(
    typed: Typed, watching: RecordingServer, spoil: Callable[[Path], None]
) -> None:
    make_image(watching.port, APP, "v1")
    table = typed("list-tags", APP).out
    [cache] = app_dirs().cache.glob("*.sqlite")
    for left in cache.parent.glob("*.sqlite-*"):
        left.unlink()
    spoil(cache)
    answer = typed("list-tags", APP)
    assert (answer.code, answer.out) == (0, table)
    assert answer.err.count(str(cache)) == 1


TEN_TABLES = """
import os, sys

import registry_tool.cli.commands.list_tags, registry_tool.targets.registry, rich.table
from registry_tool.cli.app import main
from registry_tool.targets import cache

cache._BUSY = 600.0
for number in range(10):
    if os.fork() == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{sys.argv[1]}/{name}{number}", os.O_WRONLY | os.O_CREAT), stream)
        code = main(sys.argv[2:])
        sys.stdout.flush()
        os._exit(code)
print(*(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(10)))
"""
"""Ten processes that begin at the same moment, as none of them has to import anything. None gives up while the others write."""


def test_ten_tables_at_once_share_a_cache(watching: RecordingServer, tmp_path: Path) -> None:
    for number in range(20):
        make_image(watching.port, APP, f"v{number}", layer(str(number).encode()))
    command = [sys.executable, "-c", TEN_TABLES, str(tmp_path), "list-tags", APP]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.split() == ["0"] * 10
    assert {path.read_text() for path in tmp_path.glob("err*")} == {""}
    [table] = {path.read_text() for path in tmp_path.glob("out*")}
    assert len(table.splitlines()) == 21


# --- while it is looked at, and written to ---


def test_a_tag_that_moves_while_the_table_is_made_is_shown_where_it_was_or_is(typed: Typed, watching: RecordingServer) -> None:
    old, new = (make_image(watching.port, APP, tag, layer(tag.encode())) for tag in ("moves", "new"))
    make_image(watching.port, APP, "stays")

    def move(method: str, path: str) -> None:
        if path.endswith("/manifests/moves"):
            watching.instead = lambda method, path: None
            watching.registry.storage.tag(APP, "moves", Digest.parse(new.digest))

    watching.instead = move
    answer = typed("list-tags", "--json", APP)
    assert answer.code == 0, answer
    rows = {tag["name"]: tag["digest"] for tag in answer.json["tags"]}
    assert set(rows) == {"moves", "new", "stays"}
    assert rows["moves"] in (old.digest, new.digest)


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        ("405 No", "UNSUPPORTED", "deletion is turned off in this registry"),
        ("403 No", "DENIED", "regctl login"),
        ("401 Who", "UNAUTHORIZED", ""),
    ],
)
def test_where_nothing_can_be_deleted_nothing_is_written(
    typed: Typed, watching: RecordingServer, status: str, code: str, word: str
) -> None:
    made = make_image(watching.port, APP, "bad")
    put_manifest(watching.port, APP, "sibling", made.raw, made.media_type)
    refusal = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    watching.instead = lambda method, path: said(status, JSON, refusal) if method == "DELETE" else None
    watching.forget()
    words = failed(typed("delete", "--yes", f"{APP}:bad"), (1,))
    assert word in words
    assert "hint: " in words
    assert {"PUT", "POST", "PATCH"} & set(watching.counts) == set()
    assert sorted(watching.registry.storage.tags(APP) or ()) == ["bad", "sibling"]
