"""How this program was called, so that what we tell a person to type works where they type it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

NAMES = ("regctl", "registry-tool")
_MENTION = re.compile(r"(?<![\w/.-])regctl(?= [a-z-])")


def name() -> str:
    """The program's name as it was called: ``regctl`` or ``registry-tool``."""
    called = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    return called if called in NAMES else NAMES[0]


def command() -> str:
    """What to type here to call this program: its name where PATH has it, otherwise the way to it."""
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
    """``text`` with every ``regctl COMMAND`` in it as it is to be typed here."""
    spelled = command()
    return _MENTION.sub(lambda _: spelled, text)


def _relative(path: Path) -> str:
    """The path from here where it lies below, the whole one otherwise. Links stay: an environment's Python is one."""
    whole = path.absolute()
    try:
        near = str(whole.relative_to(Path.cwd()))
    except ValueError:
        return str(whole)
    # A name without a slash would be looked for on PATH.
    return near if "/" in near else f"./{near}"
