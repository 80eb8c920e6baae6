"""What is shipped besides the code: the sample app's build context and the compose file.

In a wheel they lie in ``_shipped/`` in the package; in a checkout (also when it is installed as editable) they
are where everybody looks for them, in the top folder. Neither is ever written to.
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


def _find(name: str) -> Path:
    shipped = _IN_WHEEL if _IN_WHEEL.is_dir() else _HERE.parent
    found = shipped / name
    if not found.exists():
        raise FileNotFoundError(f"{name} is missing from this installation ({shipped}): install registry-tool again")
    return found
