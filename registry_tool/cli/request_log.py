"""``--debug``: every request to a registry and its answer, as :mod:`registry_tool.transport.tracing` words them, without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from registry_tool.cli.output import Output


class _NoteHandler(logging.Handler):
    """Puts the lines where everything goes that is for a person and no answer."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.note(record.getMessage())


@contextmanager
def log_requests(output: Output) -> Iterator[None]:
    """Show requests for the block."""
    # By its name: transport and what it stands on are imported only where a registry is asked.
    logger = logging.getLogger("registry_tool.transport")
    handler, before = _NoteHandler(output), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
