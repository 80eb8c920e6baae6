from __future__ import annotations

import io
import sys

import pytest

from registry_tool.base.errors import RegistryToolError
from registry_tool.cli.output import Output, OutputClosed
from registry_tool.cli.views.progress import ProgressBars, ProgressLines, progress_view


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal; the test puts it where it wants it, as pytest puts its own streams back before each test."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Screen()


def test_closed_pipe_is_distinguished_from_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        error: OSError

        def write(self, text: str) -> int:
            raise self.error

    for error, expected in ((BrokenPipeError(), OutputClosed), (OSError(28, "No space left on device"), RegistryToolError)):
        stream = Broken()
        stream.error = error
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(expected):
            Output().line("x")


def test_error_is_message_excerpt_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Output().report_error(RegistryToolError("it broke", hint="Mend it.", excerpt=("one", "two")))
    assert capsys.readouterr().err.splitlines() == ["regctl: it broke", "  | one", "  | two", "hint: Mend it."]


def test_error_with_json_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.json = True
    output.report_error(RegistryToolError("it broke"))
    captured = capsys.readouterr()
    assert captured.out == '{\n  "error": {\n    "code": "failed",\n    "message": "it broke",\n    "hint": null\n  }\n}\n'
    assert captured.err == ""


def test_styles_are_printed_on_terminals_only(capsys: pytest.CaptureFixture[str], screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Output().spans(("a", "bold"), ("b", ""))
    assert capsys.readouterr().out == "ab\n"
    monkeypatch.setattr(sys, "stdout", screen)
    Output().spans(("a", "bold"), ("b", ""))
    assert screen.getvalue() == "\x1b[1ma\x1b[0mb\n"


def test_pipe_gets_finished_rows_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_view() as observer:
        observer.start("0123456789ab", "Pushing", 10)
        observer.advance("0123456789ab", 5)
        observer.finish("0123456789ab", "Pushed")
        observer.note("a\x1b[2Jnote")
    captured = capsys.readouterr()
    assert captured.err == "0123456789ab: Pushed\na\N{REPLACEMENT CHARACTER}[2Jnote\n"
    assert captured.out == ""


def test_quiet_prints_nothing_and_no_progress_prints_notes_only(capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (({"quiet": True}, ""), ({"progress": False}, "note\n")):
        with progress_view(**options) as observer:
            observer.finish("key", "row")
            observer.note("note")
        assert capsys.readouterr().err == expected


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_dumb_terminal_and_ci_log_get_no_bars(screen: Screen, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    assert isinstance(progress_view(), ProgressBars)
    monkeypatch.setenv(variable, value)
    assert isinstance(progress_view(), ProgressLines)


def test_bars_stay_and_the_cursor_is_restored(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_view() as observer:
        assert isinstance(observer, ProgressBars)
        observer.start("0123456789ab", "Pushing", 10_000_000)
        observer.advance("0123456789ab", 5_000_000)
        observer.note("[bold]a note[/bold]")
        observer.finish("0123456789ab", "Pushed")
        observer.advance("other", 5, 10)
        observer.finish("third", "Already exists")
    shown = screen.getvalue()
    assert "0123456789ab: Pushed" in shown
    assert "[bold]a note[/bold]" in shown
    assert "Already exists" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_cursor_is_restored_after_an_error(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyboardInterrupt), progress_view() as observer:
        observer.start("row", "row", 10)
        raise KeyboardInterrupt
    shown = screen.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
