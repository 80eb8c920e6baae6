"""What our documents say is true: their commands are executed, their links lead somewhere, and they know every command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from registry_tool.cli.app import root
from registry_tool.cli.command_table import ALIASES, COMMANDS, load
from registry_tool.cli.output import Output
from registry_tool.cli.session import Session
from tests.support.documents import DOCUMENTS, Reader, blocks, checkout, commands, pairs
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine
from tests.support.requirements import missing

README, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
CHEAT_SHEET, COMPOSE, JSON = (ROOT / "docs" / name for name in ("cheat-sheet.md", "compose.md", "json.md"))
PICTURE = ROOT / "docs" / "pictures" / "demo.svg"

ELSEWHERE = {
    "apt-get update && apt-get install -y make git python3-venv": "tests/e2e/test_docs.py::test_the_line_for_a_bare_debian_is_one",
    "make demo": "tests/e2e/test_docs.py::test_make_demo_is_regctl_demo",
    "make test": "tests/unit/project/test_setup.py::test_ci_calls_what_a_person_calls_and_lets_nothing_skip",
    ". .venv/bin/activate": "tests/e2e/test_docs.py::test_the_environment_has_regctl_once_it_is_activated",
    "make verify-demo": "tests/e2e/test_docs.py::test_make_verify_demo_is_regctl_verify",
    "regctl verify username/repository:tag": "tests/e2e/test_docs_verify.py::test_every_line_works_in_the_order_in_which_it_is_read",
    "pipx install .": "tests/e2e/test_packaging.py::test_both_programs_say_their_version_without_an_engine",
}
"""Lines that cannot be typed on an engine of the tests' own without a network -> the test that stands for each."""

INSTEAD = {"make demo": "regctl demo"}
"""What such a line brings about for the lines after it."""

ANSWERS = {
    "regctl rm --all": [("Go ahead?", "y")],
    "regctl rmi --all": [("Go ahead?", "y")],
    "regctl rmi --all --bases": [("Go ahead?", "y")],
    "regctl down --volumes": [("Go ahead?", "y")],
    "regctl delete username/repository:tag": [("Go ahead?", "y")],
    "regctl delete john/get-started:part3": [("Go ahead?", "y")],
    "regctl login": [("User name", "john"), ("Password", "secret")],
}
RUNNING = "docker ps --format '{{.Image}} {{.Status}}' | grep -q 'username/repository:tag Up'"
WAITS_FOR = {
    "regctl run -p 4000:80 friendlyhello": "curl -fsS http://localhost:4000/",
    "regctl run username/repository:tag": RUNNING,
}
EDITS = {"regctl build -t friendlyhello .": ("app.py", "Hello {name}!", "Good day, {name}!")}
"""What README tells its reader to change before a line is typed."""
BUILT = ["regctl build -t friendlyhello ."]
BEFORE = {
    "regctl rm --all": ["regctl run -d friendlyhello"],
    "regctl rmi --all": BUILT,
    "regctl tag <image> username/repository:tag": BUILT,
}
"""What a line wants to be there that the lines before it took away."""
BEFORE_IN_README = {**BEFORE, "regctl rm --all": ["regctl run -d john/get-started:part2"]}

TUTORIAL = """
docker build -t friendlyhello .
docker run -p 4000:80 friendlyhello
docker run -d -p 4000:80 friendlyhello
docker container ls
docker container ls -a
docker container kill <hash>
docker container rm <hash>
docker container rm $(docker container ls -a -q)
docker image ls -a
docker image rm <image id>
docker image rm $(docker image ls -a -q)
docker login
docker tag <image> username/repository:tag
docker push username/repository:tag
docker run username/repository:tag
"""


@pytest.fixture
def reader(own_engine: PrivateEngine, kept_cache: Path, tmp_path: Path) -> Reader:
    return Reader(engine=own_engine, folder=checkout(tmp_path, kept_cache), answers=ANSWERS, waits_for=WAITS_FOR)


def walk(reader: Reader, document: Path, before: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Type the lines of a document; what each printed."""
    reader.here = reader.folder
    printed = {}
    for line in commands(document):
        for needed in before.get(line, ()):
            reader.types(needed)
        if line not in ELSEWHERE:
            printed[line] = reader.types(line)
        elif line in INSTEAD:
            printed[line] = reader.types(INSTEAD[line])
    return printed


# What is executed.


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
def test_every_line_of_the_readme_works_in_the_order_in_which_it_is_read(reader: Reader) -> None:
    """With its edit, by one reader on one engine."""
    reader.edits = EDITS
    printed = walk(reader, README, BEFORE_IN_README)
    assert "<h3>Hello World!</h3>" not in printed["regctl demo --json"]
    assert "<h3>Good day, World!</h3>" in printed["regctl demo --json"].replace("\r\n", "")
    assert "not transferred" not in printed["regctl demo --purge"], "nothing that was left keeps a layer from being transferred"


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.documents
def test_every_line_of_the_cheat_sheet_works_in_the_order_in_which_it_is_read(reader: Reader) -> None:
    walk(reader, CHEAT_SHEET, BEFORE)


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.compose
@pytest.mark.documents
def test_the_lines_about_compose_work(reader: Reader) -> None:
    compose = compose_program()
    for line in commands(COMPOSE):
        reader.types(line.replace("docker compose", compose))
        if "--profile app up" in line:
            assert re.search(r"Visits:</b> \d", reader.page())


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.documents
def test_the_picture_shows_what_a_run_shows_today(reader: Reader, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.svg"
    reader.types(shlex.join([sys.executable, str(PICTURE.with_name("make.py")), str(drawn)]))
    assert skeleton(drawn) == skeleton(PICTURE)


def compose_program() -> str:
    """Compose of either generation, as it is typed here."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0:
            break
    else:
        missing("compose", "neither docker compose nor docker-compose is here")
    return " ".join(words)


def picture_lines(picture: Path) -> list[str]:
    """The text of a picture, a line for each of its lines."""
    lines: dict[str, str] = {}
    for element in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text"):  # noqa: S314 - our own
        lines[element.get("y", "")] = lines.get(element.get("y", ""), "") + (element.text or "")
    return [line.replace("\N{NO-BREAK SPACE}", " ").rstrip() for line in lines.values()]


def skeleton(picture: Path) -> list[str]:
    """The picture without what differs from run to run: times, ids, digests, sizes, and where base images came from."""
    varies = r"\d+(\.\d+)? s\b|sha256:\w+|\b[0-9a-f]{12,16}\b|\d+ layers?|\(\S+\)|[\w./-]+:(packages|2|3\.13-slim)\b|; .*|base images: .*"
    lines = [re.sub(varies, "*", line) for line in picture_lines(picture)]
    return [re.sub(r"[ *,]+", " ", line).strip() for line in lines if "rmi localhost/registry-tool" not in line]


# What stands in for a line that cannot be executed.


def test_what_is_not_executed_is_used_up_and_tested_elsewhere() -> None:
    typed = [line for document in (README, CHEAT_SHEET, COMPOSE) for line in commands(document)]
    assert [line for line in ELSEWHERE if line not in typed] == []
    assert [line for line in (*ANSWERS, *WAITS_FOR, *BEFORE, *INSTEAD, *EDITS) if line not in typed] == []
    for test in ELSEWHERE.values():
        path, name = test.split("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_the_line_for_a_bare_debian_is_one() -> None:
    """README and CONTRIBUTING name the same packages; make itself brings what is missing then (tests/test_setup*.py)."""
    result = {
        name: set(re.findall(r"apt-get install -y ([a-z0-9 -]+)", (ROOT / name).read_text(encoding="utf-8"))[0].split())
        for name in ("README.md", "README.zh.md", "CONTRIBUTING.md")
    }
    assert set(map(frozenset, result.values())) == {frozenset({"make", "git", "python3-venv"})}, result


def test_make_demo_is_regctl_demo() -> None:
    done = subprocess.run(["make", "--dry-run", "demo", "ARGS=--redis"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ".venv/bin/regctl demo --redis" in done.stdout.splitlines()


def test_make_verify_demo_is_regctl_verify() -> None:
    done = subprocess.run(["make", "--dry-run", "verify-demo", "ARGS=--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert any(line.startswith(".venv/bin/regctl verify ") and line.endswith(" --json") for line in done.stdout.splitlines())


def test_make_verify_demo_expects_what_the_page_says_now(tmp_path: Path) -> None:
    for folder in ("setup", "sample_app"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    app, dockerfile = tmp_path / "sample_app" / "app.py", tmp_path / "sample_app" / "Dockerfile"

    def greeting() -> str:
        return subprocess.run(["sh", "setup/greeting.sh"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert greeting() == "Hello World!\n"
    app.write_text(app.read_text(encoding="utf-8").replace("Hello {name}!", "Good day, {name}!"), encoding="utf-8")
    dockerfile.write_text(dockerfile.read_text(encoding="utf-8").replace("NAME=World", "NAME=Jo/Ann"), encoding="utf-8")
    assert greeting() == "Good day, Jo/Ann!\n"
    app.write_text("print('something else')\n", encoding="utf-8")
    assert greeting() == "Hostname\n"


def test_the_environment_has_regctl_once_it_is_activated() -> None:
    activate = Path(sys.prefix) / "bin" / "activate"
    if not activate.exists():
        pytest.skip("the tests run outside of a virtual environment")
    line = f". {shlex.quote(str(activate))} && command -v regctl"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, env={"PATH": os.defpath})
    assert done.stdout.strip() == str(activate.with_name("regctl"))


# What is read.


def test_the_cheat_sheet_has_the_tutorials_lines_in_its_order() -> None:
    wanted = TUTORIAL.strip().splitlines()
    docker = [line for line, _ in pairs(CHEAT_SHEET)]
    assert docker[docker.index(wanted[0]) :][: len(wanted)] == wanted


def test_both_languages_type_the_same() -> None:
    assert blocks(CHINESE, "sh") != []
    assert commands(CHINESE) == commands(README)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_documents(name: str) -> None:
    written = [README, *(path for path in (ROOT / "docs").glob("*.md") if path.name != "cli.md")]
    for texts in (written, [CHEAT_SHEET]):
        assert any(re.search(rf"\bregctl {name}\b", path.read_text(encoding="utf-8")) for path in texts), name


def test_every_command_in_the_documents_is_there() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"`regctl ([a-z][a-z-]*)[^`]*`", document.read_text(encoding="utf-8")):
            assert name in COMMANDS or name in (*ALIASES, "container", "image"), f"{document.name}: regctl {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_commands(name: str) -> None:
    lines = examples(name)
    assert lines, f"regctl {name} --help has no example"
    for line in lines:
        words = shlex.split(line)
        session = Session(Output())
        with root.make_context(words[0], words[1:], obj=session) as context:
            typed, command, remainder = root.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            assert typed == name, line
            with command.make_context(typed, remainder, parent=context):
                pass


def examples(name: str) -> list[str]:
    """The commands of the example lines in the help of ``name``."""
    text = (load(name).help or "").partition("Example")[2]
    result = [re.search(r"(?:^|\| |<\()(regctl [^|<>)]+)", line.strip()) for line in text.splitlines()[1:] if line.strip()]
    assert all(result), text
    return [match[1] for match in result if match]


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "sample_app" / "README.md"], ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:|#", link)]
    assert [link for link in links if not (document.parent / link).exists()] == []
    named = set(re.findall(r"`((?:docs|tests|registry_tool|setup|sample_app|bench)/[\w./-]+)`", text))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, PICTURE], ids=lambda path: path.name)
def test_no_document_names_a_machine(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"/(work|root|tmp|home(?!/john)|Users|opt)/", text)
    assert socket.gethostname() not in text


@pytest.mark.parametrize("document", [README, CHINESE], ids=lambda path: path.name)
def test_the_picture_is_shown(document: Path) -> None:
    assert f"]({PICTURE.relative_to(ROOT)})" in document.read_text(encoding="utf-8")


def test_the_picture_is_a_whole_demo_and_fetches_nothing() -> None:
    lines = picture_lines(PICTURE)
    steps = [line.split()[0] for line in lines if re.match(r"\w+ +ok ", line)]
    assert steps == ["up", "build", "tag", "push", "remove", "pull", "run", "look"]
    assert "url(http" not in PICTURE.read_text(encoding="utf-8").replace('"', "").replace(" ", "")
