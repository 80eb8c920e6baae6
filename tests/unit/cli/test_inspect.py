from __future__ import annotations

import json
import re

import pytest

from registry_tool.oci.digest import Digest
from tests.e2e.test_docs_json import SECTIONS, as_told
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.content import PushedManifest, layer, make_artifact, make_blob, make_image, make_index, put_manifest
from tests.support.recording_server import RecordingServer

APP = "john/app"


@pytest.fixture
def made(watching: RecordingServer) -> PushedManifest:
    labels = {"org.example.title": "an app", "plain": "yes"}
    return make_image(watching.port, APP, "v1", layer(b"base"), layer(b"top"), labels=labels)


def test_document_of_an_image(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    put_manifest(watching.port, APP, "same", made.raw, made.media_type)
    make_image(watching.port, APP, "other", layer(b"base"))
    sbom = make_artifact(watching.port, APP, made)
    signature = make_artifact(watching.port, APP, sbom, artifact_type="application/vnd.example.signature")
    document = typed("inspect", "--json", f"{APP}:v1").json
    assert document["reference"] == f"{watching.host}/{APP}:v1"
    assert (document["digest"], document["type"], document["size"]) == (made.digest, "image", made.size)
    assert document["siblings"] == ["same"]
    assert [each["shared_with"] for each in document["layers"]] == [["other", "same"], ["same"]]
    assert [each["created_by"] for each in document["layers"]] == ["step 0", "step 1"]
    assert [step["created_by"] for step in document["history"]] == ["step 0", "step 1"]
    assert document["config"]["labels"] == {"org.example.title": "an app", "plain": "yes"}
    assert document["config"]["cmd"] == ["/file"]
    [referrer] = document["referrers"]
    assert referrer["digest"] == sbom.digest
    assert [below["digest"] for below in referrer["referrers"]] == [signature.digest]
    assert document["errors"] == []
    assert as_told(document, SECTIONS["inspect"][1]) == []


def test_text_of_an_image(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    make_image(watching.port, APP, "other", layer(b"base"))
    sbom = make_artifact(watching.port, APP, made)
    make_artifact(watching.port, APP, sbom, artifact_type="application/vnd.example.signature")
    answer = typed("inspect", f"{APP}:v1")
    assert (answer.code, answer.err) == (0, "")
    for part in (f"{watching.host}/{APP}:v1\n", made.digest, "CONFIG", "/file", "org.example.title   an app", "step 1", "REFERRERS"):
        assert part in answer.out
    base, top = layer(b"base"), layer(b"top")
    assert f"{len(base)}B of {len(base) + len(top)}B in layers shared with other tags" in answer.out
    assert re.search(r"^  \w{12} application/vnd.example.sbom", answer.out, re.MULTILINE)
    assert re.search(r"^    \w{12} application/vnd.example.signature", answer.out, re.MULTILINE)


def test_image_in_a_repository_without_tags_is_inspected_by_digest(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    unknown = ("404 Not Found", [("Content-Type", "application/json")], b"{}")
    watching.instead = lambda method, path: unknown if path.endswith("/tags/list") else None
    document = typed("inspect", "--json", f"{APP}@{made.digest}").json
    assert (document["digest"], document["siblings"], document["errors"]) == (made.digest, [], [])


def test_quiet_needs_one_head_request(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    watching.forget()
    assert typed("inspect", "-q", f"{APP}:v1").out == f"{made.digest}\n"
    assert watching.counts == {"HEAD": 1}


def test_raw_and_config_print_exact_bytes(typed: Typed, watching: RecordingServer) -> None:
    raw = b'{ "schemaVersion": 2,\n "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [ ] }\n\n'
    put_manifest(watching.port, APP, "odd", raw, "application/vnd.oci.image.index.v1+json")
    made = make_image(watching.port, APP, "v1")
    assert spawn("inspect", "--raw", f"{APP}:odd").out.encode() == raw
    assert typed("inspect", "--config", f"{APP}:v1").out.encode() == made.config


def test_raw_has_no_control_characters_on_a_terminal(watching: RecordingServer) -> None:
    made = make_image(watching.port, APP, "v1", extra={"annotations": {"a": "b"}})
    raw = made.raw.replace(b'"b"', '"\x9b2J"'.encode())
    put_manifest(watching.port, APP, "v1", raw, made.media_type)
    with Terminal(["inspect", "--raw", f"{APP}:v1"]) as terminal:
        assert terminal.end() == 0
    assert "\x9b" not in terminal.text
    assert "schemaVersion" in terminal.text


def test_labels_have_no_control_characters(typed: Typed, watching: RecordingServer) -> None:
    make_image(watching.port, APP, "v1", labels={"x\x1b[2J": "y\nz\x07\x9b"})
    for arguments in ((), ("--json",), ("--format", "config.labels"), ("--format", "config")):
        answer = typed("inspect", *arguments, f"{APP}:v1")
        assert answer.code == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", answer.out + answer.err)


def test_missing_latest_lists_the_tags(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    make_image(watching.port, APP, "v2")
    answer = typed("inspect", APP)
    assert answer.code == 1
    assert "has no tag latest" in answer.err
    assert {"  | v1", "  | v2"} <= set(answer.err.splitlines())
    assert typed("inspect", "--json", APP).json["error"]["excerpt"] == ["v1", "v2"]
    put_manifest(watching.port, APP, "latest", made.raw, made.media_type)
    assert typed("inspect", "-q", APP).out == f"{made.digest}\n"


def test_missing_image_is_exit_1(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    assert typed("inspect", f"{APP}:v9").code == 1
    assert typed("inspect", f"{APP}@sha256:{'0' * 64}").code == 1
    assert typed("inspect", "mary/none").code == 1
    assert typed("inspect", "-q", f"{APP}@{made.digest}").out == f"{made.digest}\n"


def test_index_lists_its_images(typed: Typed, watching: RecordingServer) -> None:
    amd, arm = (make_image(watching.port, APP, None, platform=name) for name in ("linux/amd64", "linux/arm64/v8"))
    make_index(watching.port, APP, "multi", amd, arm)
    document = typed("inspect", "--json", f"{APP}:multi").json
    assert (document["config"], document["image"], document["layers"]) == (None, None, [])
    assert [child["platform"] for child in document["children"]] == ["linux/amd64", "linux/arm64/v8"]
    assert document["size"] == amd.size + arm.size
    assert as_told(document, SECTIONS["inspect"][1]) == []
    chosen = typed("inspect", "--json", "--platform", "linux/arm64", f"{APP}:multi").json
    assert (chosen["image"], chosen["config"]["platform"], chosen["size"]) == (arm.digest, "linux/arm64/v8", arm.size)
    assert typed("inspect", "-q", "--platform", "linux/amd64", f"{APP}:multi").out == f"{amd.digest}\n"
    answer = typed("inspect", "--config", f"{APP}:multi")
    assert (answer.code, "--platform" in answer.err) == (2, True)
    answer = typed("inspect", "--platform", "linux/s390x", f"{APP}:multi")
    assert "there is no image for linux/s390x in sha256:" in answer.err
    assert answer.code == 1
    assert "linux/amd64, linux/arm64/v8" in answer.err


def test_figures_are_those_of_the_chosen_platform(typed: Typed, watching: RecordingServer) -> None:
    versions = ("10.0.17763.1", "10.0.20348.7")
    images = [make_image(watching.port, APP, None, layer(version.encode()), platform="windows/amd64") for version in versions]
    entries = [
        {**image.descriptor, "platform": {"os": "windows", "architecture": "amd64", "os.version": version}}
        for image, version in zip(images, versions, strict=True)
    ]
    make_index(watching.port, APP, "multi", extra={"manifests": entries})
    for text, image in (("windows/amd64", images[0]), ("windows(10.0.20348)/amd64", images[1]), ("windows/amd64:10.0.20348.7", images[1])):
        document = typed("inspect", "--json", "--platform", text, f"{APP}:multi").json
        assert (document["image"], document["size"]) == (image.digest, image.size)
        assert re.search(rf"^  image +{image.digest}$", typed("inspect", "--platform", text, f"{APP}:multi").out, re.MULTILINE)
    children = typed("inspect", "--json", f"{APP}:multi").json["children"]
    assert [child["platform"] for child in children] == [f"windows({version})/amd64" for version in versions]
    assert "windows(10.0.20348.7)/amd64" in typed("list-tags", APP).out
    answer = typed("inspect", "--platform", "windows(10.0.1)/amd64", f"{APP}:multi")
    assert answer.code == 1
    assert "windows(10.0.17763.1)/amd64" in answer.err


def test_index_of_image_and_attestations_is_shown_as_the_image(typed: Typed, watching: RecordingServer) -> None:
    image = make_image(watching.port, APP, None)
    attestation = make_image(watching.port, APP, None, layer(b"claim"), platform="unknown/unknown")
    make_index(watching.port, APP, "built", image, attestations=[attestation])
    document = typed("inspect", "--json", f"{APP}:built").json
    assert (document["type"], document["image"]) == ("image", image.digest)
    assert document["config"]["cmd"] == ["/file"]
    assert [child["attestation"] for child in document["children"]] == [False, True]


def test_platform_selects_an_image_of_an_index(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    assert typed("inspect", "--platform", "linux/arm64", f"{APP}:v1").code == 1
    assert typed("inspect", "--platform", "linux/amd64", f"{APP}:v1").code == 0


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("digest", None),
        ("config.labels.org.example.title", "an app\n"),
        ("config.labels.plain", "yes\n"),
        ("config.cmd", "/file\n"),
        (".config.cmd.0", "/file\n"),
        ("config.cmd[0]", "/file\n"),
        ("config.size", None),
        ("subject", ""),
        ("history.0.empty_layer", "false\n"),
    ],
)
def test_format_prints_one_member(typed: Typed, made: PushedManifest, path: str, printed: str | None) -> None:
    expected = {"digest": f"{made.digest}\n", "config.size": f"{len(made.config)}\n"}.get(path, printed)
    answer = typed("inspect", "--format", path, f"{APP}:v1")
    assert (answer.code, answer.out) == (0, expected)


@pytest.mark.parametrize("path", ["nothing", "config.nothing", "layers.9", "digest.x", "", "a..b", "layers[x]"])
def test_format_of_a_missing_member_is_exit_2(typed: Typed, made: PushedManifest, path: str) -> None:
    answer = typed("inspect", "--format", path, f"{APP}:v1")
    assert answer.code == 2
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]


@pytest.mark.parametrize(
    ("template", "ours"),
    [("{{.Digest}}", "digest"), ("{{json .Config.Labels}}", "config.labels"), ("{{ .MediaType }}", "media_type"), ("{{json .}}", "digest")],
)
def test_go_template_is_refused_with_the_path(typed: Typed, watching: RecordingServer, template: str, ours: str) -> None:
    answer = typed("inspect", "--format", template, f"{APP}:v1")
    assert answer.code == 2
    assert f"--format {ours}\n" in answer.err
    assert watching.requests == []


def test_output_options_exclude_each_other(typed: Typed, watching: RecordingServer) -> None:
    assert typed("inspect", "--raw", "--config", APP).code == 2
    assert typed("inspect", "-q", "--json", APP).code == 2
    assert watching.requests == []


def test_each_manifest_is_requested_once(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    make_image(watching.port, APP, "v2")
    watching.forget()
    typed("inspect", f"{APP}:v1")
    fetched = [path for method, path in watching.requests if method == "GET"]
    assert len(fetched) == len(set(fetched))
    watching.forget()
    typed("inspect", "--no-siblings", f"{APP}:v1")
    assert watching.counts["HEAD"] == 1
    assert watching.times("GET", "/tags/list") == 0


def test_siblings_of_more_than_200_tags_are_read_only_on_request(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    other = make_image(watching.port, APP, "other")
    for number in range(201):
        watching.registry.storage.tag(APP, f"t{number}", Digest.parse(other.digest))
    put_manifest(watching.port, APP, "same", made.raw, made.media_type)
    watching.forget()
    answer = typed("inspect", f"{APP}:v1")
    assert answer.code == 0
    assert "not read (203 other tags: --siblings)" in answer.out
    assert watching.counts["HEAD"] == 1
    assert typed("inspect", "--json", f"{APP}:v1").json["siblings"] is None
    assert typed("inspect", "--json", "--siblings", f"{APP}:v1").json["siblings"] == ["same"]


@pytest.mark.parametrize("path", ["digest", "config.labels", "referrers"])
def test_format_of_a_member_without_siblings_reads_no_other_tag(
    typed: Typed, watching: RecordingServer, made: PushedManifest, path: str
) -> None:
    make_image(watching.port, APP, "v2")
    watching.forget()
    assert typed("inspect", "--format", path, f"{APP}:v1").code == 0
    assert watching.counts["HEAD"] == 1
    assert typed("inspect", "--format", "siblings", f"{APP}:v1").code == 0
    assert watching.counts["HEAD"] == 3


@pytest.mark.parametrize("option", ["--siblings", "--no-siblings"])
def test_signatures_under_cosigns_tags_are_referrers(typed: Typed, watching: RecordingServer, made: PushedManifest, option: str) -> None:
    signature = make_artifact(
        watching.port, APP, tag=f"{made.digest.replace(':', '-')}.sig", artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json"
    )
    make_artifact(watching.port, APP, made)
    document = typed("inspect", "--json", option, f"{APP}:v1").json
    assert {each["digest"]: each["artifact_type"] for each in document["referrers"]}[signature.digest].startswith(
        "application/vnd.dev.cosign"
    )
    assert len(document["referrers"]) == 2
    assert Digest.parse(signature.digest).short in typed("inspect", option, f"{APP}:v1").out


@pytest.mark.parametrize("columns", [80, 200])
def test_lines_fit_the_terminal_and_use_all_of_it(watching: RecordingServer, columns: int) -> None:
    image = make_image(watching.port, APP, "v1")
    document = json.loads(image.config)
    steps = [f"RUN {number} " + "x " * 200 for number in range(len(document["rootfs"]["diff_ids"]))]
    document["history"] = [{"created": "2024-05-06T07:08:09Z", "created_by": step} for step in steps]
    document["config"]["Env"] = [f"NAME{number}=value" for number in range(20)]
    config = json.dumps(document).encode()
    make_blob(watching.port, APP, config)
    manifest = json.loads(image.raw)
    manifest["config"] |= {"digest": str(Digest.of(config)), "size": len(config)}
    made = put_manifest(watching.port, APP, "v1", json.dumps(manifest).encode(), image.media_type)
    put_manifest(watching.port, APP, "a-tag-with-a-long-name", json.dumps(manifest).encode(), image.media_type)
    with Terminal(["inspect", f"{APP}:v1"], {"COLUMNS": str(columns)}) as terminal:
        assert terminal.end() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text).splitlines()
    assert max(map(len, lines)) == columns
    assert sum(line.endswith("…") for line in lines) == 2 * len(steps)
    assert made in terminal.text.split()
    assert all(len(line) > columns - 3 for line in lines if line.endswith("…"))


@pytest.mark.parametrize("status", ["401 No", "403 No", "405 No", "500 No"])
def test_siblings_are_not_known_where_tags_are_not_listed(
    typed: Typed, watching: RecordingServer, made: PushedManifest, status: str
) -> None:
    watching.instead = lambda method, path: (status, [], b"") if path.endswith("/tags/list") else None
    answer = typed("inspect", f"{APP}:v1")
    assert (answer.code, "step 1" in answer.out) == (0, True)
    assert re.search(r"^  same digest as +not known: ", answer.out, re.MULTILINE)
    assert typed("inspect", "--json", f"{APP}:v1").json["siblings"] is None


def test_referrers_that_are_not_shown_are_not_known(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    watching.instead = lambda method, path: (
        ("403 No", [], b"") if "/referrers/" in path or (path.endswith(made.digest[7:]) and "sha256-" in path) else None
    )
    answer = typed("inspect", f"{APP}:v1")
    assert answer.code == 0
    assert re.search(r"^  referrers +not known: .*403", answer.out, re.MULTILINE)
    document = typed("inspect", "--json", f"{APP}:v1").json
    assert (document["referrers"], document["referrers_known"], document["errors"]) == ([], False, [])
    assert typed("inspect", "--json", "--no-siblings", f"{APP}:v1").json["referrers_known"] is False
    watching.instead = lambda method, path: None
    assert typed("inspect", "--json", f"{APP}:v1").json["referrers_known"] is True


def test_config_with_one_wrong_member_is_shown_without_it(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    config = made.config.replace(b'"Cmd":["/file"]', b'"Cmd":"/file"')
    assert config != made.config
    make_blob(watching.port, APP, config)
    old, new = (f'"digest":"{Digest.of(each)}","size":{len(each)}'.encode() for each in (made.config, config))
    assert old in made.raw
    put_manifest(watching.port, APP, "v1", made.raw.replace(old, new), made.media_type)
    answer = typed("inspect", f"{APP}:v1")
    assert answer.code == 1
    assert "config.Cmd: an array is required, not a string" in answer.err
    assert "org.example.title   an app" in answer.out
    document = typed("inspect", "--json", f"{APP}:v1").json
    assert (document["config"]["cmd"], document["config"]["platform"], document["created"]) == ([], "linux/amd64", "2024-05-06T07:08:09Z")
    assert [error["code"] for error in document["errors"]] == ["invalid-manifest"]
    (row,) = typed("list-tags", "--json", APP).json["tags"]
    assert (row["created"], row["platforms"]) == ("2024-05-06T07:08:09Z", ["linux/amd64"])


def test_artifact_type_is_that_of_the_config(typed: Typed, watching: RecordingServer) -> None:
    helm = "application/vnd.cncf.helm.config.v1+json"
    made = make_artifact(watching.port, APP, tag="chart")
    raw = made.raw.replace(b'"artifactType":"application/vnd.example.sbom.v1+json",', b"").replace(
        b"application/vnd.oci.empty.v1+json", helm.encode()
    )
    put_manifest(watching.port, APP, "chart", raw, made.media_type)
    assert typed("inspect", "--format", "artifact_type", f"{APP}:chart").out == f"{helm}\n"
    assert helm in typed("inspect", f"{APP}:chart").out


def test_damage_is_reported_with_what_is_known(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    watching.registry.storage.blobs[Digest.of(made.config)] = b"x" * len(made.config)  # type: ignore[attr-defined]
    answer = typed("inspect", f"{APP}:v1")
    assert answer.code == 1
    assert made.digest in answer.out
    assert len([line for line in answer.err.splitlines() if line.startswith("regctl:")]) == 1
    document = typed("inspect", "--json", f"{APP}:v1").json
    assert document["config"] is None
    assert [error["code"] for error in document["errors"]] == ["mismatch"]


def test_circular_referrers_end(typed: Typed, watching: RecordingServer, made: PushedManifest) -> None:
    entry = {**made.descriptor, "artifactType": "application/vnd.example.loop"}
    del entry["platform"]
    make_index(watching.port, APP, made.digest.replace(":", "-"), extra={"manifests": [entry]})
    assert typed("inspect", "--json", f"{APP}:v1").json["referrers"] == []
