"""``demo`` on the command line; its steps are tested in tests/engine/demo."""

from __future__ import annotations

import re

import pytest

from registry_tool.cli.output import Output
from registry_tool.cli.views.demo import DemoView
from registry_tool.demo.result import DemoStep
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from tests.support.cli_runner import Terminal, Typed, spawn


@pytest.mark.parametrize("arguments", [("-p", "x"), ("-p", "70000"), ("--registry-port", "0"), ("--nope",)])
def test_invalid_demo_option_is_exit_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert Typed(capsys)("demo", *arguments).code == 2


def test_failed_demo_has_a_result_and_an_error(capsys: pytest.CaptureFixture[str], engine: Engine) -> None:
    answer = Typed(capsys)("demo", "--json", "--image", "UPPER/x")
    assert answer.code == 2
    document = answer.json
    assert document["ok"] is False
    assert document["error"]["code"] == "invalid-reference"
    assert document["steps"] == []


def test_steps_are_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    with DemoView(output, progress=True) as stage:
        stage.begin("build", "docker build .")
        stage.note("Step 1/9")
        stage.start("key", "row")
        stage.advance("key", 1)
        stage.finish("key", "row")
        stage.end(DemoStep(name="build", command="docker build .", seconds=1.25, detail="abc"))
        stage.note("a warning")
        stage.begin("tag", "docker tag a b")
        stage.end(DemoStep(name="tag", command="docker tag a b", seconds=0, ok=False, detail="no"))
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "build          ok       1.2 s  $ docker build .  # abc",
        "tag            FAILED   0.0 s  $ docker tag a b  # no",
    ]
    assert captured.err == "a warning\n"


@pytest.mark.engine
def test_demo_on_a_terminal_lists_what_is_left_and_what_to_try(engine: Engine, unique: str) -> None:
    try:
        with Terminal(["demo", "--name", unique, "--image", f"{unique}/get-started:part2"]) as terminal:
            assert terminal.end() == 0, terminal.text
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)
        pushes = "$ podman push --tls-verify=false " if engine.is_podman else "$ docker push "
        for words in (pushes, "Hello World!", "What is left", "list-tags localhost:", f"down --name {unique} --volumes"):
            assert words in text, words
        registry = local_registry.find(engine, unique)
        assert registry is not None
        assert spawn("list-tags", "-q", f"{registry.address}/{unique}/get-started").out == "part2\n"
    finally:
        local_registry.down(engine, unique, volumes=True)
        for image in engine.images():
            for name in image.names:
                if unique in name:
                    engine.remove_image(name, force=True)
