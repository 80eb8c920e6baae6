"""``sync`` as it is typed, between registries in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.cli.commands import sync as command
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image, make_index
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import ask, tags


def test_mirror_by_skopeos_yaml(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    for tag in ("1.0", "1.1", "2.0"):
        make_image(watching.port, "library/a", tag, layer(b"base"), layer(tag.encode()))
    make_image(watching.port, "b", "latest", layer(b"base"))
    rules = tmp_path / "sync.yml"
    rules.write_text(f'"{watching.host}":\n  images: {{b: [latest, gone]}}\n  images-by-semver: {{library/a: ^1}}\n')
    answer = typed("sync", str(rules), f"{other.host}/mirror")
    assert answer.code == 1
    assert (sorted(tags(other.port, "mirror/a") or ()), tags(other.port, "mirror/b")) == (["1.0", "1.1"], ["latest"])
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[0] == ["SOURCE", "DESTINATION", "COPIED", "UNCHANGED", "FAILED", "SENT"]
    assert rows[1][:5] == [f"{watching.host}/b", f"{other.host}/mirror/b", "1", "0", "1"]
    assert rows[2][:5] == [f"{watching.host}/library/a", f"{other.host}/mirror/a", "2", "0", "0"]
    assert rows[3] == ["Not", "copied:", f"{watching.host}/b:gone"]
    assert "gone" in answer.err
    document = typed("sync", "--json", str(rules), f"{other.host}/again").json
    # The layer that both have is sent once in a run.
    assert [repository["blobs"]["mounted"] for repository in document["repositories"]] == [0, 1]
    assert (document["ok"], document["error"]["code"]) == (False, "not-found")


def test_mirror_with_nothing_new_requests_only_digests(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    for number in range(20):
        make_image(watching.port, "a", f"v{number}", layer(b"base"), layer(b"%d" % number))
    rules = tmp_path / "mirror.toml"
    rules.write_text(f'destination = "{other.host}/m/"\n[[image]]\nsource = "{watching.host}/a"\n')
    assert typed("sync", str(rules)).code == 0
    watching.forget()
    other.forget()
    answer = typed("sync", str(rules))
    assert (answer.code, answer.out.splitlines()[1].split()[2:]) == (0, ["0", "20", "0", "0B"])
    assert watching.counts["HEAD"] == other.counts["HEAD"] == 20
    assert [path for method, path in watching.requests if method == "GET" and path != "/v2/"] == ["/v2/a/tags/list"]
    assert set(other.counts) <= {"HEAD", "GET"}
    make_image(watching.port, "a", "v20", layer(b"base"), layer(b"20"))
    assert typed("sync", "-q", str(rules)).out == f"{other.host}/m/a:v20\n"


def test_mirror_of_platforms_is_unchanged_the_second_time(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path
) -> None:
    images = [make_image(watching.port, "a", None, platform=name) for name in ("linux/amd64", "linux/arm64", "linux/s390x")]
    make_index(watching.port, "a", "1", *images)
    rules = tmp_path / "mirror.toml"
    rules.write_text(
        f'destination = "{other.host}/m/"\nplatforms = ["linux/amd64", "linux/arm64"]\n[[image]]\nsource = "{watching.host}/a"\n'
    )
    assert typed("sync", str(rules)).code == 0
    assert ask(other.port, "HEAD", f"/v2/m/a/manifests/{images[2].digest}")[0] == 404
    assert typed("sync", "--json", str(rules)).json["repositories"][0]["unchanged"] == 1


def test_unreachable_registry_is_a_row(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1")
    rules = tmp_path / "mirror.toml"
    rules.write_text(f'destination = "{other.host}/"\n[[image]]\nsource = "127.0.0.1:1/b"\n[[image]]\nsource = "{watching.host}/a"\n')
    answer = typed("sync", str(rules))
    assert (answer.code, tags(other.port, "a")) == (1, ["1"])
    assert answer.out.splitlines()[1].split()[2:5] == ["0", "0", "1"]
    assert answer.out.splitlines()[3] == "Not mirrored: 127.0.0.1:1/b"
    document = typed("sync", "--json", str(rules)).json
    assert [(repository["failed"], "error" in repository) for repository in document["repositories"]] == [(1, True), (0, False)]


def test_repository_of_two_rules_is_one_row(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    for tag in ("1", "v2"):
        make_image(watching.port, "a", tag, layer(tag.encode()))
    rules = tmp_path / "sync.yml"
    rules.write_text(f'"{watching.host}":\n  images: {{a: ["1"]}}\n  images-by-tag-regex: {{a: ^v}}\n')
    document = typed("sync", "--json", str(rules), f"{other.host}/m").json
    assert [(each["copied"], each["blobs"]["sent"], len(each["images"])) for each in document["repositories"]] == [(2, 4, 2)]


def test_dry_run_of_a_mirror_writes_nothing(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1")
    rules = tmp_path / "mirror.toml"
    rules.write_text(f'destination = "{other.host}/"\n[[image]]\nsource = "{watching.host}/a"\n')
    answer = typed("sync", "--dry-run", str(rules))
    assert answer.out.splitlines()[0].split()[2] == "NEW"
    assert set(other.counts) <= {"GET", "HEAD"}


def test_mirror_to_a_layout(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    for tag in ("1", "2"):
        make_image(watching.port, "a", tag)
    rules = tmp_path / "mirror.toml"
    rules.write_text(f'destination = "oci:{tmp_path / "images"}"\n[[image]]\nsource = "a"\n')
    assert typed("sync", str(rules)).code == 0
    assert typed("copy", "--all-tags", f"oci:{tmp_path / 'images'}", f"{other.host}/m/").code == 0
    assert sorted(tags(other.port, "m/a") or ()) == ["1", "2"]


def test_watch_goes_on_with_jitter_and_reads_the_file_anew(
    typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(watching.port, "a", "1")
    make_image(watching.port, "b", "1")
    rules = tmp_path / "mirror.toml"
    text = f'destination = "{other.host}/"\n[[image]]\nsource = "{watching.host}/a"\n'
    rules.write_text(text)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            rules.write_text("nonsense")
        elif len(pauses) == 2:
            rules.write_text(text + f'[[image]]\nsource = "{watching.host}/b"\n')
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "_pause", pause)
    assert typed("sync", "--watch", "10m", str(rules)).code == 130
    assert all(540 <= seconds <= 660 for seconds in pauses)
    assert len(set(pauses)) == 3
    assert tags(other.port, "b") == ["1"]


@pytest.mark.parametrize("arguments", [("--watch", "soon"), ("--watch", "0s"), ("--watch", "-5m"), ("--json", "--watch", "10m")])
def test_wrong_watch_is_exit_2(typed: Typed, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    rules = tmp_path / "mirror.toml"
    rules.write_text('destination = "127.0.0.1:1/"\n[[image]]\nsource = "127.0.0.1:1/a"\n')
    assert typed("sync", *arguments, str(rules)).code == 2


def test_missing_file_is_exit_1(typed: Typed, tmp_path: Path) -> None:
    assert typed("sync", str(tmp_path / "none.toml")).code == 1
