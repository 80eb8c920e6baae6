"""``copy`` as it is typed, between registries in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry_tool.cli.views import copy as view
from registry_tool.content.copy import BlobCounts, CopyPlan, NullCopyListener
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.archive import open_archive
from registry_tool.targets.layout import Layout
from tests.support.cli_runner import Terminal, Typed
from tests.support.content import layer, make_artifact, make_image, make_index, put_manifest
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import tags


def test_copy_says_what_it_copied(typed: Typed, watching: RecordingServer, other: RecordingServer) -> None:
    made = make_image(watching.port, "john/app", "1", layer(b"a"))
    answer = typed("copy", "john/app:1", f"{other.host}/mirror/app")
    assert (answer.code, answer.err) == (0, "")
    first, second = answer.out.splitlines()
    assert first == f"Copied {watching.host}/john/app:1 to {other.host}/mirror/app:1 ({made.digest})"
    assert second.startswith(f"Sent 2 blobs ({made.size}B), mounted 0, skipped 0 in ")
    assert tags(other.port, "mirror/app") == ["1"]
    again = typed("copy", "john/app:1", f"{other.host}/mirror/app")
    assert again.out.splitlines()[0] == f"Unchanged: {other.host}/mirror/app:1 ({made.digest})"


def test_copy_quiet_prints_the_digests_reference(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, "a", "1")
    answer = typed("copy", "-q", "a:1", "b:2")
    assert (answer.code, answer.out, answer.err) == (0, f"{watching.host}/b@{made.digest}\n", "")


def test_copy_json_has_images_and_blobs(typed: Typed, watching: RecordingServer) -> None:
    made = make_image(watching.port, "a", "1")
    document = typed("copy", "--json", "a:1", "b").json
    assert document.pop("seconds") >= 0
    assert document == {
        "ok": True,
        "dry_run": False,
        "images": [
            {
                "source": f"{watching.host}/a:1",
                "destinations": [f"{watching.host}/b:1"],
                "status": "copied",
                "digest": made.digest,
                "stored_digest": made.digest,
                "left_out": [],
                "foreign": [],
            }
        ],
        "blobs": {"sent": 0, "mounted": 2, "skipped": 0, "bytes_sent": 0, "bytes_total": made.size},
        "notes": [],
    }


def test_copy_of_several_repositories_goes_below_a_prefix(typed: Typed, watching: RecordingServer) -> None:
    for name in ("x/a", "y/b"):
        make_image(watching.port, name, "1")
    assert typed("copy", "x/a:1", "y/b:1", "mirror/").code == 0
    assert (tags(watching.port, "mirror/a"), tags(watching.port, "mirror/b")) == (["1"], ["1"])


def test_copy_of_all_tags_and_of_those_that_match(typed: Typed, watching: RecordingServer) -> None:
    for tag in ("v1", "v2", "w1"):
        make_image(watching.port, "a", tag)
    assert typed("copy", "--tags", "v*", "a", "b").code == 0
    assert sorted(tags(watching.port, "b") or ()) == ["v1", "v2"]
    assert typed("copy", "--all-tags", "a", "c").code == 0
    assert sorted(tags(watching.port, "c") or ()) == ["v1", "v2", "w1"]


def test_copy_of_a_platform_says_what_is_left_out(typed: Typed, watching: RecordingServer) -> None:
    amd, arm = (make_image(watching.port, "a", None, platform=name) for name in ("linux/amd64", "linux/arm64"))
    made = make_index(watching.port, "a", "1", amd, arm)
    answer = typed("copy", "--platform", "linux/arm64", "a:1", "b")
    assert answer.out.splitlines()[:3] == [
        f"Copied {watching.host}/a:1 to {watching.host}/b:1 ({arm.digest})",
        f"  in place of {made.digest}",
        "  left out: linux/amd64",
    ]


def test_copy_dry_run_writes_nothing(typed: Typed, watching: RecordingServer, other: RecordingServer) -> None:
    made = make_image(watching.port, "a", "1")
    answer = typed("copy", "--dry-run", "a:1", f"{other.host}/b")
    assert answer.out.splitlines() == [
        f"Would copy {watching.host}/a:1 to {other.host}/b:1 ({made.digest})",
        f"Would send 2 blobs ({made.size}B), mount 0, skip 0.",
    ]
    assert set(other.counts) <= {"GET", "HEAD"}


def test_image_that_fails_is_a_row_and_exit_1(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, "a", "1")
    answer = typed("copy", "a:missing", "a:1", "b")
    assert answer.code == 1
    assert answer.out.splitlines()[0] == f"Not copied: {watching.host}/a:missing"
    assert "missing" in answer.err
    assert tags(watching.port, "b") == ["1"]
    document = typed("copy", "--json", "a:missing", "a:1", "b").json
    assert (document["ok"], document["error"]["code"]) == (False, "not-found")
    assert [image["status"] for image in document["images"]] == ["failed", "unchanged"]
    assert document["images"][0]["error"]["code"] == "not-found"


def test_missing_image_is_no_failure_with_missing_ok(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, "a", "1")
    assert typed("copy", "--missing-ok", "a:missing", "a:1", "b").code == 0
    assert tags(watching.port, "b") == ["1"]


@pytest.mark.parametrize("arguments", [("a",), ("a:1", "c:1", "b"), ("a:1", "UPPER"), ("docker-daemon:a", "b")])
def test_wrong_usage_is_exit_2(typed: Typed, watching: RecordingServer, arguments: tuple[str, ...]) -> None:
    answer = typed("copy", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "hint: " in answer.err
    assert watching.requests == []


def test_unreachable_registry_is_exit_3(typed: Typed, watching: RecordingServer) -> None:
    assert typed("copy", "127.0.0.1:1/a:1", "b").code == 3


# --- layouts and archives ---


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_image_goes_through_a_layout_or_an_archive_and_back(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, kind: str
) -> None:
    made = {tag: make_image(watching.port, "john/app", tag, layer(b"base"), layer(tag.encode())) for tag in ("1", "2")}
    place = f"{kind}:{tmp_path / 'images'}"
    assert typed("copy", "john/app:1", "john/app:2", place).code == 0
    assert typed("copy", "--all-tags", place, f"{other.host}/mirror/").code == 0
    assert sorted(tags(other.port, "mirror/app") or ()) == ["1", "2"]
    answer = typed("copy", "-q", f"{place}:{watching.host}/john/app:2", f"{other.host}/again:3")
    assert answer.out == f"{other.host}/again@{made['2'].digest}\n"
    assert typed("copy", place, f"{other.host}/again").code == 1, "which of the two is not said"


def test_dry_run_makes_no_layout_and_no_archive(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1")
    for kind in ("oci", "oci-archive"):
        answer = typed("copy", "--dry-run", "a:1", f"{kind}:{tmp_path / 'new'}")
        assert "Would send 2 blobs" in answer.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_images_are_added_to_those_that_are_there(typed: Typed, watching: RecordingServer, tmp_path: Path, kind: str) -> None:
    made = {tag: make_image(watching.port, "app", tag, layer(b"base"), layer(tag.encode())) for tag in ("1", "2")}
    place = f"{kind}:{tmp_path / 'images'}"
    for tag in made:
        assert typed("copy", f"app:{tag}", place).code == 0
    planned = typed("copy", "--dry-run", "app:1", "app:2", place)
    assert planned.out.count("Unchanged") == 2
    assert typed("copy", "--all-tags", place, "back").code == 0
    assert sorted(tags(watching.port, "back") or ()) == ["1", "2"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_referrers_and_foreign_layers_of_images_that_are_there_stay(
    typed: Typed, watching: RecordingServer, tmp_path: Path, kind: str
) -> None:
    made = make_image(watching.port, "app", "1")
    artifact = make_artifact(watching.port, "app", made)
    document = json.loads(made.raw)
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    foreign = put_manifest(watching.port, "app", "foreign", json.dumps(document).encode(), made.media_type)
    place = f"{kind}:{tmp_path / 'images'}"
    assert typed("copy", "--referrers", "--allow-foreign", "app:1", "app:foreign", place).code == 0
    make_image(watching.port, "app", "2", layer(b"2"))
    assert typed("copy", "app:2", place).code == 0
    with Layout.open(tmp_path / "images") if kind == "oci" else open_archive(tmp_path / "images") as opened:
        referrers = opened.referrers(opened.resolve(f"{watching.host}/app:1"))
        assert [str(each.digest) for each in referrers] == [artifact.digest]
        assert all(opened.exists(layer) for layer in opened.manifest(f"{watching.host}/app:foreign").layers), foreign


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_place_that_is_source_and_destination_is_refused(
    typed: Typed, watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make_image(watching.port, "app", "1")
    assert typed("copy", "app:1", f"{kind}:{tmp_path / 'images'}").code == 0
    (tmp_path / "link").symlink_to(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    for other in ("images", "./images", "link"):
        answer = typed("copy", "--all-tags", f"{kind}:{tmp_path / 'images'}", f"{kind}:{other}")
        assert (answer.code, "source and destination" in answer.err) == (2, True)


def test_archive_is_not_written_where_an_image_failed(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1")
    assert typed("copy", "a:1", "a:missing", f"oci-archive:{tmp_path / 'new.tar'}").code == 1
    assert not (tmp_path / "new.tar").exists()


# --- progress ---


def descriptor(size: int) -> Descriptor:
    return Descriptor(media_type="", digest=Digest.of(str(size).encode()), size=size)


def test_log_has_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = view.CopyLines(clock=lambda: now[0])
    blob = descriptor(50_000_000)
    lines.planned(CopyPlan(images=(), tasks=(), counts=BlobCounts(sent=1, bytes_sent=blob.size)))
    lines.blob_started(blob)
    for second in range(1, 12):
        now[0] = second
        lines.blob_progress(blob, second * 2_000_000)
    lines.blob_finished(blob, "sent")
    assert capsys.readouterr().err.splitlines() == [
        "copying: 10MB of 50MB, 2MB/s, 20 s left",
        "copying: 20MB of 50MB, 2MB/s, 15 s left",
    ]


def test_progress_of_a_second_plan_counts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = view.CopyLines(clock=lambda: now[0])
    for size in (50_000_000, 20_000_000):
        blob = descriptor(size)
        lines.planned(CopyPlan(images=(), tasks=(), counts=BlobCounts(sent=1, bytes_sent=size)))
        lines.blob_started(blob)
        now[0] += 10
        lines.blob_progress(blob, 10_000_000)
        lines.blob_finished(blob, "sent")
    assert capsys.readouterr().err.splitlines() == [
        "copying: 10MB of 50MB, 1MB/s, 40 s left",
        "copying: 10MB of 20MB, 1MB/s, 10 s left",
    ]


def test_quiet_view_shows_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(view, "INTERVAL", 0.0)
    with view.copy_view(progress=True, quiet=True) as lines:
        lines.blob_progress(descriptor(5), 5)
    assert capsys.readouterr().err == ""


def test_terminal_shows_a_bar_for_each_blob_and_a_total(watching: RecordingServer, other: RecordingServer) -> None:
    made = make_image(watching.port, "a", "1", layer(bytes(range(256)) * 4000))
    with Terminal(["copy", f"{watching.host}/a:1", f"{other.host}/b"]) as terminal:
        assert terminal.end() == 0
    assert "total" in terminal.text
    assert made.digest in terminal.text.replace("\r\n", "")


def test_listener_may_be_any_class() -> None:
    NullCopyListener().planned(CopyPlan(images=(), tasks=(), counts=BlobCounts()))
