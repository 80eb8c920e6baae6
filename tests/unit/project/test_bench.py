"""What the bench makes of what it measured; the measuring itself is ``make bench``."""

from __future__ import annotations

import gc
import http.client
import json
import re
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bench.link import ROUND_TRIP, link_to
from bench.measure import Result, in_turn, run, table
from bench.picture import draw
from bench.run import write
from bench.wrk import rate
from tests.support.recording_server import recording_server

WELL = """
Running 4s test @ http://localhost:5000
  4600 requests in 4.00s, 5.00MB read
Requests/sec:   1150.00
Transfer/sec:      1.25MB
"""


def test_the_rate_is_what_wrk_says() -> None:
    assert rate(WELL) == 1150.0


@pytest.mark.parametrize(
    "wrong", ["", WELL + "  Non-2xx or 3xx responses: 7\n", WELL + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"]
)
def test_a_server_that_does_not_answer_well_has_no_rate(wrong: str) -> None:
    with pytest.raises(ValueError, match="not answered as it should be"):
        rate(wrong)


def test_medians_are_compared() -> None:
    result = Result(name="a / b", ours=[1.0, 9.0, 2.0], theirs=[4.0, 1.0, 5.0], most=0.5)
    assert (result.median, result.ratio, result.holds) == (2.0, 0.5, True)
    assert not Result(name="a / b", ours=[2.1], theirs=[4.0], most=0.5).holds


def test_without_others_the_median_is_bounded() -> None:
    alone = Result(name="a", ours=[1.0, 3.0, 2.0], most=2.0, unit="MB", note="large")
    assert (alone.ratio, alone.holds) == (None, True)
    assert alone.as_json() == {
        "name": "a",
        "unit": "MB",
        "ours": [1.0, 3.0, 2.0],
        "theirs": [],
        "median": 2.0,
        "ratio": None,
        "most": 2.0,
        "holds": True,
        "note": "large",
    }


def test_rows_of_other_groups_stay_and_rows_of_the_group_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write(target, "startup", [Result(name="a", ours=[1.0], most=1), Result(name="gone", ours=[1.0], most=1)])
    write(target, "pushes", [Result(name="b", ours=[2.0], most=1)])
    write(target, "startup", [Result(name="a", ours=[3.0], most=1)])
    rows = json.loads(target.read_text(encoding="utf-8"))["results"]
    assert [(row["name"], row["group"], row["median"]) for row in rows] == [("b", "pushes", 2.0), ("a", "startup", 3.0)]
    assert all(row["date"] and "load" in row and "commit" in row for row in rows)


def test_the_picture_has_a_bar_for_each_ratio_which_ends_inside_of_it() -> None:
    rows = [{"name": "a & b / c", "ratio": ratio, "most": 0.5, "holds": ratio <= 0.5} for ratio in (0.25, 40.0)]
    picture = draw(rows)
    width = int(re.findall(r'<svg .*? width="(\d+)"', picture)[0])
    bars = re.findall(r'<rect x="(\d+)" y="\d+" width="(\d+)" height="\d+" fill="(.*?)"', picture)
    assert len({colour for _, _, colour in bars}) == len(bars) == 2
    assert all(int(left) + int(length) <= width for left, length, _ in bars)
    assert "a &amp; b / c" in picture


def test_the_table_says_what_does_not_hold() -> None:
    lines = table([Result(name="a", ours=[1.0], most=2.0), Result(name="b / c", ours=[3.0], theirs=[1.0], most=2.5)]).splitlines()
    assert lines[0].split() == ["a", "1.000", "s", "<=", "2", "s", "holds"]
    assert lines[1].split() == ["b", "/", "c", "3.000", "s", "ratio", "3.000", "<=", "2.5", "DOES", "NOT", "HOLD"]


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def takes(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    assert in_turn(2, {"a": lambda: takes("a"), "b": lambda: takes("b")}) == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert "".join(turns) == "ababab"


def test_a_run_tells_what_it_took() -> None:
    done = run([sys.executable, "-c", "import os; held = bytearray(80_000_000); print(os.environ['WORD'])"], WORD="said")
    assert done.output == "said\n"
    assert done.memory > 80_000_000
    assert 0 < done.seconds < 60


def test_a_run_that_fails_ends_the_bench() -> None:
    with pytest.raises(SystemExit, match=r"(?s)ended with 3:\nwhy"):
        run([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])


def connect(address: str) -> http.client.HTTPConnection:
    host, _, port = address.partition(":")
    return http.client.HTTPConnection(host, int(port), timeout=60)


def test_link_passes_requests_on_later_and_counts_them() -> None:
    with recording_server() as watching, link_to(watching.port) as link, closing(connect(link.address)) as connection:
        for number in range(1, 4):
            started = time.monotonic()
            connection.request("GET", "/v2/")
            assert connection.getresponse().read() == b"{}"
            assert time.monotonic() - started >= ROUND_TRIP
            assert link.requests == len(watching.requests) == number


def test_link_that_ends_cuts_connections_and_leaves_no_task(caplog: pytest.LogCaptureFixture) -> None:
    with recording_server() as watching:
        with link_to(watching.port) as link:
            connections = [connect(link.address) for _ in range(4)]
            for connection in connections:
                connection.request("GET", "/v2/")
                connection.getresponse().read()
        for connection in connections:
            with closing(connection), pytest.raises((OSError, http.client.HTTPException)):
                connection.request("GET", "/v2/")
                connection.getresponse()
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
