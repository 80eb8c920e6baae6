from __future__ import annotations

import threading

import pytest

from registry_tool.base.concurrency import SingleFlight, map_unordered


def test_each_does_all_and_tells_which_was_which() -> None:
    assert dict(map_unordered(lambda number: number * number, range(100))) == {number: number * number for number in range(100)}


def test_each_does_several_at_a_time_and_no_more() -> None:
    together = threading.Barrier(4, timeout=20)
    assert len(list(map_unordered(lambda _: together.wait(), range(8), threads=4))) == 8


def test_each_takes_nothing_before_there_is_a_thread_for_it() -> None:
    numbers = iter(range(1000))
    go_on = threading.Event()
    results = map_unordered(lambda number: number == 0 or go_on.wait(20), numbers, threads=2)
    assert next(results) == (0, True)
    assert next(numbers) < 10
    results.close()  # type: ignore[attr-defined]
    go_on.set()


def test_what_the_work_raises_ends_it() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map_unordered(work, range(10_000), threads=1))
    assert done == [0, 1, 2, 3]


def test_what_the_items_raise_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_unordered(str, (1 // number for number in (1, 0))))


def test_a_caller_that_leaves_does_not_wait_for_what_hangs() -> None:
    hang = threading.Event()
    results = map_unordered(lambda number: hang.wait(60) if number else True, range(8), threads=8)
    assert next(results) == (0, True)
    results.close()  # type: ignore[attr-defined]
    hang.set()


def test_once_makes_a_thing_once_for_many_threads() -> None:
    made: list[str] = []
    begin = threading.Barrier(8, timeout=20)
    once: SingleFlight[str, str] = SingleFlight()

    def make() -> str:
        made.append("x")
        return "thing"

    def want(number: int) -> str:
        begin.wait()
        return once.get("key", make)

    assert [thing for _, thing in map_unordered(want, range(8), threads=8)] == ["thing"] * 8
    assert made == ["x"]


def test_once_does_not_try_again_what_failed() -> None:
    tries: list[int] = []
    once: SingleFlight[str, int] = SingleFlight()

    def fail() -> int:
        tries.append(1)
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011
            once.get("key", fail)
    assert tries == [1]
