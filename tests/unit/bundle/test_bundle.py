"""``bundle`` as it is typed, between registries in this process and folders; without an engine."""

from __future__ import annotations

import errno
import filecmp
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from registry_tool.base import files
from registry_tool.bundle.contents import CHECKSUM, CONTENTS, BundledFile
from registry_tool.bundle.reader import BundleFolder, BundleTar, checksum_line
from tests.support.cli_runner import Typed
from tests.support.content import ACCEPT, PushedManifest, layer, make_image, make_index
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import ask, tags

BASE, APP, OTHER = layer(b"base" * 1000), layer(b"app"), layer(b"other" * 500)
PLAIN = ("--no-tool", "--no-registry", "--no-sample")
"""Without what needs an engine or an index."""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def images(watching: RecordingServer) -> dict[str, PushedManifest]:
    return {
        "john/app:1": make_image(watching.port, "john/app", "1", BASE, APP),
        "john/other:2": make_image(watching.port, "john/other", "2", BASE, OTHER),
    }


@pytest.fixture(params=["kit", "kit.tar"])
def kit(request: pytest.FixtureRequest, typed: Typed, images: dict[str, PushedManifest], tmp_path: Path) -> Path:
    """A bundle of two images that share a layer, in a folder or a file."""
    path: Path = tmp_path / request.param
    made = typed("bundle", "create", "-o", str(path), *PLAIN, *images)
    assert (made.code, made.err) == (0, "")
    return path


def digest_at(port: int, repository: str, reference: str) -> str | None:
    status, headers, _ = ask(port, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
    return headers["docker-content-digest"] if status == 200 else None


def same_folders(one: Path, other: Path) -> bool:
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    if names != sorted(path.relative_to(other) for path in other.rglob("*")):
        return False
    return all((one / name).is_dir() or filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def blob(folder: Path, digest: str) -> Path:
    path: Path = folder / "blobs" / digest.replace(":", "/")
    return path


# --- there and back ---


def test_images_arrive_with_their_digests(
    typed: Typed, watching: RecordingServer, other: RecordingServer, images: dict[str, PushedManifest], kit: Path
) -> None:
    assert typed("bundle", "verify", str(kit)).code == 0
    applied = typed("bundle", "apply", str(kit), "--to", other.host)
    assert (applied.code, applied.err) == (0, "")
    for name, image in images.items():
        repository, _, tag = name.partition(":")
        assert digest_at(other.port, repository, tag) == image.digest
    assert applied.out.splitlines()[-1] == f"Applied 2 of 2 images of {kit} to {other.host}"


def test_applied_twice_nothing_is_sent(typed: Typed, other: RecordingServer, kit: Path) -> None:
    assert typed("bundle", "apply", str(kit), "--to", other.host).code == 0
    other.requests.clear()
    again = typed("bundle", "apply", str(kit), "--to", other.host, "--json").json
    assert {image["status"] for image in again["images"]} == {"unchanged"}
    assert again["blobs"]["sent"] == 0
    assert {method for method, _ in other.requests} <= {"GET", "HEAD"}


def test_two_bundles_of_the_same_things_have_the_same_bytes(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path) -> None:
    for name, order in (("one", list(images)), ("two", list(images)[::-1])):
        assert typed("bundle", "create", "-o", str(tmp_path / name), *PLAIN, *order).code == 0
        assert typed("bundle", "create", "-o", str(tmp_path / f"{name}.tar"), *PLAIN, *order).code == 0
    assert same_folders(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one.tar", "two", "two.tar"]


def test_bundle_with_an_index_keeps_all_platforms(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    children = [
        make_image(watching.port, "a", None, layer(text), platform=f"linux/{name}") for text, name in ((b"1", "amd64"), (b"2", "arm64"))
    ]
    index = make_index(watching.port, "a", "1", *children)
    assert typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, "a:1").code == 0
    assert typed("bundle", "apply", str(tmp_path / "kit"), "--to", other.host).code == 0
    assert digest_at(other.port, "a", "1") == index.digest


def test_folder_and_file_are_an_image_layout_and_an_archive_of_images(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", other.host)
    assert typed("import", str(kit)).code == 0
    assert digest_at(other.port, "john/app", "1") == images["john/app:1"].digest


def test_json_names_images_and_checksum(typed: Typed, images: dict[str, PushedManifest], watching: RecordingServer, tmp_path: Path) -> None:
    made = typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, *images, "--json").json
    assert made["ok"] is True
    assert [image["name"] for image in made["result"]["images"]] == [f"{watching.host}/{name}" for name in images]
    verified = typed("bundle", "verify", str(tmp_path / "kit"), "--json").json
    assert (verified["ok"], verified["sha256"], verified["problems"]) == (True, made["result"]["sha256"], [])
    assert verified["intact"] == verified["images"] == [f"{watching.host}/{name}" for name in images]


# --- names ---


def test_glob_takes_what_matches(typed: Typed, images: dict[str, PushedManifest], watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "jane/app", "1", APP)
    made = typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, "john/*:*", "--json").json
    assert [image["name"] for image in made["result"]["images"]] == [f"{watching.host}/{name}" for name in images]
    nothing = typed("bundle", "create", "-o", str(tmp_path / "no"), *PLAIN, "nobody/*")
    assert nothing.code == 1
    assert "no image matches nobody/*" in nothing.err


def test_images_of_compose_file_manifest_and_list(
    typed: Typed, images: dict[str, PushedManifest], watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = watching.host
    monkeypatch.setenv("TAG", "1")
    (tmp_path / "compose.yml").write_text(f"services:\n  web:\n    image: {host}/john/app:${{TAG:-2}}\n  own:\n    build: .\n")
    (tmp_path / "rendered.yaml").write_text(
        "---\n# Source: chart\nkind: Deployment\nspec:\n  template:\n    spec:\n"
        f"      initContainers:\n      - image: '{host}/john/other:2'\n"
        f"      containers:\n      - name: a\n        image: {host}/john/app:1\n"
        "---\n---\nkind: Crd\nproperties:\n  image:\n    type: string\n"
    )
    (tmp_path / "list.toml").write_text('images = ["john/other:2"]\n')
    expected = [f"{host}/john/app:1", f"{host}/john/other:2"]
    for arguments, names in (
        (("--compose", "compose.yml"), expected[:1]),
        (("--manifest", "rendered.yaml"), expected),
        (("--list", "list.toml"), expected[1:]),
        (("--list", "list.toml", "--compose", "compose.yml", "--manifest", "rendered.yaml"), expected),
    ):
        monkeypatch.chdir(tmp_path)
        made = typed("bundle", "create", "-o", "kit", *PLAIN, *arguments, "--json").json
        assert [image["name"] for image in made["result"]["images"]] == names
        shutil.rmtree("kit")


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--compose", "services: {web: {build: .}}", "no service has an image"),
        ("--compose", "services: [", "not YAML"),
        ("--manifest", "kind: Pod", "no object has an image"),
        ("--manifest", "a: [", "not YAML"),
        ("--manifest", "[" * 10_000, "nested more than 100 deep"),
        ("--manifest", "image: 'A B'", "invalid name"),
        ("--manifest", "&a [*a, {image: '{{ .Values }}'}]", "invalid name"),
        ("--list", "image = []", "not supported"),
        ("--list", "images = []", "lists no image"),
    ],
    ids=range(9),
)
def test_file_without_images_is_refused(typed: Typed, tmp_path: Path, option: str, content: str, message: str) -> None:
    (tmp_path / "file").write_text(content)
    answer = typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, option, str(tmp_path / "file"))
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "kit").exists()


def test_map_changes_prefixes_and_the_longest_counts(
    typed: Typed, other: RecordingServer, watching: RecordingServer, images: dict[str, PushedManifest], kit: Path
) -> None:
    maps = ("--map", "john=class", "--map", f"{watching.host}/john/other=extra/thing", "--map", "joh=wrong")
    assert typed("bundle", "apply", str(kit), "--to", other.host, *maps).code == 0
    assert digest_at(other.port, "class/app", "1") == images["john/app:1"].digest
    assert digest_at(other.port, "extra/thing", "2") == images["john/other:2"].digest
    same = typed("bundle", "apply", str(kit), "--to", other.host, "--map", "john/app=x/y", "--map", "john/other=x/y", "--dry-run")
    assert same.code == 0, "their tags differ"
    assert typed("bundle", "apply", str(kit), "--to", other.host, "--map", "nonsense").code == 2


# --- conflicts ---


@pytest.mark.parametrize("choice", ["fail", "skip", "replace"])
def test_tag_that_stands_for_something_else(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], kit: Path, choice: str
) -> None:
    taken = make_image(other.port, "john/app", "1", OTHER)
    answer = typed("bundle", "apply", str(kit), "--to", other.host, "--on-conflict", choice, "--json")
    rows = {image["destination"].partition("/")[2]: image for image in answer.json.get("images", [])}
    expected = images["john/app:1"].digest if choice == "replace" else taken.digest
    assert digest_at(other.port, "john/app", "1") == expected
    if choice == "fail":
        assert answer.code == 1
        assert answer.json["error"]["code"] == "conflict"
        assert digest_at(other.port, "john/other", "2") is None
        going = typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going")
        assert going.code == 1
        assert digest_at(other.port, "john/app", "1") == taken.digest
    else:
        assert answer.code == 0
        assert (rows["john/app:1"]["status"], rows["john/app:1"]["before"]) == ({"skip": "skipped"}.get(choice, "replaced"), taken.digest)
    assert digest_at(other.port, "john/other", "2") == images["john/other:2"].digest


# --- damage ---


def names_hit(typed: Typed, kit: Path) -> tuple[list[str], list[str]]:
    """Paths with problems, and images that they hit, without their host."""
    document = typed("bundle", "verify", str(kit), "--json").json
    assert document["ok"] is not bool(document["problems"])
    hit = {name.partition("/")[2] for problem in document["problems"] for name in problem["images"]}
    return [problem["path"] for problem in document["problems"]], sorted(hit)


Damage = Callable[[Path], None]


@pytest.mark.parametrize(
    ("damage", "of", "hit"),
    [
        pytest.param(lambda path: flip(path, 0), APP, ["john/app:1"], id="first byte of one image's layer"),
        pytest.param(lambda path: flip(path, -1), BASE, ["john/app:1", "john/other:2"], id="last byte of a shared layer"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), OTHER, ["john/other:2"], id="cut"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"\0"), OTHER, ["john/other:2"], id="longer"),
        pytest.param(lambda path: path.unlink(), APP, ["john/app:1"], id="removed"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), APP, ["john/app:1"], id="a link"),
    ],
)
def test_damaged_layer_in_a_folder_is_named_with_its_images(
    typed: Typed,
    other: RecordingServer,
    images: dict[str, PushedManifest],
    tmp_path: Path,
    damage: Damage,
    of: bytes,
    hit: list[str],
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    [path] = [path for path in kit.glob("blobs/sha256/*") if path.read_bytes() == of]
    damage(path)
    assert names_hit(typed, kit) == ([path.relative_to(kit).as_posix()], hit)
    refused = typed("bundle", "apply", str(kit), "--to", other.host)
    assert refused.code == 1
    assert all(name in refused.err for name in hit)
    assert [digest_at(other.port, *name.split(":")) for name in images] == [None, None]
    going = typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going")
    assert going.code == 1
    for name, image in images.items():
        assert digest_at(other.port, *name.split(":")) == (None if name in hit else image.digest)


def test_damaged_manifest_is_named_with_its_image(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    path = blob(kit, images["john/app:1"].digest)
    flip(path, 5)
    assert names_hit(typed, kit) == ([path.relative_to(kit).as_posix()], ["john/app:1"])
    assert typed("bundle", "apply", str(kit), "--to", other.host).code == 1
    assert typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going").code == 1
    assert digest_at(other.port, "john/app", "1") is None
    assert digest_at(other.port, "john/other", "2") == images["john/other:2"].digest


def test_every_flipped_byte_of_a_file_is_found(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", APP)
    kit = tmp_path / "kit.tar"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, "a:1").code == 0
    whole = kit.read_bytes()
    # Every header, padding and document, and the ends of all content, without trying a million bytes.
    for offset in {*range(0, len(whole), 97), *range(0, 1600, 7), len(whole) - 1, len(whole) - 1024}:
        flip(kit, offset)
        assert typed("bundle", "verify", str(kit)).code == 1, offset
        kit.write_bytes(whole)


def test_file_that_is_cut_names_what_is_hit_and_the_rest_is_applied(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path
) -> None:
    kit = tmp_path / "kit.tar"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    whole = kit.read_bytes()
    applied: set[int] = set()
    for length in (*range(100, len(whole) - 5000, 3000), *range(len(whole) - 5000, len(whole), 500)):
        kit.write_bytes(whole[:length])
        assert typed("bundle", "verify", str(kit)).code == 1
        assert typed("bundle", "apply", str(kit), "--to", other.host).code == 1
        assert tags(other.port, "john/app") in (None, [])
        going = typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going", "--dry-run", "--json")
        assert going.code == 1
        applied |= {len([image for image in going.json.get("images", []) if image["status"] == "planned"])}
    kit.write_bytes(whole + b"\0")
    assert names_hit(typed, kit) == (["kit.tar"], [])
    # One where a cut lies between the two: where that is depends on what zlib makes of the layers.
    assert {0, 2} <= applied, "an end that is cut alone hits nothing"


def test_file_that_is_cut_in_its_last_layer_is_applied_but_for_the_images_that_need_it(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    kit = tmp_path / "kit.tar"
    for number in range(8):
        make_image(watching.port, "app", str(number), layer(str(number).encode() * 1000))
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, "app:*").code == 0
    # Behind the last blob are its padding, of less than a block, and two blocks of the end.
    kit.write_bytes(kit.read_bytes()[: -1024 - 512])
    _, hit = names_hit(typed, kit)
    assert len(hit) == 1
    assert hit[0] in typed("bundle", "apply", str(kit), "--to", other.host).err
    assert tags(other.port, "app") in (None, [])
    assert typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going").code == 1
    assert sorted([*(f"app:{tag}" for tag in tags(other.port, "app") or []), *hit]) == [f"app:{number}" for number in range(8)]


def test_added_file_is_named(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    (kit / "blobs/sha256/added").write_text("x")
    (kit / "link").symlink_to("/etc")
    assert names_hit(typed, kit) == (["blobs/sha256/added", "link"], [])


@pytest.mark.parametrize("name", [CONTENTS, CHECKSUM])
def test_damaged_document_hits_all(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path, name: str
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    flip(kit / name, 3)
    for command in (("verify", str(kit)), ("apply", str(kit), "--to", other.host, "--keep-going")):
        answer = typed("bundle", *command)
        assert answer.code == 1
        assert "nothing in the bundle can be verified" in answer.err
    (kit / name).unlink()
    assert typed("bundle", "verify", str(kit)).code == 1


def test_damage_that_hits_no_image_is_a_failure_all_the_same(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    flip(kit / "install.sh", 30)
    assert names_hit(typed, kit) == (["install.sh"], [])
    assert typed("bundle", "apply", str(kit), "--to", other.host).code == 1
    going = typed("bundle", "apply", str(kit), "--to", other.host, "--keep-going")
    assert going.code == 1
    assert digest_at(other.port, "john/app", "1") == images["john/app:1"].digest


def test_disk_that_goes_while_it_is_read_is_told(typed: Typed, other: RecordingServer, kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    kind = BundleFolder if kit.is_dir() else BundleTar
    opened = kind.open_stored

    def open_stored(bundle: Any, file: BundledFile) -> Any:
        return Gone() if file.path.startswith("blobs/") else opened(bundle, file)

    monkeypatch.setattr(kind, "open_stored", open_stored)
    for command in (("verify", str(kit)), ("apply", str(kit), "--to", other.host)):
        answer = typed("bundle", *command)
        assert answer.code == 1
        assert "cannot be read: Input/output error" in answer.out + answer.err
    assert tags(other.port, "john/app") in (None, [])


@pytest.mark.parametrize("name", ["kit", "kit.tar"])
def test_full_disk_is_told_and_what_was_read_is_kept(
    typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_write", full)
        answer = typed("bundle", "create", "-o", str(tmp_path / name), *PLAIN, *images)
    assert answer.code == 1
    assert "cannot be written: No space left on device" in answer.err
    assert "run it again to go on" in answer.err
    assert not (tmp_path / name).exists()
    assert typed("bundle", "create", "-o", str(tmp_path / name), *PLAIN, *images).code == 0
    assert typed("bundle", "verify", str(tmp_path / name)).code == 0


# --- bad input ---


def rewritten(kit: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change ``bundle.json``, with a checksum that is right."""
    document = json.loads((kit / CONTENTS).read_bytes())
    change(document)
    raw = json.dumps(document, indent=1).encode() + b"\n"
    (kit / CONTENTS).write_bytes(raw)
    (kit / CHECKSUM).write_bytes(checksum_line(raw))


@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "/etc/passwd",
        "a/../../b",
        "./a",
        "a//b",
        "a\\b",
        "a\0b",
        "",
        "A" * 300,
        "con/" * 20 + "x",
        "bundle.json",
        "a\n",
        "a.",
        "a./b",
    ],
)
def test_hostile_path_is_refused(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path, path: str
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    rewritten(kit, lambda document: document["files"][0].update(path=path))
    for command in (("verify", str(kit)), ("apply", str(kit), "--to", other.host, "--keep-going")):
        answer = typed("bundle", *command, "--json")
        assert answer.code == 1
        assert answer.json["error"]["code"] == "invalid-bundle"
    assert other.requests == []


def blob_of(document: dict[str, Any]) -> dict[str, Any]:
    [first, *_] = [file for file in document["files"] if file["path"].startswith("blobs/sha256/")]
    found: dict[str, Any] = first
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda document: document.update(format=2), "format 2, and this regctl reads up to 1", id="newer"),
        pytest.param(lambda document: document["files"].append(document["files"][0]), "appears twice", id="twice"),
        pytest.param(lambda document: document.pop("images"), "not as it was written", id="no images"),
        pytest.param(lambda document: document["images"][0]["blobs"].append("sha256:0"), "which it does not list", id="unlisted blob"),
        pytest.param(lambda document: document.update(sample_wheels="../x"), "not the name of a folder", id="hostile key"),
        pytest.param(lambda document: blob_of(document).update(sha256="0" * 64), "another sha256", id="another name"),
        pytest.param(lambda document: document["files"][0].update(size=-1), "less than 0", id="negative"),
    ],
)
def test_wrong_document_is_refused(
    typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    rewritten(kit, change)
    answer = typed("bundle", "verify", str(kit))
    assert answer.code == 1
    assert message in answer.err


@pytest.mark.parametrize("content", [None, b"", b"no bundle", bytes(10240)], ids=["missing", "empty", "text", "zeros"])
def test_what_is_no_bundle_is_refused(typed: Typed, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "kit.tar"
    if content is not None:
        path.write_bytes(content)
    answer = typed("bundle", "verify", str(path))
    assert answer.code == 1
    assert ("there is no bundle" if content is None else "is no bundle") in answer.err
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "is no bundle" in typed("bundle", "verify", str(folder)).err


def test_output_that_is_there_is_not_replaced(typed: Typed, images: dict[str, PushedManifest], kit: Path) -> None:
    again = typed("bundle", "create", "-o", str(kit), *PLAIN, *images)
    assert again.code == 1
    assert f"there is {kit} already" in again.err
    assert typed("bundle", "verify", str(kit)).code == 0


def test_run_that_failed_goes_on_and_reads_nothing_twice(
    typed: Typed, watching: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    failed = typed("bundle", "create", "-o", str(kit), *PLAIN, "john/app:1", "john/missing:1")
    assert failed.code == 1
    assert "john/missing" in failed.err
    assert not kit.exists()
    part = tmp_path / ".kit.part"
    # What a disk lost is read again.
    [damaged] = [path for path in part.glob("blobs/sha256/*") if path.read_bytes() == APP]
    damaged.write_bytes(APP[:-1] + b"!")
    watching.requests.clear()
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images).code == 0
    read = [path for method, path in watching.requests if "/blobs/" in path and method == "GET"]
    assert not any(path.endswith(digest_of(BASE)) for path in read)
    assert any(path.endswith(digest_of(APP)) for path in read)
    assert typed("bundle", "verify", str(kit)).code == 0
    assert not part.exists()


def test_what_an_earlier_run_meant_to_take_is_not_in_the_bundle(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path) -> None:
    assert typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, "john/other:2", "john/missing:1").code == 1
    assert typed("bundle", "create", "-o", str(tmp_path / "kit"), *PLAIN, "john/app:1").code == 0
    assert typed("bundle", "create", "-o", str(tmp_path / "new"), *PLAIN, "john/app:1").code == 0
    assert same_folders(tmp_path / "kit", tmp_path / "new")


def digest_of(content: bytes) -> str:
    from registry_tool.oci.digest import Digest

    return str(Digest.of(content))


# --- deltas and volumes ---


def test_delta_has_what_is_new_and_is_applied_after_its_base(
    typed: Typed, watching: RecordingServer, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path
) -> None:
    large = layer(random.Random(1).randbytes(400_000))
    before = make_image(watching.port, "john/app", "1", large, APP)
    full, delta = tmp_path / "full.tar", tmp_path / "delta.tar"
    assert typed("bundle", "create", "-o", str(full), *PLAIN, "john/app:1").code == 0
    after = make_image(watching.port, "john/app", "2", large, layer(b"changed"))
    made = typed("bundle", "create", "-o", str(delta), *PLAIN, "john/app:2", "--since", str(full), "--json").json
    assert made["result"]["base"] == typed("bundle", "verify", str(full), "--json").json["sha256"]
    assert delta.stat().st_size < full.stat().st_size * 0.05
    alone = typed("bundle", "verify", str(delta), "--json")
    assert (alone.code, alone.json["needs"]) == (0, made["result"]["base"])
    assert "needs" not in typed("bundle", "verify", str(delta), "--base", str(full), "--json").json
    missing = typed("bundle", "apply", str(delta), "--to", other.host)
    assert missing.code == 1
    assert "apply the bundle before it first" in missing.err
    assert digest_at(other.port, "john/app", "2") is None
    assert typed("bundle", "apply", str(full), "--to", other.host).code == 0
    assert digest_at(other.port, "john/app", "1") == before.digest
    assert typed("bundle", "apply", str(delta), "--to", other.host).code == 0
    assert digest_at(other.port, "john/app", "2") == after.digest
    assert typed("bundle", "apply", str(delta), "--base", str(full), "--to", other.host, "--map", "john=new").code == 0
    assert digest_at(other.port, "new/app", "2") == after.digest
    wrong = typed("bundle", "verify", str(full), "--base", str(delta))
    assert wrong.code == 1
    assert "is not a delta of" in wrong.err
    again = typed("bundle", "create", "-o", str(tmp_path / "third.tar"), *PLAIN, "john/app:2", "--since", str(delta))
    assert again.code == 2
    assert "is a delta itself" in again.err


def test_damage_of_the_base_is_named(typed: Typed, watching: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path) -> None:
    full, delta = tmp_path / "full", tmp_path / "delta"
    assert typed("bundle", "create", "-o", str(full), *PLAIN, "john/app:1").code == 0
    make_image(watching.port, "john/app", "2", BASE, OTHER)
    assert typed("bundle", "create", "-o", str(delta), *PLAIN, "john/app:2", "--since", str(full)).code == 0
    [path] = [path for path in full.glob("blobs/sha256/*") if path.read_bytes() == BASE]
    flip(path, 3)
    result = typed("bundle", "verify", str(delta), "--base", str(full), "--json").json
    assert [problem["images"] for problem in result["problems"]] == [[f"{watching.host}/john/app:2"]]


def test_volumes_are_read_where_they_are(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "a", "1", layer(random.Random(1).randbytes(2_500_000)))
    path = tmp_path / "kit.tar"
    created = typed("bundle", "create", "-o", str(path), *PLAIN, "a:1", "--volume-size", "1MB", "--json").json
    assert created["result"]["files"] == [*(f"{path}.00{number}" for number in (1, 2, 3)), f"{path}.volumes.json"]
    for name in (path, f"{path}.001"):
        assert typed("bundle", "verify", str(name)).code == 0
    assert typed("bundle", "apply", f"{path}.001", "--to", other.host).code == 0
    assert digest_at(other.port, "a", "1") == made.digest
    flip(tmp_path / "kit.tar.002", 5)
    assert names_hit(typed, path)[1] == ["a:1"]
    assert typed("bundle", "create", "-o", str(tmp_path / "folder"), *PLAIN, "a:1", "--volume-size", "1MB").code == 2
    assert typed("bundle", "create", "-o", str(path), *PLAIN, "a:1").code == 1, "there are its volumes"


def test_images_with_one_name_at_two_hosts_are_told_apart_by_map(
    typed: Typed, other: RecordingServer, watching: RecordingServer, tmp_path: Path
) -> None:
    here = make_image(watching.port, "app", "1", layer(b"here"))
    there = make_image(other.port, "app", "1", layer(b"there"))
    kit = tmp_path / "kit"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, f"{watching.host}/app:1", f"{other.host}/app:1").code == 0
    refused = typed("bundle", "apply", str(kit), "--to", watching.host)
    assert (refused.code, "two images would be" in refused.err, "--map OLD=NEW" in refused.err) == (1, True, True)
    assert typed("bundle", "apply", str(kit), "--to", watching.host, "--map", f"{other.host}/app=theirs").code == 0
    assert digest_at(watching.port, "theirs", "1") == there.digest
    assert digest_at(watching.port, "app", "1") == here.digest


def test_repair_writes_through_no_link(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", layer(random.Random(1).randbytes(2_500_000)))
    path, mine = tmp_path / "stick" / "kit.tar", tmp_path / "mine"
    path.parent.mkdir()
    mine.write_bytes(b"mine")
    assert typed("bundle", "create", "-o", str(path), *PLAIN, "a:1", "--volume-size", "1MB", "--parity").code == 0
    lost = path.with_name("kit.tar.001")
    whole = lost.read_bytes()
    lost.unlink()
    lost.with_name(f".{lost.name}.part").symlink_to(mine)
    assert typed("bundle", "repair", str(path)).code == 0
    assert (mine.read_bytes(), lost.read_bytes(), lost.is_symlink()) == (b"mine", whole, False)


@pytest.mark.parametrize("lost", ["001", "002", "012", "013", "p01", "p02"])
def test_one_lost_volume_in_ten_is_made_anew(typed: Typed, watching: RecordingServer, tmp_path: Path, lost: str) -> None:
    make_image(watching.port, "a", "1", layer(random.Random(1).randbytes(12_300_000)))
    path = tmp_path / "kit.tar"
    made = typed("bundle", "create", "-o", str(path), *PLAIN, "a:1", "--volume-size", "1MB", "--parity")
    assert (made.code, made.err) == (0, "")
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(whole) == 13 + 2 + 1
    (tmp_path / f"kit.tar.{lost}").unlink()
    flip(tmp_path / "kit.tar.005" if lost != "005" and lost in ("012", "013", "p02") else tmp_path / "kit.tar.011", 77)
    paths, hit = names_hit(typed, path)
    assert (len(paths), hit) == (2, []), "two are named, and no image is hit"
    assert f"kit.tar.{lost}" in paths
    repaired = typed("bundle", "repair", str(path), "--json").json
    assert len(repaired["repaired"]) == 2
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == whole
    assert typed("bundle", "verify", str(path)).code == 0


def test_two_lost_volumes_in_ten_are_named(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", layer(random.Random(1).randbytes(2_500_000)))
    path = tmp_path / "kit.tar"
    assert typed("bundle", "create", "-o", str(path), *PLAIN, "a:1", "--volume-size", "1MB", "--parity").code == 0
    for number in (1, 3):
        (tmp_path / f"kit.tar.00{number}").unlink()
    answer = typed("bundle", "repair", str(path))
    assert answer.code == 1
    assert "kit.tar.001, kit.tar.003: lost or damaged" in answer.err
    assert typed("bundle", "create", "-o", str(tmp_path / "other.tar"), *PLAIN, "a:1", "--parity").code == 2


# --- signatures ---


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key in PEM."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    key = Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.mark.parametrize("name", ["kit", "kit.tar"])
def test_signature_is_required_by_its_key(
    typed: Typed, other: RecordingServer, images: dict[str, PushedManifest], tmp_path: Path, name: str
) -> None:
    private, public = keys(tmp_path, "mine")
    _, stranger = keys(tmp_path, "other")
    kit, plain = tmp_path / name, tmp_path / f"plain-{name}"
    for path in (kit, tmp_path / f"again-{name}"):
        assert typed("bundle", "create", "-o", str(path), *PLAIN, *images, "--sign", str(private)).code == 0
    assert typed("bundle", "create", "-o", str(plain), *PLAIN, *images).code == 0
    if kit.is_file():
        assert kit.read_bytes() == (tmp_path / f"again-{name}").read_bytes()
    assert typed("bundle", "verify", str(kit)).code == 0
    assert typed("bundle", "verify", str(kit), "--key", str(public)).code == 0
    for path, key, message in ((kit, stranger, "signed by another key"), (plain, public, "is not signed")):
        for command in (("verify", str(path)), ("apply", str(path), "--to", other.host, "--keep-going")):
            answer = typed("bundle", *command, "--key", str(key))
            assert answer.code == 1
            assert message in answer.err
    assert other.requests == []
    assert typed("bundle", "apply", str(kit), "--to", other.host, "--key", str(public)).code == 0
    assert typed("bundle", "verify", str(kit), "--key", str(private)).code == 2
    assert typed("bundle", "create", "-o", str(tmp_path / "no"), *PLAIN, *images, "--sign", str(public)).code == 2


def test_damaged_or_removed_signature_is_refused(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path) -> None:
    private, _ = keys(tmp_path, "mine")
    kit, file = tmp_path / "kit", tmp_path / "kit.tar"
    assert typed("bundle", "create", "-o", str(kit), *PLAIN, *images, "--sign", str(private)).code == 0
    assert typed("bundle", "create", "-o", str(file), *PLAIN, *images, "--sign", str(private)).code == 0
    signature = (kit / "bundle.json.sig").read_bytes()
    for changed in (b"", signature[:-1], signature + b"\n", b"A" + signature[1:], signature.replace(b"\n", b" ")):
        if changed != signature:
            (kit / "bundle.json.sig").write_bytes(changed)
            assert "the signature is wrong" in typed("bundle", "verify", str(kit)).err
    (kit / "bundle.json.sig").unlink()
    assert "bundle.json.sig is missing" in typed("bundle", "verify", str(kit)).err
    # Every byte from the signature's header to the end of its padding.
    whole = file.read_bytes()
    begin = whole.index(b"bundle.json.sig\0")
    for offset in range(begin, begin + 1024, 5):
        flip(file, offset)
        assert typed("bundle", "verify", str(file)).code == 1, offset
        file.write_bytes(whole)
