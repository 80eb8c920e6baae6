"""What our documents say to type, and somebody who types it, on an engine of the tests' own."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base import resources
from tests.support.cli_runner import Terminal
from tests.support.paths import ROOT, copy_cache
from tests.support.private_engine import PrivateEngine

DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LOOK = "import urllib.request as web; print(web.urlopen('http://localhost:4000/', timeout=60).read().decode())"


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of that language, in order."""
    result = _BLOCK.finditer(document.read_text(encoding="utf-8"))
    return ["".join(line.removeprefix(match[1]) for line in match[3].splitlines(True)) for match in result if match[2] == language]


def commands(document: Path) -> list[str]:
    """What the document says to type: the lines of its ``sh`` blocks, and the second column of tables that begin with docker."""
    lines: list[str] = []
    table = False
    inside = False
    for line in document.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("```"):
            inside = text == "```sh"
        elif inside and text and not text.startswith("#"):
            lines.append(text)
        elif text.startswith("|"):
            cells = [cell.strip() for cell in text.strip("|").split("|")]
            table = table or cells[:2] == ["docker", "regctl"]
            if table and cells[1].startswith("`"):
                lines.append(cells[1].strip("`"))
        else:
            table = False
    return lines


@dataclass(kw_only=True)
class Reader:
    """Types one line after the other, from a copy of the checkout. ``answers`` are line -> what is asked and what is said then."""

    engine: PrivateEngine
    folder: Path
    answers: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    edits: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Line -> file, text and new text: what is edited before it is typed."""
    waits_for: Mapping[str, str] = field(default_factory=dict)
    """Line that stays in front of its reader -> a shell command that succeeds once it has done its part; then comes Ctrl-C."""

    def __post_init__(self) -> None:
        self.here = self.folder

    def types(self, line: str) -> str:
        """Type ``line``, and see it succeed; what it printed, where it ended by itself."""
        if line in self.edits:
            name, text, new = self.edits[line]
            content = (self.here / name).read_text(encoding="utf-8")
            assert text in content, (line, name)
            (self.here / name).write_text(content.replace(text, new), encoding="utf-8")
        if line.startswith("cd "):
            self.here = (self.here / line.removeprefix("cd ")).resolve()
            assert self.here.is_relative_to(self.folder), line
            return ""
        filled = self._filled(line)
        if line in self.waits_for:
            self._in_front(filled, self.waits_for[line])
            return ""
        with Terminal(self._shell(filled)[1:], self._environment(), program=self._shell(filled)[:1]) as terminal:
            for question, answer in self.answers.get(line, ()):
                terminal.wait_for(question)
                terminal.type(f"{answer}\n")
            code = terminal.end()
        assert code == 0, f"{line}\n{terminal.text}"
        return terminal.text

    def asks(self, line: str, *, code: int = 0, seconds: float = 600) -> str:
        """What ``line`` prints, when it has ended with ``code``."""
        done = subprocess.run(self._shell(line), env=self._environment(), capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def page(self) -> str:
        """What http://localhost:4000 says, as soon as it does."""
        line = shlex.join([sys.executable, "-c", _LOOK])
        self._until(line, "the page")
        return self.asks(line)

    def _in_front(self, line: str, ready: str) -> None:
        with subprocess.Popen(
            self._shell(f"exec {line}"),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                self._until(ready, line)
                process.send_signal(signal.SIGINT)
                message, _ = process.communicate(timeout=600)
            finally:
                process.kill()
        # In front of a container that ends well on Ctrl-C, the exit code is its own.
        assert process.returncode in (0, 130), f"{line}\n{message}"

    def _until(self, line: str, what: str) -> None:
        deadline = time.monotonic() + 600
        while subprocess.run(self._shell(line), env=self._environment(), capture_output=True, timeout=600, check=False).returncode != 0:
            assert time.monotonic() < deadline, f"{what}: not within 600 s"
            time.sleep(0.1)

    def _filled(self, line: str) -> str:
        """``line`` with what a person would look up."""
        values = {"<hash>": "docker ps -alq", "<image id>": "docker images -q friendlyhello", "<image>": "echo friendlyhello"}
        for blank, command in values.items():
            if blank in line:
                line = line.replace(blank, self.asks(command).strip())
        return line

    def _shell(self, line: str) -> list[str]:
        return self.engine.inside(["bash", "-c", f"cd {shlex.quote(str(self.here))} && {line}"])

    def _environment(self) -> dict[str, str]:
        home = self.folder.parent / "home"
        programs = Path(sys.executable).parent
        # The package is the reader's own, too: what they edit in the sample app is what the demo builds.
        folders = {"HOME": str(home), "DOCKER_CONFIG": str(home / ".docker"), "PYTHONPATH": str(self.folder)}
        return self.engine.environment({**folders, "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})


def checkout(folder: Path, cache: Path) -> Path:
    """What a reader has before them: sample app, compose file, and the package, in links; and at home what one demo with a network kept."""
    copy = folder / "registry-tool"
    shutil.copytree(resources.sample_app(), copy / "sample_app", ignore=shutil.ignore_patterns("wheels", "__pycache__"))
    shutil.copy(resources.compose_file(), copy)
    package = copy / "registry_tool"
    package.mkdir()
    for path in (ROOT / "registry_tool").iterdir():
        if path.name not in ("base", "__pycache__"):
            (package / path.name).symlink_to(path)
    # A copy, as it finds the sample app by its own place.
    shutil.copytree(ROOT / "registry_tool" / "base", package / "base")
    copy_cache(cache, folder / "home" / ".cache" / "registry-tool")
    return copy


def pairs(document: Path) -> Iterator[tuple[str, str]]:
    """(docker's line, ours) of every row that has both."""
    for line in document.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| `(docker[^|]+?)` \| `(regctl[^|]+?)` \|", line)
        if match:
            yield match[1], match[2]
