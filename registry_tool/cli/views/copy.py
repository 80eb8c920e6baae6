"""Progress of a copy on standard error: on a terminal a line for each blob under way and a total, elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.cli.output import is_terminal, print_error_text
from registry_tool.oci.digest import Digest

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from registry_tool.content.copy import Action, CopiedImage, CopyPlan, PlannedImage
    from registry_tool.oci.descriptor import Descriptor

INTERVAL = 5.0
"""Seconds between two lines in a log, at least."""


def copy_view(*, progress: bool, quiet: bool) -> CopyLines:
    """Bars or lines; a view that shows nothing without ``progress``, or with ``quiet``."""
    if quiet or not progress:
        return CopyLines(visible=False)
    return CopyBars() if is_terminal(sys.stderr) else CopyLines()


class CopyLines:
    """A line every few seconds, for CI logs; nothing of a copy that ends before the first. A listener of ``content.copy``."""

    def __init__(self, *, visible: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._visible = visible
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[Digest, int] = {}
        self._sent = 0
        self._total = 0
        self._started = self._last = clock()

    def __enter__(self) -> CopyLines:
        return self

    def __exit__(self, *details: object) -> None:
        """Restore the terminal."""

    def planned(self, plan: CopyPlan) -> None:
        with self._lock:
            # A mirror has a plan for each repository, one after the other: rate and time left are those of this one.
            self._total, self._sent = plan.counts.bytes_sent, 0
            self._started = self._clock()

    def blob_started(self, descriptor: Descriptor) -> None:
        with self._lock:
            self._under_way[descriptor.digest] = 0

    def blob_progress(self, descriptor: Descriptor, sent: int) -> None:
        with self._lock:
            self._under_way[descriptor.digest] = sent
            self._show()

    def blob_finished(self, descriptor: Descriptor, action: Action | None) -> None:
        with self._lock:
            was_sent = self._under_way.pop(descriptor.digest, None) is not None and action == "sent"
            self._sent += descriptor.size if was_sent else 0

    def image_finished(self, planned: PlannedImage, image: CopiedImage) -> None: ...

    @property
    def _done(self) -> int:
        return self._sent + sum(self._under_way.values())

    def _show(self) -> None:
        now = self._clock()
        if not self._visible or now - self._last < INTERVAL:
            return
        self._last = now
        print_error_text(f"copying: {progress_text(self._done, self._total, now - self._started)}")


def progress_text(done: int, total: int, seconds: float) -> str:
    """``12MB of 50MB, 3MB/s, 13 s left``."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if rate and total > done else ""
    return f"{units.size(done)} of {units.size(max(total, done))}, {units.size(round(rate))}/s{left}"


class CopyBars(CopyLines):
    """A bar for each blob under way, and one for all with rate and time left; they vanish at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Progress | None = None
        self._tasks: dict[Digest, TaskID] = {}
        self._all: TaskID | None = None

    def __exit__(self, *details: object) -> None:
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def planned(self, plan: CopyPlan) -> None:
        super().planned(plan)
        with self._lock:
            if plan.counts.bytes_sent and self._live is None:
                self._live = _bars()
                self._live.start()
            if self._live is not None and self._all is not None:
                self._live.reset(self._all, total=self._total)
            elif self._live is not None:
                self._all = self._live.add_task("total", total=self._total)

    def blob_started(self, descriptor: Descriptor) -> None:
        super().blob_started(descriptor)
        with self._lock:
            if self._live is not None and descriptor.digest not in self._tasks:
                self._tasks[descriptor.digest] = self._live.add_task(descriptor.digest.short, total=descriptor.size)

    def blob_finished(self, descriptor: Descriptor, action: Action | None) -> None:
        super().blob_finished(descriptor, action)
        with self._lock:
            task = self._tasks.pop(descriptor.digest, None)
            if self._live is not None and task is not None:
                self._live.remove_task(task)
                self._show()

    def _show(self) -> None:
        if self._live is None:
            return
        for digest, sent in self._under_way.items():
            if digest in self._tasks:
                self._live.update(self._tasks[digest], completed=sent)
        if self._all is not None:
            self._live.update(self._all, completed=self._done)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
