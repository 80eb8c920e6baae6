"""``bundle create`` and ``bundle apply`` killed or interrupted at one moment after the other: the next run finishes."""

from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from registry_tool.bundle import create as create_module
from tests.support.at_access import What, count_accesses, run_at_access
from tests.support.cli_runner import REGCTL, Typed
from tests.support.content import layer, make_image
from tests.support.recording_server import RecordingServer, Reply
from tests.support.registry_over_http import tags

PLAIN = ("--no-tool", "--no-registry", "--no-sample")
NAMES = ("a:1", "b:1")
LAYERS = [layer(random.Random(number).randbytes(400_000), name=f"file{number}") for number in range(3)]
FORMS = {
    "folder": ("kit",),
    "file": ("kit.tar",),
    "volumes": ("kit.tar", "--volume-size", "1MB", "--parity"),
}
"""What ``-o`` names, and options."""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture(autouse=True)
def made(watching: RecordingServer) -> RecordingServer:
    """The registry with two images that share a layer."""
    make_image(watching.port, "a", "1", *LAYERS)
    make_image(watching.port, "b", "1", LAYERS[0], layer(b"b"))
    return watching


def create(folder: Path, form: str) -> tuple[str, ...]:
    name, *options = FORMS[form]
    return ("bundle", "create", "-o", str(folder / name), *PLAIN, *options, *NAMES)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Kept:
    """A form's accesses and bytes, looked at once: how many there are does not depend on the time."""

    def __init__(self, folder: Path, form: str) -> None:
        folder.mkdir()
        self.accesses = count_accesses(folder, *create(folder, form))
        self.contents = contents(folder)


def check_stopped_create(typed: Typed, tmp_path: Path, form: str, share: float, what: What) -> None:
    """Stop a create after a ``share`` of its accesses, and run it again."""
    kept = Kept(tmp_path / "kept", form)
    folder = tmp_path / "stopped"
    folder.mkdir()
    at = max(1, min(kept.accesses, round(kept.accesses * share)))
    stopped = run_at_access(what, at, folder, *create(folder, form))
    path = folder / FORMS[form][0]
    # Threads make a folder at the same time or one after the other: the last accesses are of a run that has ended.
    is_finished = stopped.returncode == 0
    if is_finished:
        assert share >= 0.9
    elif what == "kill":
        assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    elif what == "full":
        assert "No space left on device" in stopped.stderr
        assert "run it again to go on" in stopped.stderr.lower()
    else:
        assert stopped.returncode == 128 + signal.SIGINT, stopped.stderr
        assert "interrupted" in stopped.stderr
        assert f"{path} is not finished" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    seen = contents(folder)
    is_whole = {name: seen.get(name) for name in kept.contents} == kept.contents
    # What is half is not taken for a bundle.
    assert (typed("bundle", "verify", str(path)).code == 0) == is_whole
    again = typed(*create(folder, form))
    if is_finished or (form == "folder" and is_whole):
        assert "already" in again.err
    else:
        assert (again.code, again.err) == (0, ""), "it goes on"
    assert contents(folder) == kept.contents
    assert sorted(folder.iterdir()) == sorted(folder / each for each in {name.partition("/")[0] for name in kept.contents})


@pytest.mark.parametrize("share", [0.3, 0.8, 0.95, 1])
@pytest.mark.parametrize("form", FORMS)
def test_create_that_was_killed_goes_on(typed: Typed, tmp_path: Path, form: str, share: float) -> None:
    check_stopped_create(typed, tmp_path, form, share, "kill")


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("form", ["folder", "volumes"])
def test_create_that_was_interrupted_says_what_is_kept(typed: Typed, tmp_path: Path, form: str, share: float) -> None:
    check_stopped_create(typed, tmp_path, form, share, "interrupt")


@pytest.mark.parametrize("share", [0.01, 0.4, 0.9])
@pytest.mark.parametrize("form", FORMS)
def test_create_on_a_disk_that_is_full_goes_on_when_there_is_space(typed: Typed, tmp_path: Path, form: str, share: float) -> None:
    check_stopped_create(typed, tmp_path, form, share, "full")


def test_create_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    refused = run_at_access("read-only", 1, tmp_path, *create(tmp_path, "file"))
    assert refused.returncode == 1
    assert "kit.tar.part cannot be written: Read-only file system" in refused.stderr
    assert list(tmp_path.iterdir()) == []


class _Limited:
    """A file of a disk that takes 512,000 bytes for each, as FAT takes 4 GB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0

    def write(self, content: bytes) -> int:
        self._written += len(content)
        if self._written > 512_000:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return self._file.write(content)


def test_file_that_is_larger_than_the_disk_takes_names_volumes(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar = create_module._write_tar
    with monkeypatch.context() as disk:
        # Not by `ulimit -f`: with it, a file system was seen to refuse a new and empty file, too.
        disk.setattr(create_module, "_write_tar", lambda file, *others: write_tar(cast(BinaryIO, _Limited(file)), *others))
        refused = typed(*create(tmp_path, "file"))
    assert refused.code == 1
    assert "kit.tar cannot be written: File too large" in refused.err
    assert "The disk takes no file of this size, as FAT: --volume-size 4GB" in refused.err
    assert not (tmp_path / "kit.tar").exists()
    assert typed(*create(tmp_path, "volumes")).code == 0
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_link_in_the_place_of_what_a_killed_run_left_is_not_followed(typed: Typed, tmp_path: Path, form: str) -> None:
    kept, stick = tmp_path / "kept", tmp_path / "stick"
    stick.mkdir()
    assert typed(*create(tmp_path, "folder")).code == 0
    (tmp_path / "kit").rename(kept)
    before = sorted(kept.rglob("*"))
    (stick / f".{FORMS[form][0]}.part").symlink_to(kept)
    refused = typed(*create(stick, form))
    assert (refused.code, "is a link, and what it points to is not this tool's" in refused.err) == (1, True), refused.err
    assert sorted(kept.rglob("*")) == before
    assert [path.name for path in stick.iterdir()] == [f".{FORMS[form][0]}.part"]


@pytest.mark.parametrize("form", FORMS)
def test_read_only_stick_is_verified_and_applied(typed: Typed, other: RecordingServer, tmp_path: Path, form: str) -> None:
    assert typed(*create(tmp_path, form)).code == 0
    path = str(tmp_path / FORMS[form][0])
    for command in (("verify", path), ("apply", path, "--to", other.host)):
        done = run_at_access("read-only", 1, tmp_path, "bundle", *command)
        assert done.returncode == 0, done.stderr
    assert [tags(other.port, name.partition(":")[0]) for name in NAMES] == [["1"], ["1"]]


def test_repair_of_a_read_only_stick_says_what_to_do(typed: Typed, tmp_path: Path) -> None:
    assert typed(*create(tmp_path, "volumes")).code == 0
    (tmp_path / "kit.tar.001").unlink()
    refused = run_at_access("read-only", 1, tmp_path, "bundle", "repair", str(tmp_path / "kit.tar"))
    assert refused.returncode == 1
    assert "cannot be made anew: Read-only file system" in refused.stderr
    assert "Copy all volumes to a disk that can be written to" in refused.stderr


@pytest.mark.soak
@pytest.mark.parametrize("number", range(100))
@pytest.mark.parametrize("what", ["kill", "interrupt", "full"])
@pytest.mark.parametrize("form", FORMS)
def test_create_stopped_at_many_moments(typed: Typed, tmp_path: Path, form: str, what: What, number: int) -> None:
    check_stopped_create(typed, tmp_path, form, (number + 1) / 100, what)


def test_other_images_at_the_place_of_a_killed_run_replace_nothing_whole(typed: Typed, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", "volumes")
    folder = tmp_path / "stopped"
    folder.mkdir()
    # The last accesses remove what was read; all volumes are there.
    assert run_at_access("kill", kept.accesses - 3, folder, *create(folder, "volumes")).returncode == -signal.SIGKILL
    other = typed("bundle", "create", "-o", str(folder / "kit.tar"), *PLAIN, "--volume-size", "1MB", "a:1")
    assert other.code == 1
    assert "there is" in other.err
    assert contents(folder) == kept.contents


def run_stopped(server: RecordingServer, at: int, number: int, *arguments: str, after: float = 0) -> tuple[int, str]:
    """Run a command that gets a signal ``after`` seconds while the server handles its request number ``at``: exit code and output."""
    numbers = itertools.count(1)  # next() is atomic: the server handles requests in several threads
    started: Future[int] = Future()

    def instead(method: str, path: str) -> Reply | None:
        if next(numbers) == at:
            time.sleep(after)
            os.kill(started.result(600), number)
        return None

    server.instead = instead  # before it starts: its requests are counted from the first one on
    process = subprocess.Popen([*REGCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    started.set_result(process.pid)
    output = process.communicate(timeout=600)[0]
    server.instead = lambda method, path: None
    server.settle()
    return process.returncode, output


def check_stopped_apply(
    typed: Typed, other: RecordingServer, folder: Path, form: str, at: int, number: int = signal.SIGKILL, *, after: float = 0
) -> None:
    """Stop an apply, and run it again: what was there is whole, and in the end everything is."""
    assert typed(*create(folder, form)).code == 0
    path = str(folder / FORMS[form][0])
    before = contents(folder)
    code, output = run_stopped(other, at, number, "bundle", "apply", path, "--to", other.host, after=after)
    if code == 0:
        assert at > 10, "it was over before"
    elif number == signal.SIGKILL:
        assert code == -signal.SIGKILL, output
    else:
        assert code == 128 + number, output
        assert f" of 2 images were applied to {other.host}" in output
    assert typed("--registry", other.host, "check", "--deep").code == 0, "what has a tag is whole"
    again = typed("bundle", "apply", path, "--to", other.host)
    assert (again.code, again.err) == (0, "")
    assert [tags(other.port, name.partition(":")[0]) for name in NAMES] == [["1"], ["1"]]
    assert typed("--registry", other.host, "check", "--deep").code == 0
    assert contents(folder) == before, "a bundle is only read"


@pytest.mark.parametrize(("form", "at"), [("folder", 3), ("file", 9), ("volumes", 16), ("folder", 22)])
def test_apply_that_was_killed_goes_on(typed: Typed, other: RecordingServer, tmp_path: Path, form: str, at: int) -> None:
    check_stopped_apply(typed, other, tmp_path, form, at)


@pytest.mark.parametrize("at", [3, 9, 16])
def test_apply_that_was_interrupted_says_how_far_it_came(typed: Typed, other: RecordingServer, tmp_path: Path, at: int) -> None:
    check_stopped_apply(typed, other, tmp_path, "file", at, signal.SIGINT)


@pytest.mark.soak
@pytest.mark.parametrize("case", range(200))
def test_apply_stopped_at_many_moments(typed: Typed, other: RecordingServer, tmp_path: Path, case: int) -> None:
    generator = random.Random(case)
    form, number = generator.choice(list(FORMS)), generator.choice([signal.SIGKILL, signal.SIGINT])
    check_stopped_apply(typed, other, tmp_path, form, generator.randint(1, 26), number, after=generator.uniform(0, 0.02))
