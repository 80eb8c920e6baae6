"""The Makefile, CI's script, and the programs that set-up installs beside the engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_machine import SHELLS, Machine
from tests.support.paths import ROOT


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A bare Debian, root, nothing installed."""
    return Machine(tmp_path / "máquina de Ana", request.param)


def test_a_service_that_comes_along_is_not_started(machine: Machine) -> None:
    machine.has_systemd()
    (machine.root / "usr/sbin").mkdir(parents=True)
    policy = machine.root / "usr/sbin/policy-rc.d"
    machine.program("apt-get", 'cat "$SETUP_ROOT/usr/sbin/policy-rc.d" >"$SETUP_ROOT/policy"')
    done = machine.run("setup/parts.sh", "test")
    assert done.returncode == 0, done.stderr
    assert "exit 101" in (machine.root / "policy").read_text()
    assert not policy.exists()


def test_missing_parts_are_installed_in_one_go(machine: Machine) -> None:
    machine.program("apt-get")
    machine.program("podman")
    done = machine.run("setup/parts.sh", "test")
    assert done.returncode == 0, done.stderr
    [call] = machine.calls("apt-get")
    assert {"skopeo", "redis-server", "docker-compose", "iproute2", "shellcheck"} <= set(call.split())
    assert "podman" not in call.split()
    assert done.stderr.startswith("the tests need more programs: installing Debian's ")


@pytest.mark.parametrize("parts", ["test", "matrix"])
def test_an_engine_without_a_client_gets_one(machine: Machine, parts: str) -> None:
    """Since Debian 13 docker's client is a package of its own."""
    machine.program("apt-get")
    machine.dockerd()
    assert machine.run("setup/parts.sh", parts).returncode == 0
    [call] = machine.calls("apt-get")
    assert "docker-cli" in call.split()
    assert "docker.io" not in call.split()


def test_missing_parts_are_only_named_where_they_may_not_be_installed(machine: Machine) -> None:
    machine.is_user(1000)
    machine.program("apt-get")
    done = machine.run("setup/parts.sh", "test")
    assert done.returncode == 0
    assert "skopeo" in done.stderr
    assert machine.calls("apt-get") == []


def test_the_bench_gets_what_it_compares_with(machine: Machine) -> None:
    machine.program("apt-get")
    machine.program("skopeo")
    machine.program("crane")
    done = machine.run("setup/parts.sh", "bench")
    assert done.stderr.startswith("the bench compares with more programs: installing Debian's wrk ")
    [call] = machine.calls("apt-get")
    assert call.split()[-1] == "wrk"
    assert "skopeo" not in call.split()


def test_mmdebstrap_is_installed_only_where_the_hub_is_silent(machine: Machine) -> None:
    machine.program("apt-get")
    assert machine.run("setup/parts.sh", "demo").returncode == 0
    assert [call.split()[-1] for call in machine.calls("apt-get")] == ["mmdebstrap"]
    machine.program("python", "exit 0")  # the hub answers
    assert machine.run("setup/parts.sh", "demo").stderr == ""
    assert len(machine.calls("apt-get")) == 1


def test_the_makefile_is_for_make_3_81() -> None:
    text = (ROOT / "Makefile").read_text()
    for newer in (".ONESHELL", "!=", "::=", "$(file", "undefine", "private ", ".EXTRA_PREREQS", "$(let"):
        assert newer not in text, f"{newer} came after GNU make 3.81"
    assert "CURDIR" not in text, "a folder's path may have a space in it"


def test_every_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(text.split(".PHONY:")[1].splitlines()[0].split()) - {"help", "setup-dev", "setup-release"}
    help_lines = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^make (\S+)", help_lines, re.MULTILINE))


def test_ci_calls_what_a_person_calls_and_lets_nothing_skip(machine: Machine) -> None:
    (machine.bin / "sh").unlink()
    (machine.bin / "sh").symlink_to("/bin/sh")
    machine.program("make", 'echo "$REGISTRY_TOOL_REQUIRE"; readlink /proc/self/fd/0')
    done = machine.run(".ci/run")
    assert done.returncode == 0, done.stderr
    assert machine.calls("make") == ["lint", "docs", "test", "test-docs", "coverage", "matrix-short"]
    assert done.stdout.splitlines()[0] == "engine,docker-proof,podman-proof,podman,redis,compose,netns,packages,skopeo,openssl"
    if sys.platform == "linux":
        assert done.stdout.splitlines()[1] == "/dev/null"
    machine.program("make", "exit 2")
    assert machine.run(".ci/run").returncode == 2


def test_the_shell_scripts_are_clean() -> None:
    done = subprocess.run(["sh", "setup/shell-lint.sh"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
