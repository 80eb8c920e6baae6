"""Where this tool keeps what it keeps: state (locks) and cache (base images, wheels), as the XDG base directory
specification says. Where a home cannot be written to, a folder of this user under the temporary one serves instead.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAME = "registry-tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDirs:
    """State and cache of this program; ``warning`` is for a person, where a folder is not the usual one."""

    state: Path
    cache: Path
    warning: str | None = None


def app_dirs() -> AppDirs:
    """Find (and make) the folders. Raises OSError where not even the temporary folder can be written to."""
    state, state_fell = _first(("XDG_STATE_HOME", ".local/state"), "state")
    cache, cache_fell = _first(("XDG_CACHE_HOME", ".cache"), "cache")
    warning = None
    if state_fell or cache_fell:
        warning = f"the home folder cannot be written to: caches and locks are kept in {(cache if cache_fell else state).parent}"
    return AppDirs(state=state, cache=cache, warning=warning)


def owner_id(folder: Path) -> str:
    """Whose folder this is, in eight digits: of the machine, the user and the place.

    On an engine, where machines and users may meet, things with it in their names are this owner's alone: only
    processes that see the same lock files can tell whether somebody still needs them.
    """
    machine = next((text for text in map(_text, (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))) if text), socket.gethostname())
    return hashlib.sha256(f"{machine}\n{os.getuid()}\n{folder.resolve()}".encode()).hexdigest()[:8]


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def _first(xdg: tuple[str, str], kind: str) -> tuple[Path, bool]:
    variable, below_home = xdg
    base = os.environ.get(variable, "")
    # The specification has relative paths ignored.
    folder = (Path(base) if Path(base).is_absolute() else Path.home() / below_home) / NAME
    if _writable(folder):
        return folder, False
    fallback = Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}" / kind
    fallback.parent.mkdir(mode=0o700, exist_ok=True)
    owner_id = fallback.parent.lstat()
    if owner_id.st_uid != os.getuid() or fallback.parent.is_symlink():
        raise PermissionError(f"{fallback.parent} belongs to somebody else")
    fallback.mkdir(exist_ok=True)
    return fallback, True


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
