"""Faults of a stack whose containers and answers are made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from registry_tool.base.deadline import Deadline
from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import NoResponse
from registry_tool.engine import Container
from registry_tool.verify.stack.compose import Service
from registry_tool.verify.stack.resilience import Resilience
from registry_tool.verify.stack.running_stack import RunningStack
from registry_tool.verify.stack.service_checks import ServiceChecks
from registry_tool.verify.stack.stack_client import StackResponse


def _container(name: str) -> Container:
    return Container(id=name, name=name, image="i", image_id="1", state="running")


class FakeStack:
    """Containers by name, which is also their id; ``running`` are those that run."""

    def __init__(self, replicas: int, *, redis: bool) -> None:
        self.replicas = {f"web-{number}": _container(f"web-{number}") for number in range(1, replicas + 1)}
        self.redis = _container("redis") if redis else None
        self.proxy = _container("proxy") if replicas > 1 else None
        self.running = {*self.replicas, "redis"}
        self.environment = type("Environment", (), {"engine": self})
        self.plan = type("Plan", (), {"file": None, "jobs": ()})
        service = type("Service", (), {"name": "service", "definition": Service(name="service", image="i", line=0)})
        containers = {**self.replicas, **({"redis": self.redis} if self.redis else {})}
        self.members = {name: type("Member", (), {"service": service, "container": one}) for name, one in containers.items()}

    def container(self, id: str) -> Container | None:
        return _container(id) if id in self.running else None

    def stop(self, id: str, *, timeout: int) -> None:
        self.running.remove(id)

    def start(self, id: str) -> None:
        self.running.add(id)

    def kill(self, id: str) -> None:
        self.running.remove(id)

    def logged_replicas(self) -> list[str]:
        return []

    def excerpt(self) -> tuple[str, ...]:
        return ("the log",)


class FakeClient:
    """Asks the running replicas in turn; ``answer`` gets the number of the request and whether Redis runs."""

    def __init__(self, stack: FakeStack, answer: Callable[[int, bool], dict[str, Any]]) -> None:
        self.stack, self.answer, self.number = stack, answer, 0

    def ask(self, *, timeout: float) -> StackResponse:
        self.number += 1
        alive = sorted(self.stack.running & set(self.stack.replicas))
        members = self.answer(self.number, "redis" in self.stack.running)
        return StackResponse(seconds=0.01, replica=alive[self.number % len(alive)], **members)

    def close(self) -> None:
        return None


def _run(
    stack: FakeStack, answer: Callable[[int, bool], dict[str, Any]] = lambda number, redis: {}, *, has_expectations: bool = True
) -> Resilience:
    resilience = Resilience(
        stack=cast(RunningStack, stack),
        client=FakeClient(stack, answer),
        services=ServiceChecks(timeout=1.0, deadline=Deadline(60.0)),
        has_expectations=has_expectations,
        timeout=1.0,
        deadline=Deadline(60.0),
    )
    resilience.run()
    return resilience


def _failing_without_redis(number: int, redis: bool) -> dict[str, Any]:
    if not redis:
        raise NoResponse("/: 'hello' is not in the response: 'sorry'")
    return {}


def test_probe_that_holds_withstands_all_faults() -> None:
    resilience = _run(FakeStack(2, redis=True))
    assert resilience.evidence["redis_stopped"] == resilience.evidence["redis_started"] == {"answers": 4, "seconds": 0.0, "slowest": 0.01}
    killed: Any = resilience.evidence["replica_killed"]
    assert (killed["replica"], killed["replicas"], killed["connections_lost"]) == ("web-1", ["web-2"], 0)
    assert [detail.partition(":")[0] for detail in resilience.details] == [
        "20 answers",
        "Redis stopped and started again",
        "a replica killed",
    ]


def test_probe_that_does_not_hold_without_redis_fails_with_the_log() -> None:
    with pytest.raises(VerificationFailed, match="with Redis stopped: /: 'hello' is not in the response") as caught:
        _run(FakeStack(1, redis=True), _failing_without_redis)
    assert caught.value.excerpt == ("the log",)


def test_without_expectations_redis_is_not_stopped() -> None:
    resilience = _run(FakeStack(1, redis=True), _failing_without_redis, has_expectations=False)
    assert set(resilience.evidence) == {"ready", "answers"}
    assert resilience.stack.environment.engine.container("redis") is not None


def test_host_names_fewer_than_replicas_fail() -> None:
    with pytest.raises(VerificationFailed, match="2 replicas answered with 1 host names"):
        _run(FakeStack(2, redis=False), lambda number, redis: {"host": "same"})


def test_numbers_that_are_not_consecutive_fail() -> None:
    with pytest.raises(VerificationFailed, match="100 answers carry 100 different numbers from 4 to 202"):
        _run(FakeStack(1, redis=True), lambda number, redis: {"counter": True, "visits": 2 * number})


def test_page_that_counts_withstands_all_faults() -> None:
    def counting(number: int, redis: bool) -> dict[str, Any]:
        return {"counter": True, "visits": number if redis else None}

    resilience = _run(FakeStack(2, redis=True), counting, has_expectations=False)
    answers: Any = resilience.evidence["answers"]
    assert (answers["different_numbers"], answers["first"]) == (200, 3)
    started: Any = resilience.evidence["redis_started"]
    assert started["kept"] is True


def test_page_that_counts_without_redis_fails() -> None:
    with pytest.raises(VerificationFailed, match="and it counts 10"):
        _run(FakeStack(1, redis=True), lambda number, redis: {"counter": True, "visits": number})
