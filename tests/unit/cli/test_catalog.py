from __future__ import annotations

import re

from registry_tool.base import units
from registry_tool.oci.digest import Digest
from tests.support.cli_runner import Terminal, Typed
from tests.support.content import layer, make_blob, make_image
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import one_connection


def test_catalog_lists_tags_size_and_last_change(typed: Typed, watching: RecordingServer) -> None:
    shared = layer(b"shared")
    first = make_image(watching.port, "john/app", "v1", shared, layer(b"1"), created="2024-01-01T00:00:00Z")
    second = make_image(watching.port, "john/app", "v2", shared, layer(b"2"), created="2024-01-02T00:00:00Z")
    make_image(watching.port, "mary/app", "v1", created=None)
    make_blob(watching.port, "bare", b"{}")
    make_image(watching.port, "emptied", "v1")
    watching.registry.storage.untag("emptied", "v1")
    document = typed("catalog", "--json").json
    assert document["registry"] == watching.host
    assert document["errors"] == []
    assert [each["name"] for each in document["repositories"]] == ["bare", "emptied", "john/app", "mary/app"]
    assert document["repositories"][2] == {
        "name": "john/app",
        "tags": 2,
        "size": first.size + second.size - len(shared),
        "last_change": "2024-01-02T00:00:00Z",
    }
    assert [each["tags"] for each in document["repositories"]] == [0, 0, 2, 1]
    answer = typed("catalog")
    assert (answer.code, answer.err) == (0, "")
    assert [re.split(" {3,}", line)[:2] for line in answer.out.splitlines()] == [
        ["REPOSITORY", "TAGS"],
        ["bare", "0"],
        ["emptied", "0"],
        ["john/app", "2"],
        ["mary/app", "1"],
    ]
    assert typed("catalog", "-q").out.split() == ["bare", "emptied", "john/app", "mary/app"]


def test_number_of_requests_of_each_option(typed: Typed, watching: RecordingServer) -> None:
    for number in range(3):
        make_image(watching.port, f"app{number}", "v1")
    watching.forget()
    typed("catalog", "-q")
    assert watching.counts == {"GET": 1}
    watching.forget()
    assert typed("catalog", "--no-details", watching.host).out.splitlines()[1].split() == ["app0", "1", "-", "-"]
    assert watching.counts == {"GET": 4}
    typed("catalog")
    watching.forget()
    typed("catalog")
    assert watching.counts == {"GET": 4, "HEAD": 3}


def test_list_that_may_be_incomplete_is_noted(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, "app", "v1")
    watching.headers = lambda method, path: [("Link", "</v2/elsewhere>")] if path.endswith(("/_catalog", "/tags/list")) else []
    for command, path in (("catalog", "/v2/_catalog"), ("list-tags", "/v2/app/tags/list")):
        answer = typed(command, "-q", *([] if command == "catalog" else ["app"]))
        assert (answer.code, len(answer.out.splitlines())) == (0, 1)
        assert answer.err.count(f"the list of {path} may be incomplete") == 1
        document = typed(command, "--json", *([] if command == "catalog" else ["app"])).json
        assert f"the list of {path} may be incomplete" in "".join(document["notes"])
    assert "may be incomplete" in typed("check").err


def test_registry_without_catalog_is_exit_1(typed: Typed, watching: RecordingServer) -> None:
    watching.instead = lambda method, path: ("405 Method Not Allowed", [], b"") if path == "/v2/_catalog" else None
    answer = typed("catalog")
    assert answer.code == 1
    assert f"{watching.host} has no catalog" in answer.err


def test_catalog_of_several_pages(typed: Typed, watching: RecordingServer) -> None:
    for number in range(1100):
        watching.registry.storage.link(f"app{number:04}", "layer", Digest.of(b""), Digest.of(b""))
    assert len(typed("catalog", "-q").out.split()) == 1100


def test_damaged_image_is_a_note_and_exit_1(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, "john/app", "bad")
    make_image(watching.port, "mary/app", "good")
    del watching.registry.storage.blobs[Digest.parse(made.digest)]  # type: ignore[attr-defined]
    answer = typed("catalog")
    assert answer.code == 1
    assert answer.err.startswith("john/app: ")
    assert len(answer.out.splitlines()) == 3


def test_registry_that_stops_responding_ends_the_listing(typed: Typed, watching: RecordingServer) -> None:
    with one_connection(watching.port):
        for number in range(20):
            make_image(watching.port, f"app{number:02}", "v1")
    watching.instead = lambda method, path: ("429 No", [("Retry-After", "99")], b"") if len(watching.requests) > 120 else None
    answer = typed("catalog")
    assert answer.code in (0, 1)
    watching.forget()
    watching.instead = lambda method, path: ("403 No", [], b"") if "catalog" not in path else None
    answer = typed("catalog", "--no-details")
    assert answer.code == 1
    assert "not all repositories could be read" in answer.err


def test_empty_repositories_are_dim_on_a_terminal(watching: RecordingServer) -> None:
    make_image(watching.port, "full", "v1")
    make_blob(watching.port, "void", b"{}")
    with Terminal(["catalog"]) as terminal:
        assert terminal.end() == 0
    assert re.search(r"\x1b\[2mvoid[^\n]*\x1b\[0m", terminal.text)
    assert not re.search(r"\x1b\[2mfull", terminal.text)


def test_total_of_several_repositories_is_below_the_table_on_a_terminal(typed: Typed, watching: RecordingServer) -> None:
    for name, tag in (("one", "v1"), ("two", "v1"), ("two", "v2")):
        make_image(watching.port, name, tag, layer(f"{name} {tag}".encode() * 500))
    total = sum(each["size"] for each in typed("catalog", "--json").json["repositories"])
    with Terminal(["catalog"]) as terminal:
        assert terminal.end() == 0
    assert f"2 repositories, 3 tags: {units.size(total)} in total" in terminal.text
    assert "in total" not in typed("catalog").out
