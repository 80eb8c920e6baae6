"""What a container's last words mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.verify.checks import hints


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (
            "python3: error while loading shared libraries: libexpat.so.1: cannot open shared object file: No such file or directory",
            "libexpat.so.1 is not in the image",
        ),
        ("Error loading shared library libz.so.1: No such file or directory (needed by /bin/app)", "libz.so.1 is not in the image"),
        ("exec /app: exec format error", "another processor"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "needs the network"),
        ("curl: (6) Could not resolve host: example.com", "needs the network"),
        ("OSError: [Errno 101] Network is unreachable", "needs the network"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "needs the network"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/settings.json'", "It needs /data/settings.json, which is not"),
        ("panic: open /etc/app.toml: no such file or directory", "It needs /etc/app.toml, which is not"),
        ("python3: can't open file '/app.py': [Errno 2] No such file or directory", "It needs /app.py, which is not"),
        ("cat: /data/a: No such file or directory", "It needs /data/a, which is not"),
        ("PermissionError: [Errno 1] Operation not permitted", "a privilege that containers do not have"),
        ("mount: permission denied (are you root?)", "a privilege that containers do not have"),
        ("/start.sh: 2: \r: not found", "end in CR LF"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "processes or threads"),
        ("sh: 0: Cannot fork", "processes or threads"),
        ("OSError: [Errno 27] File too large", "writes more"),
        ("MemoryError", "more memory"),
        ("OSError: [Errno 98] Address already in use", "one port"),
    ],
)
def test_known_line_of_a_log_has_a_hint(line: str, hint: str) -> None:
    result = hints.for_log(["Traceback (most recent call last):", line])
    assert result is not None
    assert hint in result


@pytest.mark.parametrize("lines", [(), ("serving",), ("GET / 200",)])
def test_unknown_lines_have_no_hint(lines: tuple[str, ...]) -> None:
    assert hints.for_log(lines) is None


@given(lines=st.lists(st.text(max_size=50), max_size=5))
def test_hint_for_any_log_is_one_line(lines: list[str]) -> None:
    result = hints.for_log(lines)
    assert result is None or len(result.splitlines()) == 1
