"""The command in a process of its own that is killed, interrupted or refused at a chosen access to a folder: not at a time of the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

What = Literal["kill", "interrupt", "full", "read-only", "count"]
"""``full``, ``read-only``: from then on every access that writes fails. ``count`` prints how many accesses there were on standard error."""

_PROGRAM = """
import errno, os, signal, sys
what, at, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
seen = 0
def hook(event, arguments):
    global seen
    if event == "open":
        writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.listdir", "os.scandir"):
        writes = event in ("os.rename", "os.mkdir", "os.truncate")
    else:
        return
    # The names that shutil.rmtree removes are relative to an open folder.
    inside = str(arguments[0]).startswith(folder) or (event in ("os.remove", "os.rmdir") and arguments[1] != -1)
    if not inside:
        return
    seen += 1
    if what in ("full", "read-only") and seen >= at and writes:
        number = errno.ENOSPC if what == "full" else errno.EROFS
        raise OSError(number, os.strerror(number), str(arguments[0]))
    if seen == at and what in ("kill", "interrupt"):
        os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGINT)
from registry_tool.cli.app import main
sys.addaudithook(hook)
code = main(sys.argv[4:])
if what == "count":
    print(seen, file=sys.stderr)
sys.exit(code)
"""


def run_at_access(what: What, at: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; its access number ``at`` to ``folder`` is where ``what`` happens to it."""
    line = [sys.executable, "-c", _PROGRAM, what, str(at), str(folder), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=600)


def count_accesses(folder: Path, *arguments: str) -> int:
    """How many accesses to ``folder`` a command makes, which has to succeed."""
    done = run_at_access("count", 0, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])
