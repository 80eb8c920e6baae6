"""The steps of a demo while it runs: with progress on a terminal, one line for each step otherwise."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from registry_tool.cli.output import Output, is_terminal
from registry_tool.cli.views import formatting
from registry_tool.cli.views.progress import ProgressBars

if TYPE_CHECKING:
    from registry_tool.demo.result import DemoStep


class DemoView:
    """Observer and listener of a demo. The last line of a build is shown on a terminal only."""

    def __init__(self, output: Output, *, progress: bool) -> None:
        self._output = output
        self._bars = ProgressBars(transient=True) if progress and is_terminal(sys.stderr) else None
        self._step = ""

    def __enter__(self) -> DemoView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    # DemoListener

    def begin(self, name: str, command: str) -> None:
        self._step = name
        if self._bars is not None:
            self._bars.start("step", f"{name}: {command}")

    def end(self, step: DemoStep) -> None:
        self._clear()
        self._step = ""
        mark = ("ok    ", "green") if step.ok else ("FAILED", "red")
        head = ((f"{step.name:<14} ", "bold"), mark, (f" {formatting.seconds(step.seconds):>7}  ", ""))
        if is_terminal(sys.stderr) if self._output.json else self._output.on_terminal:
            # On a line of its own, a long command can be copied.
            self._output.spans(*head, (step.detail if step.ok else "", ""))
            self._output.spans((f"  $ {step.command}", "dim"))
        else:
            self._output.spans(*head, (f"$ {step.command}", ""), (f"  # {step.detail}" if step.detail else "", ""))

    # Observer

    def start(self, key: str, label: str, total: int | None = None) -> None:
        if self._bars is not None:
            self._bars.start(key, label, total)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        if self._bars is not None:
            self._bars.advance(key, done, total)

    def finish(self, key: str, label: str) -> None:
        if self._bars is not None:
            self._bars.finish(key, label)

    def note(self, text: str) -> None:
        if self._step != "build":
            (self._bars or self._output).note(text)
        elif self._bars is not None:
            self._bars.start("note", formatting.shortened(formatting.one_line(text), 100))

    def _clear(self) -> None:
        if self._bars is not None:
            self._bars.stop()
