"""The steps of a demo while it runs: with progress on a terminal, one line for each step otherwise."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from registry_tool.cli.output import Output, is_terminal
from registry_tool.cli.views import formatting
from registry_tool.cli.views.progress import ProgressBars, ProgressLines

if TYPE_CHECKING:
    from registry_tool.demo.result import DemoStep


class DemoView:
    """Observer and listener of a demo. The last line of a build is shown on a terminal only."""

    def __init__(self, output: Output, *, progress: bool) -> None:
        self._output = output
        self._view = ProgressBars(transient=True) if progress and is_terminal(sys.stderr) else ProgressLines(rows=False)
        self._step = ""

    def __enter__(self) -> DemoView:
        return self

    def __exit__(self, *details: object) -> None:
        self._view.stop()

    # DemoListener

    def begin(self, name: str, command: str) -> None:
        self._step = name
        self._view.start("step", f"{name}: {command}")

    def end(self, step: DemoStep) -> None:
        self._view.stop()
        self._step = ""
        mark = ("ok    ", "green") if step.ok else ("FAILED", "red")
        head = ((f"{step.name:<14} ", "bold"), mark, (f" {formatting.seconds_column(step.seconds)}  ", ""))
        if is_terminal(sys.stderr) if self._output.json else self._output.on_terminal:
            # On a line of its own, a long command can be copied.
            width = self._output.columns
            detail = formatting.fitted(step.detail, width and width - sum(len(text) for text, _ in head))
            self._output.spans(*head, (detail if step.ok else "", ""))
            self._output.spans((f"  $ {step.command}", "dim"))
        else:
            self._output.spans(*head, (f"$ {step.command}", ""), (f"  # {step.detail}" if step.detail else "", ""))

    # Observer

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self._view.start(key, label, total)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        self._view.advance(key, done, total)

    def finish(self, key: str, label: str) -> None:
        self._view.finish(key, label)

    def note(self, text: str) -> None:
        if self._step == "build":
            self._view.start("note", formatting.shortened(formatting.one_line(text), 100))
        else:
            self._view.note(text)
