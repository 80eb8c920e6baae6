"""``regctl list-tags`` on 1,000 and 10,000 tags, against a loop of ``skopeo inspect`` and against the server's own limit."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import wrk
from bench.far import far_away
from bench.measure import REGCTL, Result, in_turn, progress, run
from bench.repositories import Filled, filled, registry
from bench.startup import starts
from registry_tool.oci import manifest

FEW, MANY = 1_000, 10_000
NAMES, UNREAD = 2_000, 3_000
"""Tags of repositories of which nothing but names, or one tag, is read."""
SAMPLE = 20
"""Tags that ``skopeo`` is asked about in each run; what it takes for them is scaled up to all."""


def tables(runs: int, *, whole_loop: bool = False) -> Iterator[Result]:
    """Rows of the table; without ``skopeo``, ``wrk`` or ``crane`` none that need them. ``whole_loop``: skopeo looks at every tag, once."""
    with registry() as host, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield from starts(filled(host, "bench/one", 1).name)
        unread = filled(host, "bench/unread", UNREAD, images=1)
        dry_runs = [run([*REGCTL, "delete", "--dry-run", f"{unread.name}:{tag}"]).seconds for tag in unread.tags[:runs]]
        yield Result(name=f"delete --dry-run of one tag among {UNREAD:,}", ours=dry_runs, most=2)
        few = Tables(filled(host, "bench/few", FEW), Path(folder) / "few")
        yield from far_away(runs, few.of, filled(host, "bench/names", NAMES, images=1))
        yield from _one_thousand(runs, few, whole_loop=whole_loop)
        yield from _ten_thousand(few, Tables(filled(host, "bench/many", MANY), Path(folder) / "many"))


def _one_thousand(runs: int, few: Tables, *, whole_loop: bool) -> Iterator[Result]:
    progress("1,000 tags")
    contestants: dict[str, Callable[[], float]] = {"cold": few.cold, "warm": few.warm, "plan": few.plan}
    if _is_here("wrk"):
        contestants["wrk"] = lambda: wrk.seconds_for(few.of.host, few.of.paths, accept=manifest.ACCEPT)
    with_skopeo = _is_here("skopeo")
    if with_skopeo and not whole_loop:
        contestants["skopeo"] = lambda: _inspected(few.of, random.sample(few.of.tags, SAMPLE)) * FEW / SAMPLE
    seconds = in_turn(runs, contestants)
    if with_skopeo and whole_loop:
        seconds["skopeo"] = [_inspected(few.of, few.of.tags)]
    yield from _beside_others(seconds, whole_loop=whole_loop)
    yield Result(name="1,000 tags, warm / cold", ours=seconds["warm"], theirs=seconds["cold"], most=0.65)
    yield Result(name="1,000 tags, prune, cold / list-tags, cold", ours=seconds["plan"], theirs=seconds["cold"], most=1.2)


def _ten_thousand(few: Tables, many: Tables) -> Iterator[Result]:
    """Once: that takes as long as all the others together."""
    progress("10,000 tags")
    tenth, small = [FEW / MANY * many.cold()], [few.cold() for _ in range(3)]
    yield Result(name="10,000 tags, cold, a tenth / 1,000 tags, cold", ours=tenth, theirs=small, most=1.2)
    smaller, larger = (max(each.memory) / 1e6 for each in (few, many))
    yield Result(name="10,000 tags, memory", ours=[larger], most=200, unit="MB", note=f"the largest; 1,000 tags take {smaller:.0f} MB")
    dry_run = run([*REGCTL, "delete", "--dry-run", f"{many.of.name}:{many.of.tags[0]}"]).seconds
    yield Result(name="delete --dry-run of one tag among 10,000", ours=[dry_run], most=2)


def _beside_others(seconds: dict[str, list[float]], *, whole_loop: bool) -> Iterator[Result]:
    cold = seconds["cold"]
    if "skopeo" in seconds:
        how = "skopeo: all tags, once" if whole_loop else f"skopeo: {SAMPLE} tags in each run, times {FEW // SAMPLE}"
        yield Result(name="1,000 tags, cold / a loop of skopeo inspect", ours=cold, theirs=seconds["skopeo"], most=0.02, note=how)
    if "wrk" in seconds:
        how = f"the same manifests and configs over {wrk.CONNECTIONS} connections, by the rate of wrk"
        yield Result(name="1,000 tags, cold / the server's own limit", ours=cold, theirs=seconds["wrk"], most=2.5, note=how)


class Tables:
    """Tables of one repository, with a cache of their own; ``memory`` is bytes of each run at its largest."""

    def __init__(self, of: Filled, cache: Path) -> None:
        self.of = of
        self.memory: list[int] = []
        self._cache = cache

    def cold(self) -> float:
        """Seconds of one that knows nothing."""
        shutil.rmtree(self._cache, ignore_errors=True)
        return self.warm()

    def plan(self) -> float:
        """Seconds of the plan of a pruning that knows nothing, in which all but ten tags go."""
        shutil.rmtree(self._cache, ignore_errors=True)
        done = run([*REGCTL, "prune", "--keep-last", "10", self.of.name], XDG_CACHE_HOME=str(self._cache))
        assert f"{len(self.of.tags) - 10} of {len(self.of.tags)} tags" in done.output, done.output[-2000:]
        return done.seconds

    def warm(self) -> float:
        """Seconds of one that has what the one before it kept."""
        done = run([*REGCTL, "list-tags", self.of.name], XDG_CACHE_HOME=str(self._cache))
        rows = done.output.splitlines()[1:]
        # Behind the rows is how large they are in all.
        assert sum(row.startswith("1.") for row in rows) == len(self.of.tags), done.output[:2000]
        assert "damaged" not in done.output
        self.memory.append(done.memory)
        return done.seconds


def _is_here(program: str) -> bool:
    if shutil.which(program):
        return True
    print(f"{program} is missing: what is compared with it is left out", file=sys.stderr)
    return False


def _inspected(filled: Filled, tags: Sequence[str]) -> float:
    return sum(run(["skopeo", "inspect", "--tls-verify=false", f"docker://{filled.name}:{tag}"]).seconds for tag in tags)
