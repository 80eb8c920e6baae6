from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

import registry_tool
from registry_tool.__main__ import report_unraisable
from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import command_table
from registry_tool.cli.app import main
from registry_tool.cli.command_table import MANAGEMENT_COMMANDS, SUGGESTIONS
from tests.support.cli_runner import REGCTL, Typed, spawn

NOWHERE = "unix:///nowhere/engine.sock"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("COLUMNS", "80")
    return Typed(capsys)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> object:
    """Makes ``regctl demo`` raise what the test gives."""

    def prepare(error: BaseException) -> None:
        @click.command("demo")
        def broken() -> None:
            raise error

        monkeypatch.setattr(command_table, "load", lambda name: broken)

    return prepare


# What goes wrong.


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("psuh", "x"), "regctl push"),
        (("ls", "x"), SUGGESTIONS["ls"]),
        (("repo", "ls"), SUGGESTIONS["repo"]),
        (("digest", "x"), "regctl inspect -q"),
        (("image", "lss"), "regctl image ls"),
        (("docker", "ps"), SUGGESTIONS["docker"]),
        (("prunes",), "regctl prune"),
        (("garbage-collect", "x"), "regctl gc"),
        (("mirror", "a", "b"), "regctl sync FILE"),
        (("cp", "a", "b"), "regctl copy SOURCE"),
        (("unload", "x"), "regctl load"),
        (("xyzzy",), "regctl --help"),
    ],
)
def test_unknown_command_gets_a_suggestion(typed: Typed, arguments: tuple[str, ...], hint: str) -> None:
    answer = typed(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    first, second = answer.err.splitlines()
    assert first.startswith("regctl: there is no command ")
    assert second.startswith("hint: ")
    assert hint in second


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nope",),
        ("push",),
        ("tag", "a"),
        ("status", "a", "b"),
        ("push", "--nope", "a"),
        ("completion", "tcsh"),
        ("rm",),
        ("rmi", "--bases"),
        ("rm", "--all", "x"),
    ],
)
def test_usage_error_is_two_lines_and_exit_2(typed: Typed, arguments: tuple[str, ...]) -> None:
    answer = typed(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]


def test_usage_error_with_json_is_a_document(typed: Typed) -> None:
    for arguments in (("push", "--nope", "--json", "x"), ("push", "--json", "--nope", "x"), ("push", "--json")):
        answer = typed(*arguments)
        assert answer.code == 2
        assert answer.json["error"]["code"] == "usage"
        assert answer.err == ""


@pytest.mark.parametrize("name", ["", "UPPER", "a//b", "../x", "x:" + "t" * 129, "ünïcode", "-x"])
@pytest.mark.parametrize("command", ["list-tags", "push", "pull"])
def test_invalid_name_is_reported_before_the_engine_is_asked(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "localhost:1")
    answer = typed(command, "--json", "--", name)
    assert answer.code in ((2,) if command == "list-tags" else (2, 3))  # the others look for the engine first
    if answer.code == 2:
        assert answer.json["error"]["code"] in ("invalid-reference", "usage")


def test_invalid_registry_address_is_exit_2(typed: Typed) -> None:
    assert typed("--registry", "nonsense", "list-tags", "x").code == 2


def test_missing_engine_is_exit_3_with_message_and_hint(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    for arguments in (("status",), ("up",), ("ps",), ("images",), ("push", "x"), ("exec", "x", "y"), ("demo",), ("rm", "--all"), ("down",)):
        answer = typed(*arguments)
        assert answer.code == 3, arguments
        assert answer.out == ""
        assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"], arguments


def test_missing_engine_with_json_is_a_document(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    assert typed("status", "--json").json["error"]["code"] == "engine-not-found"


def test_unexpected_exception_is_one_line(typed: Typed, raising: object) -> None:
    raising(ZeroDivisionError("x\ny"))  # type: ignore[operator]
    answer = typed("demo")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "regctl: this is a bug: ZeroDivisionError: x y"
    assert "Traceback" not in answer.err


def test_debug_prints_the_traceback(typed: Typed, raising: object) -> None:
    raising(ZeroDivisionError())  # type: ignore[operator]
    assert "Traceback" in typed("--debug", "demo").err


def test_control_characters_of_a_message_are_replaced(typed: Typed, raising: object) -> None:
    raising(RegistryToolError("a\x1b]0;x\x07b\nc", hint="d\x1b[2Je", excerpt=("f\x1b[31mg",)))  # type: ignore[operator]
    answer = typed("demo")
    assert "\x1b" not in answer.err
    assert len(answer.err.splitlines()) == 3


def test_keyboard_interrupt_is_exit_130(typed: Typed, raising: object) -> None:
    raising(KeyboardInterrupt())  # type: ignore[operator]
    answer = typed("demo")
    assert (answer.code, answer.out, answer.err) == (130, "", "interrupted\n")


def test_signal_is_exit_128_plus_its_number(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("demo")
    def waits() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr(command_table, "load", lambda name: waits)
    before = signal.getsignal(signal.SIGTERM)
    assert typed("demo").code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_main_runs_in_another_thread(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["completion", "bash"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_closed_pipe_prints_no_error() -> None:
    shell = f"{shlex.join(REGCTL)} --help | true; {shlex.join(REGCTL)} completion bash | head -c1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=600)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("arguments", ["completion bash", "--help", "push --json"])
def test_full_disk_is_an_error_in_two_lines(arguments: str) -> None:
    # What is buffered is written once more when Python ends.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    shell = ["bash", "-c", f"{shlex.join(REGCTL)} {arguments} > /dev/full"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == (2 if "push" in arguments else 1)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["regctl", "hint"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux has a device that is always full")
@pytest.mark.parametrize(("arguments", "code"), [("push", 2), ("--help", 0), ("list-tags localhost:1/x", 3), ("push --json", 2)])
def test_errors_on_a_full_disk_keep_their_exit_code(arguments: str, code: int) -> None:
    shell = ["bash", "-c", f"{shlex.join(REGCTL)} {arguments} 2> /dev/full"]
    assert subprocess.run(shell, stdout=subprocess.DEVNULL, check=False, timeout=600).returncode == code


def test_closed_standard_streams_are_no_error() -> None:
    me = " ".join(map(shlex.quote, REGCTL))
    for command, code in (("down --volumes --name x <&-", 2), ("--help >&-", 0), ("nope 2>&-", 2)):
        environment = {**os.environ, "DOCKER_HOST": NOWHERE} if "down" not in command else None
        done = subprocess.run(["bash", "-c", f"{me} {command}"], capture_output=True, text=True, check=False, timeout=600, env=environment)
        assert "Traceback" not in done.stderr
        assert "bug" not in done.stderr
        assert done.returncode in (code, 3 if "down" in command else code)


def test_characters_that_cannot_be_encoded_are_replaced() -> None:
    answer = spawn("digest", environment={"PYTHONIOENCODING": "ascii"})
    assert answer.code == 2
    assert "(it prints sha256:?)" in answer.err


# What it costs, and what it says.


def test_help_imports_no_library_but_click() -> None:
    code = (
        "import sys; from registry_tool.cli.app import main; code = main(['--help']); "
        "heavy = {'docker', 'requests', 'rich', 'urllib3', 'bcrypt', 'cryptography'} & set(sys.modules); "
        "rooms = ('registry_tool.engine', 'registry_tool.demo', 'registry_tool.cli.commands.image'); "
        "ours = [name for name in sys.modules if name.startswith(rooms)]; "
        "sys.exit(f'{heavy} {ours}' if heavy or ours else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def test_no_command_prints_help(typed: Typed) -> None:
    bare, received = typed(), typed("--help")
    assert (bare.code, bare.out) == (0, received.out)


@pytest.mark.parametrize(("noun", "name"), [(noun, name) for noun, names in MANAGEMENT_COMMANDS.items() for name in names])
def test_management_command_is_the_same_command(typed: Typed, noun: str, name: str) -> None:
    same = typed(MANAGEMENT_COMMANDS[noun][name], "--help").out.partition("\n")[2]
    answer = typed(noun, name, "--help")
    assert answer.code == 0
    assert answer.out.partition("\n")[2] == same


def test_management_commands_are_hidden_and_have_help(typed: Typed) -> None:
    assert "container" not in [line.split()[0] for line in typed("--help").out.splitlines() if line.startswith("  ") and line.split()]
    answer = typed("container")
    assert answer.code == 0
    assert "kill" in answer.out


def test_version_is_printed_without_an_engine(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    answer = typed("--version")
    assert answer.code == 0
    first, engine, registry = answer.out.splitlines()
    assert first == f"regctl {registry_tool.__version__}"
    assert engine.startswith("engine: none")
    assert registry == "registry: unknown"


def test_version_of_a_hanging_engine_times_out(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        started = time.monotonic()
        answer = spawn("--version", environment={"DOCKER_HOST": f"unix://{tmp_path / 's'}"})
        assert time.monotonic() - started < 60
    assert answer.code == 0
    assert "engine: no response within 3 s" in answer.out


@pytest.mark.engine
def test_version_has_that_of_the_engine(typed: Typed, engine: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.cli.app.VERSIONS_TIMEOUT", 600.0)
    answer = typed("--version")
    assert answer.code == 0
    assert f"engine: {engine.info.product} {engine.info.version} (" in answer.out  # type: ignore[attr-defined]


def test_completion_script_is_for_the_name_that_was_called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in (("regctl", "_REGCTL_COMPLETE"), ("registry-tool", "_REGISTRY_TOOL_COMPLETE")):
        monkeypatch.setattr(sys, "argv", [f"/somewhere/{name}"])
        for shell in ("bash", "zsh", "fish"):
            assert main(["completion", shell]) == 0
            script = capsys.readouterr().out
            assert variable in script
            assert name in script
        monkeypatch.setenv(variable, "bash_complete")
        monkeypatch.setenv("COMP_WORDS", f"{name} pu")
        monkeypatch.setenv("COMP_CWORD", "1")
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code == 0
        assert capsys.readouterr().out.splitlines() == ["plain,push", "plain,pull"]
        monkeypatch.delenv(variable)


def test_bash_accepts_the_completion_script() -> None:
    script = f"source <({shlex.join(REGCTL)} completion bash) && complete -p regctl"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "regctl" in done.stdout


@pytest.mark.parametrize(("error", "printed"), [(AttributeError("fp"), False), (ResourceWarning("unclosed socket"), True)])
def test_object_that_was_interrupted_in_its_constructor_is_no_message(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, printed: bool
) -> None:
    lines: list[object] = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda failure: lines.append(failure.exc_value))
    report_unraisable(cast("Any", SimpleNamespace(exc_value=error)))
    assert lines == ([error] if printed else [])
