"""A password that is let out fails the run. The runs here are of tests that do it, and of some that do it where it is meant."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HEAD = """
import base64, logging, os, subprocess, sys, time
from pathlib import Path

import pytest

from registry_tool.base.errors import RegistryError
from tests.support import canary

SECRET = canary.password("x")
PACKED = base64.b64encode(f"mary:{SECRET}".encode()).decode()
KEEPS = [sys.executable, "-c", "import sys; from pathlib import Path; Path(sys.argv[1]).write_text(sys.stdin.read())"]


def hand_over(path):
    canary.exempt(path).write_text(SECRET)
    return path


STARTS = [sys.executable, "-c", "import subprocess, sys; subprocess.run(['true', sys.stdin.read()])"]

"""
COMMANDS = "from tests.support.cli_runner import Answer, Terminal"
LEAKS = {
    "print(SECRET)": "Captured stdout call",
    "print(PACKED, file=sys.stderr)": "Captured stderr call",
    "logging.getLogger('a').warning('it is %s', SECRET)": "Captured log call",
    "Answer(1, '', 'wrong: ' + SECRET)": "in what a command said",
    "Answer(0, '{\"auth\": \"' + PACKED + '\"}', '')": "in what a command said",
    "Terminal.of(['cat', hand_over(tmp_path / 'password')]).end()": "on the terminal",
    "RegistryError('no', hint='curl -u mary:' + SECRET)": "in the message, hint or excerpt of RegistryError",
    "(tmp_path / 'kept').write_text(SECRET)": "in the file /kept",
    "(tmp_path / 'kept').write_text(PACKED)": "in the file /kept",
    "(tmp_path / 'kept').write_bytes(bytes(3 << 20) + PACKED.encode())": "in the file /kept",
    "os.chdir(tmp_path); Path('kept').write_text(SECRET)": "in the file /kept",
    "canary.exempt(tmp_path / 'kept').write_text(SECRET); (tmp_path / 'kept').rename(tmp_path / 'moved')": "in the file /moved",
    "(tmp_path / '.docker').mkdir(); (tmp_path / '.docker' / 'config.json').write_text(SECRET)": "in the file /.docker/config.json",
    "subprocess.run(KEEPS + [tmp_path / 'kept'], input=SECRET, text=True, check=True)": "in the file /kept",
    "subprocess.run(['true', SECRET])": "in the arguments or the environment of true",
    "subprocess.run(['true', '-H', 'Authorization: Basic ' + PACKED])": "in the arguments or the environment of true",
    "subprocess.run(['true'], env={'SECRET': SECRET})": "in the arguments or the environment of true",
    "subprocess.run(STARTS, input=SECRET, text=True, check=True)": "in the arguments or the environment of true",
    "os.waitpid(os.posix_spawn('/bin/true', ['true', SECRET], {}), 0)": "in the arguments or the environment of /bin/true",
    "os.system('true ' + SECRET)": "in the arguments or the environment of a shell",
    "os.fork() and os.wait() or os.execv('/bin/true', ['true', SECRET])": "in the arguments or the environment of /bin/true",
    "print(SECRET); pytest.skip('no more of it')": "Captured stdout call",
}
FINE = (
    "canary.exempt(tmp_path / 'password').write_text(SECRET)",
    "(tmp_path / '.docker').mkdir(); (tmp_path / '.docker' / 'config.json').write_text(PACKED)",
    "(tmp_path / 'gone').write_text(SECRET); (tmp_path / 'gone').unlink()",
    "subprocess.run(KEEPS + [tmp_path / 'kept'], input='nothing of it', text=True, check=True)",
    "(tmp_path / 'folder').mkdir(); os.mkfifo(tmp_path / 'pipe'); os.open(tmp_path / 'pipe', os.O_RDWR)",
    "print(repr(canary), SECRET[:10])",
)


CONFTEST = """
from tests.support import canary

def pytest_configure(config):
    canary._WHOLE = 1 << 20
    canary.watch(config)
"""
LATE = """
def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput") == {in_worker}:
        canary.search("at the end", canary.password())
"""


def run(folder: Path, body: str, *options: str, conftest: str = CONFTEST) -> subprocess.CompletedProcess[str]:
    """A run of the tests in ``body``."""
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(HEAD + body)
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", "/dev/null", "--basetemp", str(folder / "tmp"), *options]
    repository = ROOT
    paths = f"{repository}{os.pathsep}{os.environ['PYTHONPATH']}"
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", *words, str(folder / "test_it.py")]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def in_workers(number: int) -> tuple[str, ...]:
    return ("-p", "xdist", "-n", str(number)) if number else ()


def some(*bodies: str) -> str:
    return "\n".join(f"def test_{number}(tmp_path):\n    {body}\n" for number, body in enumerate(bodies))


@pytest.mark.parametrize("workers", [0, 2])
def test_whoever_lets_a_password_out_fails_and_is_told_where(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, f"{COMMANDS}\n{some(*LEAKS, *FINE)}", *in_workers(workers))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    parts = re.split(r"^_+ ERROR at teardown of test_(\d+) _+$", done.stdout, flags=re.MULTILINE)
    message = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    for number, (body, where) in enumerate(LEAKS.items()):
        result = re.findall(r"^a password was let out: (.*)", message.get(number, ""), re.MULTILINE)
        positions = [re.sub(rf"{re.escape(str(tmp_path))}/tmp/(popen-gw\d/)?test_\d+", "", line) for line in result]
        assert [line[: len(where)] for line in positions] == [where], body
    assert sorted(message) == list(range(len(LEAKS))), "and nobody else fails"


@pytest.mark.parametrize(("workers", "in_worker"), [(0, False), (1, True), (1, False)])
def test_what_comes_to_light_after_the_last_test_fails_the_run(tmp_path: Path, workers: int, in_worker: bool) -> None:
    done = run(tmp_path, some("pass"), *in_workers(workers), conftest=CONFTEST + LATE.format(in_worker=in_worker))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "a password was let out: at the end" in done.stdout
    assert "1 passed" in done.stdout


def test_parameter_with_the_canary_has_an_id_without_it(tmp_path: Path) -> None:
    body = "@pytest.mark.parametrize('secret', [SECRET, SECRET.encode(), PACKED, 'x'])\ndef test_it(secret):\n    pass\n"
    done = run(tmp_path, body, "-p", "cacheprovider", "-o", f"cache_dir={tmp_path / 'cache'}")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    ids = [node.partition("[")[2][:-1] for node in json.loads((tmp_path / "cache/v/cache/nodeids").read_text())]
    assert {"canary-x0", "canary-x1", "x"} < set(ids)


def test_id_with_the_canary_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, "@pytest.mark.parametrize('secret', [1], ids=[SECRET])\ndef test_it(secret):\n    pass\n")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "a password was let out: in the id of a test" in done.stdout
