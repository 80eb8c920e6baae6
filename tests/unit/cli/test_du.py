from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.generate_schemas import USAGE, as_text, usage_schema
from registry_tool.base.errors import EngineNotFound
from registry_tool.cli.commands import du
from registry_tool.content.usage.account import Account
from registry_tool.engine import Container
from tests.e2e.test_docs_json import SECTIONS, as_told
from tests.support.cli_runner import Answer, Typed
from tests.support.content import layer, make_image, make_index
from tests.support.recording_server import RecordingServer
from tests.support.schema import faults
from tests.support.storage_model import StorageModel

IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture
def model() -> StorageModel:
    """A registry with something in each part but the protections."""
    model = StorageModel()

    def push(repository: str, *layers: bytes, tags: tuple[str, ...] = ()) -> None:
        config = b'{"os":"linux","architecture":"amd64"}'
        entries = [
            {"mediaType": kind, "digest": str(model.push_blob(repository, each)), "size": len(each)}
            for kind, each in ((CONFIG, config), *((LAYER, each) for each in layers))
        ]
        document = {"schemaVersion": 2, "mediaType": IMAGE, "config": entries[0], "layers": entries[1:]}
        model.push_manifest(repository, json.dumps(document).encode(), *tags)

    push("app", b"s" * 5000, b"1" * 100, tags=("1", "latest"))
    push("app", b"s" * 5000, b"2" * 3000, tags=("2",))
    push("base", b"s" * 5000, tags=("1",))
    push("app", b"u" * 700)
    model.push_blob("app", b"unnamed" * 10)
    model.push_blob("left", b"s" * 5000)
    model.begin_upload("app", "17-a", b"half")
    model.files |= {"registry-tool/settings.json": b"{}", "registry-tool/undo/1/index.json": b"{ }", "lost\n\udcff": b"?"}
    return model


@pytest.fixture
def listed(typed: Typed, model: StorageModel, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """``du`` of a local registry whose storage is ``model``."""
    container = Container(id="1" * 64, name="registry-tool-default", image="registry:2", image_id="sha256:1", state="running")
    monkeypatch.setattr(du, "_container", lambda session, host, name: container)
    monkeypatch.setattr(du, "_read_storage", lambda session, container, platforms: (Account(*model.read()), "volume"))
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "localhost:5000")
    return typed


def cells(answer: Answer, head: str) -> list[list[str]]:
    """The rows of the table that begins with ``head``."""
    lines = answer.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    end = next((number for number in range(start, len(lines)) if not lines[number]), len(lines))
    return [re.split(r" {3,}", line.rstrip()) for line in lines[start + 1 : end]]


def test_parts_of_the_table_and_of_json_add_up(listed: Typed, model: StorageModel) -> None:
    answer = listed("du")
    assert answer.code == 0
    names = [row[0] for row in cells(answer, "PART")]
    assert names == [
        "images of one repository",
        "images of several repositories",
        "untagged manifests",
        "unreferenced blobs",
        "incomplete uploads",
        "links",
        "empty repositories",
        "undo data",
        "registry-tool/ without undo data",
        "other files",
        "total",
    ]
    assert [row[:2] for row in cells(answer, "REPOSITORY")] == [["app", "3"], ["base", "1"], ["left", "0"]]
    assert [row[:2] for row in cells(answer, "INCOMPLETE")] == [["app", "17-a"]]
    assert "not the registry's: lost" in answer.err
    document = listed("du", "--json").json
    assert sum(part["bytes"] for part in document["parts"]) == document["total"] == sum(map(len, model.files.values()))
    assert sum(part["files"] for part in document["parts"]) == document["files"] == len(model.files)
    assert [each for each in as_told(document, SECTIONS["du"][1]) if not each.startswith(("damaged[]", "errors[]"))] == []
    schema = usage_schema()
    assert list(faults(document, schema, schema)) == []


def test_damaged_manifest_is_named(listed: Typed, model: StorageModel) -> None:
    digest = model.push_manifest("app", b"no manifest", "broken")
    answer = listed("du")
    assert (answer.code, f"app@{digest}: the manifest cannot be read: " in answer.err) == (0, True)
    document = listed("du", "--json").json
    [damaged] = document["damaged"]
    assert [each for each in as_told(document, SECTIONS["du"][1]) if each.startswith("damaged[]")] == []
    assert (damaged["repository"], damaged["digest"]) == ("app", str(digest))


def test_tag_is_unique_only_without_what_others_need(listed: Typed) -> None:
    rows = {row["name"]: row for row in listed("du", "--json", "--by", "tag").json["rows"]}
    assert list(rows) == ["app:2", "app:1", "app:latest", "base:1"]
    assert rows["app:1"]["unique"] == rows["app:latest"]["unique"] == 0, "they are of one digest"
    assert rows["app:2"]["unique"] == rows["app:2"]["size"] - 5000 - 37


@pytest.mark.parametrize("by", ["repository", "tag", "image", "layer", "platform"])
def test_top_leaves_out_the_smaller_ones_and_says_so(listed: Typed, by: str) -> None:
    whole = listed("du", "--json", "--by", by).json
    assert whole["count"] == len(whole["rows"]) > 0
    answer = listed("du", "--by", by, "--top", "1")
    assert (len(cells(answer, by.upper())), "PART" in answer.out) == (1, False)
    assert (f"{whole['count'] - 1} more: leave out --top" in answer.err) == (whole["count"] > 1)


def test_names_and_globs_choose_the_rows(listed: Typed) -> None:
    assert [row[0] for row in cells(listed("du", "app"), "TAG")] == ["app:2", "app:1", "app:latest"]
    assert [row[0] for row in cells(listed("du", "[bl]*", "--by", "repository"), "REPOSITORY")] == ["base", "left"]
    assert [row[0] for row in cells(listed("du", "localhost:5000/b*"), "TAG")] == ["base:1"]
    missing = listed("du", "nothing*")
    assert (missing.code, "There is no repository nothing* at localhost:5000" in missing.err) == (1, True)
    assert listed("du", "app:1").code == 2
    assert listed("du", "app", "localhost:5001/app").code == 2


def test_tree_has_repositories_tags_and_layers(listed: Typed) -> None:
    lines = listed("du", "--tree", "app").out.splitlines()
    assert re.match(r"app  10\.\d+kB \(5\.\d+kB unique\)$", lines[1])
    assert lines[2].startswith("├─ 2  8.")
    assert re.match(r"│  ├─ sha256:[0-9a-f]{64}  5kB$", lines[3])
    assert lines[5].startswith("├─ 1  ")
    assert listed("du", "--tree", "--json").code == 2


def test_picture_has_all_bytes(listed: Typed, model: StorageModel, tmp_path: Path) -> None:
    file = tmp_path / "usage.svg"
    assert listed("du", "--svg", str(file)).code == 0
    texts = [title.text or "" for title in ET.fromstring(file.read_text()).iter("{http://www.w3.org/2000/svg}title")]  # noqa: S314 - our own
    sizes = [int(match[1]) for text in texts if (match := re.search(r"\((\d+) bytes\)$", text))]
    assert sum(sizes) == sum(map(len, model.files.values()))
    assert any(text.startswith("app:2: ") for text in texts)
    assert listed("du", "--svg", str(file / "below a file")).code == 1


def test_other_registry_is_asked_with_get_and_head_alone(typed: Typed, watching: RecordingServer) -> None:
    shared = layer(b"shared" * 100)
    first = make_image(watching.port, "john/app", "1", shared, layer(b"1"))
    second = make_image(watching.port, "john/app", "2", shared, layer(b"2"))
    make_index(watching.port, "mary/app", "both", make_image(watching.port, "mary/app", None, shared, platform="linux/arm64"))
    watching.requests.clear()
    answer = typed("du", watching.host)
    assert answer.code == 0, answer.err
    assert "cannot be seen through its interface" in answer.err
    assert {method for method, _ in watching.requests} <= {"GET", "HEAD"}
    assert [row[0] for row in cells(answer, "PART")] == ["images of one repository", "images of several repositories", "total"]
    document = typed("du", "--json", f"{watching.host}/john/app").json
    assert (document["source"], document["volume"], document["allocated"]) == ("interface", None, 0)
    sizes = {row["name"]: row["size"] for row in document["rows"]}
    assert sizes == {"john/app:1": first.size + len(first.raw), "john/app:2": second.size + len(second.raw)}
    assert [row["name"] for row in typed("du", "--json", "--by", "platform", watching.host).json["rows"]] != []


def test_registry_that_does_not_answer_is_an_error(typed: Typed) -> None:
    assert typed("du", "localhost:1").code == 3


def test_container_that_does_not_exist_is_an_error(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**_: object) -> None:
        raise EngineNotFound("no engine")

    monkeypatch.setattr("registry_tool.engine.connect", connect)
    assert typed("du", "--container", "absent").code == 3


def test_schema_file_is_what_the_generator_makes_of_the_types() -> None:
    assert USAGE.read_text(encoding="utf-8") == as_text(usage_schema()), "make reference"
