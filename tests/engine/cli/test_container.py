"""``run``, ``ps``, ``stop``, ``kill`` and ``rm`` on a real engine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_tool.base import labels, runs
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import app_dirs
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local import orphans
from registry_tool.local.registry import LocalRegistry
from tests.support.cli_runner import REGCTL, Terminal, Typed, spawn
from tests.support.requirements import free_port, wait_for_words

pytestmark = pytest.mark.engine


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", local.address)
    return Typed(capsys)


@pytest.fixture
def shell(engine: Engine, registry_image: str, unique: str, local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An image with a shell and a unique name; containers of it are removed at the end."""
    # Other tests' registries run on this engine, too.
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", local.address)
    name = f"{unique}:shell"
    engine.tag(registry_image, name)
    yield name
    for container in engine.containers(all=True):
        if unique in container.name or unique in container.image:
            engine.remove(container.id, force=True)
    for image in engine.images():
        for tag in image.names:
            if unique in tag:
                engine.remove_image(tag)


def of(engine: Engine, image: str) -> list[str]:
    """The ids of the containers of ``image``."""
    return [container.id for container in engine.containers(all=True) if container.image == image]


# What goes wrong.


@pytest.mark.parametrize("publish", ["x", "70000:80", "4000:80000", "80-90:80-81", "-1:80", "1.2.3.4:x:80", "127.0.0:4555:80"])
def test_invalid_port_is_exit_125_before_anything_is_done(typed: Typed, unique: str, publish: str) -> None:
    answer = typed("run", "-p", publish, unique)
    assert answer.code == 125
    assert "Unable to find" not in answer.err


def test_run_of_a_missing_image_is_exit_125(typed: Typed, unique: str) -> None:
    answer = typed("run", unique)
    assert answer.code == 125
    assert answer.err.splitlines()[0] == f"Unable to find image '{unique}' locally"
    assert f"docker.io/library/{unique}" in answer.err


@pytest.mark.parametrize("command", ["stop", "kill", "rm"])
def test_missing_container_is_exit_1_unless_missing_ok(typed: Typed, unique: str, command: str) -> None:
    answer = typed(command, unique)
    assert answer.code == 1
    assert answer.err.splitlines()[0] == f"regctl: no such container: {unique}"
    assert typed(command, "--missing-ok", unique).code == 0
    assert typed(command, "--json", unique).json["error"]["code"] == "not-found"


def test_invalid_signal_is_exit_2(typed: Typed, unique: str) -> None:
    assert typed("kill", "-s", "not a signal", unique).code == 2


def test_container_name_in_use_is_not_touched(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    theirs = engine.run(ContainerSpec(image=shell, name=unique, command=("sleep", "600")))
    answer = typed("run", "-d", "--name", unique, "--json", shell, "true")
    assert answer.code == 125
    assert answer.json["error"]["code"] == "conflict"
    result = engine.container(unique)
    assert result is not None
    assert (result.id, result.running) == (theirs.id, True)


def test_port_in_use_leaves_no_container(typed: Typed, engine: Engine, shell: str, local: LocalRegistry) -> None:
    for arguments in (("-d",), ("--rm",), ()):
        answer = typed("run", *arguments, "-p", f"127.0.0.1:{local.port}:80", shell, "true")
        assert answer.code == 125
        assert str(local.port) in answer.err
        assert of(engine, shell) == []


def test_a_command_that_cannot_run_is_127_or_126_in_run_and_exec(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    assert typed("run", "--rm", "--entrypoint", "/no/such/program", shell).code == 127
    assert typed("run", "--entrypoint", "/etc", shell).code == 126
    assert of(engine, shell) == []
    typed("run", "-d", "--name", unique, shell, "sleep", "600")
    # Docker 20.10 does not tell them apart.
    assert typed("exec", unique, "/no/such/program").code in (126, 127)
    # Podman's exit code of a command that is a folder is that of any failed exec.
    assert typed("exec", unique, "/etc").code == (125 if engine.is_podman else 126)
    typed("stop", "-t", "0", unique)
    assert typed("exec", unique, "true").code == 1


def test_run_it_without_terminal_is_exit_125(shell: str) -> None:
    answer = spawn("run", "-it", shell, "true", stdin="x")
    assert answer.code == 125
    assert "terminal" in answer.err


def test_json_without_detach_is_exit_125(typed: Typed, shell: str) -> None:
    assert typed("run", "--json", shell, "true").code == 125


def test_rm_of_a_running_container_needs_force(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    typed("run", "-d", "--name", unique, shell, "sleep", "600")
    assert typed("rm", unique).code == 1
    assert engine.container(unique) is not None
    assert typed("rm", "-f", unique).out == f"{unique}\n"
    assert engine.container(unique) is None


def test_rm_all_shows_the_plan_and_needs_confirmation(typed: Typed, engine: Engine, shell: str, unique: str, local: LocalRegistry) -> None:
    typed("run", "-d", "--name", unique, shell, "sleep", "600")
    theirs = engine.run(ContainerSpec(image=shell, name=f"{unique}-theirs", command=("sleep", "600")))
    answer = spawn("rm", "--all")
    assert answer.code == 2
    assert f"  {unique} (" in answer.err
    assert theirs.name not in answer.err
    assert local.container_name not in answer.err
    assert engine.container(unique) is not None


def test_rm_all_removes_what_a_killed_verify_left(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state = app_dirs().state
    with runs.begin(state) as run:
        marks = run.labels(labels.ROLE_VERIFY)
    engine.create_volume(unique, labels=marks)
    try:
        answer = spawn("rm", "--all")
        assert answer.code == 2
        assert f"  volume {unique}\n" in answer.err
        orphans.sweep(engine, state, labels.ROLE_VERIFY)
        assert engine.volume(unique) is None
    finally:
        orphans.clear(engine, marks)


def test_rm_all_answered_with_no_removes_nothing(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    typed("run", "-d", "--name", unique, shell, "sleep", "600")
    with Terminal(["rm", "--all"]) as terminal:
        terminal.wait_for("Go ahead?")
        assert terminal.insist("n\n") == 1
        assert "Nothing was removed." in terminal.text
    assert engine.container(unique) is not None


# What goes well.


def test_foreground_run_has_the_containers_output_and_exit_code(typed: Typed, engine: Engine, shell: str) -> None:
    answer = typed("run", "--rm", shell, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "out\n", "err\n")
    assert of(engine, shell) == []
    assert typed("run", shell, "true").code == 0
    (left,) = of(engine, shell)
    result = engine.container(left)
    assert result is not None
    assert result.labels[labels.ROLE] == labels.ROLE_RUN


def test_options_after_the_image_belong_to_the_command(typed: Typed, shell: str) -> None:
    assert typed("run", "--rm", shell, "echo", "-d", "--json").out == "-d --json\n"


def test_binary_output_is_unchanged(shell: str, local: LocalRegistry) -> None:
    done = subprocess.run(
        [*REGCTL, "run", "--rm", shell, "printf", r"\001\377\033[0m"],
        capture_output=True,
        timeout=600,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout == b"\x01\xff\x1b[0m"


def test_interactive_run_gets_standard_input(shell: str, local: LocalRegistry) -> None:
    answer = spawn("run", "-i", "--rm", shell, "cat", stdin="one\ntwo\n")
    assert (answer.code, answer.out) == (0, "one\ntwo\n")


def test_run_sets_environment_variables(typed: Typed, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "ours")
    answer = typed("run", "--rm", "-e", "NAME=World", "-e", "FROM_HERE", shell, "sh", "-c", "echo $NAME $FROM_HERE")
    assert answer.out == "World ours\n"


def test_detached_run_prints_the_id(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    port = free_port()
    answer = typed("run", "-d", "--name", unique, "-p", f"127.0.0.1:{port}:80", shell, "sleep", "600")
    assert answer.code == 0
    result = engine.container(unique)
    assert result is not None
    assert answer.out == f"{result.id}\n"
    row = next(line for line in typed("ps").out.splitlines() if unique in line)
    assert f"127.0.0.1:{port}->80/tcp" in row
    assert result.short_id in typed("ps", "-q").out.splitlines()
    document = next(each for each in typed("ps", "-a", "--json").json["containers"] if each["name"] == unique)
    assert document["ours"] == "run"
    assert document["ports"] == [{"host_ip": "127.0.0.1", "host_port": port, "container_port": "80/tcp"}]
    assert "sleep 600" in row
    assert typed("container", "kill", unique).out == f"{unique}\n"
    assert typed("container", "rm", result.id).code == 0


def test_stop_and_kill(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    typed("run", "-d", "--name", unique, shell, "sh", "-c", "trap 'exit 3' HUP; echo ready; while true; do sleep 0.1; done")
    wait_for_words(engine, unique, b"ready")
    assert typed("kill", "-s", "hup", unique).code == 0
    assert engine.wait(unique, timeout=600) == 3
    typed("run", "-d", "--name", f"{unique}b", shell, "sleep", "600")
    assert typed("stop", "-t", "0", f"{unique}b", "--json").json == {"ok": True, "stopped": [f"{unique}b"]}


def test_missing_image_is_pulled_from_the_registry(typed: Typed, engine: Engine, shell: str, unique: str, local: LocalRegistry) -> None:
    name = f"{unique}/get-started:part2"
    typed("tag", shell, name)
    pushed = typed("push", "--json", name).json
    typed("rmi", name)
    answer = typed("run", "--rm", name, "echo", "hello")
    assert (answer.code, answer.out) == (0, "hello\n")
    lines = answer.err.splitlines()
    assert lines[:2] == [f"Unable to find image '{name}' locally", f"part2: Pulling from {unique}/get-started"]
    assert f"Digest: {pushed['digest']}" in lines
    assert any(line.startswith("Status: ") for line in lines)
    engine.remove_image(f"{local.address}/{name}")


# Signals, and whatever else becomes of regctl.

TRAPS = "trap 'echo bye; exit 7' INT; trap 'exit 8' TERM; trap 'exit 9' HUP; echo ready; while true; do sleep 0.05; done"


@pytest.fixture
def foreground(shell: str, unique: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``run --rm`` with a script in a process of its own, and waits until the script is ready."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [*REGCTL, "run", "--rm", "--name", unique, *arguments, shell, "sh", "-c", script]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, stdin=subprocess.DEVNULL))
        assert processes[-1].stdout is not None
        assert processes[-1].stdout.readline() == "ready\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def gone(engine: Engine, name: str) -> bool:
    """Whether the container is removed, in time."""
    return poll(lambda: engine.container(name) is None, Deadline(600))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 8), (signal.SIGHUP, 9)])
def test_a_signal_is_passed_on_and_last_words_and_exit_code_are_the_containers(
    engine: Engine, foreground: Callable[..., subprocess.Popen[str]], unique: str, number: int, code: int
) -> None:
    process = foreground(TRAPS)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (code, "bye\n" if number == signal.SIGINT else "", "")
    assert engine.container(unique) is None


def test_two_interrupts_that_a_container_ignores_leave_it_to_run_and_the_third_stops_it(
    engine: Engine, foreground: Callable[..., subprocess.Popen[str]], unique: str
) -> None:
    process = foreground("trap 'echo ignored' INT; trap 'exit 8' TERM; echo ready; while true; do sleep 0.05; done")
    assert process.stdout is not None
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ignored\n"
    assert engine.container(unique) is not None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (8, f"stopping {unique}\n")
    assert engine.container(unique) is None


def test_rm_holds_when_regctl_is_killed(engine: Engine, foreground: Callable[..., subprocess.Popen[str]], unique: str) -> None:
    process = foreground("echo ready; sleep 1")
    process.kill()
    assert gone(engine, unique)


def test_rm_holds_when_standard_output_and_error_are_gone(
    engine: Engine, foreground: Callable[..., subprocess.Popen[str]], unique: str
) -> None:
    process = foreground("trap 'exit 8' TERM; echo ready; while true; do echo more; echo error >&2; sleep 0.05; done")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout.readline() == "more\n"
    process.stdout.close()
    assert process.wait(timeout=600) == 1
    assert gone(engine, unique)


def test_rm_holds_when_the_terminal_is_closed(engine: Engine, shell: str, unique: str) -> None:
    with Terminal(["run", "-t", "--rm", "--name", unique, shell, "sh", "-c", TRAPS]) as terminal:
        terminal.wait_for("ready")
    assert gone(engine, unique)
    os.waitpid(terminal.pid, 0)


def test_without_sig_proxy_ctrl_c_ends_regctl(engine: Engine, foreground: Callable[..., subprocess.Popen[str]], unique: str) -> None:
    process = foreground(TRAPS, "--sig-proxy=false")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert gone(engine, unique)


# exec, start, restart, logs, ps, images.


def test_exec_has_the_commands_streams_and_exit_code(typed: Typed, shell: str, unique: str, local: LocalRegistry) -> None:
    typed("run", "-d", "--name", unique, shell, "sleep", "600")
    answer = typed("exec", unique, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "out\n", "err\n")
    answer = typed("exec", "-e", "A=1", "-w", "/tmp", "-u", "1:1", unique, "sh", "-c", "echo $A; pwd; id -u")
    assert answer.out == "1\n/tmp\n1\n"
    assert spawn("exec", "-i", unique, "cat", stdin="one\ntwo\n").out == "one\ntwo\n"
    assert typed("exec", "-d", unique, "touch", "/made").code == 0
    assert poll(lambda: typed("exec", unique, "test", "-e", "/made").code == 0, Deadline(600))
    for _ in range(20):  # what comes together with the response's headers is not lost
        assert typed("exec", unique, "echo", "-n", "quick").out == "quick"


def test_stopped_containers_start_again_and_logs_have_times(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    typed("run", "--name", unique, shell, "echo", "hello")
    assert typed("start", unique, "--json").json == {"ok": True, "started": [unique]}
    assert engine.wait(unique, timeout=600) == 0
    assert typed("container", "restart", "-t", "0", unique).out == f"{unique}\n"
    assert engine.wait(unique, timeout=600) == 0
    assert typed("logs", unique).out == "hello\n" * 3
    lines = typed("logs", "-t", "--since", "1h", "-n", "2", unique).out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["hello", "hello"]
    assert lines[0].startswith("20")
    later = typed("logs", "--since", lines[1].partition(" ")[0], unique).out
    assert set(later.splitlines()) == {"hello"}
    assert later == "hello\n" or engine.is_podman, "podman counts whole seconds"
    assert typed("logs", "--since", "soon", unique).code == 2


def test_listings_are_filtered_and_formatted_as_dockers(typed: Typed, engine: Engine, shell: str, unique: str) -> None:
    typed("run", "--name", unique, "--network", "none", shell, "true")
    (container,) = of(engine, shell)
    filters = ("--filter", f"name={unique}", "--filter", "status=exited")
    assert typed("ps", *filters, "--format", "{{.ID}} {{.Names}} {{.Networks}}").out == f"{container[:12]} {unique} none\n"
    assert typed("ps", "-q", "--no-trunc", *filters).out == f"{container}\n"
    assert typed("ps", "-a", "--filter", f"name={unique}", "--filter", "status=running", "-q").out == ""
    assert typed("ps", "--filter", "nonsense").code == 2
    image = engine.image(shell)
    assert image is not None
    listed = typed("images", "--filter", f"reference={unique}", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "--no-trunc")
    if engine.is_podman:  # it lists all names of such an image
        assert f"{shell} {image.id}" in listed.out.splitlines()
    else:
        assert listed.out == f"{shell} {image.id}\n"


# On a terminal.


def test_run_it_has_a_terminal_and_restores_it(shell: str, local: LocalRegistry) -> None:
    with Terminal(["run", "-it", "--rm", shell, "sh", "-c", "test -t 0 && echo rea''dy; read line; echo got:$line; exit 5"]) as terminal:
        terminal.wait_for("ready")
        terminal.type("abc\r")
        terminal.wait_for("got:abc")
        assert terminal.end() == 5


def test_ctrl_c_is_passed_to_the_program_in_a_terminal(shell: str, local: LocalRegistry) -> None:
    script = "trap 'echo trapped; exit 4' INT; echo ready; while true; do sleep 0.1; done"
    with Terminal(["run", "-it", "--rm", shell, "sh", "-c", script]) as terminal:
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("trapped")
        assert terminal.end() == 4


def test_terminal_is_restored_after_a_signal(engine: Engine, shell: str, unique: str, local: LocalRegistry) -> None:
    inside = "trap 'exit 3' TERM; echo rea''dy; while true; do sleep 0.05; done"
    script = f"{shlex.join(REGCTL)} run -it --rm --name {unique} {shell} sh -c {shlex.quote(inside)}; stty -a"
    with Terminal.of(["bash", "-c", script]) as terminal:
        terminal.wait_for("ready")
        result = engine.container(unique)
        assert result is not None
        threading.Timer(0.2, lambda: os.kill(terminal.child("registry_tool"), signal.SIGTERM)).start()
        terminal.wait_for(" icanon", seconds=600)
        terminal.end()
        assert "-icanon" not in terminal.text
        assert " echo " in terminal.text
    assert engine.container(unique) is None


def test_a_terminal_without_input_has_a_size(shell: str, unique: str, local: LocalRegistry) -> None:
    script = 'while test -z "$(stty size 2>/dev/null)"; do sleep 0.05; done; stty size'
    with Terminal(["run", "-t", "--rm", "--name", unique, shell, "sh", "-c", script]) as terminal:
        terminal.size(33, 111)
        terminal.wait_for("33 111")
        assert terminal.end() == 0


def test_image_without_a_program_is_an_error_in_two_lines(typed: Typed, tiny_image: Callable[..., str], unique: str) -> None:
    tiny_image(unique)
    answer = typed("run", unique)
    assert answer.code == 125
    assert "bug" not in answer.err
    assert len(answer.err.splitlines()) <= 2
