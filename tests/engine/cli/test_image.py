"""``build``, ``tag``, ``push``, ``pull``, ``images``, ``rmi`` and ``list-tags`` on a real engine and a real registry."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_tool.base import labels
from registry_tool.cli.commands import image as images
from registry_tool.engine import Engine, Image
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.engine_facts import reports_layers
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", local.address)
    return Typed(capsys)


@pytest.fixture
def context(tmp_path: Path, unique: str, registry_image: str) -> Path:
    """A build context whose image is like no other."""
    (tmp_path / "Dockerfile").write_text(f"FROM {registry_image}\nLABEL unique={unique}\n")
    return tmp_path


@pytest.fixture(autouse=True)
def cleaned(engine: Engine, unique: str) -> Iterator[None]:
    yield
    for image in engine.images():
        for name in (*image.names, *image.digests):
            if unique in name and engine.image(name) is not None:
                engine.remove_image(name, force=True)


@pytest.mark.parametrize(
    ("dockerfile", "code", "words"),
    [
        ("FROM scratch\nFORM x\n", 1, "FORM"),
        ("FROM lab.invalid/nothing:here\n", 1, "lab.invalid"),
        ("FROM {base}\nRUN echo the last words; exit 9\n", 1, "the last words"),
    ],
)
def test_failed_build_shows_the_reason(typed: Typed, tmp_path: Path, registry_image: str, dockerfile: str, code: int, words: str) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile.format(base=registry_image))
    answer = typed("build", str(tmp_path))
    assert answer.code == code
    assert answer.out == ""
    assert words in answer.err
    assert "  | " not in answer.err, "its output was shown before"
    assert typed("build", "--json", str(tmp_path)).json["error"]["code"]
    if words == "the last words":
        assert f"  | {words}\n" in typed("build", "-q", str(tmp_path)).err


def test_build_of_missing_folder_or_file_is_an_error(typed: Typed, tmp_path: Path, context: Path) -> None:
    assert typed("build", str(tmp_path / "none")).code == 1
    assert typed("build", "-f", "Nope", str(context)).code == 1
    assert typed("build", "-f", str(context / "Dockerfile"), "-").code == 2
    assert typed("build", "-t", "UPPER", str(context)).code == 2
    assert typed("build", "-t", f"x@sha256:{'0' * 64}", str(context)).code == 2
    assert typed("build", "--build-arg", "=x", str(context)).code == 2


def test_missing_images_are_exit_1_with_the_docker_hub_name(typed: Typed, unique: str) -> None:
    for arguments in (("tag", unique, "x"), ("push", unique), ("pull", unique), ("images", unique), ("rmi", unique), ("list-tags", unique)):
        answer = typed(*arguments)
        assert answer.code == 1, arguments
        assert "hint: " in answer.err, arguments
    assert f"docker.io/library/{unique}" in typed("rmi", unique).err
    assert typed("rmi", "--missing-ok", unique).code == 0
    assert typed("images", "--missing-ok", unique).code == 0


def test_tag_ls_suggests_list_tags(typed: Typed, unique: str) -> None:
    answer = typed("tag", "ls", unique)
    assert answer.code == 1
    assert f"regctl list-tags {unique}" in answer.err


def test_push_to_an_unreachable_registry_is_exit_3(typed: Typed, unique: str) -> None:
    answer = typed("--registry", "localhost:1", "list-tags", unique, "--json")
    assert answer.code == 3
    assert answer.json["error"]["code"] == "registry-unreachable"


def test_list_tags_of_an_image_is_exit_2(typed: Typed, unique: str) -> None:
    answer = typed("list-tags", f"{unique}:part2")
    assert answer.code == 2
    assert f"list-tags {os.environ['REGISTRY_TOOL_REGISTRY']}/{unique}" in answer.err


def test_a_direct_push_is_pulled_with_the_same_id(typed: Typed, context: Path, unique: str, local: LocalRegistry, engine: Engine) -> None:
    name = f"{unique}/direct:1"
    image_id = typed("build", "-q", "-t", f"{local.address}/{name}", str(context)).out.strip()
    answer = typed("push", "--via", "direct", "--json", name)
    if engine.is_podman or engine.has_containerd_store:
        assert answer.code == 2
        return
    pushed = answer.json
    assert (pushed["via"], pushed["reason"], pushed["checked"]) == ("direct", "as requested", True)
    again = typed("push", "--json", name).json
    assert (again["via"], again["digest"], again["bytes_moved"]) == ("direct", pushed["digest"], 0)
    assert {layer["status"] for layer in again["layers"]} == {"Layer already exists"}
    assert typed("rmi", name).code == 0
    pulled = typed("pull", "--json", name).json
    assert pulled["digest"] == pushed["digest"]
    image = engine.image(f"{local.address}/{name}")
    assert image is not None
    assert image.id == image_id
    assert typed("push", "--via", "engine", "--json", name).json["via"] == "engine"


def test_build_push_remove_pull(typed: Typed, context: Path, unique: str, local: LocalRegistry, engine: Engine) -> None:
    friendly, name = f"{unique}-friendly", f"{unique}/get-started:part2"
    full = f"{local.address}/{name}"
    built = typed("build", "-q", "-t", friendly, str(context))
    assert (built.code, built.err) == (0, "")
    image_id = built.out.strip()
    assert image_id.startswith("sha256:")
    assert typed("build", "--json", "-t", friendly, str(context)).json["names"] == [friendly]

    tagged = typed("tag", friendly, name)
    assert full in tagged.out
    pushed = typed("push", name)
    assert pushed.code == 0
    assert pushed.out.splitlines()[0] == full
    assert pushed.out.splitlines()[1].startswith("Digest: sha256:")
    if reports_layers(engine):
        assert re.search(r"^[0-9a-f]{12}: (Pushed|Layer already exists|Mounted from .*)$", pushed.err, re.MULTILINE)
    digest = pushed.out.splitlines()[1].removeprefix("Digest: ")
    assert typed("push", "-q", name).out == f"{local.address}/{unique}/get-started@{digest}\n"

    assert typed("list-tags", f"{unique}/get-started", "-q").out == "part2\n"
    listed = typed("list-tags", f"{unique}/get-started", "--json").json
    assert [(tag["name"], tag["siblings"], tag["type"]) for tag in listed["tags"]] == [("part2", [], "image")]

    gone = typed("rmi", friendly, name, "--json").json
    assert gone["ok"] is True
    assert full in gone["untagged"]
    assert engine.image(image_id) is None

    pulled = typed("pull", name)
    assert pulled.code == 0
    assert pulled.err.splitlines()[0] == f"part2: Pulling from {unique}/get-started"
    assert pulled.out.splitlines()[:2] == [full, f"Digest: {digest}"]
    assert pulled.out.splitlines()[2].startswith("Status: Downloaded newer image")
    again = typed("pull", "--json", name).json
    assert again["digest"] == digest
    assert again["reference"] == full
    assert typed("pull", "-q", name).out == f"{local.address}/{unique}/get-started@{digest}\n"


def test_push_after_a_new_build_pushes_the_new_image(
    typed: Typed, tiny_image: Callable[..., str], unique: str, local: LocalRegistry
) -> None:
    tiny_image(unique)
    first = typed("push", "--json", unique).json
    new = tiny_image(unique)
    second = typed("push", "--json", unique).json
    assert first["digest"] != second["digest"]
    assert new[7:19] in second["note"]
    assert second["reference"] == f"{local.address}/{unique}:latest"


def test_push_after_a_garbage_collection_in_the_running_registry_fails_until_it_is_restarted(
    typed: Typed, engine: Engine, registry_image: str, context: Path, unique: str, tmp_path: Path
) -> None:
    """The engine is told "Layer already exists" from the registry's memory, and all looks well."""
    name = f"{unique}reg"
    registry = local_registry.up(engine, image=lambda: registry_image, name=name, port=free_port(), restart="no", state=tmp_path).registry
    try:
        (context / "Dockerfile").write_text(f"FROM {registry_image}\nRUN echo {unique} > /unique\n")
        full = f"{registry.address}/{unique}:1"
        typed("build", "-t", full, "-t", f"{full}-direct", str(context))
        digest = typed("push", "--via", "engine", "--json", full).json["digest"]
        assert typed("delete", "--yes", f"{registry.address}/{unique}@{digest}").code == 0
        code, output = engine.execute(registry.container_id, ["registry", "garbage-collect", "/etc/docker/registry/config.yml"])
        assert code == 0, output

        lost = typed("push", "--via", "engine", full)
        assert lost.code == 1
        assert "Layer already exists" in lost.err or not reports_layers(engine)
        assert "is incomplete in the registry" in lost.err
        assert f"regctl down --name {name}, regctl up --name {name}" in lost.err
        unchecked = typed("push", "--via", "engine", "--no-check", "--json", full)
        assert (unchecked.code, unchecked.json["checked"]) == (0, False)
        if not engine.is_podman and not engine.has_containerd_store:
            # What is remembered is not believed: everything is sent.
            assert typed("push", "--via", "direct", "--json", f"{full}-direct").json["checked"] is True

        local_registry.down(engine, name)
        local_registry.up(engine, image=lambda: registry_image, name=name, restart="no", state=tmp_path)
        assert typed("push", "--via", "engine", "--json", full).json["checked"] is True
        assert typed("rmi", full).code == 0
        assert typed("pull", full).code == 0
    finally:
        local_registry.down(engine, name, volumes=True)


def test_images_are_listed_by_name_newest_first(typed: Typed, tiny_image: Callable[..., str], unique: str, local: LocalRegistry) -> None:
    image_id = tiny_image(unique, {labels.ROLE: labels.ROLE_APP})
    typed("tag", unique, f"{unique}/second:two")
    answer = typed("images", unique)
    head, row = answer.out.splitlines()
    assert head.split("  ")[0] == "REPOSITORY"
    assert row.split()[:3] == [unique, "latest", image_id[7:19]]
    assert typed("images", "-q", unique).out == f"{image_id[7:19]}\n"
    (result,) = typed("images", "--json", f"{unique}/second").json["images"]
    assert result["repository"] == f"{local.address}/{unique}/second"
    assert result["id"] == image_id
    assert result["ours"] == "app"
    assert isinstance(result["size"], int)
    assert result["created"].endswith("Z")
    assert "OURS" in typed("images", "-a", unique).out
    assert "\x1b" not in typed("images").out


def test_missing_name_does_not_stop_the_others(typed: Typed, tiny_image: Callable[..., str], unique: str) -> None:
    tiny_image(unique)
    answer = typed("rmi", "--json", f"{unique}-none", unique)
    assert answer.code == 1
    assert answer.json["ok"] is False
    assert answer.json["error"]["code"] == "not-found"
    assert answer.json["untagged"] == [f"{unique}:latest"]


def test_rmi_all_shows_the_plan_and_needs_confirmation(typed: Typed, tiny_image: Callable[..., str], unique: str, engine: Engine) -> None:
    tiny_image(unique, {labels.ROLE: labels.ROLE_APP})
    answer = spawn("rmi", "--all")
    assert answer.code == 2
    assert unique in answer.err
    assert engine.image(unique) is not None


def test_names_that_rmi_all_removes() -> None:
    """Never the rest of somebody's engine: decided without an engine, as the real one has other people's images."""
    host = "localhost:5000"

    def of(role: str | None, *names: str, digests: tuple[str, ...] = ()) -> Image:
        return Image(id="sha256:1", names=names, digests=digests, labels={labels.ROLE: role} if role else {})

    app = of(labels.ROLE_APP, "friendlyhello:latest", f"{host}/a:1")
    theirs = of(None, "python:3.13", f"{host}/mirror/python:3.13")
    base = of(labels.ROLE_BASE, f"{images.BASE_PREFIX}python:debian")
    on_base = of(labels.ROLE_BASE, "somebodys:work")
    nameless = of(labels.ROLE_APP)
    kept = of(labels.ROLE_APP, f"{images.BASE_PREFIX}kept/x:1")
    everything = [app, theirs, base, on_base, nameless, kept, of(None, "alpine:3")]
    taken = [name for image in everything for name in images.removable_names(image, host, bases=False)]
    assert taken == ["friendlyhello:latest", f"{host}/a:1", f"{host}/mirror/python:3.13", "sha256:1"]
    assert images.removable_names(base, host, bases=True) == [f"{images.BASE_PREFIX}python:debian"]
    assert images.removable_names(on_base, host, bases=True) == []


def test_terminal_gets_bars_and_colours_unless_no_progress(
    engine: Engine, tiny_image: Callable[..., str], unique: str, local: LocalRegistry
) -> None:
    tiny_image(unique)
    with Terminal(["--registry", local.address, "push", unique]) as terminal:
        assert terminal.end() == 0
        assert ("✓" in terminal.text) is reports_layers(engine)
        assert "Digest: sha256:" in terminal.text
    with Terminal(["--registry", local.address, "--no-progress", "push", unique]) as terminal:
        assert terminal.end() == 0
        assert "✓" not in terminal.text
        assert "\x1b" not in terminal.text
    with Terminal(["--registry", local.address, "images", unique]) as terminal:
        assert terminal.end() == 0
        assert "\x1b[1;36mREPOSITORY" in terminal.text
    for variable, value in (("NO_COLOR", "1"), ("TERM", "dumb"), ("CI", "true")):
        with Terminal(["--registry", local.address, "images", unique], {variable: value}) as terminal:
            assert terminal.end() == 0
            assert "\x1b" not in terminal.text, variable
