"""The command: a healthy set-up, what is printed, what is asked, the time limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool import doctor, server
from registry_tool.doctor import CHECKS
from registry_tool.doctor import run as doctor_run
from registry_tool.doctor.checks import DoctorCheck
from registry_tool.doctor.diagnosis import Observation, combined, ok, skipped, warning, wrong
from tests.support.cli_runner import Terminal, Typed
from tests.support.requirements import free_port
from tests.support.set_up import SetUp, served


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SetUp]:
    monkeypatch.chdir(tmp_path)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    setup = SetUp()
    with served(setup, monkeypatch):
        yield setup


def test_nothing_is_wrong_on_a_healthy_machine(setup: SetUp, typed: Typed, registry: server.RunningRegistry) -> None:
    setup.registry(registry.port)
    answer = typed("doctor", "--json")
    states = {check["name"]: check["state"] for check in answer.json["checks"]}
    assert list(states) == [check.name for check in CHECKS]
    assert {name: state for name, state in states.items() if state == "wrong"} == {}
    assert answer.code == 0
    assert answer.json["ok"] is True
    assert setup.calls == []


def test_text_has_a_line_for_each_check_and_says_what_to_do(setup: SetUp, typed: Typed) -> None:
    setup.skew = 7200
    answer = typed("doctor", "clock", "engine")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[0].startswith("engine  ok       Docker 28.0.1 at tcp://")
    assert lines[1].startswith("clock   wrong    the engine's clock is ")
    assert "clock: wrong" in lines
    assert "  why:  Tokens and certificates are refused by a clock that is wrong, and ages are nonsense." in lines
    assert any(line.startswith("  fix:  Set the clock") for line in lines)
    assert lines[-1].startswith("1 thing wrong, 0 warnings (2 checks, ")


def test_what_hangs_behind_a_broken_engine_is_skipped(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    checks = {check["name"]: check for check in typed("doctor", "--json").json["checks"]}
    assert checks["engine"]["state"] == "wrong"
    for name in ("engine-version", "disk", "registry", "storage", "leftovers"):
        assert (checks[name]["state"], checks[name]["seen"]) == ("skipped", "the engine is needed for it")
    assert checks["localhost"]["state"] == "ok"


def test_unknown_check_is_refused_with_the_names(typed: Typed) -> None:
    answer = typed("doctor", "clok")
    assert answer.code == 2
    assert "'clok'" in answer.err
    assert "clock" in answer.err


def test_nothing_is_mended_without_a_terminal_or_yes(setup: SetUp, typed: Typed) -> None:
    setup.registry(free_port(), state="exited")
    answer = typed("doctor", "--fix", "registry")
    assert answer.code == 2
    assert "--yes" in answer.err
    assert setup.calls == []


def test_each_thing_is_asked_about(setup: SetUp, registry: server.RunningRegistry) -> None:
    container = setup.registry(registry.port, state="exited")
    with Terminal(["doctor", "--fix", "registry"]) as terminal:
        terminal.wait_for("Go ahead?")
        assert "its container is exited" in terminal.text
        terminal.type("n\n")
        assert terminal.end() == 1
    assert "Nothing was changed." in terminal.text
    assert setup.calls == []
    with Terminal(["doctor", "--fix", "registry"]) as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert "mended: registry" in terminal.text
    assert f"POST /containers/{container['Id']}/start" in setup.calls


def test_mending_that_fails_is_reported_and_the_rest_is_mended(setup: SetUp, typed: Typed) -> None:
    setup.registry(free_port(), state="exited")
    container = setup.containers[0]
    container["Config"]["Labels"]["io.registry-tool.user"] = "john"
    container["Mounts"] = []  # it cannot be replaced: its content is nowhere

    def refuse(what: str) -> None:
        setup.containers.clear()

    refuse("")
    setup.registry(free_port(), state="paused")
    setup.containers[0]["Mounts"] = []
    answer = typed("doctor", "--fix", "--yes", "registry")
    assert answer.code == 1
    assert "was left as it is" in answer.err
    assert "1 thing wrong" in answer.out


def surroundings() -> doctor.Surroundings:
    def nothing(*arguments: object) -> object:
        raise AssertionError("it is not needed")

    return doctor.Surroundings(connect=nothing, open_registry=nothing, folder=Path())  # type: ignore[arg-type]


def test_check_that_hangs_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_run, "LIMIT", 0.1)
    released = threading.Event()

    def hang(looked: doctor.Surroundings) -> Observation:
        released.wait(600)
        return ok("late")

    try:
        report = doctor.examine(surroundings(), [DoctorCheck("clock", hang, "why")])
    finally:
        released.set()
    assert [check.seen for check in report.checks] == ["no result within 0.1 s"]
    assert report.ok


def test_checks_run_at_the_same_time() -> None:
    together = threading.Barrier(5)

    def meet(looked: doctor.Surroundings) -> Observation:
        together.wait(60)
        return ok("met")

    report = doctor.examine(surroundings(), [DoctorCheck(f"check-{number}", meet, "why") for number in range(5)])
    assert {check.seen for check in report.checks} == {"met"}


def test_several_things_are_one_observation_of_the_worst_state() -> None:
    mended = []
    worst = wrong("two", "do it", mend=lambda: mended.append("two"))
    observed = combined([ok("one"), worst, skipped("three"), warning("four", "later"), wrong("five", "do it")])
    assert (observed.state, observed.seen, observed.fix) == ("wrong", "two; five; four; three", "do it; later")
    assert observed.mend is not None
    observed.mend()
    assert mended == ["two"]
    assert combined([ok("a"), ok("b")]) == ok("a; b")


def test_what_could_not_be_looked_at_is_not_hidden_by_what_is_ok_or_wrong() -> None:
    assert combined([ok("a"), skipped("b")]) == skipped("b")
    assert combined([skipped("b"), ok("a"), skipped("c")]) == skipped("b; c")
    assert combined([skipped("b"), warning("d", "later")]) == warning("d; b", "later")
    assert combined([skipped("b")]) == skipped("b")


def test_names_of_checks_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    from registry_tool.cli.commands import doctor as command

    assert [item.value for item in command._complete(None, None, "engine")] == ["engine", "engine-version", "engine-store"]  # type: ignore[arg-type]
