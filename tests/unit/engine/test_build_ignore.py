"""``.dockerignore``: what docker's own client sends of one folder, pattern by pattern, and what it refuses."""

from __future__ import annotations

import io
import os
import shutil
import socketserver
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from registry_tool.base.errors import BuildFailed
from registry_tool.engine.build import context as contexts
from registry_tool.engine.build import ignore
from registry_tool.engine.build.source import DockerfileSource
from tests.support.requirements import missing

FILES = frozenset(
    r"""a.txt b.log #hash !bang x]y A/x 1a/x foo/bar foo/barbaz foobar/x
    sub/Dockerfile sub/a.txt sub/deep/a.txt sub/deep/keep.txt back\slash""".split()
)

BAD = ["[", "[a", "[]", "[]a]", "x[]]y", "[^]", "[a-]", "[-a]", "[z-a]", "a\\", "[\\", "!", "!  ", "![", "fine\n**/[a"]

BY_EVERY_BUILDER = [
    ("", "not"),
    ("*", "only"),
    ("**", "only"),
    ("***", "only"),
    ("*\n!a.txt", "only a.txt"),
    ("*\n! a.txt", "only a.txt"),
    ("*\n!sub/a.txt", "only sub/a.txt"),
    ("*\n!sub", "only sub/Dockerfile sub/a.txt sub/deep/a.txt sub/deep/keep.txt"),
    ("*\n!sub\nsub/deep", "only sub/Dockerfile sub/a.txt"),
    ("*\n!sub\nsub/*\n!sub/deep\nsub/deep/a.txt", "only sub/deep/keep.txt"),
    ("s*\n!sub/a.txt", "not sub/Dockerfile sub/deep/a.txt sub/deep/keep.txt"),
    ("sub\n!sub/deep\nsub/deep/a.txt", "not sub/Dockerfile sub/a.txt sub/deep/a.txt"),
    ("sub/**\n!sub/deep/**", "not sub/Dockerfile sub/a.txt"),
    ("**/deep\n!sub/deep/a.txt", "not sub/deep/keep.txt"),
    ("a.txt\n!a.txt\na.txt", "not a.txt"),
    ("**/*.txt\n!**/keep.txt", "not a.txt sub/a.txt sub/deep/a.txt"),
    ("**/keep.txt", "not sub/deep/keep.txt"),
    ("**/keep.txt\n!sub", "not sub/deep/keep.txt"),
    ("**/keep.txt\n!sub/deep/", "not sub/deep/keep.txt"),
    ("**/deep\n!sub\n!sub/deep/a.txt", "not sub/deep/keep.txt"),
    ("**/[k]eep.txt", "not sub/deep/keep.txt"),
    ("[^a-z]*", "not !bang #hash 1a/x A/x"),
    ("[a-z]*", "only !bang #hash 1a/x A/x"),
    ("[^a-z]*/x", "not 1a/x A/x"),
    ("[A-Z]/x", "not A/x"),
    ("?a/x", "not 1a/x"),
    ("\\#hash", "not #hash"),
    ("#hash", "not"),
    (" #hash", "not #hash"),
    ("\\!bang", "not !bang"),
    ("!bang", "not"),
    ("*.log", "not b.log"),
    ("*/*.txt", "not sub/a.txt"),
    ("*/*/a.txt", "not sub/deep/a.txt"),
    ("sub/**", "not sub/Dockerfile sub/a.txt sub/deep/a.txt sub/deep/keep.txt"),
    ("sub/**/a.txt", "not sub/a.txt sub/deep/a.txt"),
    ("**/**/a.txt", "not a.txt sub/a.txt sub/deep/a.txt"),
    ("**/deep", "not sub/deep/a.txt sub/deep/keep.txt"),
    ("foo", "not foo/bar foo/barbaz"),
    ("foo/", "not foo/bar foo/barbaz"),
    ("/foo", "not foo/bar foo/barbaz"),
    ("//foo", "not foo/bar foo/barbaz"),
    ("./foo", "not foo/bar foo/barbaz"),
    ("foo/.", "not foo/bar foo/barbaz"),
    ("foo/bar", "not foo/bar"),
    ("foo/../sub", "not sub/Dockerfile sub/a.txt sub/deep/a.txt sub/deep/keep.txt"),
    ("../foo", "not"),
    ("../../foo", "not"),
    (".", "not"),
    ("/", "not"),
    ("  foo  ", "not foo/bar foo/barbaz"),
    ("\ufefffoo", "not foo/bar foo/barbaz"),
    ("foo\r\nsub\r", "not foo/bar foo/barbaz sub/Dockerfile sub/a.txt sub/deep/a.txt sub/deep/keep.txt"),
    ("foo\vsub", "not"),
    ("foo**", "not foo/bar foo/barbaz foobar/x"),
    ("foob**", "not foobar/x"),
    ("**foo", "not foo/bar foo/barbaz"),
    ("**bar", "not foo/bar foobar/x"),
    ("**/bar", "not foo/bar"),
    ("fo*/bar*", "not foo/bar foo/barbaz"),
    ("x]y", "not x]y"),
    ("back\\\\slash", "not back\\slash"),
    ("sub\\/a.txt", "not sub/a.txt"),
    ("[f]oo", "not foo/bar foo/barbaz"),
    ("Dockerfile\n.dockerignore", "not"),
    ("**/Dockerfile", "not sub/Dockerfile"),
]
"""Ignore file -> the files that are sent: ``only`` these, or all but (``not``) these."""

BY_BUILDKIT = [
    ("*\n!**/keep.txt", "only sub/deep/keep.txt"),
    ("s*\n!s*/deep", "not sub/Dockerfile sub/a.txt"),
    ("**/*\n!**/bar", "only foo/bar"),
    ("*\n!*/a.txt", "only sub/a.txt"),
]
"""The last pattern decides, as docker's reference says; the client for the classic builder skips ignored folders at once."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Dockerfile", *FILES):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("FROM scratch\n")
    return tmp_path


def expected(words: str) -> set[str]:
    kind, *names = words.split()
    return set(names) if kind == "only" else set(FILES) - set(names)


def sent(folder: Path) -> set[str]:
    return set(contexts.files(folder, DockerfileSource.on_disk(folder), {})) & FILES


@pytest.mark.parametrize("text", BAD)
def test_bad_pattern_is_an_error_with_file_and_line(text: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        ignore.parse(f"# first\n\n{text}", "x.dockerignore")
    line = 3 + text.count("\n")
    assert caught.value.message.startswith(f"x.dockerignore:{line}: bad pattern {text.splitlines()[-1].strip()!r}: ")


@pytest.mark.parametrize(("text", "words"), [*BY_EVERY_BUILDER, *BY_BUILDKIT])
def test_ignored_files_are_dockers(folder: Path, text: str, words: str) -> None:
    (folder / ".dockerignore").write_bytes(text.encode())
    assert sent(folder) == expected(words)


@pytest.mark.parametrize("text", ["*", "**", "Dockerfile\n.dockerignore", "*\n!sub\nDockerfile"])
def test_files_that_the_builder_reads_are_always_sent(folder: Path, text: str) -> None:
    (folder / ".dockerignore").write_text(text)
    assert {".dockerignore", "Dockerfile"} <= set(contexts.files(folder, DockerfileSource.on_disk(folder), {}))


def test_ignored_folder_without_exceptions_is_not_entered(folder: Path) -> None:
    (folder / ".dockerignore").write_text("sub\nfoo\n!foo/bar\n")
    ignored = ignore.Ignored(ignore.parse("sub\nfoo\n!foo/bar\n", "x"))
    assert not ignored.may_keep_below("sub")
    assert not ignored.may_keep_below("foo/barbaz")
    assert ignored.may_keep_below("foo")


class ContextReader(BaseHTTPRequestHandler):
    """An engine that answers a build with success and keeps its context."""

    context = b""

    def do_GET(self) -> None:
        self._answer(b'{"ApiVersion": "1.41", "Os": "linux"}')

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        type(self).context = b"".join(parts)
        self._answer(b'{"stream": "Successfully built 0123456789ab\\n"}\n')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Where an engine listens that reads contexts and builds nothing."""
    if shutil.which("docker") is None:
        missing("engine", "docker's client is not installed")
    folder = Path(tempfile.mkdtemp(prefix="rt-"))

    class Server(socketserver.UnixStreamServer):
        def get_request(self) -> tuple[object, tuple[str, int]]:  # type: ignore[override] # a handler wants an address to log
            connection, _ = super().get_request()
            return connection, ("client", 0)

    with Server(str(folder / "s"), ContextReader) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"unix://{folder / 's'}"
        server.shutdown()
        thread.join()
    shutil.rmtree(folder)


def test_dockers_own_client_sends_the_same_files(folder: Path, endpoint: str) -> None:
    for text, words in BY_EVERY_BUILDER:
        (folder / ".dockerignore").write_bytes(text.encode())
        command = ["docker", "-H", endpoint, "build", "-q", "."]
        done = subprocess.run(command, cwd=folder, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with tarfile.open(fileobj=io.BytesIO(ContextReader.context)) as archive:
            assert set(archive.getnames()) & FILES == expected(words), text
