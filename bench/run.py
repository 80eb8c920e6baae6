"""Times this tool against others, in one run, and writes what came of it to ``bench/results/``.

Needs an engine, base images and wheels, all of which an earlier ``make demo`` leaves; skopeo and wrk for what is
compared with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.archives import archives
from bench.copies import copies
from bench.demo import demo
from bench.measure import REGCTL, ROOT, Result, progress, run, table
from bench.proof import proofs
from bench.push import pushes
from bench.storage import accounts, collections
from bench.tables import tables

COPIES = 3
"""Counted runs of copies at most: each has a registry of its own."""
PROOFS = 2
"""Counted runs on clean engines at most, of which each takes ten seconds."""
PUSHES = 3
"""Counted runs of pushes at most: each takes minutes."""
RESULTS = ROOT / "bench" / "results"

Group = Callable[[], Iterator[Result]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (5)")
    parser.add_argument("--whole-loop", action="store_true", help="have skopeo look at all 1,000 tags, once (minutes)")
    parser.add_argument(
        "--only", action="append", metavar="GROUP", help="this group of rows; may be repeated; others are kept as they were"
    )
    parser.add_argument("--results", default="latest", metavar="NAME", help="the file in bench/results (latest)")
    asked = parser.parse_args()
    groups = row_groups(asked.runs, whole_loop=asked.whole_loop)
    if unknown := set(asked.only or ()) - set(groups):
        parser.error(f"no such group: {', '.join(sorted(unknown))} (there are: {', '.join(groups)})")
    target = RESULTS / f"{asked.results}.json"
    for name in asked.only or groups:
        progress(name)
        results: list[Result] = []
        # A row is printed as soon as it is measured, and a group is kept whatever becomes of the others.
        for result in groups[name]():
            print(table([result]), flush=True)
            results.append(result)
        write(target, name, results)
    print(f"written to {target.relative_to(ROOT)}")


def row_groups(runs: int, *, whole_loop: bool) -> Mapping[str, Group]:
    """All rows, in groups that are measured one after the other."""
    return {
        "startup": partial(startup, runs),
        "pushes": partial(pushes, min(runs, PUSHES)),
        "tables": partial(tables, runs, whole_loop=whole_loop),
        "copies": partial(copies, min(runs, COPIES)),
        "archives": partial(archives, min(runs, COPIES)),
        "accounts": partial(accounts, min(runs, COPIES)),
        "collections": partial(collections, min(runs, COPIES)),
        "proofs": partial(proofs, min(runs, PROOFS)),
    }


def startup(runs: int) -> Iterator[Result]:
    """Rows of commands that do little, and of the demo."""
    yield alone("regctl --help", runs, 0.12, "--help")
    progress("demo")
    yield demo(runs)
    yield alone("regctl status", runs, 0.4, "status")


def alone(name: str, runs: int, most: float, *arguments: str) -> Result:
    """A command of ours that is compared with a bound instead of another command."""
    run([*REGCTL, *arguments])
    return Result(name=name, ours=[run([*REGCTL, *arguments]).seconds for _ in range(runs)], most=most)


def write(target: Path, group: str, results: Sequence[Result]) -> None:
    """Keep what was measured, on what and when; rows of other groups stay, and are known by their date and commit."""
    target.parent.mkdir(exist_ok=True)
    kept = json.loads(target.read_text(encoding="utf-8"))["results"] if target.is_file() else []
    measured = {
        "group": group,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    rows: list[dict[str, Any]] = [{**result.as_json(), **measured} for result in results]
    names = {row["name"] for row in rows}
    document = {
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "results": [*(row for row in kept if row["name"] not in names and row.get("group") != group), *rows],
    }
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _commit() -> str:
    """The commit that is measured; the results themselves are no change of it."""
    named = subprocess.run(["git", "describe", "--always"], check=False, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    changed = subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", "registry_tool"], check=False, capture_output=True, cwd=ROOT
    ).returncode
    return f"{named}-dirty" if named and changed else named


if __name__ == "__main__":
    main()
