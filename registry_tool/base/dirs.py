"""The folders of state (locks) and cache (XDG base directories); below the temporary one where the home folder cannot be written to."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAME = "registry-tool"
_STATE = ("XDG_STATE_HOME", ".local/state")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDirs:
    """State and cache of this program; ``warning`` is for a person, where a folder is not the usual one."""

    state: Path
    cache: Path
    warning: str | None = None


def app_dirs() -> AppDirs:
    """Find and create the folders. Raises OSError where the temporary folder cannot be written to either."""
    state, state_fell_back = _folder(_STATE, "state")
    cache, cache_fell_back = _folder(("XDG_CACHE_HOME", ".cache"), "cache")
    warning = None
    if state_fell_back or cache_fell_back:
        warning = f"the home folder cannot be written to: caches and locks are kept in {(cache if cache_fell_back else state).parent}"
    return AppDirs(state=state, cache=cache, warning=warning)


def owner_id(folder: Path) -> str:
    """Eight hexadecimal digits that identify the owner of ``folder``: machine, user and path.

    Machines and users may share an engine. Only processes that see the same lock files can tell whether a run is alive,
    so things with this id in their names or labels are this owner's to remove.
    """
    files = (path for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")) if path.is_file())
    machine = next((text for path in files if (text := path.read_text().strip())), socket.gethostname())
    return hashlib.sha256(f"{machine}\n{os.getuid()}\n{folder.resolve()}".encode()).hexdigest()[:8]


def state_folder() -> Path:
    """The folder of state where it is now; nothing is created."""
    folder, fallback = _usual(_STATE), _fallback("state")
    return folder if os.access(folder, os.W_OK | os.X_OK) or not _is_ours(fallback.parent) else fallback


def _usual(xdg: tuple[str, str]) -> Path:
    variable, below_home = xdg
    base = os.environ.get(variable, "")
    # Relative paths are to be ignored, by the specification.
    return (Path(base) if Path(base).is_absolute() else Path.home() / below_home) / NAME


def _fallback(kind: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}" / kind


def _is_ours(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
    except OSError:
        return False


def _folder(xdg: tuple[str, str], kind: str) -> tuple[Path, bool]:
    folder = _usual(xdg)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder, False
    fallback = _fallback(kind)
    fallback.parent.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(fallback.parent):
        raise PermissionError(f"{fallback.parent} belongs to somebody else")
    fallback.mkdir(exist_ok=True)
    return fallback, True
