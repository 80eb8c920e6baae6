"""Files beside the code: the sample app's build context and the compose file.

A wheel has them in ``_shipped/`` in the package; a checkout, also an editable install, in the top folder. They are never written.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_IN_WHEEL = _HERE / "_shipped"


def sample_app() -> Path:
    """The folder with the sample's ``Dockerfile``, ``requirements.txt`` and ``app.py``. Raises FileNotFoundError."""
    return _find("sample_app")


def compose_file() -> Path:
    """``docker-compose.registry.yml``. Raises FileNotFoundError."""
    return _find("docker-compose.registry.yml")


def lock_file() -> Path:
    """``requirements/run.lock``: the versions of all dependencies, with hashes. Raises FileNotFoundError."""
    return _find("requirements/run.lock")


def _find(name: str) -> Path:
    shipped = _IN_WHEEL if _IN_WHEEL.is_dir() else _HERE.parent
    path = shipped / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is missing from this installation ({shipped}): install registry-tool again")
    return path
