"""Where a container listens, read from the kernel's own table; and that the table is what it is taken for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.verify.probing.listening import parse

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def _line(address: str, state: str = "0A") -> str:
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"


@pytest.mark.parametrize(
    ("lines", "reachable", "loopback", "words"),
    [
        ("", set(), set(), "it listens nowhere"),
        (_line("00000000:0050"), {80}, set(), "it listens on 80"),
        (_line("0100007F:0050"), set(), {80}, "it listens on 80 on its loopback"),
        (_line("0100007F:0050") + _line("00000000:0050"), {80}, set(), "it listens on 80"),
        (_line("0200007F:1F90") + _line("0E00000A:0050"), {80}, {8080}, "it listens on 80, 8080 on its loopback"),
        (_line("00000000000000000000000000000000:0050"), {80}, set(), "it listens on 80"),
        (_line("00000000000000000000000001000000:0050"), set(), {80}, "it listens on 80 on its loopback"),
        (_line("0000000000000000FFFF00000100007F:0050"), set(), {80}, "it listens on 80 on its loopback"),
        (_line("00000000:0050", state="01"), set(), set(), "it listens nowhere"),
        ("cat: /proc/net/tcp6: No such file or directory\n" + _line("00000000:0050"), {80}, set(), "it listens on 80"),
        ("   0: nonsense:zz 0 0A\n   0: 00:0050 0 0A\n", set(), set(), "it listens nowhere"),
    ],
)
def test_socket_table_is_parsed(lines: str, reachable: set[int], loopback: set[int], words: str) -> None:
    result = parse(HEAD + lines)
    assert (set(result.reachable), set(result.loopback), str(result)) == (reachable, loopback, words)


@given(text=st.text())
def test_any_text_is_parsed_as_a_table(text: str) -> None:
    parse(text)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no Linux")
def test_table_of_this_kernel_is_parsed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("0.0.0.0", 0)) as open_to_all:
        result = parse(Path("/proc/net/tcp").read_text())
        assert ours.getsockname()[1] in result.loopback
        assert open_to_all.getsockname()[1] in result.reachable
