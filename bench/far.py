"""Tables of a registry that is 30 ms away (:mod:`bench.link`), and what they take beside eight crane at a time."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.link import ROUND_TRIP, link_to
from bench.measure import REGCTL, Result, find_crane, in_turn, progress, run
from bench.repositories import Filled

SAMPLE = 64
"""Tags that crane is asked about in each run; what it takes for them is scaled up to all."""
AT_A_TIME = 8


def far_away(runs: int, few: Filled, names: Filled) -> Iterator[Result]:
    """Rows of tables over a link: ``few`` with details, ``names`` with names only."""
    progress("a registry that is far away")
    how = f"a proxy of its own: {1000 * ROUND_TRIP:g} ms for a round trip"
    with link_to(int(few.host.rpartition(":")[2])) as link, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        before = link.requests
        done = run([*REGCTL, "list-tags", "-q", f"{link.address}/{names.path}"])
        assert len(done.output.splitlines()) == len(names.tags)
        requests = [float(link.requests - before)]
        yield Result(name=f"list-tags -q of {len(names.tags):,} tags over 30 ms", ours=requests, most=1, unit="req", note=how)

        def ours() -> float:
            cache = Path(folder) / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            done = run([*REGCTL, "list-tags", "--details", f"{link.address}/{few.path}"], XDG_CACHE_HOME=str(cache))
            assert sum(row.startswith("1.") for row in done.output.splitlines()) == len(few.tags), done.output[:2000]
            return done.seconds

        def theirs() -> float:
            tags = random.sample(few.tags, SAMPLE)
            named = Path(folder) / "named"
            named.write_text("".join(f"{link.address}/{few.path}:{tag}\n" for tag in tags), encoding="ascii")
            # Digest, size, time and platform of an image are in these two.
            requests = f'"{crane}" manifest "$0" && "{crane}" config "$0"'
            script = f"xargs -P {AT_A_TIME} -I REF sh -c '{requests}' REF <{named} >/dev/null"
            return run(["sh", "-c", script]).seconds * len(few.tags) / SAMPLE

        crane = find_crane()
        contestants: dict[str, Callable[[], float]] = {"ours": ours} if crane is None else {"ours": ours, "theirs": theirs}
        seconds = in_turn(min(runs, 3), contestants)
    name = f"{len(few.tags):,} tags with details over 30 ms"
    if crane is None:
        print("crane is missing: what is compared with it is left out", file=sys.stderr)
        return
    note = f"{how}; crane manifest and crane config of {SAMPLE} tags in each run, times {len(few.tags) / SAMPLE:g}"
    yield Result(name=f"{name} / xargs -P {AT_A_TIME} crane", ours=seconds["ours"], theirs=seconds["theirs"], most=0.5, note=note)
