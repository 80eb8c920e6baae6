"""Names and addresses of this machine, for certificates."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from registry_tool.engine import Endpoint
from registry_tool.local.registry import machine

HERE = Endpoint(url="unix:///var/run/docker.sock", source="a test")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")
    monkeypatch.setattr(socket, "getfqdn", lambda: "box.example")
    monkeypatch.setattr(machine, "_route_addresses", lambda: iter(("192.0.2.7", "2001:db8::7")))
    monkeypatch.setattr(machine, "_kernel_addresses", lambda: iter(("127.0.0.1", "192.0.2.7", "172.17.0.1", "fe80::1", "2001:db8::8")))
    monkeypatch.setattr(machine, "_resolved_addresses", lambda: iter(("127.0.1.1", "198.51.100.7")))


@pytest.mark.parametrize(
    ("listen", "more"),
    [
        ("127.0.0.1", set()),
        ("192.0.2.9", {"box", "box.local", "box.example", "192.0.2.9"}),
        ("0.0.0.0", {"box", "box.local", "box.example", "192.0.2.7"}),
        ("::", {"box", "box.local", "box.example", "2001:db8::7"}),
    ],
)
def test_names_by_where_it_listens(listen: str, more: set[str]) -> None:
    assert set(machine.server_names(HERE, listen)) == LOOPBACK | more


def test_further_names_are_added_once_and_invalid_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my_box")
    monkeypatch.setattr(socket, "getfqdn", lambda: "my_box")
    assert set(machine.server_names(HERE, "192.0.2.9", ["Registry.Example", "192.0.2.9"])) == LOOPBACK | {"192.0.2.9", "registry.example"}


def test_engine_elsewhere_is_known_by_its_own_address() -> None:
    for url, host in (("ssh://me@far.example:22", "far.example"), ("tcp://203.0.113.5:2376", "203.0.113.5")):
        elsewhere = Endpoint(url=url, source="a test")
        assert set(machine.server_names(elsewhere, "0.0.0.0")) == LOOPBACK | {host}
        assert machine.other_addresses(elsewhere, "0.0.0.0") == ()


def test_other_addresses_are_those_of_the_family_it_listens_with() -> None:
    assert machine.other_addresses(HERE, "0.0.0.0") == ("192.0.2.7", "172.17.0.1", "198.51.100.7")
    assert machine.other_addresses(HERE, "::") == ("2001:db8::8",)
    assert machine.other_addresses(HERE, "192.0.2.7") == ()


def test_addresses_of_the_kernel_s_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n"
        "        |-- 192.0.2.7\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text("20010db8000000000000000000000007 02 40 00 80     eth0\n")
    assert list(machine._kernel_addresses(tmp_path)) == ["192.0.2.7", "2001:db8::7"]
    assert list(machine._kernel_addresses(tmp_path / "absent")) == []


def test_address_of_this_machine_is_told_from_others() -> None:
    assert machine.is_local_address("127.0.0.1")
    assert machine.is_local_address("0.0.0.0")
    assert not machine.is_local_address("192.0.2.77")


def test_name_service_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(machine, "_LOOKUP_TIMEOUT", 0.01)
    monkeypatch.setattr(socket, "getfqdn", lambda: str(answered.wait(600)))
    try:
        assert set(machine.server_names(HERE, "192.0.2.9")) == LOOPBACK | {"box", "box.local", "192.0.2.9"}
    finally:
        answered.set()


def test_name_service_that_fails_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getfqdn", fail)
    assert "box.example" not in machine.server_names(HERE, "192.0.2.9")
