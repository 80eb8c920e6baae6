"""The canary: every password of the tests has it in it, and it may be seen nowhere.

It is searched for, plain and in base 64, in

- what tests and the commands they type print and log, and what our errors say;
- the ids of tests, where a parameter that has it is shown without it;
- every file that a test or a Python program below it wrote or renamed, as it is when the test ends;
- the arguments and the environment of every process that one of them starts.

A test that let it out fails, and says where. What is written by programs that are not Python's is not seen.

Where it may be: in a file that the test handed over itself (:func:`given`), and in base 64 in docker's ``config.json``,
where ``login`` keeps it because it was asked to.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base.errors import RegistryToolError
from tests.support.audit import sitecustomize

CANARY = sitecustomize.CANARY
_PLAIN, *_PACKED = _FORMS = tuple(form.encode() for form in sitecustomize.forms())
_KEPT_BY_LOGIN = re.compile(r"/\.docker/config\.json")
_WHOLE = 32 << 20
"""Bytes. Of a larger file, the first and last so many are searched."""

_given: set[str] = set()
_leaks: list[str] = []
_KEY = pytest.StashKey["Watch"]()


def password(word: str = "") -> str:
    """A password that is watched."""
    return f"{CANARY}-{word}" if word else CANARY


def given(path: Path) -> Path:
    """``path``, which is the test's own to write a password into."""
    _given.add(str(path))
    return path


def heard(place: str, *texts: str) -> None:
    """Search what somebody could see. ``place`` says what it is."""
    for text in texts:
        shown = next((form for form in _FORMS if form in text.encode(errors="replace")), None)
        if shown is not None:
            before, _, after = text.partition(shown.decode())
            _leaks.append(f"{place}: …{before[-60:]}[the canary]{after[:20]}…")


def watch(config: pytest.Config) -> None:
    """Watch this process and those below it until the tests end; for ``pytest_configure``."""
    config.stash[_KEY] = Watch(config)
    config.pluginmanager.register(config.stash[_KEY], "canary")


class Watch:
    """Fails the test that let the canary out; each worker looks after its own tests, and the one above them after all."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._late: list[str] = []
        self._read = 0
        self._before = {name: os.environ.get(name) for name in (sitecustomize.RECORD, "PYTHONPATH")}
        # Not pytest's own folder, where no other user may look: tests start programs as other users, too.
        self._folder = Path(tempfile.mkdtemp(prefix="rt-canary-"))
        self._folder.chmod(0o755)
        self._record = self._folder / "record"
        self._record.touch()
        self._record.chmod(0o666)
        watched = str(Path(sitecustomize.__file__).parent)
        paths = [path for path in (self._before["PYTHONPATH"] or "").split(os.pathsep) if path not in ("", watched)]
        os.environ["PYTHONPATH"] = os.pathsep.join([watched, *paths])
        os.environ[sitecustomize.RECORD] = str(self._record)
        _watcher().record_to(str(self._record))
        _hear_errors()

    def pytest_make_parametrize_id(self, val: object) -> str | None:
        """Keep the canary out of ids: pytest writes them into its cache, as the last one to write anything."""
        text = val.decode(errors="replace") if isinstance(val, bytes) else val
        if not isinstance(text, str) or not any(form.decode() in text for form in _FORMS):
            return None
        for form in _FORMS:
            text = text.replace(form.decode(), "canary")
        return text

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """An id that the test gives itself is searched."""
        heard("in the id of a test", item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Look when a test is over, whatever became of it."""
        report = yield
        if call.when == "teardown":
            for name, text in report.sections:
                heard(name, text)
            leaks = self._found()
            if leaks:
                report.outcome = "failed"
                report.longrepr = "\n".join((*([str(report.longrepr)] if report.longrepr else []), *leaks))
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What came to light after the last test fails the run."""
        self._late += self._found()
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["canary"] = self._late
        elif self._late and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended."""
        self._late += getattr(node, "workeroutput", {}).get("canary", [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what no test says."""
        for leak in self._late:
            terminalreporter.write_line(leak, red=True)

    def pytest_unconfigure(self) -> None:
        """Leave no trace."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._folder)

    def _found(self) -> list[str]:
        """Where the canary was seen since the last look."""
        with self._record.open("rb") as stream:
            stream.seek(self._read)
            lines = stream.read().splitlines()
            self._read = stream.tell()
        for line in dict.fromkeys(lines):
            word, _, what = os.fsdecode(line).partition(" ")
            if word == "start":
                _leaks.append(f"in the arguments or the environment of {what}")
            elif what not in _given and _is_in(what):
                _leaks.append(f"in the file {what}")
        found = [f"a password was let out: {leak}" for leak in _leaks]
        _leaks.clear()
        return found


def _is_in(path: str) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - a pipe is not to be waited for
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return False
            content = stream.read(_WHOLE)
            rest = os.fstat(stream.fileno()).st_size - _WHOLE
            if rest > 0:
                stream.seek(-min(rest + len(_PLAIN), _WHOLE), os.SEEK_END)
                content += stream.read()
    except OSError:
        return False  # gone, or in nobody's reach
    return any(form in content for form in ([_PLAIN] if _KEPT_BY_LOGIN.search(path) else _FORMS))


def _watcher() -> Any:
    """What watches this process: where the tests run below others that are watched, it is there already."""
    already = sys.modules.get("sitecustomize")
    return already if hasattr(already, "record_to") else sitecustomize


@functools.cache
def _hear_errors() -> None:
    """Search what our own errors say, whether or not anybody prints it."""
    make = RegistryToolError.__init__

    @functools.wraps(make)
    def made(self: RegistryToolError, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        heard(f"in the message, hint or excerpt of {type(self).__name__}", str(self), str(self.hint), *self.excerpt)

    RegistryToolError.__init__ = made  # type: ignore[method-assign]
