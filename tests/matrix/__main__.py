"""Runs the tests that need an engine on other engines than this machine's, each a clean one in a container: ``make matrix``.

``--short`` does on two of them what a person does first, as CI does. Exit code 0; 1 where something failed; 0 too where the engines
cannot be had here, with the reason, unless REGISTRY_TOOL_REQUIRE has ``matrix``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.matrix import image, results
from tests.matrix.commands import Failed, Unavailable, run, say
from tests.matrix.place import Place, open_place, versions
from tests.matrix.rows import ROWS, SHORT, Row
from tests.support.paths import ROOT
from tests.support.requirements import REQUIRED

_MARKS = "(engine or podman or compose or netns or docker_proof or podman_proof) and not soak"
_TIMEOUT = 2 * 60 * 60
_SHORT_TIMEOUT = 15 * 60


def main() -> int:
    """Run what was asked for; returns the exit code."""
    options = _options()
    if options.clean:
        image.remove()
        return 0
    names = options.only or (SHORT if options.short else [row.name for row in ROWS])
    failed: list[str] = []
    for row in ROWS:
        if row.name in names:
            try:
                passed = _short(row) if options.short else _tests(row, options.tests, options.jobs)
            except Unavailable as error:
                say(f"{row.name}: {error}")
                if "matrix" not in REQUIRED:
                    say("skipped: the matrix cannot be had on this machine (see above)")
                    return 0
                passed = False
            except Failed as error:
                say(f"{row.name}: {error}")
                passed = False
            if not passed:
                failed.append(row.name)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make matrix ARGS=…", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS], help="this row; may be repeated")
    parser.add_argument("--short", action="store_true", help="what a person does first, on two of the engines")
    parser.add_argument("--jobs", default="4", help="tests at the same time (4)")
    parser.add_argument("--clean", action="store_true", help="remove the images and caches of the matrix, and do nothing else")
    parser.add_argument("tests", nargs="*", help="arguments of pytest, after --; otherwise all tests that need an engine")
    return parser.parse_args()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _short(row: Row) -> bool:
    """Whether the short form succeeds on ``row``."""
    with open_place(row, image_name=image.ensure(row.suite), requirements="run") as place:
        status = place.show("sh", "tests/matrix/short.sh", row.engine, timeout=_SHORT_TIMEOUT)
    say(f"{row.name}: {'passed' if status == 0 else f'exit code {status}'}")
    return status == 0


def _tests(row: Row, chosen: Sequence[str], jobs: str) -> bool:
    """Whether the tests pass on ``row``; what came of all of them is kept, and written to the documents."""
    commit = run("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD").strip()  # now: others may follow while the tests run
    with open_place(row, image_name=image.ensure(row.suite), requirements="dev") as place, tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "junit.xml"
        # netns: these start a docker of their own, whatever the row's engine is.
        selection = chosen or ["-m", f"{_MARKS} and not netns" if row.engine == "podman" else _MARKS]
        line = [".venv/bin/python", "-m", "pytest", "-n", jobs, "-v", "--junitxml=/tmp/junit.xml", *selection]
        status = place.show("env", "REGISTRY_TOOL_REQUIRE=engine", *line, timeout=_TIMEOUT)
        if not chosen and status in (0, 1):
            place.copy_out("/tmp/junit.xml", junit)
            _keep(place, junit, commit)
    say(f"{row.name}: {'passed' if status == 0 else f'exit code {status} of pytest'}")
    return status == 0


def _keep(place: Place, junit: Path, commit: str) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    results.keep(place.row.name, results.read_junit(junit, versions=versions(place), commit=commit, date=day))
    results.write_page()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
