"""Deadlines, and what is waited for until one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from registry_tool.base.deadline import ActivityObserver, Deadline, DeadlineExceeded, call_with_deadline, poll
from registry_tool.base.progress import SILENT


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are asked for; each passes at once, by a clock that counts them."""
    received: list[float] = []
    monkeypatch.setattr(time, "sleep", received.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(received))
    return received


def test_poll_condition_holds_at_once_does_not_sleep(pauses: list[float]) -> None:
    assert poll(lambda: "there", Deadline(10)) == "there"
    assert pauses == []


def test_poll_condition_holds_later_returns_its_result(pauses: list[float]) -> None:
    results = iter([None, 0, "", "there", "never asked"])
    assert poll(lambda: next(results), Deadline(10)) == "there"
    assert len(pauses) == 3


def test_poll_deadline_passes_returns_the_last_result(pauses: list[float]) -> None:
    assert poll(lambda: 0, Deadline(1.0)) == 0
    assert sum(pauses) == pytest.approx(1.0)


def test_poll_deadline_has_passed_asks_once(pauses: list[float]) -> None:
    received: list[None] = []
    assert poll(lambda: received.append(None), Deadline(0)) is None
    assert (len(received), pauses) == (1, [])


def test_poll_pauses_grow_to_the_longest_and_end_with_the_deadline(pauses: list[float]) -> None:
    poll(lambda: False, Deadline(2.0), pause=0.3)
    assert pauses[0] < pauses[1] < 0.3
    assert max(pauses) == 0.3
    assert pauses[-1] <= 0.3


def test_poll_condition_raises_is_raised(pauses: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 // 0, Deadline(10))


def test_deadline_within_is_the_sooner_one(pauses: list[float]) -> None:
    assert Deadline(5).within(1).left == 1
    assert Deadline(1).within(5).left == 1
    assert Deadline(-1).left == 0
    assert Deadline(-1).passed


def test_call_with_deadline_work_that_hangs_is_given_up() -> None:
    until = Deadline(0.1)
    with pytest.raises(DeadlineExceeded):
        call_with_deadline(threading.Event().wait, lambda: until.left)


def test_call_with_deadline_returns_or_raises_what_the_work_does() -> None:
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 // 0, lambda: 10.0)
    assert call_with_deadline(lambda: 7, lambda: 10.0) == 7


def test_activity_observer_any_event_starts_the_silence_anew(pauses: list[float]) -> None:
    observer = ActivityObserver(SILENT)
    events: tuple[Callable[[], None], ...] = (
        lambda: observer.start("a", "A"),
        lambda: observer.advance("a", 1),
        lambda: observer.finish("a", "Done"),
        lambda: observer.note("word"),
    )
    for event in events:
        time.sleep(2)
        assert observer.left(3) == 1
        event()
        assert observer.left(3) == 3
