"""``verify`` as it is typed: what is asked for, in its order; what is printed and written; its exit codes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from registry_tool.base.errors import EnvironmentUnavailable
from registry_tool.cli.session import Session
from registry_tool.oci.digest import Digest
from registry_tool.server import RunningRegistry
from registry_tool.verify.report.report import VerifyReport, write
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, Probe, Tcp
from tests.e2e.test_docs_json import SECTIONS, as_told
from tests.support.cli_runner import Terminal, Typed, spawn
from tests.support.content import PushedManifest, make_image
from tests.support.fake_environments import ENGINE, FakeEnvironments, install_fake_environments
from tests.support.reports import EVIL, GREEN, check, failing


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironments:
    return install_fake_environments(monkeypatch)


@pytest.fixture
def typed(
    fake: FakeEnvironments,
    registry: RunningRegistry,
    image: PushedManifest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    monkeypatch.setattr(Session, "engine", ENGINE)
    monkeypatch.chdir(tmp_path)
    return Typed(capsys)


@pytest.fixture
def image(registry: RunningRegistry) -> PushedManifest:
    return make_image(registry.port, "john/app", "1")


def spec_of(fake: FakeEnvironments) -> Any:
    assert fake.spec is not None
    return fake.spec


# What is asked for.


def test_verify_of_a_name(typed: Typed, fake: FakeEnvironments, registry: RunningRegistry, image: PushedManifest) -> None:
    answer = typed("verify", "john/app:1")
    assert answer.code == 0, answer.err
    assert fake.events == ["open docker", "prove docker", "close docker"]
    spec = spec_of(fake)
    assert (str(spec.image), spec.expect, spec.probes) == (f"{registry.host}/john/app:1", None, ())
    assert (spec.timeout, spec.stop_within, spec.redis, spec.replicas, spec.limits) == (30.0, 10.0, False, 1, Limits())
    lines = answer.out.splitlines()
    assert re.fullmatch(r"docker: Docker 28\.2\.2, linux/amd64, a clean engine, ready in 0\.0 s", lines[0])
    assert re.fullmatch(r"  resolves   ok     0\.2 s  resolves was looked at", lines[1])
    assert lines[-1] == f"verified: {registry.host}/john/app:1@{image.digest} (docker: 1 check)"
    assert answer.err == ""


def test_options_apply_to_the_http_before_them(typed: Typed, fake: FakeEnvironments) -> None:
    words = (
        "verify john/app:1 --http 4000:80/a --expect-status 201 --expect-text Hello --expect-text World --log ready "
        "--exec=true --http 4001:81 --within 500ms --expect-json user.name=john --expect-json n=7 --tcp 1:2 --exit 0 "
        "--http 4000:80/b --expect-status 404"
    )
    assert typed(*words.split()).code == 0
    wanted: tuple[Probe, ...] = (
        Http(published=4000, container=80, path="/a", status=201, text=("Hello", "World")),
        Log(text="ready"),
        Exec(command=("true",)),
        Http(published=4001, container=81, within=0.5, json=(("user.name", "john"), ("n", "7"))),
        Tcp(published=1, container=2),
        Exit(code=0),
        Http(published=4000, container=80, path="/b", status=404),
    )
    assert spec_of(fake).probes == wanted


def test_other_options_reach_the_spec(typed: Typed, fake: FakeEnvironments, image: PushedManifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "here")
    words = "--on podman --on docker --require docker --timeout 5s -e A=b=c --env OURS --env NOBODYS --with redis --replicas 3"
    assert typed("verify", "john/app:1", *words.split(), "--expect", image.digest, "--registry-as", "10.0.0.1:5000").code == 0
    spec = spec_of(fake)
    assert fake.events[0] == "open podman"
    assert (spec.expect, spec.timeout, spec.redis, spec.replicas) == (Digest.parse(image.digest), 5.0, True, 3)
    assert (dict(spec.environment), spec.registry_as) == ({"A": "b=c", "OURS": "here"}, "10.0.0.1:5000")


def test_digest_in_the_name_is_expected(typed: Typed, fake: FakeEnvironments, image: PushedManifest) -> None:
    assert typed("verify", f"john/app@{image.digest}").code == 0
    assert spec_of(fake).expected == Digest.parse(image.digest)


def test_settings_file_is_used_without_options(typed: Typed, fake: FakeEnvironments, registry: RunningRegistry, tmp_path: Path) -> None:
    (tmp_path / "portability.toml").write_text(
        'image = "john/app:1"\nengines = ["podman"]\nservices = ["redis"]\nrequire = ["podman"]\nstack = "x.yml"\n'
        '[environment]\nA = "file"\nB = "file"\n[timeouts]\nprobes = 7\nstop = "3s"\n[limits]\nprocesses = 9\n[[probes]]\nlog = "file"\n'
    )
    assert typed("verify", "--stack", str(tmp_path / "none.yml")).code != 0
    (tmp_path / "portability.toml").write_text((tmp_path / "portability.toml").read_text().replace('stack = "x.yml"\n', ""))
    assert typed("verify").code == 0
    spec = spec_of(fake)
    assert fake.events[0] == "open podman"
    assert (str(spec.image), spec.redis, spec.timeout, spec.stop_within) == (f"{registry.host}/john/app:1", True, 7.0, 3.0)
    assert (spec.limits.processes, spec.probes) == (9, (Log(text="file"),))


def test_options_override_the_settings_file(typed: Typed, fake: FakeEnvironments, registry: RunningRegistry, tmp_path: Path) -> None:
    make_image(registry.port, "john/other", "2")
    (tmp_path / "portability.toml").write_text(
        'image = "john/app:1"\nengines = ["podman"]\nreplicas = 2\n[environment]\nA = "file"\nB = "file"\n'
        '[timeouts]\nprobes = 7\n[[probes]]\nlog = "file"\n'
    )
    assert typed("verify", "john/other:2", "--on", "docker", "--replicas", "4", "-e", "A=typed", "--timeout", "2", "--exit", "3").code == 0
    spec = spec_of(fake)
    assert fake.events[0] == "open docker"
    assert (str(spec.image), spec.replicas, spec.timeout) == (f"{registry.host}/john/other:2", 4, 2.0)
    assert (dict(spec.environment), spec.probes) == ({"A": "typed", "B": "file"}, (Exit(code=3),))


def test_engine_and_stack_options_replace_those_of_the_file(typed: Typed, fake: FakeEnvironments, tmp_path: Path) -> None:
    (tmp_path / "portability.toml").write_text('image = "john/app:1"\nrequire = ["docker"]\nservices = ["redis"]\nreplicas = 3\n')
    (tmp_path / "stack.yml").write_text("services:\n  web:\n    image: john/app:1\n    ports: ['80']\n")
    assert typed("verify", "--on", "podman", "--stack", "stack.yml").code == 0
    spec = spec_of(fake)
    assert (fake.events[0], spec.redis, spec.replicas, str(spec.stack)) == ("open podman", False, 1, "stack.yml")
    (tmp_path / "portability.toml").write_text('image = "john/app:1"\nstack = "stack.yml"\n')
    assert typed("verify", "--with", "redis").code == 0
    spec = spec_of(fake)
    assert (spec.redis, spec.stack) == (True, None)


def test_invalid_settings_file_is_exit_2(typed: Typed, fake: FakeEnvironments, tmp_path: Path) -> None:
    (tmp_path / "portability.toml").write_text("imge = 'a'")
    answer = typed("verify", "john/app:1")
    assert answer.code == 2
    assert answer.err == "regctl: portability.toml: imge: not supported\nhint: Did you mean: image?\n"
    assert fake.events == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "verify needs a name"),
        ("UPPER", "upper-case"),
        ("a --expect-text x --http 1:1", "--expect-text needs an --http before it"),
        ("a --http 1:1 --tcp 2:2 --within 2s", "--within needs an --http before it"),
        ("a --http 80", "'80' is not a page"),
        ("a --http 1:1 --expect-status ok", "'ok' is not an HTTP status"),
        ("a --http 1:1 --expect-status 700", "700 is not an HTTP status"),
        ("a --http 1:1 --expect-json x", "'x' names no value"),
        ("a --http 1:1 --within soon", "'soon' is not a time"),
        ("a --tcp x", "'x' is not a pair of ports"),
        ("a --exit x", "'x' is not an exit code"),
        ("a --exec '", "cannot be split"),
        ("a --log ", "no text is in every log"),
        ("a --timeout 0", "'0' is not a time"),
        ("a --expect sha256:0", "not 64 lower-case hexadecimal digits"),
        ("a --on nowhere", "'nowhere' is not an environment"),
        ("a --on docker --on docker", "docker is named twice"),
        ("a --require podman", "podman is required"),
        ("a --with mysql", "'mysql' is not"),
        ("a --replicas 0", "0 is not in the range"),
        ("a -e =x", "'=x' is not KEY=VALUE"),
        ("a --registry-as x", "'x' is not a registry's address"),
        ("a --http 1:1 --http 1:2", "port 1 cannot be published for both 1 and 2"),
        ("a --nope", "No such option"),
        ("a b", "unexpected extra argument"),
        ("a --http", "requires an argument"),
        ("a --show x", "--show takes no name, and a was given"),
    ],
)
def test_wrong_usage_of_verify_is_exit_2(typed: Typed, fake: FakeEnvironments, words: str, message: str) -> None:
    answer = typed("verify", *words.split(" ")) if words else typed("verify")
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert answer.err.startswith("regctl: ")
    assert fake.events == []


def test_verify_can_be_completed() -> None:
    environment = {"_REGCTL_COMPLETE": "bash_complete", "COMP_WORDS": "regctl verify --http 1:1 --exp", "COMP_CWORD": "4"}
    answer = spawn(environment=environment)
    assert answer.out.splitlines() == [f"plain,--{name}" for name in ("expect", "expect-status", "expect-text", "expect-json")]


# What comes of it.


def test_failed_check_is_exit_1_with_excerpt_and_hint(typed: Typed, fake: FakeEnvironments) -> None:
    fake.checks = (check("starts", False, detail="it ended", hint="Look here.", excerpt=("line 1", "line 2")), check("ends", None))
    answer = typed("verify", "john/app:1", "--on", "docker", "--on", "podman")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[1:6] == [
        "  starts     FAIL   0.2 s  it ended",
        "    | line 1",
        "    | line 2",
        "    hint: Look here.",
        "  ends       -      0.2 s  ends was looked at",
    ]
    assert lines[-1].startswith("not verified: ")
    assert lines[-1].endswith(": starts on docker, starts on podman failed")


def test_unavailable_engine_is_exit_3(typed: Typed, fake: FakeEnvironments) -> None:
    fake.missing["podman"] = EnvironmentUnavailable("there is no podman", hint="Install it.", excerpt=("a log",))
    answer = typed("verify", "john/app:1", "--on", "podman", "--on", "docker")
    assert answer.code == 3
    assert "not verified: " in answer.out.splitlines()[-1]
    assert answer.err == "regctl: there is no podman\n  | a log\nhint: Install it.\n"


def test_fallback_to_here_is_in_the_last_line(typed: Typed, fake: FakeEnvironments) -> None:
    fake.missing["docker"] = EnvironmentUnavailable("too old", hint="Update it.")
    answer = typed("verify", "john/app:1")
    assert answer.code == 0
    assert answer.out.startswith("here: Docker 28.2.2, linux/amd64, not a clean engine, ready in")
    assert answer.out.splitlines()[-1].endswith("; not on a clean docker: too old; on the current engine instead, which verifies the least")
    answer = typed("verify", "john/app:1", "--require", "docker")
    assert answer.code == 1
    assert answer.err == "regctl: docker is required, and nothing was verified there\nhint: Update it.\n"


def test_missing_image_is_exit_1_for_verify(typed: Typed) -> None:
    answer = typed("verify", "john/app:none", "--json")
    assert answer.code == 1
    assert answer.json["error"]["code"] == "not-found"
    assert answer.json["ok"] is False


def test_document_is_the_report_of_docs_json(typed: Typed, fake: FakeEnvironments) -> None:
    fake.checks = (check("starts", False, hint="x", excerpt=("a",)), check("ends", None))
    fake.missing["podman"] = EnvironmentUnavailable("no podman")
    answer = typed("verify", "john/app:1", "--json", "--on", "docker", "--on", "podman")
    assert answer.code == 3
    assert as_told(answer.json, SECTIONS["verify"][1]) == []
    assert VerifyReport.parse(answer.out.encode()).error is not None
    # What happens is told meanwhile, elsewhere.
    assert "  starts     FAIL" in answer.err


def test_command_in_the_report_has_no_secrets(typed: Typed) -> None:
    answer = typed("--registry", "127.0.0.1:1", "verify", "--json", "a", "-e", "A=secret", "-eB=secret", "--env=C=secret", "--exec", "a b")
    command = answer.json["command"]
    assert command == "regctl --registry 127.0.0.1:1 verify --json a -e 'A=…' '-eB=…' '--env=C=…' --exec 'a b'"
    assert "secret" not in answer.out + answer.err


def test_report_is_written_in_every_format(typed: Typed, fake: FakeEnvironments, tmp_path: Path) -> None:
    fake.checks = (check("starts", False),)
    files = {name: tmp_path / "new" / name for name in ("report.json", "junit.xml", "page.md")}
    words = ("-o", str(files["report.json"]), "--junit", str(files["junit.xml"]), "--markdown", str(files["page.md"]))
    assert typed("verify", "john/app:1", *words).code == 1
    report = VerifyReport.read(files["report.json"])
    assert [each.name for each in report.results[0].checks] == ["starts"]
    assert ET.parse(files["junit.xml"]).getroot().get("failures") == "1"  # noqa: S314 - our own
    assert files["page.md"].read_text(encoding="utf-8").startswith("## ❌ ")
    answer = typed("verify", "--show", str(files["report.json"]), "--json")
    assert (answer.code, answer.json) == (1, json.loads(files["report.json"].read_text()))


def test_what_was_not_looked_at_is_in_every_format(typed: Typed, fake: FakeEnvironments, tmp_path: Path) -> None:
    fake.checks = (
        check("starts"),
        check("listens", unchecked=("53/udp: why", "54/udp: why")),
        check("probes", None, detail="there are none"),
    )
    junit, page = tmp_path / "junit.xml", tmp_path / "page.md"
    answer = typed("verify", "john/app:1", "--junit", str(junit), "--markdown", str(page))
    assert answer.code == 0
    assert answer.out.splitlines()[2:5] == [
        "  listens    ok     0.2 s  listens was looked at",
        "    not looked at: 53/udp: why",
        "    not looked at: 54/udp: why",
    ]
    assert "<system-out>not looked at: 53/udp: why\nnot looked at: 54/udp: why</system-out>" in junit.read_text()
    for line in ("- **listens** on docker: 53/udp: why", "- **listens** on docker: 54/udp: why", "- **probes** on docker: there are none"):
        assert line in page.read_text(encoding="utf-8").splitlines()
    document = typed("verify", "john/app:1", "--json").json
    assert [point.get("unchecked") for point in document["proven"][0]["points"]] == [None, ["53/udp: why", "54/udp: why"], None]
    assert as_told(document, SECTIONS["verify"][1]) == []


def test_unwritable_report_is_an_error_with_the_results(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = typed("verify", "john/app:1", "--json", "--junit", str(tmp_path / "file" / "x"), "-o", str(tmp_path / "report.json"))
    assert answer.code == 1
    assert "cannot be written" in answer.json["error"]["message"]
    assert len(answer.json["proven"]) == 1
    assert VerifyReport.read(tmp_path / "report.json").error is not None


# Shown and compared, without an engine or a registry.


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    return Typed(capsys)


def test_show_prints_the_same_lines(alone: Typed, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write(file, GREEN.as_bytes())
    answer = alone("verify", "--show", str(file))
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines() if line] == [
        *("docker:", "resolves", "starts", "probes"),
        *("podman:", "resolves", "starts", "probes"),
        "verified:",
    ]
    write(file, failing().as_bytes())
    assert alone("verify", "--show", str(file)).code == 1


def test_against_prints_the_changes(alone: Typed, tmp_path: Path) -> None:
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    write(before, GREEN.as_bytes())
    write(now, failing().as_bytes())
    answer = alone("verify", "--show", str(now), "--against", str(before))
    assert answer.code == 1, "it is the present one that counts"
    assert "changed since 2026-01-31T12:00:00Z:\n  certificate: ok: ok → red\n  docker: starts: ok → none\n" in answer.out
    assert alone("verify", "--show", str(before), "--against", str(now)).code == 0
    assert "nothing changed since 2026-01-31T12:00:00Z\n" in alone("verify", "--show", str(now), "--against", str(now)).out
    document = alone("verify", "--json", "--show", str(now), "--against", str(before)).json
    assert document["against"]["digest"] == str(GREEN.digest)
    assert as_told(document, SECTIONS["verify"][1]) == []
    assert VerifyReport.parse(json.dumps(document).encode()).comparison is not None


def test_edited_report_is_refused(typed: Typed, fake: FakeEnvironments, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(failing().as_bytes().replace(b'"ok": false', b'"ok": true'))
    for words in (("--show", str(file)), ("john/app:1", "--against", str(file))):
        answer = typed("verify", *words)
        assert answer.code == 1
        assert re.match(rf"regctl: {re.escape(str(file))}: changed after it was made: ", answer.err)
    assert fake.events == [], "what it is to be compared with is read before anything is proven"
    assert typed("verify", "--json", "--show", str(file)).json["error"]["code"] == "invalid-certificate"


def test_missing_report_is_exit_1(alone: Typed, tmp_path: Path) -> None:
    answer = alone("verify", "--show", str(tmp_path / "none.json"))
    assert answer.code == 1
    assert "none.json is not there" in answer.err


def test_verify_output_has_no_control_characters(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    evil = replace(
        GREEN.results[0],
        environment=replace(GREEN.results[0].environment, engine=EVIL),
        checks=(check(EVIL, False, detail=EVIL, unchecked=(EVIL,), hint=EVIL, excerpt=(EVIL,)),),
    )
    write(file, replace(GREEN, command=EVIL, notes=(EVIL, EVIL), results=(evil,), image=replace(GREEN.image, reference=EVIL)).as_bytes())
    for words in ([], ["--json"], ["--against", str(file)]):
        with Terminal(["verify", "--show", str(file), *words], {"NO_COLOR": "1"}) as terminal:
            assert terminal.end() == 1
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", terminal.text), words


def test_progress_vanishes_and_checks_stay_on_a_terminal(tmp_path: Path) -> None:
    write(tmp_path / "report.json", GREEN.as_bytes())
    with Terminal(["verify", "--show", str(tmp_path / "report.json")]) as terminal:
        assert terminal.end() == 0
    assert "\x1b[32mok " in terminal.text
