"""The tutorial: every line is typed, what it shows is what a run shows today, and both languages say the same."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from registry_tool.cli.command_table import COMMANDS
from registry_tool.engine import Engine
from registry_tool.local.base_images import DOCKER_ENGINE, PROXY, BaseImageResolver
from tests.support import canary
from tests.support.documents import Reader, blocks, checkout, commands
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine

DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
LANGUAGES = [DOCS / "tutorial.en.md", DOCS / "tutorial.zh.md"]
ENGLISH, CHINESE = LANGUAGES

_SHOWN = re.compile(r"^```(\w+)\n(.*?)^```$|\]\((pictures/[\w-]+\.svg)\)", re.MULTILINE | re.DOTALL)
_VARIES = [
    (r"(?m)^\[.*\] WARNING in app: .*\n", ""),  # comes before the page, or after it, where the look-up of a name takes long
    (r"\b(sha256:)?[0-9a-f]{12,64}\b", "ID"),
    (r"\bjust now\b|\babout an? \w+ ago\b|\d+ \w+ ago\b", "AGO"),
    (r"\bUp (Less than a second|About a minute|\d+ \w+)", "UP"),
    (r"(?m)^(localhost/registry-tool/(python +packages|registry +packages)|python +3\.13-slim|registry +2) .*\n", ""),
    (r"\b(localhost/registry-tool/\w+:packages|registry:2|python:3\.13-slim)\b", "BASE"),
    (r", from (packages|docker\.io|engine)\b", ""),
    # by the engine's image store
    (r"Pushed by this program: (it was pushed directly before|the engine would compress all layers)", "PUSHED"),
    (r"Pushed by the engine: the engine keeps layers compressed \(containerd image store\)", "PUSHED"),
    (r"\d+(?:[.,:+-]\d+)*(?:dfsg\d+)?(B|kB|MB)?", "N"),
    (r"[ \t]+", " "),
]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """``docs/pictures/tutorial.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PICTURES))
        yield importlib.import_module("tutorial")


@pytest.fixture
def reader(empty_engine: PrivateEngine, kept_cache: Path, session_engine: Engine, tmp_path: Path) -> Reader:
    """Somebody on an engine that has nothing and reaches nothing, with what was kept at home."""
    bases = BaseImageResolver(session_engine, kept_cache)
    for base in (DOCKER_ENGINE, PROXY):
        bases.archive(bases.ensure(base))
    person = Reader(engine=empty_engine, folder=checkout(tmp_path, kept_cache))
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, person.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return person


# What is executed.


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.documents
def test_every_line_works_and_shows_what_is_shown(reader: Reader, tmp_path: Path) -> None:
    reader.asks(shlex.join([sys.executable, "docs/pictures/tutorial.py", str(tmp_path / "drawn")]), seconds=600)
    for page in LANGUAGES:
        drawn = (tmp_path / "drawn" / page.name).read_text(encoding="utf-8")
        assert steady(drawn) == steady(page.read_text(encoding="utf-8"))
    for name in pictures(ENGLISH):
        assert steady(words(tmp_path / "drawn" / name)) == steady(words(DOCS / name)), name
    for name in ("service", "stack"):
        assert "300 answers with 300 consecutive numbers and 3 host names" in words(
            tmp_path / "drawn" / "pictures" / f"tutorial-{name}.svg"
        )
    # The reader was told how to leave nothing.
    assert reader.asks("docker ps -aq") == reader.asks("docker volume ls -q") == ""
    assert "friendlyhello" not in reader.asks("docker images")
    assert "john" not in reader.asks("docker images")
    assert not (reader.folder / "stack.json").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exit 3", "ended with 3: nothing is written"),
        ("read -r -p 'Password for john: ' answer; echo $answer", "showed the password"),
    ],
)
def test_nothing_is_written_of_a_run_that_is_not_to_be_shown(script: ModuleType, tmp_path: Path, line: str, words: str) -> None:
    person = script.Person(here=tmp_path)
    with pytest.raises(SystemExit) as caught:
        person.types(line)
    assert words in str(caught.value)
    assert person.password not in str(caught.value)


def test_it_types_in_order_and_puts_each_output_in_its_place(script: ModuleType, tmp_path: Path) -> None:
    page = (
        "```sh\nmkdir below\ncd below\npwd | sed 's,.*/,,'\n```\n\n```text\nold\n```\n\n```sh\nseq 5\n```\n\n```text\n…\nold\nold\n```\n"
        "\n```sh\ntrue\n```\n\nNothing is shown of that.\n\n```sh\nprintf '\\033[1mbold\\033[0m\\n'\n```\n\n![It](pictures/it.svg)\n"
    )
    below, last, picture = script.walk(page, script.Person(here=tmp_path))
    assert below == (None, "below\n")
    assert last == (None, "…\n4\n5\n")
    assert picture[0] == "it.svg"
    (tmp_path / "it.svg").write_text(picture[1])
    assert re.search(r"\$ printf .*bold$", words(tmp_path / "it.svg"))


def test_a_password_is_typed_where_one_is_asked_for(script: ModuleType, tmp_path: Path) -> None:
    secret = canary.password("tutorial")
    person = script.Person(here=tmp_path, password=secret)
    message = person.types(
        "read -rs -p 'Password for john: ' first; read -rs -p $'\\nRepeat for confirmation: ' second; echo ${#first} ${#second}"
    )
    assert message.split("confirmation: ")[1].split() == [str(len(secret))] * 2


def test_a_browser_shows_the_page(script: ModuleType, tmp_path: Path) -> None:
    drawn = tmp_path / "page.svg"
    drawn.write_text(script.browser("<h3>Hello &lt;World&gt;!</h3><b>Hostname:</b> web<br/><b>Visits:</b> <i>none</i>\n"))
    assert words(drawn) == "localhost:4000 Hello <World>! Hostname: web Visits: none"
    assert ' font-style="italic">none<' in drawn.read_text()


# What is read.


def test_both_languages_show_the_same_in_the_same_order() -> None:
    english, chinese = (_SHOWN.findall(page.read_text(encoding="utf-8")) for page in LANGUAGES)
    assert english == chinese
    assert commands(ENGLISH) == commands(CHINESE)


def test_it_is_the_seeds_way() -> None:
    """Container, share, elsewhere, service, stack: one does not work without what comes before it."""
    lines = commands(ENGLISH)
    way = ["up", "build", "run", "ps", "tag", "push", "list-tags", "login", "rmi", "run", "verify", "verify", "verify", "down"]
    typed = iter([line.split()[1] for line in lines if line.startswith("regctl ")])
    assert [name for name in way if name not in typed] == []  # each is looked for after the one before
    assert {line.split()[1] for line in lines if line.startswith("regctl ")} <= set(COMMANDS)
    *_, image, service, stack, _ = (line for line in lines if line.startswith("regctl verify "))
    assert "--http 4000:80/" in image
    assert "--replicas 3 --with redis" in service
    assert "--stack examples/stack/stack.yml" in stack


@pytest.mark.parametrize(("language", "file"), [("python", "sample_app/app.py"), ("dockerfile", "sample_app/Dockerfile")])
def test_what_is_quoted_is_there(language: str, file: str) -> None:
    [quoted] = blocks(ENGLISH, language)
    lines = iter((ROOT / file).read_text(encoding="utf-8").splitlines())
    assert [line for line in quoted.splitlines() if line not in lines] == []


def test_the_stack_is_the_file() -> None:
    [quoted] = blocks(ENGLISH, "yaml")
    file = (ROOT / "examples/stack/stack.yml").read_text(encoding="utf-8").splitlines(keepends=True)
    assert quoted == "".join(line for line in file if not line.startswith("#"))


@pytest.mark.parametrize("page", LANGUAGES, ids=lambda path: path.name)
def test_every_place_is_filled(page: Path) -> None:
    assert [text for text in blocks(page, "text") if not text.strip("…\n ")] == []


def test_every_picture_of_it_is_shown() -> None:
    assert sorted(pictures(ENGLISH)) == sorted(f"pictures/{path.name}" for path in PICTURES.glob("tutorial-*.svg"))


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_readme_leads_to_it(page: str) -> None:
    language = "zh" if "zh" in page else "en"
    assert f"](docs/tutorial.{language}.md)" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("tutorial-*.svg")), ids=lambda path: path.stem)
def test_a_picture_fetches_nothing_and_names_no_machine(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert "url(http" not in text.replace('"', "").replace(" ", "")
    assert "<image" not in text
    assert not re.search(r"/(work|root|tmp|home|Users|opt)/", text)


def pictures(page: Path) -> list[str]:
    return [name for _, _, name in _SHOWN.findall(page.read_text(encoding="utf-8")) if name]


def words(picture: Path) -> str:
    """The text of a picture."""
    result = ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314 - our own
    return " ".join(" ".join("".join(element.itertext()) for element in result).replace("\N{NO-BREAK SPACE}", " ").split())


def steady(text: str) -> str:
    """``text`` without what differs from run to run."""
    for pattern, name in _VARIES:
        text = re.sub(pattern, name, text)
    return text
