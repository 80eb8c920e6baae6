"""Folders that cannot be written to are made by a file in their place: root may write to any folder, but not into a file."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from registry_tool.base.dirs import NAME, app_dirs


@pytest.fixture(autouse=True)
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def fallback(temporary: Path) -> Path:
    return temporary / f"{NAME}-{os.getuid()}"


def test_home_not_writable_falls_back_to_the_temporary_folder(own_temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.write_text("")
    monkeypatch.setenv("HOME", str(home))
    result = app_dirs()
    assert (result.state, result.cache) == (fallback(own_temporary) / "state", fallback(own_temporary) / "cache")
    assert result.warning is not None
    assert str(fallback(own_temporary)) in result.warning
    assert result.state.is_dir()
    assert result.cache.is_dir()
    assert stat.S_IMODE(fallback(own_temporary).stat().st_mode) == 0o700
    assert app_dirs() == result, "the second time finds what the first one made"


def test_cache_alone_not_writable_falls_back_alone(own_temporary: Path, own_folders: Path) -> None:
    (own_folders / ".cache").write_text("")
    result = app_dirs()
    assert result.state == own_folders / ".local" / "state" / NAME
    assert result.cache == fallback(own_temporary) / "cache"
    assert result.warning is not None


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to any folder")
def test_existing_read_only_folder_falls_back(own_temporary: Path, own_folders: Path) -> None:
    folder = own_folders / ".cache" / NAME
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    try:
        assert app_dirs().cache == fallback(own_temporary) / "cache"
    finally:
        folder.chmod(0o700)


def test_fallback_folder_that_is_a_symbolic_link_is_an_error(own_temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    prey = tmp_path / "prey"
    prey.mkdir()
    fallback(own_temporary).symlink_to(prey)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        app_dirs()
    assert list(prey.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_fallback_folder_made_by_another_user_is_an_error(own_temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fallback(own_temporary).mkdir()
    os.chown(fallback(own_temporary), 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        app_dirs()


def test_temporary_folder_not_writable_is_an_error(own_temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own_temporary.rmdir()
    own_temporary.write_text("")
    with pytest.raises(OSError, match=r"Not a directory|No such file"):
        app_dirs()


@pytest.mark.parametrize("value", ["relative/folder", "", "."])
def test_relative_xdg_path_is_ignored(value: str, own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    result = app_dirs()
    assert (result.state, result.cache) == (own_folders / ".local" / "state" / NAME, own_folders / ".cache" / NAME)
    assert result.warning is None


def test_xdg_variables_name_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    result = app_dirs()
    assert (result.state, result.cache, result.warning) == (tmp_path / "s" / NAME, tmp_path / "c" / NAME, None)
    assert result.state.is_dir()
    assert result.cache.is_dir()
