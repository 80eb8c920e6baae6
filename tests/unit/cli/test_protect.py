"""``protect`` and ``unprotect`` as they are typed, on the registry in this process; and where protections are not shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.content.protection import tag_of
from tests.support.cli_runner import Typed
from tests.support.content import OCI_IMAGE, layer, make_image, put_manifest
from tests.support.registry_over_http import ask, tags


@pytest.fixture
def name(registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in the registry of this process, with three tags, which names without a host mean."""
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    for tag in ("v1", "v2", "latest"):
        make_image(registry.port, "john/app", tag, layer(tag.encode()))
    return "john/app"


def test_protected_tag_is_refused_by_delete_until_it_is_unprotected(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    answer = typed("protect", f"{name}:v1")
    assert (answer.code, answer.out) == (0, f"Protected: {registry.host}/john/app:v1\n")
    answer = typed("delete", "--yes", f"{name}:v1")
    assert answer.code == 1
    assert "v1 is protected by 'v1'; nothing was removed" in answer.err
    assert f"regctl unprotect '{registry.host}/john/app:v1'" in answer.err
    assert typed("unprotect", f"{name}:v1").out == f"Unprotected: {registry.host}/john/app:v1\n"
    assert typed("delete", "--yes", f"{name}:v1").code == 0
    assert sorted(tags(registry.port, name) or []) == ["latest", "v2"]


def test_protect_again_says_so_and_is_no_failure(typed: Typed, name: str) -> None:
    typed("protect", f"{name}:v1")
    answer = typed("protect", f"{name}:v1")
    assert answer.code == 0
    assert answer.out.startswith("Already protected: ")


def test_glob_says_how_many_tags_it_protects_now(typed: Typed, name: str) -> None:
    assert "john/app:v* (2 tags now)" in typed("protect", f"{name}:v*").out


def test_protect_of_a_tag_that_is_not_there_is_exit_1(typed: Typed, name: str) -> None:
    answer = typed("protect", f"{name}:v9")
    assert answer.code == 1
    assert "there is no tag v9" in answer.err
    assert typed("protect", "--missing-ok", f"{name}:v9").code == 0
    assert typed("protect", "john/none:v*").code == 1


@pytest.mark.parametrize(
    "argument", ["john/app", "john/app@sha256:" + 64 * "0", "john/app:v1@sha256:" + 64 * "0", f"john/app:{tag_of('v1')}", "john/app:v*,"]
)
def test_protect_of_what_is_no_tag_is_exit_2(typed: Typed, name: str, argument: str) -> None:
    assert typed("protect", argument).code == 2


def test_protect_without_a_name_is_exit_2(typed: Typed, name: str) -> None:
    assert typed("protect").code == 2


def test_several_names_go_on_after_a_failure(typed: Typed, name: str) -> None:
    answer = typed("protect", "--json", f"{name}:v9", f"{name}:v1")
    assert answer.code == 1
    assert [each["pattern"] for each in answer.json["protections"]] == ["v1"]
    assert answer.json["error"]["code"] == "not-found"


def test_list_shows_protections_of_one_repository_or_all(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    make_image(registry.port, "other", "v1")
    typed("protect", f"{name}:v*", f"{name}:latest", "other:v1")
    rows = [line.split() for line in typed("protect", "--list", name).out.splitlines()[1:]]
    assert sorted(rows) == [[f"{registry.host}/john/app", "latest", "latest"], [f"{registry.host}/john/app", "v*", "v1,v2"]]
    assert sorted(typed("protect", "--list", "-q").out.split()) == [
        f"{registry.host}/john/app:latest",
        f"{registry.host}/john/app:v*",
        f"{registry.host}/other:v1",
    ]
    document = typed("protect", "--list", "--json", "other").json
    (only,) = document["protections"]
    assert document["ok"]
    assert (only["pattern"], only["tag"], only["matches"]) == ("v1", tag_of("v1"), ["v1"])
    assert only["digest"].startswith("sha256:")


def test_unprotect_of_what_is_not_protected_is_exit_1(typed: Typed, name: str) -> None:
    assert typed("unprotect", f"{name}:v1").code == 1
    assert typed("unprotect", "--missing-ok", f"{name}:v1").code == 0
    typed("protect", f"{name}:v*")
    answer = typed("unprotect", f"{name}:v1")
    assert answer.code == 1
    assert "It is protected by 'v*'" in answer.err


def test_unreadable_protection_is_listed_protects_and_is_removed_by_its_tag(
    typed: Typed, name: str, registry: server.RunningRegistry
) -> None:
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "artifactType": "application/vnd.registry-tool.protection.v1+json",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + 64 * "0", "size": 2},
            "layers": [],
        }
    ).encode()
    typed("protect", f"{name}:v1")
    raw_config = json.loads(ask(registry.port, "GET", f"/v2/{name}/manifests/{tag_of('v1')}", headers={"Accept": OCI_IMAGE})[2])["config"]
    raw = json.dumps(json.loads(raw) | {"config": raw_config}).encode()
    put_manifest(registry.port, name, "protected-000000000000", raw, OCI_IMAGE)
    assert "protected-000000000000 cannot be read: it has no pattern of tags" in typed("protect", "--list", name).out
    assert typed("delete", "--yes", f"{name}:latest").code == 1
    assert typed("unprotect", f"{name}:protected-000000000000").code == 0
    assert typed("delete", "--yes", f"{name}:latest").code == 0


def test_dry_run_names_what_is_protected(typed: Typed, name: str) -> None:
    typed("protect", f"{name}:v1")
    answer = typed("delete", "--dry-run", f"{name}:v*")
    assert answer.code == 0
    assert "  v1 is protected by 'v1'" in answer.out
    document = typed("delete", "--dry-run", "--json", f"{name}:v*").json
    assert document["protected"] == [{"name": "v1", "pattern": "v1", "tag": tag_of("v1")}]


def test_refusal_in_json_has_its_code(typed: Typed, name: str) -> None:
    typed("protect", f"{name}:v1")
    answer = typed("delete", "--yes", "--json", f"{name}:v1")
    assert answer.code == 1
    assert answer.json["error"]["code"] == "protected"


# --- where protections are not shown ---


@pytest.mark.parametrize("options", [(), ("-q",), ("--no-details",), ("--json",), ("--limit", "4"), ("--filter", "*")])
def test_list_tags_does_not_show_protections(typed: Typed, name: str, options: tuple[str, ...]) -> None:
    typed("protect", f"{name}:v1")
    answer = typed("list-tags", *options, name)
    assert answer.code == 0
    assert "v1" in answer.out
    assert "protected-" not in answer.out


@pytest.mark.parametrize("options", [(), ("--no-details",)])
def test_catalog_does_not_count_protections(typed: Typed, name: str, options: tuple[str, ...]) -> None:
    typed("protect", f"{name}:v1")
    (repository,) = typed("catalog", "--json", *options).json["repositories"]
    assert repository["tags"] == 3


def test_inspect_does_not_show_protections(typed: Typed, name: str) -> None:
    typed("protect", f"{name}:v1")
    assert "protected-" not in typed("inspect", f"{name}:v1").out
    typed("delete", "--yes", f"{name}:latest")
    answer = typed("inspect", name)
    assert answer.code == 1
    assert "protected-" not in answer.err


def test_image_under_a_tag_of_that_form_is_shown_in_the_table(typed: Typed, name: str, registry: server.RunningRegistry) -> None:
    make_image(registry.port, name, "protected-0123456789ab")
    assert "protected-0123456789ab" in typed("list-tags", name).out


def test_check_finds_nothing_wrong_with_a_protection(typed: Typed, name: str) -> None:
    typed("protect", f"{name}:v1")
    answer = typed("check", "--deep", name)
    assert answer.code == 0
    assert "3 images" in answer.out


@pytest.mark.parametrize(("options", "is_copied"), [(("--all-tags",), True), (("--tags", "*"), False)])
def test_copy_takes_protections_along_with_all_tags(typed: Typed, name: str, options: tuple[str, ...], is_copied: bool) -> None:
    typed("protect", f"{name}:v1")
    assert typed("copy", *options, name, "john/copied").code == 0
    listed = typed("protect", "--list", "-q", "john/copied").out
    assert ("john/copied:v1" in listed) == is_copied
    assert (typed("delete", "--yes", "john/copied:v1").code == 1) == is_copied


def test_export_of_all_tags_keeps_protections(typed: Typed, name: str, tmp_path: Path) -> None:
    typed("protect", f"{name}:v1")
    assert typed("copy", "--all-tags", name, f"oci:{tmp_path / 'layout'}").code == 0
    assert typed("copy", "--all-tags", f"oci:{tmp_path / 'layout'}", "john/again").code == 0
    assert "john/again:v1" in typed("protect", "--list", "-q", "john/again").out
