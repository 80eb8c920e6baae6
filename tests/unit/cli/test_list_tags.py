from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry_tool.base import units
from registry_tool.oci.digest import Digest
from tests.support.cli_runner import Terminal, Typed
from tests.support.content import layer, make_image, make_index, put_manifest
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import one_connection

APP = "john/app"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the registry be one that is not on this machine."""
    monkeypatch.setattr("registry_tool.base.address.is_loopback", lambda host: False)


def test_table_and_document_have_the_same_values(typed: Typed, watching: RecordingServer) -> None:
    amd = make_image(watching.port, APP, "v1")
    put_manifest(watching.port, APP, "latest", amd.raw, amd.media_type)
    arm = make_image(watching.port, APP, "arm", platform="linux/arm64/v8", created=None)
    make_index(watching.port, APP, "multi", amd, arm)
    answer = typed("list-tags", APP)
    assert (answer.code, answer.err) == (0, "")
    head, *lines = (re.split(" {3,}", line) for line in answer.out.splitlines())
    assert head == ["TAG", "DIGEST", "CREATED", "SIZE", "PLATFORMS", "SAME DIGEST AS", "TYPE"]
    cells = {line[0]: line[1:] for line in lines}
    assert list(cells) == ["arm", "latest", "multi", "v1"]
    assert cells["arm"] == [Digest.parse(arm.digest).short, "-", f"{arm.size}B", "linux/arm64/v8", "-", "image"]
    assert cells["v1"][4:] == ["latest", "image"]
    assert cells["multi"][3:] == ["linux/amd64,linux/arm64/v8", "-", "index"]
    document = typed("list-tags", "--json", APP).json
    assert document["repository"] == f"{watching.host}/{APP}"
    assert document["errors"] == []
    # "latest" is "v1" once more, and the index has both images again.
    sizes = (document["size"], document["unique_size"])
    assert sizes == (2 * (amd.size + arm.size) + amd.size, amd.size + arm.size)
    assert typed("list-tags", "--json", "--limit", "1", APP).json["size"] is None
    with Terminal(["list-tags", APP]) as terminal:
        assert terminal.end() == 0
    last = terminal.text.splitlines()[-1]
    assert last == f"4 tags: {units.size(sizes[0])} in total, {units.size(sizes[1])} with shared layers counted once"
    result = {tag["name"]: tag for tag in document["tags"]}
    assert result["v1"] == {
        "name": "v1",
        "digest": amd.digest,
        "media_type": amd.media_type,
        "created": "2024-05-06T07:08:09Z",
        "size": amd.size,
        "platforms": ["linux/amd64"],
        "siblings": ["latest"],
        "type": "image",
    }
    assert result["arm"]["created"] is None


def test_quiet_prints_names_only(typed: Typed, watching: RecordingServer) -> None:
    for tag in ("b", "a"):
        make_image(watching.port, APP, tag)
    for arguments in (("-q",), ("-q", "--no-details"), ("-q", "--filter", "*", "--sort", "semver")):
        watching.forget()
        assert typed("list-tags", *arguments, APP).out == "a\nb\n"
        assert watching.requests == [("GET", f"/v2/{APP}/tags/list")]
    assert typed("list-tags", "-q", "--details", APP).out == "a\nb\n"
    assert typed("list-tags", "--no-details", APP).out == "TAG\na\nb\n"


def test_digests_option_prints_full_digests(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, APP, "v1")
    assert made.digest not in typed("list-tags", APP).out
    assert made.digest in typed("list-tags", "--digests", APP).out


def test_second_listing_needs_one_request_for_each_tag(typed: Typed, watching: RecordingServer) -> None:
    for number in range(5):
        make_image(watching.port, APP, f"v{number}")
    cold = typed("list-tags", APP)
    watching.forget()
    assert typed("list-tags", APP) == cold
    assert watching.counts == {"GET": 1, "HEAD": 5}


def test_remote_registry_is_asked_for_digests_only(typed: Typed, watching: RecordingServer, elsewhere: None) -> None:
    for number in range(5):
        make_image(watching.port, APP, f"v{number}")
    watching.forget()
    cells = typed("list-tags", "--plain-http", APP).out.splitlines()[1].split()
    assert cells[0] == "v0"
    assert cells[2:] == ["-", "-", "-", "-", "-"]
    assert watching.counts == {"GET": 1, "HEAD": 5}
    watching.forget()
    typed("list-tags", "--plain-http", "--limit", "2", APP)
    assert watching.counts == {"GET": 1, "HEAD": 2}
    watching.forget()
    assert "linux/amd64" in typed("list-tags", "--plain-http", "--details", "--limit", "2", APP).out
    assert watching.counts == {"GET": 5, "HEAD": 2}
    answer = typed("list-tags", "--plain-http", "--sort", "created", APP)
    assert answer.code == 2
    assert "--details" in answer.err


def test_table_of_a_remote_registry_says_which_option_shows_the_rest(typed: Typed, watching: RecordingServer, elsewhere: None) -> None:
    make_image(watching.port, APP, "v1")
    shortened = [["list-tags", APP], ["catalog"]]
    for command in shortened:
        answer = typed(command[0], "--plain-http", *command[1:])
        assert (answer.code, answer.err.count("Use --details for size")) == (0, 1)
        for option in ("--details", "--no-details", "--json", "-q"):
            assert "Use --details" not in typed(command[0], "--plain-http", option, *command[1:]).err


def test_repository_that_does_not_exist_is_named_with_its_registry(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, APP, "v1")
    for command, name in (
        ("list-tags", "john/nothing"),
        ("inspect", "john/nothing"),
        ("delete", "john/nothing:*"),
        ("check", "john/nothing"),
    ):
        answer = typed(command, name)
        assert answer.code == 1
        assert f"there is no repository john/nothing at {watching.host}\n" in answer.err
        assert f"hint: See: regctl catalog {watching.host}" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sort", "age"),
        ("--sort", "size", "--no-details"),
        ("--platform", "linux/amd64", "--no-details"),
        ("--platform", "amd64"),
        ("--semver", "newest"),
        ("--limit", "0"),
        ("--limit", "many"),
    ],
)
def test_contradicting_options_are_reported_before_any_request(typed: Typed, watching: RecordingServer, arguments: tuple[str, ...]) -> None:
    answer = typed("list-tags", *arguments, APP)
    assert answer.code == 2
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]
    assert watching.requests == []


def test_name_with_a_tag_is_exit_2(typed: Typed, watching: RecordingServer) -> None:
    answer = typed("list-tags", f"{APP}:v1")
    assert answer.code == 2
    assert f"regctl list-tags {watching.host}/{APP}" in answer.err


def test_damaged_tag_is_a_row_and_exit_1(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, APP, "bad")
    make_image(watching.port, APP, "good")
    del watching.registry.storage.blobs[Digest.parse(made.digest)]  # type: ignore[attr-defined]
    answer = typed("list-tags", APP)
    assert answer.code == 1
    bad, good = answer.out.splitlines()[1:]
    assert bad.startswith("bad ")
    assert "damaged: the tag is listed, but its manifest is missing" in bad
    assert good.endswith("image")
    [error] = typed("list-tags", "--json", APP).json["errors"]
    assert (error["tag"], error["code"]) == ("bad", "not-found")
    assert typed("list-tags", "-q", APP).out == "bad\ngood\n"


def test_too_many_requests_prints_the_rows_so_far_and_the_error(typed: Typed, watching: RecordingServer) -> None:
    with one_connection(watching.port):
        for number in range(30):
            make_image(watching.port, APP, f"v{number:02}")
    watching.forget()
    refuse = [("Retry-After", "100")]
    watching.instead = lambda method, path: ("429 Enough", refuse, b"") if len(watching.requests) > 40 else None
    answer = typed("list-tags", APP)
    assert answer.code == 1
    assert len(answer.out.splitlines()) == 31
    assert "linux/amd64" in answer.out
    assert "of 30 tags could be read" in answer.err
    watching.forget()
    document = typed("list-tags", "--json", APP).json
    assert document["errors"][-1]["tag"] is None
    assert document["errors"][-1]["code"] == "too-many-requests"


def test_tag_deleted_meanwhile_is_a_note(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, APP, "stays")
    make_image(watching.port, APP, "goes")

    def vanish(method: str, path: str) -> None:
        if path.endswith("/goes"):
            watching.registry.storage.untag(APP, "goes")

    watching.instead = vanish
    answer = typed("list-tags", APP)
    assert answer.code == 0
    assert "deleted meanwhile: goes" in answer.err
    assert "goes" not in answer.out


NASTY = ("x\x1b]0;title\x07y", "a\x9b2Jb", "line\nbreak", "right\u202eleft", "half\ud800")


@pytest.mark.parametrize("arguments", [(), ("-q",), ("--json",), ("--no-details",), ("-q", "--no-details")])
def test_tag_names_have_no_control_characters(typed: Typed, watching: RecordingServer, arguments: tuple[str, ...]) -> None:
    make_image(watching.port, APP, "v1")
    body = json.dumps({"name": APP, "tags": [*NASTY, "v1"]}).encode()
    watching.instead = lambda method, path: ("200 OK", [("Content-Type", "application/json")], body) if path.endswith("/list") else None
    answer = typed("list-tags", *arguments, APP)
    assert "Traceback" not in answer.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", answer.out + answer.err)
    assert answer.code == 0
    if arguments == ("--json",):
        assert [tag["name"] for tag in answer.json["tags"]] == ["v1"]
        assert len(answer.json["notes"]) == 1
    else:
        assert len(answer.out.splitlines()) == (1 if "-q" in arguments else 2)
        assert "skipped" in answer.err


def test_progress_bar_before_the_table_on_a_terminal(watching: RecordingServer, own_folders: Path) -> None:
    made = make_image(watching.port, APP, "v")
    with one_connection(watching.port):
        for number in range(200):
            put_manifest(watching.port, APP, f"v{number}", made.raw, made.media_type)
    with Terminal(["list-tags", "--limit", "3", APP]) as terminal:
        assert terminal.end() == 0
    assert "reading the tags" in terminal.text
    last = terminal.text.rindex("reading the tags")
    assert terminal.text.index("TAG   ") > last
    assert re.search(r"v,v0,v1,\+197|v0,v1,v2|\+19[0-9]", terminal.text)


def test_no_progress_bar_in_a_pipe(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, APP, "v", layer(b"x"))
    with one_connection(watching.port):
        for number in range(200):
            put_manifest(watching.port, APP, f"v{number}", made.raw, made.media_type)
    answer = typed("list-tags", APP)
    assert answer.err == ""
    assert len(answer.out.splitlines()) == 202


def test_list_of_a_registry_on_this_machine_imports_only_what_it_needs(watching: RecordingServer) -> None:
    make_image(watching.port, APP, "v1")
    code = (
        f"import sys; from registry_tool.cli.app import main; code = main({['list-tags', f'{watching.host}/{APP}']}); "
        "heavy = {'docker', 'requests', 'rich', 'difflib', 'registry_tool.engine', 'registry_tool.oci.versions'} & set(sys.modules); "
        "heavy |= {'registry_tool.auth.credentials', 'registry_tool.auth.host_settings', 'registry_tool.transport.authentication', "
        "'registry_tool.content.listing.catalog'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "v1" in done.stdout


def test_quiet_opens_no_cache(typed: Typed, watching: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(watching.port, APP, "v1")
    monkeypatch.delattr("registry_tool.targets.cache.ContentCache")
    assert typed("list-tags", "-q", f"{watching.host}/{APP}").out == "v1\n"
