"""What is wrong with a program that does not start; with real ones in ``test_proof_broken``."""

from __future__ import annotations

import pytest

from registry_tool.verify.checks import program

NO_FILE = "no such file or directory"


@pytest.mark.parametrize(
    ("path", "content", "there", "words", "hint"),
    [
        ("app", None, None, 'exec: "app": executable file not found in $PATH', "There is no program app in the image"),
        ("/app", None, None, NO_FILE, "There is no /app in the image"),
        ("app", None, None, "error setting rlimit", "The engine's message"),
        ("/app", b"#!/bin/sh\r\nexec x\r\n", False, NO_FILE, "CR LF"),
        ("/app", b"#!/bin/bash\n", False, NO_FILE, "begins with '#!/bin/bash', which is not in the image"),
        ("/app", b"#!/bin/sh\n", True, "permission denied", "chmod +x /app"),
        ("/app", b"\x7fELF", None, "exec format error", "another processor"),
        ("/app", b"echo hello\n", None, "exec format error", "its first line should be #!/bin/sh"),
        ("/app", b"\x7fELF", None, NO_FILE, "linked on another distribution"),
        ("/app", b"#!/bin/sh\n", True, "something else", "The engine's message"),
    ],
)
def test_program_that_does_not_start_is_explained_by_its_file(
    path: str, content: bytes | None, there: bool | None, words: str, hint: str
) -> None:
    assert hint in program.explain_file(path, content, there, words)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(None, None), (b"", None), (b"#!", None), (b"#!/usr/bin/env python3\n", "/usr/bin/env"), (b"#! /bin/sh -e", "/bin/sh")],
)
def test_interpreter_is_read_from_the_first_line(content: bytes | None, wanted: str | None) -> None:
    assert program.interpreter(content) == wanted
