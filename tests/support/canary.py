"""The canary: a text in every password of the tests, which must not leak.

It is searched for, plain and in base 64, in

- what tests and the commands they type print and log, and what our errors say;
- the ids of tests, where a parameter that has it is shown without it;
- every file that a test or a Python program below it wrote or renamed, as it is when the test ends;
- the arguments and the environment of every process that one of them starts.

A test that leaks it fails, with the place. Files of programs other than Python's are not searched.

Allowed are files that the test exempts (:func:`exempt`), and docker's ``config.json``, where ``login`` stores it in base 64.
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

_exempt: set[str] = set()
_leaks: list[str] = []
_KEY = pytest.StashKey["Watch"]()


def password(word: str = "") -> str:
    """A password that is watched."""
    return f"{CANARY}-{word}" if word else CANARY


def exempt(path: Path) -> Path:
    """Exempt the file ``path``, into which the test itself writes a password; returns it."""
    _exempt.add(str(path))
    return path


def search(where: str, *texts: str) -> None:
    """Search ``texts`` that somebody could see; ``place`` names them in the failure."""
    for text in texts:
        shown = next((form for form in _FORMS if form in text.encode(errors="replace")), None)
        if shown is not None:
            before, _, after = text.partition(shown.decode())
            _leaks.append(f"{where}: …{before[-60:]}[the canary]{after[:20]}…")


def watch(config: pytest.Config) -> None:
    """Watch this process and those below it until the tests end; for ``pytest_configure``."""
    config.stash[_KEY] = Watch(config)
    config.pluginmanager.register(config.stash[_KEY], "canary")


class Watch:
    """Fails tests that leak the canary, in each worker and above them."""

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
        _search_errors()

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
        search("in the id of a test", item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Search when a test is over, whatever its outcome."""
        report = yield
        if call.when == "teardown":
            for name, text in report.sections:
                search(name, text)
            leaks = self._found()
            if leaks:
                report.outcome = "failed"
                report.longrepr = "\n".join((*([str(report.longrepr)] if report.longrepr else []), *leaks))
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run for leaks after the last test."""
        self._late += self._found()
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["canary"] = self._late
        elif self._late and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Collect the leaks of a worker that ended."""
        self._late += getattr(node, "workeroutput", {}).get("canary", [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print leaks that no test reports."""
        for leak in self._late:
            terminalreporter.write_line(leak, red=True)

    def pytest_unconfigure(self) -> None:
        """Restore the environment."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._folder)

    def _found(self) -> list[str]:
        """The leaks since the last search."""
        with self._record.open("rb") as stream:
            stream.seek(self._read)
            lines = stream.read().splitlines()
            self._read = stream.tell()
        for line in dict.fromkeys(lines):
            word, _, what = os.fsdecode(line).partition(" ")
            if word == "start":
                _leaks.append(f"in the arguments or the environment of {what}")
            elif what not in _exempt and _is_in(what):
                _leaks.append(f"in the file {what}")
        result = [f"a password was let out: {leak}" for leak in _leaks]
        _leaks.clear()
        return result


def _is_in(path: str) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - a pipe is not to be waited for
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return False
            content = stream.read(_WHOLE)
            remainder = os.fstat(stream.fileno()).st_size - _WHOLE
            if remainder > 0:
                stream.seek(-min(remainder + len(_PLAIN), _WHOLE), os.SEEK_END)
                content += stream.read()
    except OSError:
        return False  # gone, or in nobody's reach
    return any(form in content for form in ([_PLAIN] if _KEPT_BY_LOGIN.search(path) else _FORMS))


def _watcher() -> Any:
    """The module that watches this process: below other tests that are watched it is loaded already."""
    already = sys.modules.get("sitecustomize")
    return already if hasattr(already, "record_to") else sitecustomize


@functools.cache
def _search_errors() -> None:
    """Search the messages of this tool's errors, whether or not they are printed."""
    make = RegistryToolError.__init__

    @functools.wraps(make)
    def made(self: RegistryToolError, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        search(f"in the message, hint or excerpt of {type(self).__name__}", str(self), str(self.hint), *self.excerpt)

    RegistryToolError.__init__ = made  # type: ignore[method-assign]
