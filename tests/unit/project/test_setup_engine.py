"""``setup/engine.sh`` on machines that are made up."""

from __future__ import annotations

import os
import socket
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


def test_an_engine_that_answers_is_used_and_nothing_said(machine: Machine) -> None:
    machine.answer("answers unix:///var/run/docker.sock")
    machine.dockerd()
    done = machine.engine()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls("dockerd") == []


def test_a_forbidden_socket_is_said_with_group_and_sudo(machine: Machine) -> None:
    machine.answer("forbidden this user may not use its socket")
    done = machine.engine()
    assert done.returncode == 3
    first, second = done.stderr.splitlines()
    assert first == "this user may not use its socket"
    assert "usermod -aG docker" in second
    assert "sudo" in second


def test_an_engine_elsewhere_is_neither_started_nor_replaced(machine: Machine) -> None:
    machine.answer("elsewhere no engine at tcp://far:2375 (DOCKER_HOST)")
    machine.dockerd()
    machine.program("apt-get")
    done = machine.engine()
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "no engine at tcp://far:2375 (DOCKER_HOST)"
    assert machine.calls("dockerd") == machine.calls("apt-get") == []


def test_a_configuration_that_cannot_be_read_is_named(machine: Machine) -> None:
    machine.answer("broken docker's configuration is not JSON")
    done = machine.engine()
    assert (done.returncode, done.stderr) == (3, "docker's configuration is not JSON\n")


def test_a_tool_that_cannot_ask_is_told_as_it_is(machine: Machine) -> None:
    machine.answer("Traceback (most recent call last):")
    done = machine.engine()
    assert done.returncode == 3
    assert "could not be checked: Traceback" in done.stderr


def test_a_stopped_engine_is_started_detached(machine: Machine) -> None:
    # Written by a process of its own: in a session of its own, in no folder of ours, with none of our streams.
    machine.dockerd(
        f""""{sys.executable}" -c 'import os; print(os.getsid(0) == os.getppid(), os.getcwd(), sorted(os.listdir("/dev/fd")))'
        readlink /proc/$$/fd/0; echo complaint >&2; echo "answers here" >"$SETUP_ROOT/answer"; exec sleep 3"""
    )
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"the engine is stopped: starting {machine.bin / 'dockerd'} (log: {machine.root}/var/log/docker.log) …\n"
    first, stdin, complaint = (machine.root / "var/log/docker.log").read_text().splitlines()
    assert first == "True / ['0', '1', '2', '3']"  # 3 is the listing itself
    assert (stdin, complaint) == ("/dev/null", "complaint")
    assert machine.calls("dockerd") == [""], "no option is given: the engine's configuration is its owner's"


def test_a_stopped_engine_that_only_root_may_start(machine: Machine) -> None:
    machine.is_user(1000)
    machine.dockerd()
    done = machine.engine()
    assert done.returncode == 3
    assert "sudo" in done.stderr
    assert machine.calls("dockerd") == []


def test_dockerd_is_found_where_only_root_has_its_path(machine: Machine) -> None:
    machine.dockerd()
    (machine.root / "usr/sbin").mkdir(parents=True)
    (machine.bin / "dockerd").rename(machine.root / "usr/sbin/dockerd")
    done = machine.engine()
    assert done.returncode == 0, done.stderr


def test_what_a_killed_engine_left_is_taken_away(machine: Machine) -> None:
    pid_file = machine.file("var/run/docker.pid", "4711")
    containerd = machine.file("var/run/docker/containerd/containerd.pid", "4712")
    machine.file("proc/4711/comm", "sleep\n")  # the number is somebody else's by now
    machine.file("proc/4712/comm", "containerd\n")
    machine.file("proc/4712/status", "Name:\tcontainerd\nState:\tZ (zombie)\n")
    (machine.root / "run/containerd").mkdir(parents=True)
    stale = machine.root / "run/containerd/containerd.sock"
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(stale.parent)  # a socket's path may have 107 bytes
        try:
            server.bind(stale.name)
        finally:
            os.chdir(before)
    machine.dockerd()
    assert machine.engine().returncode == 0
    assert not pid_file.exists()
    assert not containerd.exists()
    assert not stale.exists()


def test_an_engine_that_lives_but_does_not_answer_is_waited_for_and_not_doubled(machine: Machine) -> None:
    pid_file = machine.file("var/run/docker.pid", "4711")
    machine.file("proc/4711/comm", "dockerd\n")
    machine.file("proc/4711/status", "State:\tS (sleeping)\n")
    machine.file("sys/fs/cgroup/cpu/tasks")
    machine.file("var/log/docker.log", "last words\n")
    machine.dockerd()
    done = machine.engine(SETUP_TIMEOUT="1")
    assert done.returncode == 3
    assert "process 4711" in done.stderr
    assert "last words" in done.stderr
    assert pid_file.exists()
    assert machine.calls("dockerd") == []


def test_an_engine_that_dies_at_once_is_told_with_its_last_lines(machine: Machine) -> None:
    machine.file("sys/fs/cgroup/cpu/tasks")
    machine.dockerd("echo no overlay here; exit 1")
    done = machine.engine(SETUP_TIMEOUT="1000")  # which nobody waits for in vain
    assert done.returncode == 3
    assert "no overlay here" in done.stderr
    assert "dockerd could not be started" in done.stderr


def test_a_container_without_control_groups_is_said(machine: Machine) -> None:
    machine.dockerd("echo Devices cgroup is not mounted; exit 1")
    done = machine.engine()
    assert done.returncode == 3
    assert "no control groups" in done.stderr
    assert "--privileged" in done.stderr


def test_systemd_starts_its_unit(machine: Machine) -> None:
    machine.has_systemd("docker.service")
    machine.dockerd()
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert machine.calls("systemctl")[-1] == "start docker.service"
    assert machine.calls("dockerd") == []


def test_systemd_is_left_to_root(machine: Machine) -> None:
    machine.has_systemd("docker.service")
    machine.is_user(1000)
    done = machine.engine()
    assert done.returncode == 3
    assert "sudo systemctl start docker.service" in done.stderr


APT = """case "$*" in
    *update*) touch "$SETUP_ROOT/lists" ;;
    *docker.io*) [ -e "$SETUP_ROOT/lists" ] || { echo 'E: Unable to locate package'; exit 100; }
        cp_to="$SETUP_ROOT/programs/dockerd"
        printf '#!/bin/sh\\necho "answers here" >"$SETUP_ROOT/answer"; exec sleep 60\\n' >"$cp_to"; chmod 755 "$cp_to" ;;
esac"""


def test_a_bare_debian_gets_its_own_packages_after_a_line(machine: Machine) -> None:
    machine.program("apt-get", APT)
    machine.program("docker")  # a client alone is no engine
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "no container engine here: installing Debian's docker.io iptables (apt-get) …"
    first, update, second = machine.calls("apt-get")
    assert "update" in update
    assert first == second
    assert first.endswith("install docker.io iptables")
    assert "--no-install-recommends" in first


def test_client_in_a_package_of_its_own_is_installed_too(machine: Machine) -> None:
    machine.file("lists")
    machine.program("apt-get", APT)
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert "docker.io brings no client: installing Debian's docker-cli (apt-get) …" in done.stderr
    assert [call.partition(" install ")[2] for call in machine.calls("apt-get")] == ["docker.io iptables", "docker-cli"]


def test_client_that_cannot_be_installed_is_no_reason_to_end(machine: Machine) -> None:
    machine.file("lists")
    machine.program("apt-get", 'case "$*" in *docker-cli*) echo "E: no docker-cli"; exit 100 ;; esac\n' + APT)
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert "E: no docker-cli" in done.stderr
    assert "going on without" in done.stderr


def test_an_apt_that_fails_is_told_with_its_last_lines(machine: Machine) -> None:
    machine.program("apt-get", "echo E: no network; exit 100")
    done = machine.engine()
    assert done.returncode == 3
    assert "E: no network" in done.stderr
    assert "apt-get could not install one" in done.stderr


@pytest.mark.parametrize("package", ["docker-ce", "docker-ce-cli", "docker-desktop", "containerd.io", "moby-engine"])
def test_nothing_is_installed_beside_another_docker(machine: Machine, package: str) -> None:
    machine.program("apt-get", APT)
    machine.has_packages(package)
    done = machine.engine()
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].startswith(package)
    assert machine.calls("apt-get") == []


def test_nothing_is_installed_beside_dockers_snap(machine: Machine) -> None:
    machine.program("apt-get", APT)
    (machine.root / "snap/docker").mkdir(parents=True)
    done = machine.engine()
    assert done.returncode == 3
    assert "snap" in done.stderr
    assert machine.calls("apt-get") == []


def test_nothing_is_installed_beside_podman_docker(machine: Machine) -> None:
    machine.program("apt-get", APT)
    machine.has_packages("podman-docker")
    done = machine.engine()
    assert done.returncode == 3
    assert "systemctl enable --now podman.socket" in done.stderr
    assert machine.calls("apt-get") == []


@pytest.mark.parametrize(
    ("kernel", "release", "user", "word"),
    [
        ("Linux", "ID=debian\n", 1000, "sudo apt-get install docker.io iptables"),
        ("Linux", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', 1000, "sudo apt-get install docker.io iptables"),
        ("Linux", "ID=fedora\n", 0, "dnf install moby-engine"),
        ("Linux", "ID=manjaro\nID_LIKE=arch\n", 0, "pacman -S docker"),
        ("Linux", "ID=alpine\n", 0, "https://docs.docker.com/engine/install/"),
        ("Darwin", "", 501, "colima"),
        ("SunOS", "", 0, "not known here"),
    ],
)
def test_each_system_has_an_explanation(machine: Machine, kernel: str, release: str, user: int, word: str) -> None:
    machine.program("apt-get", APT)
    machine.is_system(kernel, release)
    machine.is_user(user)
    done = machine.engine()
    assert done.returncode == 3
    assert word in done.stderr
    assert machine.calls("apt-get") == []


def test_wsl_is_known(machine: Machine) -> None:
    machine.is_user(1000)
    machine.file("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")
    done = machine.engine()
    assert done.returncode == 3
    assert "WSL" in done.stderr


def test_wsl_with_docker_desktop_that_sleeps(machine: Machine) -> None:
    machine.program("apt-get", APT)
    machine.file("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")
    client = machine.file("mnt/wsl/docker-desktop/cli-tools/usr/bin/docker")
    client.chmod(0o755)
    (machine.bin / "docker").symlink_to(client)
    done = machine.engine()
    assert done.returncode == 3
    assert "start it in Windows" in done.stderr
    assert machine.calls("apt-get") == []


def test_docker_desktop_on_a_mac_is_opened(machine: Machine) -> None:
    machine.is_system("Darwin")
    (machine.root / "Applications/Docker.app").mkdir(parents=True)
    machine.program("open", 'echo "answers here" >"$SETUP_ROOT/answer"')
    done = machine.engine()
    assert done.returncode == 0, done.stderr
    assert machine.calls("open") == ["-g -a Docker"]


def test_tests_go_on_without_an_engine(machine: Machine) -> None:
    machine.is_user(1000)
    done = machine.engine("--if-possible")
    assert done.returncode == 0
    assert "no container engine on this machine" in done.stderr
    assert "skipped" in done.stderr


def test_a_socket_that_nobody_listens_on_is_told_from_one_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ask = [sys.executable, str(ROOT / "setup/listens.py"), "s"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        server.listen()
        assert subprocess.run(ask).returncode == 0
    assert subprocess.run(ask).returncode == 1
