"""A signal waits until what must not be broken off is done; a second one does not wait."""

from __future__ import annotations

import signal
import threading

import pytest

from registry_tool.base.signals import defer_signals


def test_signal_is_delivered_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_signal_is_delivered_at_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signal_is_delivered_after_an_error_in_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("lost behind the interruption")


def test_no_signal_restores_the_handlers() -> None:
    with defer_signals():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_change_no_handlers() -> None:
    observed: list[str] = []

    def work() -> None:
        with defer_signals():
            observed.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert observed == ["worked"]
