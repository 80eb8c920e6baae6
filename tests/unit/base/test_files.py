from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base import files

HOLDER = """
import sys, time
from pathlib import Path
from registry_tool.base import files
with files.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


# --- writing ---


def test_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_interrupted_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_to_a_pipe_writes_through_it(tmp_path: Path) -> None:
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    files.atomic_write(path, b"new")
    reader.join(60)
    assert received == [b"new"]
    assert path.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux has a device that is always full")
def test_atomic_write_to_a_full_device_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left"):
        files.atomic_write(Path("/dev/full"), b"new")
    assert Path("/dev/full").is_char_device()


def test_atomic_write_file_instead_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        files.atomic_write(tmp_path / "folder" / "file", b"x")


def test_atomic_write_folder_instead_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        files.atomic_write(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(1 << 20)], ids=["empty", "one byte", "1 MiB"])
def test_atomic_write_creates_folder_and_sets_mode(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a" / "b" / "file"
    files.atomic_write(path, content, mode=0o640)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_atomic_write_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.atomic_write(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_atomic_write_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = os.fsync

    def look(handle: int) -> None:
        modes.extend(stat.S_IMODE(part.stat().st_mode) for part in tmp_path.glob(".file.*"))
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    files.atomic_write(tmp_path / "file", b"secret", mode=0o600)
    assert modes == [0o600]


@pytest.mark.parametrize("there", [True, False])
def test_atomic_write_to_a_symbolic_link_replaces_its_target(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    files.atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"


def test_atomic_write_reader_sees_old_or_new_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old, new = b"a" * 300_000, b"b" * 300_000
    files.atomic_write(path, old)
    observed: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            observed.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        files.atomic_write(path, new)
        files.atomic_write(path, old)
    done.set()
    reader.join()
    assert observed <= {old, new}


# --- locks ---


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock at ``tmp_path/lock``."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_lock_of_a_killed_process_is_released_and_waiting_is_reported_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = tmp_path / "lock"
    words: list[str] = []

    def waiting() -> None:
        words.append("waiting")
        threading.Timer(0.2, holder.send_signal, (signal.SIGKILL,)).start()

    assert files.is_locked(lock)
    with files.lock(lock, waiting=waiting):
        assert holder.wait(60) == -signal.SIGKILL, "the lock was given while its holder lived"
    assert words == ["waiting"]
    assert not files.is_locked(lock)
    assert lock.exists()


def test_lock_waiting_can_be_interrupted(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    def interrupted(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError), files.lock(tmp_path / "lock"):
            pass
        assert files.is_locked(tmp_path / "lock"), "its holder still has it"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_lock_that_is_free_reports_no_waiting(tmp_path: Path) -> None:
    words: list[str] = []
    lock = tmp_path / "folder" / "lock"
    assert not files.is_locked(lock)
    with files.lock(lock, waiting=lambda: words.append("waiting")):
        assert files.is_locked(lock)
    assert not files.is_locked(lock)
    assert words == []


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.lock(tmp_path / "lock"):
        raise RuntimeError
    assert not files.is_locked(tmp_path / "lock")


def test_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        with files.lock(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize("wait", [True, False])
def test_lock_whose_file_its_last_holder_removed_is_of_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    lock = tmp_path / "folder" / "lock"
    real = files._try
    attempts = 0

    def removed(handle: int, *, shared: bool = False) -> bool:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            files.remove_folder(lock)
        return real(handle, shared=shared)

    monkeypatch.setattr(files, "_try", removed)
    with files.lock(lock, wait=wait):
        assert files.is_locked(lock)
        with pytest.raises(BlockingIOError), files.lock(lock, wait=False):
            pass


def test_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    with files.lock(tmp_path / "lock"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert not files.is_locked(tmp_path / "lock")
    finally:
        with child:
            child.kill()


# --- temporary folders ---

TEMPORARY = """
import time
from registry_tool.base import files
with files.temporary_folder() as folder:
    (folder / "layout").mkdir()
    (folder / "layout" / "blob").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_temporary_folder_is_private_and_goes_with_its_content(temporary: Path) -> None:
    with files.temporary_folder() as folder:
        assert folder.parent == temporary
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "layout").mkdir()
        (folder / "layout" / "blob").write_bytes(b"x")
        (folder / "file").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_temporary_folder_of_a_killed_process_is_removed_by_the_next_one_and_not_before(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", TEMPORARY], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            left = Path(process.stdout.readline().rstrip("\n"))
            with files.temporary_folder() as mine:
                assert mine != left
                assert (left / "layout" / "blob").exists(), "its process lives"
        finally:
            process.kill()
    assert (left / "layout" / "blob").exists()
    with files.temporary_folder() as mine:
        assert list(temporary.iterdir()) == [mine]


def test_temporary_folder_whose_process_was_killed_before_it_was_locked_is_removed(temporary: Path) -> None:
    (temporary / f"registry-tool-{os.getuid()}-empty").mkdir()
    with files.temporary_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_temporary_folder_leaves_what_is_not_of_this_program_or_user(temporary: Path) -> None:
    target = temporary / "target"
    target.mkdir()
    (target / ".lock").touch()
    link = temporary / f"registry-tool-{os.getuid()}-link"
    link.symlink_to(target)
    other = temporary / f"registry-tool-{os.getuid() + 1}-other"
    unlocked = temporary / f"registry-tool-{os.getuid()}-unlocked"
    for folder in (other, unlocked):
        folder.mkdir()
        (folder / "file").touch()
    (other / ".lock").touch()
    with files.temporary_folder():
        pass
    assert sorted(temporary.iterdir()) == sorted([target, link, other, unlocked])
    assert (target / ".lock").exists()


def test_temporary_folder_taken_for_a_leftover_before_it_is_locked_is_made_again(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    real = tempfile.mkdtemp

    def mkdtemp(prefix: str) -> str:
        made.append(Path(real(prefix=prefix)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with files.temporary_folder() as folder:
        assert made[1:] == [folder]
        assert folder.is_dir()


def test_temporary_folders_of_many_threads_do_not_remove_each_other(temporary: Path) -> None:
    missing: list[Path] = []

    def work() -> None:
        for _ in range(20):
            with files.temporary_folder() as folder:
                (folder / "file").touch()
                if not (folder / "file").exists():
                    missing.append(folder)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert list(temporary.iterdir()) == []
