"""``export`` and ``import`` as they are typed, between registries in this process and files."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from registry_tool.cli.app import main
from registry_tool.targets.archive import open_archive
from registry_tool.targets.layout import Layout
from tests.support.archives import OCI_LAYER, Members, SavedImage, docker_save, oci_save, plain_layer, podman_save, tar_of, write_tar
from tests.support.cli_runner import REGCTL, Terminal, Typed
from tests.support.content import ACCEPT, layer, make_artifact, make_image, make_index, put_manifest, sha256
from tests.support.paths import ROOT
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import ask, tags

BASE, APP = layer(b"base" * 1000), layer(b"app")
SAVED = SavedImage(names=("john/app:1",), layers=(plain_layer(b"base"), plain_layer(b"app")))
SECOND = SavedImage(names=("docker.io/library/other:2", "localhost:5000/x/other:3"), layers=(plain_layer(b"base"),), label="other")


def digest_at(port: int, repository: str, reference: str) -> str:
    status, headers, _ = ask(port, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
    assert status == 200
    return headers["docker-content-digest"]


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


# --- there and back ---


@pytest.mark.parametrize("output", ["images.tar", "layout/", "oci:layout"])
def test_images_arrive_with_their_digests(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = make_image(watching.port, "john/app", "1", BASE, APP), make_image(watching.port, "x/y", "2", BASE)
    made = typed("export", "john/app:1", "x/y:2", "-o", output)
    assert (made.code, made.err) == (0, "")
    source = output.removeprefix("oci:")
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", other.host)
    answer = typed("import", source)
    assert (answer.code, answer.err) == (0, "")
    assert digest_at(other.port, "john/app", "1") == one.digest
    assert digest_at(other.port, "x/y", "2") == two.digest
    name = f"{watching.host}/john/app:1"
    assert answer.out.splitlines()[0] == f"Copied {Path(source)}:{name} to {other.host}/john/app:1 ({one.digest})"


def test_export_says_what_it_wrote(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "john/app", "1", BASE, APP)
    path = tmp_path / "images.tar"
    first, second, third = typed("export", "john/app:1", "-o", str(path)).out.splitlines()
    name = f"{watching.host}/john/app:1"
    assert first == f"Copied {name} to {path}:{name} ({made.digest})"
    assert second.startswith("Sent 3 blobs (")
    assert third.startswith(f"Wrote {path} (")


def test_export_json_has_path_size_and_images(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "john/app", "1", BASE)
    path = tmp_path / "images.tar"
    document = typed("export", "--json", "john/app:1", "-o", str(path)).json
    assert document.pop("seconds") >= 0
    assert (document["ok"], document["dry_run"], document["path"], document["needs"]) == (True, False, str(path), [])
    assert document["files"] == [str(path)]
    assert document["size"] == path.stat().st_size
    assert document["images"][0]["source"] == f"{watching.host}/john/app:1"
    assert document["images"][0]["stored_digest"] == made.digest
    assert document["blobs"]["sent"] == 2


def test_two_exports_have_the_same_bytes_in_any_order(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE, APP)
    children = [
        make_image(watching.port, "b", None, layer(text), platform=f"linux/{name}") for text, name in ((b"1", "amd64"), (b"2", "arm64"))
    ]
    make_index(watching.port, "b", "1", *children)
    for names, path in ((("a:1", "b:1"), "one.tar"), (("b:1", "a:1"), "other.tar")):
        assert typed("export", *names, "-o", str(tmp_path / path)).code == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tar", "other.tar"]


def test_docker_s_spellings_are_the_same(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "a", "1", BASE)
    path = str(tmp_path / "images.tar")
    assert typed("save", "-o", path, "a:1").code == 0
    assert typed("load", "-i", path, "b/").code == 0
    assert digest_at(watching.port, "b/a", "1") == made.digest
    for command in ("save", "load", "export", "import"):
        help_text = typed(command, "--help")
        assert help_text.code == 0
        assert "Examples:" in help_text.out


def test_archive_on_stdout_is_read_from_stdin(
    watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    make_image(watching.port, "a", "1", BASE)
    out = b""
    for arguments in (["export", "a:1", "-o", "-"], ["save", "a:1"], ["export", "a:1", "-o", "/dev/stdout"]):
        assert main(arguments) == 0
        captured = capfdbinary.readouterr()
        assert b"Sent 2 blobs" in captured.err
        out = captured.out
        assert out.endswith(bytes(1024))
    assert main(["export", "a:1", "-o", str(tmp_path / "images.tar")]) == 0
    assert out == (tmp_path / "images.tar").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out)))
    assert main(["import", "-", "b"]) == 0
    assert tags(watching.port, "b") == ["1"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out)))
    assert main(["--registry", watching.host, "load"]) == 0


def test_archive_is_neither_written_to_nor_read_from_a_terminal(watching: RecordingServer) -> None:
    make_image(watching.port, "a", "1", BASE)
    for command, message in (("save a:1", "an archive is not for a terminal"), ("load", "an archive or a folder is needed")):
        with Terminal(command.split()) as terminal:
            assert terminal.end() == 2
            assert message in terminal.text


def test_full_standard_output_is_named(watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*REGCTL, "save", "a:1"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=600)
    assert done.returncode == 1
    assert "the archive cannot be written to its pipe: No space left on device" in done.stderr


def test_an_index_its_images_and_referrers_go_along(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    children = [
        make_image(watching.port, "a", None, layer(text), platform=f"linux/{name}") for text, name in ((b"1", "amd64"), (b"2", "arm64"))
    ]
    index = make_index(watching.port, "a", "1", *children)
    signature = make_artifact(watching.port, "a", index)
    path = str(tmp_path / "images.tar")
    assert typed("export", "--referrers", "a:1", "-o", path).code == 0
    assert typed("import", "--referrers", path, f"{other.host}/b").code == 0
    assert digest_at(other.port, "b", "1") == index.digest
    assert digest_at(other.port, "b", signature.digest) == signature.digest
    assert typed("export", "--platform", "linux/arm64", "a:1", "-o", path).code == 0
    with open_archive(Path(path)) as archive:
        assert str(archive.only().descriptor.digest) == children[1].digest


# --- what is there already ---


def test_delta_has_only_what_is_new_and_names_what_it_needs(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    big = layer(os.urandom(100_000))
    make_image(watching.port, "a", "1", big, BASE)
    new = make_image(watching.port, "a", "2", big, APP)
    full, delta = tmp_path / "full.tar", tmp_path / "delta.tar"
    assert typed("export", "a:1", "-o", str(full)).code == 0
    answer = typed("export", "a:2", "-o", str(delta), "--since", str(full))
    assert answer.out.splitlines()[-1] == f"Left out 1 layer of {full}: import that first."
    assert delta.stat().st_size < full.stat().st_size / 10
    assert typed("export", "--json", "a:2", "-o", str(delta), "--since", str(full)).json["needs"] == [sha256(big)]

    refused = typed("import", str(delta), f"{other.host}/")
    assert refused.code == 1
    assert f"{delta} is incomplete: nothing is imported" in refused.err
    assert f"{watching.host}/a:2 lacks {sha256(big)}" in refused.err
    assert "hint: It was exported with --since: import the earlier archive first." in refused.err
    assert tags(other.port, "a") is None
    assert other.counts["POST"] == other.counts["PUT"] == 0

    for path in (full, delta):
        assert typed("import", str(path), f"{other.host}/").code == 0
    assert digest_at(other.port, "a", "2") == new.digest


def test_delta_does_not_replace_what_it_needs(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE)
    path = tmp_path / "images.tar"
    assert typed("export", "a:1", "-o", str(path)).code == 0
    before = path.read_bytes()
    answer = typed("export", "a:1", "-o", str(path), "--since", str(path))
    assert (answer.code, path.read_bytes()) == (2, before)
    assert "would replace the archive that it needs" in answer.err


def test_delta_in_volumes_does_not_replace_what_it_needs(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE)
    path = tmp_path / "images.tar"
    assert typed("export", "a:1", "-o", str(path), "--split", "1MB").code == 0
    before = Path(f"{path}.001").read_bytes()
    for since in (path, Path(f"{path}.001")):
        answer = typed("export", "a:1", "-o", str(path), "--since", str(since), "--split", "1MB")
        assert (answer.code, Path(f"{path}.001").read_bytes()) == (2, before)
        assert "would replace the archive that it needs" in answer.err
    assert typed("export", "--json", "a:1", "-o", str(tmp_path / "new.tar"), "--since", str(path)).json["needs"] == [sha256(BASE)]


@pytest.mark.parametrize("output", ["", "oci:"])
def test_output_without_a_name_is_refused(
    typed: Typed, watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = typed("export", "a:1", "-o", output)
    assert (answer.code, answer.out, list(tmp_path.iterdir())) == (2, "", [])
    assert "-o names nothing" in answer.err


@pytest.mark.parametrize("command", [("export", "a:1", "-o", "{}"), ("copy", "a:1", "oci-archive:{}")], ids=["export", "copy"])
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["", "dry run"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nodir/images.tar", "there is no folder nodir"),
        ("images.tar.gz", "not compressed"),
        ("IMAGES.TGZ", "not compressed"),
        ("a.tar.zst", "not compressed"),
    ],
)
def test_path_at_which_no_archive_can_be_written_is_refused(
    typed: Typed,
    watching: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    dry_run: tuple[str, ...],
    path: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_image(watching.port, "a", "1")
    answer = typed(*(word.format(path) for word in command), *dry_run)
    assert (answer.code, answer.out, list(tmp_path.iterdir())) == (1 if "nodir" in path else 2, "", [])
    assert message in answer.err


@pytest.mark.parametrize("names", [("{}",), ("{}", "app:1"), ("missing.tar", "app:1")], ids=["one", "with a name", "not there"])
def test_second_archive_of_an_import_is_refused(typed: Typed, watching: RecordingServer, tmp_path: Path, names: tuple[str, ...]) -> None:
    path, second = write_tar(tmp_path / "images.tar", oci_save(SAVED)), write_tar(tmp_path / "second.tar", oci_save(SECOND))
    answer = typed("import", *(name.format(second) for name in names), "-i", str(path))
    assert (answer.code, watching.counts) == (2, {})
    assert "an archive is named twice" in answer.err


def test_delta_of_a_delta_needs_the_first_archive_too(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    first, second, third = (layer(text * 100) for text in (b"1", b"2", b"3"))
    for tag, layers in (("1", (first,)), ("2", (first, second)), ("3", (first, second, third))):
        make_image(watching.port, "a", tag, *layers)
    assert typed("export", "a:1", "-o", str(tmp_path / "1.tar")).code == 0
    assert typed("export", "a:2", "-o", str(tmp_path / "2.tar"), "--since", str(tmp_path / "1.tar")).code == 0
    document = typed("export", "--json", "a:3", "-o", str(tmp_path / "3.tar"), "--since", str(tmp_path / "2.tar")).json
    assert document["needs"] == sorted([sha256(first), sha256(second)])


def test_import_sends_nothing_that_is_there(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE, APP)
    path = str(tmp_path / "images.tar")
    typed("export", "a:1", "-o", path)
    assert typed("import", path, f"{other.host}/").code == 0
    before = other.counts["POST"]
    answer = typed("import", path, f"{other.host}/")
    assert answer.out.splitlines()[0].startswith("Unchanged: ")
    assert other.counts["POST"] == before


def test_volumes_are_read_as_one_archive(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "a", "1", layer(os.urandom(2_500_000)))
    path = tmp_path / "images.tar"
    document = typed("export", "--json", "--split", "1MB", "a:1", "-o", str(path)).json
    assert document["files"] == [f"{path}.001", f"{path}.002", f"{path}.003"]
    assert document["size"] == sum(each.stat().st_size for each in tmp_path.iterdir())
    assert typed("import", str(path), f"{other.host}/").code == 0
    assert digest_at(other.port, "a", "1") == made.digest
    assert typed("copy", f"oci-archive:{path}.001", f"{other.host}/b:1").code == 0
    assert digest_at(other.port, "b", "1") == made.digest


def test_export_says_how_many_volumes_it_wrote(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", layer(random.Random(1).randbytes(2_500_000)))
    path = tmp_path / "images.tar"
    for size, end in (("1MB", "(2.51MB, 3 volumes)."), ("1GB", "(2.51MB).")):
        answer = typed("export", "--split", size, "a:1", "-o", str(path))
        assert (answer.code, answer.out.splitlines()[-1]) == (0, f"Wrote {path}.001 {end}")
    assert list(tmp_path.iterdir()) == [Path(f"{path}.001")]


def test_import_of_a_volume_that_is_missing_sends_nothing(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    make_image(watching.port, "a", "1", layer(os.urandom(2_500_000)))
    path = tmp_path / "images.tar"
    assert typed("export", "--split", "1MB", "a:1", "-o", str(path)).code == 0
    Path(f"{path}.002").unlink()
    answer = typed("import", str(path), f"{other.host}/")
    assert (answer.code, other.counts) == (1, {})
    assert f"{path}.002 is missing" in answer.err


def test_volume_with_other_bytes_leaves_no_tag(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    path, second = tmp_path / "images.tar", tmp_path / "second.tar"
    for tag, archive in (("1", path), ("2", second)):
        make_image(watching.port, "a", tag, layer(os.urandom(2_500_000)))
        assert typed("export", "--split", "1MB", f"a:{tag}", "-o", str(archive)).code == 0
    Path(f"{second}.002").replace(f"{path}.002")
    answer = typed("import", str(path), f"{other.host}/")
    assert answer.code == 1
    assert tags(other.port, "a") is None


def test_export_to_a_layout_adds_to_it(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_image(watching.port, name, "1", BASE)
        assert typed("export", f"{name}:1", "-o", f"{tmp_path}/layout/").code == 0
    assert Layout.open(tmp_path / "layout").tags() == (f"{watching.host}/a:1", f"{watching.host}/b:1")


# --- names ---


@pytest.mark.parametrize(
    ("name", "repositories"),
    [
        ((), {"john/app": ["1"], "other": ["2"], "x/other": ["3"]}),
        (("mirror/",), {"mirror/john/app": ["1"], "mirror/other": ["2"], "mirror/x/other": ["3"]}),
        (("all",), {"all": ["1", "2", "3"]}),
    ],
)
def test_images_of_docker_go_where_their_names_say(
    typed: Typed, watching: RecordingServer, tmp_path: Path, name: tuple[str, ...], repositories: dict[str, list[str]]
) -> None:
    path = write_tar(tmp_path / "images.tar", docker_save(SAVED, SECOND))
    assert typed("import", str(path), *name).code == 0
    assert {repository: sorted(tags(watching.port, repository) or []) for repository in repositories} == repositories


def test_one_image_gets_the_name_that_is_typed(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "images.tar", docker_save(SAVED))
    assert typed("import", str(path), "b:9").code == 0
    status, _, body = ask(watching.port, "GET", "/v2/b/manifests/9", headers={"Accept": ACCEPT})
    assert (status, json.loads(body)["config"]["digest"]) == (200, SAVED.id)


@pytest.mark.parametrize(
    ("images", "name", "code", "message"),
    [
        ((SAVED, SECOND), "b:9", 1, "two images would be"),
        ((SavedImage(names=(), layers=SAVED.layers),), None, 2, "has no name of a repository"),
        ((SAVED,), f"b@sha256:{'0' * 64}", 2, "is not where images are imported to"),
        ((SAVED,), "oci:x", 2, "is not where images are imported to"),
        ((), "b", 1, "there is no image in"),
        ((SavedImage(names=(f"en/a@sha256:{'b' * 64}",), layers=SAVED.layers),), None, 1, "has the digest sha256:"),
    ],
)
def test_names_that_do_not_fit_are_refused_before_anything_is_sent(
    typed: Typed, watching: RecordingServer, tmp_path: Path, images: tuple[SavedImage, ...], name: str | None, code: int, message: str
) -> None:
    path = write_tar(tmp_path / "images.tar", docker_save(*images))
    answer = typed("import", str(path), *([name] if name else []))
    assert answer.code == code
    assert message in answer.err
    assert watching.requests == []


def test_image_that_is_named_twice_is_exported_once(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1")
    assert typed("export", "a:1", "a:1", "-o", str(tmp_path / "x.tar")).code == 0
    with open_archive(tmp_path / "x.tar") as archive:
        assert len(archive.images) == 1


# --- what is damaged or missing ---


def test_damaged_layer_leaves_no_tag_of_any_image(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    saved = podman_save(SAVED)
    first = next(iter(saved))
    layers: Members = saved | {first: bytes(len(saved[first]))}  # type: ignore[arg-type]
    whole = SavedImage(names=("whole:1",), layers=(plain_layer(b"whole"),))
    both = podman_save(whole) | layers
    both["manifest.json"] = json.dumps([*json.loads(podman_save(whole)["manifest.json"]), *json.loads(saved["manifest.json"])]).encode()  # type: ignore[arg-type]
    answer = typed("import", str(write_tar(tmp_path / "images.tar", both)))
    assert answer.code == 1
    assert "is not what is read" in answer.err
    assert tags(watching.port, "whole") in (None, [])
    assert tags(watching.port, "john/app") in (None, [])


@pytest.mark.parametrize("output", ["images.tar", "layout/"])
def test_layer_of_another_media_type_is_imported_with_a_note(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, output: str
) -> None:
    image = make_image(watching.port, "a", None, BASE, APP)
    wrong = OCI_LAYER.join(image.raw.decode().rsplit(f"{OCI_LAYER}+gzip", 1)).encode()
    put_manifest(watching.port, "a", "1", wrong, image.media_type)
    make_image(watching.port, "b", "1", BASE)
    assert typed("export", "a:1", "b:1", "-o", f"{tmp_path}/{output}").code == 0
    note = f"{watching.host}/a:1: layers[1] is compressed with gzip, its media type is {OCI_LAYER}"
    dry_run = typed("import", f"{tmp_path}/{output}", f"{other.host}/", "--dry-run")
    assert (dry_run.code, [line for line in dry_run.err.splitlines() if "layers[" in line]) == (0, [note])
    answer = typed("import", f"{tmp_path}/{output}", f"{other.host}/", "--json")
    assert answer.code == 0
    assert answer.json["notes"] == [note]
    assert digest_at(other.port, "a", "1") == sha256(wrong)


def test_missing_layer_is_named_with_its_image(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    saved = oci_save(SAVED, SECOND)
    del saved[f"blobs/sha256/{sha256(SAVED.layers[1])[7:]}"]
    answer = typed("import", str(write_tar(tmp_path / "images.tar", saved)))
    assert answer.code == 1
    assert f"john/app:1 lacks {sha256(SAVED.layers[1])}" in answer.err
    assert "other" not in answer.err
    assert watching.counts["POST"] == watching.counts["PUT"] == 0


def test_image_that_cannot_be_exported_leaves_the_earlier_archive(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", BASE)
    path = tmp_path / "images.tar"
    path.write_bytes(b"an earlier one")
    answer = typed("export", "a:1", "a:2", "-o", str(path))
    assert answer.code == 1
    assert f"{path} was not written; run it again to go on." in answer.err
    assert path.read_bytes() == b"an earlier one"
    make_image(watching.port, "a", "2", BASE)
    watching.requests.clear()
    assert typed("export", "a:1", "a:2", "-o", str(path)).code == 0
    assert watching.times("GET", f"/blobs/{sha256(BASE)}") == 0, "it was kept"
    assert [each.name for each in tmp_path.iterdir()] == ["images.tar"]


def test_nothing_is_left_of_an_export_that_found_nothing(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    assert typed("export", "nothing:1", "-o", str(tmp_path / "images.tar")).code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"rubbish" * 1000, gzip.compress(b"rubbish"), tar_of({"file": b"x"}), tar_of(docker_save(SAVED))[:5000]],
    ids=["empty", "rubbish", "compressed rubbish", "another tar", "cut short"],
)
def test_what_is_no_archive_is_a_failure(typed: Typed, watching: RecordingServer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.tar").write_bytes(content)
    answer = typed("import", str(tmp_path / "images.tar"), "b")
    assert answer.code == 1
    assert "this is a bug" not in answer.err
    assert watching.requests == []


# --- wrong usage ---


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("export", "-o", "x.tar"), 2, "Missing argument"),
        (("import", "nowhere.tar", "b"), 1, "there is no file nowhere.tar"),
        (("import", str(ROOT), "b"), 1, "is not an image layout"),
        (("export", "a:1", "-o", "layout/", "--since", "x.tar"), 2, "--since is for an archive"),
        (("export", "a:1", "-o", "layout/", "--split", "4GB"), 2, "--split is for an archive in files"),
        (("export", "a:1", "-o", "x.tar", "--split", "many"), 2, "is not a size"),
        (("export", "a:1", "-o", "x.tar", "--split", "1k"), 2, "too small for a volume"),
        (("export", "a:1", "-o", "x.tar", "--since", "nowhere.tar"), 1, "there is no file nowhere.tar"),
        (("export", "--json", "a:1", "-o", "-"), 2, "cannot both go to standard output"),
    ],
)
def test_wrong_usage_is_named(
    typed: Typed,
    watching: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_image(watching.port, "a", "1")
    answer = typed(*arguments)
    assert answer.code == code
    assert message in answer.err + answer.out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_writes_nothing(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_image(watching.port, "a", "1", BASE)
    for output in ("x.tar", "layout/"):
        answer = typed("export", "--dry-run", "a:1", "-o", output)
        assert answer.code == 0
        assert "Would send 2 blobs" in answer.out
        assert list(tmp_path.iterdir()) == []
    typed("export", "a:1", "-o", "x.tar")
    answer = typed("import", "--dry-run", "x.tar", f"{other.host}/")
    assert "Would send 2 blobs" in answer.out
    assert other.counts["POST"] == other.counts["PUT"] == 0
