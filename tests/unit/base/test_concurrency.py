from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from registry_tool.base.concurrency import NEAR_REQUESTS, RateLimiter, SingleFlight, map_ordered, map_unordered
from registry_tool.base.errors import TooManyRequests

Map = Callable[..., Iterator[Any]]
both = pytest.mark.parametrize("parallel_map", [map_ordered, map_unordered])


def test_map_unordered_yields_each_item_with_its_result() -> None:
    assert dict(map_unordered(lambda number: number * number, range(100))) == {number: number * number for number in range(100)}


def test_map_ordered_yields_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.05 / (number + 1))
        return number

    assert list(map_ordered(slow_at_first, range(50))) == list(range(50))


@both
def test_map_over_nothing_is_empty(parallel_map: Map) -> None:
    assert list(parallel_map(str, [])) == list(parallel_map(str, iter(()))) == []


@both
def test_map_runs_as_many_threads_as_it_may_and_no_more(parallel_map: Map) -> None:
    together = threading.Barrier(4, timeout=60)
    assert len(list(parallel_map(lambda _: together.wait(), range(8), threads=4))) == 8
    under_way: list[int] = []

    def work(number: int) -> None:
        under_way.append(number)
        assert len(under_way) <= 4
        time.sleep(0.001)
        under_way.remove(number)

    assert len(list(parallel_map(work, range(100), threads=4))) == 100


@both
def test_map_starts_more_threads_once_it_may(parallel_map: Map) -> None:
    allowed = [1]
    together = threading.Barrier(4, timeout=60)

    def work(number: int) -> int:
        if number == 0:
            allowed[0] = 4
        else:
            together.wait()
        return number

    assert sorted(map(str, parallel_map(work, range(9), threads=lambda: allowed[0]))) and together.n_waiting == 0


def test_map_takes_no_item_before_a_thread_is_free_for_it() -> None:
    numbers = iter(range(1000))
    go_on = threading.Event()
    results = map_unordered(lambda number: number == 0 or go_on.wait(60), numbers, threads=2)
    assert next(results) == (0, True)
    assert next(numbers) < 10
    results.close()  # type: ignore[attr-defined]
    go_on.set()


@both
def test_failure_of_the_function_ends_the_map(parallel_map: Map) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(parallel_map(work, range(10_000), threads=1))
    assert done == [0, 1, 2, 3]


@both
def test_failure_of_the_items_ends_the_map(parallel_map: Map) -> None:
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(str, (1 // number for number in (1, 0))))


@both
def test_leaving_a_map_waits_for_no_call_that_hangs(parallel_map: Map) -> None:
    hang = threading.Event()
    results = parallel_map(lambda number: hang.wait(60) if number else True, range(8), threads=8)
    assert next(results) in (True, (0, True))
    results.close()  # type: ignore[attr-defined]
    hang.set()


def test_single_flight_computes_once_for_many_threads() -> None:
    computed: list[str] = []
    begin = threading.Barrier(8, timeout=60)
    flight: SingleFlight[str, str] = SingleFlight()

    def compute() -> str:
        computed.append("x")
        return "value"

    def want(number: int) -> str:
        begin.wait()
        return flight.get("key", compute)

    assert list(map_ordered(want, range(8), threads=8)) == ["value"] * 8
    assert computed == ["x"]


def test_single_flight_keeps_a_failure() -> None:
    tries: list[int] = []
    flight: SingleFlight[str, int] = SingleFlight()

    def fail() -> int:
        tries.append(1)
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011
            flight.get("key", fail)
    assert tries == [1]


def most_under_way(limiter: RateLimiter, requests: Iterable[int], pause: Callable[[], object] = lambda: time.sleep(0.002)) -> int:
    """The most requests that are under way at a time; ``pause`` is called in each."""
    under_way: list[int] = []
    most = [0]

    def request(number: int) -> None:
        with limiter:
            under_way.append(number)
            most[0] = max(most[0], len(under_way))
            pause()
            under_way.remove(number)

    for _ in map_unordered(request, requests, threads=20):
        pass
    return most[0]


@pytest.mark.parametrize(("remaining", "limit"), [(None, NEAR_REQUESTS), (1000, NEAR_REQUESTS), (3, 3)])
def test_rate_limiter_bounds_the_requests_under_way(remaining: int | None, limit: int) -> None:
    together = threading.Barrier(limit, timeout=60)
    assert most_under_way(RateLimiter(lambda: remaining), range(5 * limit), together.wait) == limit


@pytest.mark.parametrize(("latency", "requests"), [(None, 8), (0.0005, 8), (0.012, 12), (0.03, 30), (0.5, 32)])
def test_more_requests_help_the_farther_away_a_registry_is(latency: float | None, requests: int) -> None:
    limiter = RateLimiter(latency=lambda: latency)
    assert limiter.helpful_requests() == requests
    together = threading.Barrier(requests, timeout=60)

    def request(number: int) -> None:
        with limiter:
            together.wait()

    assert len(list(map_unordered(request, range(2 * requests), threads=limiter.helpful_requests))) == 2 * requests


def test_requests_that_wait_begin_once_the_registry_turns_out_to_be_far_away() -> None:
    latencies: list[float] = []
    limiter = RateLimiter(latency=lambda: min(latencies, default=None))
    together = threading.Barrier(30, timeout=60)

    def request() -> None:
        with limiter:
            together.wait()

    threads = [threading.Thread(target=request, daemon=True) for _ in range(30)]
    with limiter:
        for thread in threads:
            thread.start()
        latencies.append(0.03)
    for thread in threads:
        thread.join(60)
    assert not together.broken


def test_all_that_wait_are_refused_where_nothing_is_left() -> None:
    left = [1]
    limiter = RateLimiter(lambda: left[0])
    refused: SimpleQueue[int] = SimpleQueue()
    begun = threading.Barrier(2, timeout=60)

    def request(number: int) -> None:
        try:
            with limiter:
                left[0] = 0
                begun.wait()
        except TooManyRequests:
            refused.put(number)

    threads = [threading.Thread(target=request, args=(number,), daemon=True) for number in range(10)]
    for thread in threads:
        thread.start()
    begun.wait()
    for thread in threads:
        thread.join(60)
    assert refused.qsize() == 9


def test_rate_limiter_trusts_the_least_that_was_reported() -> None:
    reports = iter([2, *[900] * 1000])
    assert most_under_way(RateLimiter(lambda: next(reports)), range(60)) <= 2


def test_rate_limiter_with_nothing_left_raises_before_the_request() -> None:
    with pytest.raises(TooManyRequests), RateLimiter(lambda: 0):
        raise AssertionError("it was sent")


def test_map_goes_on_with_the_threads_that_could_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, 0

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        if started == 2:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert dict(map_unordered(str, range(50), threads=8)) == {number: str(number) for number in range(50)}
    with pytest.raises(RuntimeError):
        list(map_unordered(str, range(50), threads=8))


def test_kept_value_takes_the_place_of_a_failure() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    with pytest.raises(ZeroDivisionError):
        flight.get("a", lambda: 1 // 0)
    flight.keep("a", 1)
    flight.keep("a", 2)
    assert flight.get("a", lambda: 3) == 1
