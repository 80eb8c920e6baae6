"""Times this tool against others, in one run, and writes what came of it to ``bench/results/``.

Needs an engine, base images and wheels, all of which an earlier ``make demo`` leaves; skopeo and wrk for what is
compared with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence

from bench.archives import archives
from bench.copies import copies
from bench.demo import demo
from bench.measure import REGCTL, ROOT, Result, progress, run, table
from bench.proof import proofs
from bench.push import pushes
from bench.tables import tables

COPIES = 3
"""Counted runs of copies at most: each has a registry of its own."""
PROOFS = 2
"""Counted runs on clean engines at most, of which each takes ten seconds."""
PUSHES = 3
"""Counted runs of pushes at most: each takes minutes."""
TARGET = ROOT / "bench" / "results" / "latest.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (5)")
    parser.add_argument("--whole-loop", action="store_true", help="have skopeo look at all 1,000 tags, once (minutes)")
    asked = parser.parse_args()
    results: list[Result] = []
    # A row is printed as soon as it is measured.
    for result in measured(asked.runs, whole_loop=asked.whole_loop):
        print(table([result]), flush=True)
        results.append(result)
    write(results)
    print(f"written to {TARGET.relative_to(ROOT)}")


def measured(runs: int, *, whole_loop: bool) -> Iterator[Result]:
    """All rows, one after the other."""
    yield alone("regctl --help", runs, 0.12, "--help")
    progress("demo")
    yield demo(runs)
    yield alone("regctl status", runs, 0.4, "status")
    progress("pushes")
    yield from pushes(min(runs, PUSHES))
    yield from tables(runs, whole_loop=whole_loop)
    yield from copies(min(runs, COPIES))
    yield from archives(min(runs, COPIES))
    yield from proofs(min(runs, PROOFS))


def alone(name: str, runs: int, most: float, *arguments: str) -> Result:
    """A command of ours that is compared with a bound instead of another command."""
    run([*REGCTL, *arguments])
    return Result(name=name, ours=[run([*REGCTL, *arguments]).seconds for _ in range(runs)], most=most)


def write(results: Sequence[Result]) -> None:
    """Keep what was measured, and on what."""
    TARGET.parent.mkdir(exist_ok=True)
    document = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "results": [result.as_json() for result in results],
    }
    TARGET.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
