"""Regular expressions of somebody else, matched with a limit: some never end (catastrophic backtracking).

Python's ``re`` cannot be interrupted, so a process of its own does it, which the system ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection

from registry_tool.base.errors import RegistryToolError, UsageError

_HANGS = 120
"""Seconds after which it is given up, however busy the machine is."""

_PROGRAM = """
import json, re, signal, sys
try:
    # Unlike a resource limit, a timer counts parts of a second. Nobody here handles its signal, so it ends the process.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
except (AttributeError, ValueError, OSError):
    pass
patterns, texts = json.load(sys.stdin)
for number, pattern in enumerate(patterns):
    print(number, flush=True)
    search = re.compile(pattern).search
    print(json.dumps([index for index, text in enumerate(texts) if search(text)]), flush=True)
print("done", flush=True)
"""


def search_all(patterns: Collection[str], texts: Collection[str], *, seconds: float = 5) -> dict[str, frozenset[str]]:
    """The ``texts`` in which each of ``patterns`` matches anywhere. Raises UsageError where all take more ``seconds`` of the processor."""
    unique = list(dict.fromkeys(patterns))
    if not unique or not texts:
        return {pattern: frozenset() for pattern in unique}
    listed = list(texts)
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(seconds)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                output, _ = process.communicate(json.dumps([unique, listed]), timeout=_HANGS)
            except BaseException as error:
                process.kill()
                output, _ = process.communicate()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
    except OSError as error:
        raise RegistryToolError(f"regular expressions cannot be matched: {error.strerror or error}") from error
    lines = output.splitlines()
    if not lines or lines[-1] != "done":
        pattern = unique[min((len(lines) - 1) // 2, len(unique) - 1)] if lines else unique[0]
        raise UsageError(
            f"the regular expression {pattern[:80]!r} takes too long for the names it is matched with",
            hint="Do not repeat what is repeated already: write a+ and not (a+)+.",
        )
    results = lines[1:-1:2]
    return {pattern: frozenset(listed[index] for index in json.loads(line)) for pattern, line in zip(unique, results, strict=True)}
