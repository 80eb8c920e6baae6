"""What is typed into a container's terminal."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, cast

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.cli import terminal
from registry_tool.cli.commands import run
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply


class Input:
    """Takes a container's input."""

    def __init__(self) -> None:
        self.content: list[bytes] = []

    def write(self, content: bytes) -> None:
        self.content.append(content)

    def has(self, count: int) -> bool:
        return len(self.content) == count

    def close_input(self) -> None:
        return None


@pytest.mark.parametrize(
    ("typed", "detaches"),
    [((b"ls\x10\x11",), True), ((b"ls\x10", b"\x11"), True), ((b"\x10", b"ls", b"\x11"), False), ((b"\x11\x10",), False)],
)
def test_keys_that_detach_are_noticed_also_in_two_pieces(typed: tuple[bytes, ...], detaches: bool) -> None:
    source, keyboard = os.pipe()
    detach, container = threading.Event(), Input()
    forwarding = threading.Thread(target=terminal._forward_input, args=(cast("Any", container), source, detach))
    forwarding.start()
    try:
        for count, keys in enumerate(typed, 1):
            os.write(keyboard, keys)
            assert poll(partial(container.has, count), Deadline(600)), "each is read by itself"
    finally:
        os.close(keyboard)
        forwarding.join()
        os.close(source)
    assert (tuple(container.content), detach.is_set()) == (typed, detaches)


def test_container_that_podman_has_not_yet_seen_exit_has_not_been_detached_from() -> None:
    states = iter(["running", "running", "exited"])

    def inspected(request: object) -> Any:
        return reply({"Id": "c", "State": {"Status": next(states)}})

    with fake_engine({"GET /containers/c/json": inspected}, podman="5.8.6") as (engine, _):
        assert not run._stays(engine, "c", within=600)
    with fake_engine({"GET /containers/c/json": reply({"Id": "c", "State": {"Status": "running"}})}) as (engine, _):
        assert run._stays(engine, "c", within=0)
