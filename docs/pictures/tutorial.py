"""Types the tutorial's commands, and puts what they show into its two languages.

    .venv/bin/python docs/pictures/tutorial.py [FOLDER]

Every line of the ``sh`` blocks in ``docs/tutorial.en.md`` is typed on a terminal, from the checkout's folder, in order, on the engine
that ``regctl`` finds; the first that fails ends it. What a block shows goes where the page has a place for it, right below:

- a ``text`` block gets the output; one that begins with ``…`` gets the end of it, as many lines as it had;
- a picture gets the terminal, drawn; one whose name ends in ``page.svg`` gets the last page that was looked at, as a browser shows it.

They are written to ``docs/``, or to FOLDER. Somebody's own registry, ports 5000 and 4000, and a container called ``web`` would be in the
way: nothing is typed where one is there.
"""

from __future__ import annotations

import os
import pty
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from xml.sax.saxutils import escape

from make import drawn
from rich.text import Text

DOCS = Path(__file__).resolve().parent.parent
LANGUAGES = ("tutorial.en.md", "tutorial.zh.md")
PORTS = (5000, 5001, 4000)
PAGE = "http://localhost:4000"
IN_FRONT = "regctl run --rm -p 4000:80 friendlyhello"
"""Stays in front of whoever typed it, until Ctrl-C; that comes once its page answers."""
PATIENCE = 180.0
"""Seconds that a command may take."""
COLUMNS = 120

_FENCE = re.compile(
    r"^```sh\n(?P<lines>.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?(?:\n!\[[^\]]*\]\(pictures/(?P<picture>[\w-]+\.svg)\)\n)?",
    re.MULTILINE | re.DOTALL,
)
_PLACE = re.compile(r"^```text\n.*?^```\n", re.MULTILINE | re.DOTALL)


@dataclass(kw_only=True)
class Person:
    """Types one line after the other. Has a password, and sees to it that no terminal shows it."""

    here: Path
    page: str = ""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)

    def types(self, line: str) -> str:
        """What the terminal shows, in its colours. Ends the program where the line fails."""
        if line.startswith("cd "):
            self.here = (self.here / line.removeprefix("cd ")).resolve()
            return ""
        looks = line.startswith("curl ")
        deadline = time.monotonic() + 30
        code, shown = self._typed(line)
        while looks and code != 0 and time.monotonic() < deadline:  # as somebody who loads a page again that is not there yet
            time.sleep(0.2)
            code, shown = self._typed(line)
        if self.password in shown:
            sys.exit(f"{line}\nshowed the password: nothing is written")
        if code not in ((0, 130) if line == IN_FRONT else (0,)):
            sys.exit(f"{shown}\n{line}\nended with {code}: nothing is written")
        if looks:
            self.page = shown
        return shown

    def _typed(self, line: str) -> tuple[int, str]:
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.here)
            # Bars are gone when a command has ended; what stays is drawn.
            words = ["bash", "-c", f'regctl() {{ command regctl --no-progress "$@"; }}\n{line}']
            os.execvpe(words[0], words, _environment())  # noqa: S606 - no shell: the words are this file's own
        questions = {r"Go ahead\?.*$": "y", r"User name .*: $": "john", r"(Password .*|Repeat for confirmation): $": self.password}
        text, answered, stopped = "", 0, False
        deadline = time.monotonic() + PATIENCE
        while (chunk := _read(terminal)) is not None:
            text += chunk
            for question, answer in questions.items():
                if re.search(question, text[answered:]):
                    os.write(terminal, f"{answer}\n".encode())
                    answered = len(text)
                    break
            if line == IN_FRONT and not stopped and _answers(PAGE):
                time.sleep(1)  # what it says of that visit is read first
                os.write(terminal, b"\x03")
                stopped = True
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(terminal)  # not before: whoever is about to end would be hung up on
        return os.waitstatus_to_exitcode(status), text.replace("\r\n", "\n").replace(str(Path.home()), "~")


class Seen(HTMLParser):
    """A page as a browser shows it, line by line: the elements that each piece is in, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[list[tuple[frozenset[str], str]]] = [[]]
        self._open: list[str] = []
        self.feed(page.strip())

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "br":
            self.lines.append([])
        else:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)
        if tag == "h3":
            self.lines.append([])

    def handle_data(self, data: str) -> None:
        self.lines[-1].append((frozenset(self._open), data))


def browser(page: str) -> str:
    """The page in a window, as SVG. It fetches nothing: the fonts are those of whoever looks at it."""
    rows = []
    for number, line in enumerate(Seen(page).lines):
        spans = "".join(f"<tspan{_style(tags)}>{escape(text)}</tspan>" for tags, text in line)
        rows.append(f'<text x="24" y="{88 + 28 * number}" xml:space="preserve">{spans}</text>')
    height = 88 + 28 * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 {height}" font-family="sans-serif" font-size="17" fill="#1c1e21">\n'
        f'<rect x="1" y="1" width="558" height="{height - 2}" rx="8" fill="#ffffff" stroke="#8a8f98"/>\n'
        '<path d="M1 44V9a8 8 0 0 1 8-8h542a8 8 0 0 1 8 8v35z" fill="#e4e6ea" stroke="#8a8f98"/>\n'
        + "".join(f'<circle cx="{x}" cy="22" r="6" fill="{colour}"/>' for x, colour in ((22, "#ff5f57"), (42, "#febc2e"), (62, "#28c840")))
        + '\n<rect x="86" y="9" width="456" height="26" rx="13" fill="#ffffff"/>\n'
        f'<text x="102" y="27" font-size="14" fill="#4a4f57">{PAGE.removeprefix("http://")}</text>\n'
        + "".join(f"{row}\n" for row in rows)
        + "</svg>\n"
    )


def _style(tags: frozenset[str]) -> str:
    styles = {"h3": ' font-weight="bold" font-size="21"', "b": ' font-weight="bold"', "i": ' font-style="italic"'}
    return "".join(style for tag, style in styles.items() if tag in tags)


def walk(page: str, person: Person) -> Iterator[tuple[str | None, str]]:
    """Type everything. Yields (the picture's name or None, its content) for each place that the page has."""
    for block in _FENCE.finditer(page):
        shown = [(line, person.types(line)) for line in block["lines"].splitlines() if line and not line.startswith("#")]
        if (name := block["picture"]) is not None:
            yield name, browser(person.page) if name.endswith("page.svg") else _terminal(shown, name)
        if (there := block["text"]) is not None:
            plain = [row.rstrip() for _, text in shown if text for row in Text.from_ansi(text.rstrip("\n")).plain.split("\n")]
            kept = there.count("\n") - 1
            yield None, "".join(f"{row}\n" for row in (["…", *plain[-kept:]] if there.startswith("…") else plain))


def _terminal(shown: list[tuple[str, str]], name: str) -> str:
    rows = [row for line, answer in shown for row in (f"\x1b[1m$ {line}\x1b[0m", answer.rstrip()) if row]
    return drawn("\n".join(rows), title=next(line for line, answer in shown if answer), name=Path(name).stem, most=COLUMNS)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR", "BASH_ENV"}}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**kept, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "PATH": path}


def _answers(url: str) -> bool:
    return subprocess.run(["curl", "-fsS", "--max-time", "5", url], capture_output=True, check=False).returncode == 0


def _read(terminal: int) -> str | None:
    """What came within a moment; None at the end."""
    if not select.select([terminal], [], [], 0.3)[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace") or None
    except OSError:  # Linux says so when the other side is closed
        return None


def _in_the_way() -> list[int]:
    taken = []
    for port in PORTS:
        with socket.socket() as trial:
            trial.settimeout(1)
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    return taken


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    if taken := _in_the_way():
        sys.exit(f"port {taken[0]} is somebody's already: nothing is typed")
    pages = {name: (DOCS / name).read_text(encoding="utf-8") for name in LANGUAGES}
    places = list(walk(pages[LANGUAGES[0]], Person(here=DOCS.parent)))
    (target / "pictures").mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        texts = iter([content for picture, content in places if picture is None])
        (target / name).write_text(_PLACE.sub(lambda _, texts=texts: f"```text\n{next(texts)}```\n", page), encoding="utf-8")
    for picture, content in places:
        if picture is not None:
            (target / "pictures" / picture).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
