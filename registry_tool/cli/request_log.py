"""``--debug``: print the log of :mod:`registry_tool.transport.tracing`, which has no secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from registry_tool.cli.output import Output


class _NoteHandler(logging.Handler):
    """Prints records as notes on standard error."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.note(record.getMessage())


@contextmanager
def log_requests(output: Output) -> Iterator[None]:
    """Print requests and responses during the block."""
    # By its name, as transport is imported only by commands that need a registry.
    logger = logging.getLogger("registry_tool.transport")
    handler, before = _NoteHandler(output), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
