"""Where the checkout is."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_cache(cache: Path, to: Path) -> None:
    """Copy ``cache``, but nothing that is being made in it: a root file system has devices, and /dev/full has no end."""
    shutil.copytree(cache, to, ignore=shutil.ignore_patterns(".*.part"))
