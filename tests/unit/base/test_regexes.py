"""Regular expressions with a limit."""

from __future__ import annotations

import signal

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.base.regexes import search_all


def test_matches_anywhere_and_by_pattern() -> None:
    assert search_all(["^v1", "latest", "x"], ["v1.0", "v2", "not-latest"]) == {
        "^v1": frozenset({"v1.0"}),
        "latest": frozenset({"not-latest"}),
        "x": frozenset(),
    }


def test_without_names_or_patterns_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    assert search_all(["a"], []) == {"a": frozenset()}
    assert search_all([], ["a"]) == {}


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}$"], ids=["nested", "alternatives", "many"])
def test_pattern_that_does_not_end_is_refused_and_named(pattern: str) -> None:
    with pytest.raises(UsageError, match="takes too long") as caught:
        search_all(["^v", pattern, "b"], ["a" * 100 + "_"], seconds=0.2)
    assert repr(pattern) in caught.value.message


def test_limit_holds_where_its_signal_is_blocked() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    try:
        with pytest.raises(UsageError, match="takes too long"):
            search_all(["(a+)+$"], ["a" * 100 + "_"], seconds=0.2)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_limit_holds_where_its_signal_is_ignored() -> None:
    handler = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        with pytest.raises(UsageError, match="takes too long"):
            search_all(["(a+)+$"], ["a" * 100 + "_"], seconds=0.2)
    finally:
        signal.signal(signal.SIGPROF, handler)
