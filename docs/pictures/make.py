"""Draws the README's picture from a real run of ``regctl demo``.

    .venv/bin/python docs/pictures/make.py [FILE]

The command runs on a terminal of its own, on the engine that ``regctl`` finds, and what that terminal shows in the end is
drawn: to ``docs/pictures/demo.svg``, or to FILE. Progress bars are gone by then, so the run has none. The home folder, which
is nobody's business, is written ``~``.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

TYPED = "regctl demo"
# A picture fetches nothing: the fonts are those of whoever looks at it. Blanks at a line's beginning are part of it.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    '-matrix">', '-matrix" xml:space="preserve">'
)


def shown() -> str:
    """What the terminal shows when the command has ended, with its colours."""
    programs = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR"}}
    environment = {**kept, "TERM": "xterm-256color", "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    ours, theirs = pty.openpty()
    command = [str(programs / "regctl"), "--no-progress", "demo"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)
    if process.returncode != 0:
        sys.exit(f"{text}\n{TYPED} ended with {process.returncode}: no picture")
    return text.replace("\r\n", "\n").replace(str(Path.home()), "~")


def drawn(text: str, *, title: str, name: str, most: int | None = None) -> str:
    """A terminal's text as SVG, no wider than its longest line or ``most``; ``name`` is nobody else's on the same page."""
    content = Text.from_ansi(text.rstrip())
    width = min(max(line.cell_len for line in content.split("\n")), most or sys.maxsize)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(content)
    return console.export_svg(title=title, code_format=FORMAT, unique_id=name)


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.svg")
    target.write_text(drawn(f"\x1b[1m$ {TYPED}\x1b[0m\n{shown()}", title=TYPED, name="demo"), encoding="utf-8")
