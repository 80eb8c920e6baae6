"""Progress on standard error: bars on a terminal, one line for each finished row otherwise.

Both are observers (``base/progress.py``) and context managers.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.base.progress import Silent
from registry_tool.cli.output import is_terminal, print_error_text
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

_LAYER = re.compile(r"[0-9a-f]{12}")


def progress_view(*, progress: bool = True, quiet: bool = False, counting: bool = False) -> ProgressLines:
    """Bars or lines; without ``progress`` notes only, with ``quiet`` nothing.

    ``counting``: totals are numbers of things, not bytes; rows are shown by bars only, and vanish at the end.
    """
    if quiet:
        return ProgressLines(rows=False, notes=False)
    if progress and is_terminal(sys.stderr):
        return ProgressBars(transient=counting, counting=counting)
    return ProgressLines(rows=progress and not counting)


class ProgressLines(Silent):
    """Print one line for each finished row, for CI logs. Leaving the ``with`` block restores the terminal."""

    def __init__(self, *, rows: bool = True, notes: bool = True) -> None:
        self._rows, self.shows_notes = rows, notes

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the display; the next row starts a new one."""

    def finish(self, key: str, label: str) -> None:
        if self._rows:
            _print(_row(key, label))

    def note(self, text: str) -> None:
        if self.shows_notes:
            _print(text)


class ProgressBars(ProgressLines):
    """Show a bar for each row with a total, and the label of others; finished rows stay, notes are printed above."""

    def __init__(self, *, transient: bool = False, counting: bool = False) -> None:
        super().__init__()
        self._transient = transient
        self._counting = counting
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def stop(self) -> None:
        """Restore the terminal; rows stay, or vanish if ``transient``."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._tasks.clear()

    def start(self, key: str, label: str, total: int | None = None) -> None:
        live = self._started()
        text = formatting.one_line(_row(key, label))
        if key in self._tasks:
            live.reset(self._tasks[key], total=total, description=text, over=False)
        else:
            self._tasks[key] = live.add_task(text, total=total, over=False)

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        if key not in self._tasks:
            self.start(key, "", total)
        self._started().update(self._tasks[key], completed=done, total=total)

    def finish(self, key: str, label: str) -> None:
        if key not in self._tasks:
            self.start(key, label)
        self._started().update(self._tasks[key], description=formatting.one_line(_row(key, label)), over=True)

    def note(self, text: str) -> None:
        if self._live is None:
            _print(text)
        else:
            self._live.console.print(formatting.printable(text), markup=False, highlight=False, soft_wrap=True)

    def _started(self) -> Progress:
        if self._live is None:
            self._live = _progress(transient=self._transient, counting=self._counting)
            self._live.start()
        return self._live


def _progress(*, transient: bool, counting: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.text import Text

    class Spinner(SpinnerColumn):
        """Turns until the row is finished."""

        def render(self, task: Task) -> Text:
            return Text("✓", style="green") if task.fields["over"] else Text.assemble(super().render(task))  # type: ignore[arg-type]

    class Bar(ProgressColumn):
        """A bar for a row with a total that is not finished."""

        def __init__(self) -> None:
            super().__init__()
            self._bar = BarColumn(bar_width=30)

        def render(self, task: Task) -> object:  # type: ignore[override]
            return Text("") if task.fields["over"] or not task.total else self._bar.render(task)

    class Amount(ProgressColumn):
        """``12MB/50MB``, or ``12/50``."""

        def render(self, task: Task) -> Text:
            if task.fields["over"] or not task.completed:
                return Text("")
            show = str if counting else units.size
            done = show(int(task.completed))
            return Text(f"{done}/{show(int(task.total))}" if task.total else done, style="cyan")

    console = Console(stderr=True, highlight=False)
    return Progress(Spinner(), TextColumn("{task.description}", markup=False), Bar(), Amount(), console=console, transient=transient)


def _row(key: str, label: str) -> str:
    return f"{key}: {label}" if _LAYER.fullmatch(key) else label


def _print(text: str) -> None:
    print_error_text(formatting.printable(text))
