"""The recipes for CI: they are YAML, their commands are ours, and what they do is done here as far as it can be."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_tool.cli.app import root
from registry_tool.cli.output import Output
from registry_tool.cli.session import Session
from registry_tool.engine import Engine
from registry_tool.local.base_images import DOCKER_ENGINE, BaseImageResolver
from tests.support.documents import Reader, checkout
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine

CI = ROOT / "examples" / "ci"
GITHUB, GITLAB = CI / "github-actions.yml", CI / "gitlab-ci.yml"
PAGE = ROOT / "docs" / "ci.md"
SUMMARY = "$GITHUB_STEP_SUMMARY"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def scripts() -> dict[str, str]:
    """Job -> what its shell is given; what installs the tool and starts an engine is left out."""
    github = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in read(GITHUB)["jobs"].items()}
    jobs = {**github, "gitlab": read(GITLAB)["portable"]["script"]}
    return {name: "\n".join(text for text in texts if not text.startswith("pip ")) for name, texts in jobs.items()}


def typed(script: str) -> list[list[str]]:
    """The regctl commands of a script, taken apart."""
    joined = re.sub(r"\\\n\s*", " ", script)
    return [shlex.split(re.sub(r"\s*>\s*\S+$", "", line)) for line in joined.splitlines() if line.startswith("regctl ")]


# What is read.


def test_a_recipe_is_what_its_system_reads() -> None:
    github = read(GITHUB)
    assert set(github) == {"name", True, "jobs"}, "YAML 1.1 reads GitHub's key on as true"
    for job in github["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job) <= {"runs-on", "timeout-minutes", "steps", "services", "env"}
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
    [portable] = read(GITLAB).values()
    assert set(portable) == {"image", "timeout", "before_script", "script", "artifacts"}
    assert all(isinstance(line, str) for line in (*portable["before_script"], *portable["script"]))


def test_what_is_written_is_what_is_kept() -> None:
    written = {name: set(re.findall(r"--(?:junit|markdown|output) (\S+)", script)) for name, script in scripts().items()}
    for name, job in read(GITHUB)["jobs"].items():
        [kept] = [step["with"]["path"].split() for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")]
        assert written[name] == {*kept, f'"{SUMMARY}"'}
    artifacts = read(GITLAB)["portable"]["artifacts"]
    assert written["gitlab"] == {*artifacts["paths"], artifacts["reports"]["junit"]}
    assert artifacts["when"] == "always", "a red proof is the one that is looked at"


def test_the_registry_is_a_service_or_the_tools_own() -> None:
    for name, job in read(GITHUB)["jobs"].items():
        [service] = job.get("services", {"": {}}).values()
        ups = [words for words in typed(scripts()[name]) if words[1] == "up"]
        assert bool(service) != bool(ups)
        if service:
            assert service["image"] == "registry:2"
            assert service["ports"] == ["127.0.0.1:5000:5000"]
            assert job["env"] == {"REGISTRY_TOOL_REGISTRY": "localhost:5000"}


@pytest.mark.parametrize("job", scripts())
def test_its_commands_are_ours(job: str) -> None:
    commands = typed(scripts()[job])
    assert [words[1] for words in commands][-3:] == ["build", "push", "verify"]
    for words in commands:
        with root.make_context("regctl", words[1:], obj=Session(Output())) as context:
            name, command, words_left = root.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None, words
            with command.make_context(
                name, [word.replace("$(cat pushed.txt)", f"a@sha256:{'0' * 64}") for word in words_left], parent=context
            ):
                pass


def test_all_of_them_do_the_same() -> None:
    done = {name: re.sub(r"--markdown \S+", "", str([shlex.join(words) for words in typed(script)])) for name, script in scripts().items()}
    assert done["gitlab"] == done["with-regctl-up"]
    assert done["with-a-service"] == done["gitlab"].replace("'regctl up', ", "")


def test_the_page_tells_every_exit_code() -> None:
    stated = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert stated == ["0", "1", "2", "3", "130"]


# What is executed.


@pytest.fixture
def reader(own_engine: PrivateEngine, kept_cache: Path, session_engine: Engine, tmp_path: Path) -> Reader:
    bases = BaseImageResolver(session_engine, kept_cache)
    bases.archive(bases.ensure(DOCKER_ENGINE))
    person = Reader(engine=own_engine, folder=checkout(tmp_path, kept_cache))
    person.types("cd sample_app")
    return person


def does(reader: Reader, script: str, *, before: str = "", code: int = 0) -> None:
    reader.asks(f"export GITHUB_STEP_SUMMARY={shlex.quote(str(reader.here / 'portability.md'))}; set -e; {before}\n{script}", code=code)


def seen(reader: Reader) -> tuple[bool, int, str]:
    """What a job left: whether its certificate is green, the number of red cases, and the summary; then it is gone."""
    files = [reader.here / name for name in ("certificate.json", "portability.xml", "portability.md")]
    certificate, report, summary = (path.read_text(encoding="utf-8") for path in files)
    for path in files:
        path.unlink()
    return json.loads(certificate)["ok"], len(list(ET.fromstring(report).iter("failure"))), summary  # noqa: S314 - our own


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.documents
def test_they_prove_what_they_pushed_and_say_where_it_is_red(reader: Reader) -> None:
    """The recipe for GitLab types what the first one for GitHub does: see above."""
    jobs = scripts()
    does(reader, jobs["with-regctl-up"])
    ok, failures, summary = seen(reader)
    assert (ok, failures) == (True, 0)
    assert "probes" in summary

    # The service is the registry's base image, as the engine has it by now.
    image = "$(docker inspect --format '{{.Image}}' registry-tool-default)"
    reader.asks(f"image={image}; regctl down --volumes --yes && docker run -d --name service -p 127.0.0.1:5000:5000 $image")
    script = jobs["with-a-service"].replace("--expect-text Hello", "--expect-text Goodbye")
    does(reader, script, before="export REGISTRY_TOOL_REGISTRY=localhost:5000;", code=1)
    ok, failures, summary = seen(reader)
    assert (ok, failures) == (False, 1), "red on what was not on the page, and on nothing else"
    assert "Goodbye" in summary
