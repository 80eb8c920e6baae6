"""How this program was called, so that suggested commands work when they are typed."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

NAMES = ("regctl", "registry-tool")
_MENTION = re.compile(r"(?<![\w/.-])regctl(?= [a-z-])")


def name() -> str:
    """The name that was called: ``regctl`` or ``registry-tool``."""
    called = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    return called if called in NAMES else NAMES[0]


def command() -> str:
    """What to type to call this program: its name if it is on PATH, otherwise its path."""
    path = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path(NAMES[0])
    if path.parts[-2:] == ("registry_tool", "__main__.py"):
        return f"{shlex.quote(_relative(Path(sys.executable)))} -m registry_tool"
    if path.name not in NAMES:
        return NAMES[0]
    on_path = shutil.which(path.name)
    if on_path is None and not path.exists():
        return path.name
    if on_path is not None and (not path.exists() or path.samefile(on_path)):
        return path.name
    return shlex.quote(_relative(path))


def with_command(text: str) -> str:
    """``text`` with ``regctl`` of every ``regctl COMMAND`` replaced by :func:`command`."""
    program = command()
    return _MENTION.sub(lambda _: program, text)


def _relative(path: Path) -> str:
    """The relative path if it is below the current folder, else the absolute one. Links are kept: an environment's Python is one."""
    absolute = path.absolute()
    try:
        relative = str(absolute.relative_to(Path.cwd()))
    except ValueError:
        return str(absolute)
    # A name without a slash would be searched on PATH.
    return relative if "/" in relative else f"./{relative}"
