"""What a stack must withstand, each once: many requests, a Redis that stops and starts again, a replica that is killed.

The probe must hold before, during and after each fault. The tutorial's page, known by its line of visits, must also count: with
consecutive numbers, not at all without Redis, and further on after it. Redis is stopped under another page only where a probe says
what to expect (text, JSON, or a TCP connection).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import NoResponse
from registry_tool.local.sample_page import NO_REDIS
from registry_tool.verify.stack.running_stack import RunningStack
from registry_tool.verify.stack.service_checks import ServiceChecks
from registry_tool.verify.stack.stack_client import StackClient, StackResponse

COUNTED_PER_REPLICA, MAX_COUNTED = 100, 300  # requests of a page that counts: for each replica, and in all
REQUESTS_PER_REPLICA = 10  # requests of any other page
NO_REDIS_TIMEOUT, NO_REDIS_MARGIN = 3.0, 1.0
"""Seconds that the tutorial's page promises to take at most without Redis, and what the way to it may take."""
RESPONSE_TIMEOUT = 10.0
RECOVERY_TIMEOUT = 20.0  # seconds until a page counts again after Redis was started
DETECTION_TIME = 1.0  # seconds in which the proxy notices that a replica is dead, where it forwards connections
_PAUSE = 0.05
_LOG_TIMEOUT = 3.0  # seconds until the proxy's log has the last connection
_LOG_HINT = "Its last lines may say why."


@dataclass(kw_only=True)
class Resilience:
    """The faults of one stack; ``evidence`` and ``details`` (in words) grow with each."""

    stack: RunningStack
    client: StackClient
    services: ServiceChecks
    has_expectations: bool
    """Whether a probe says what to expect of the stack."""
    timeout: float
    """Seconds until it is ready."""
    deadline: Deadline
    """For all of it."""
    counts: bool = False
    """Whether the page counts visits in Redis."""
    names_replicas: bool = False
    """Whether the proxy names the replica of each answer."""
    evidence: dict[str, object] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    def run(self) -> None:
        """All of it, in order. Raises VerificationFailed where something does not hold."""
        self._wait_until_ready()
        self.services.check(self.stack)
        self._ask_many()
        self.services.check_running(self.stack, "while all was well")
        redis = self.stack.redis
        if redis is not None and self.counts:
            last = self._stop_counting(redis.id)
            self._start_counting(redis.id, last)
        elif redis is not None and self.has_expectations:
            self._restart_redis(redis.id)
        killed = [self._kill_replica()] if len(self.stack.replicas) > 1 else []
        # Whatever was done to others: all that was not killed is there in the end, and well.
        self.services.check_running(self.stack, "in the end", killed=killed)
        self.services.check_health(self.stack, killed=killed)

    def _wait_until_ready(self) -> None:
        """Until every replica answers and, beside Redis, counts."""
        started, names = time.monotonic(), set(self.stack.replicas)
        ready: set[str] = set()
        last_problem = None
        while True:
            problem = self._readiness_problem(ready)
            last_problem = problem or last_problem
            if problem is None and (not self.names_replicas or ready == names):
                break
            if time.monotonic() - started > self.timeout:
                why = f" ({last_problem})" if last_problem else ""
                problem = problem if not ready else f"no answer comes from {', '.join(sorted(names - ready))}{why}"
                raise self._failed(f"after {self.timeout:g} s, {problem}", f"{_LOG_HINT[:-1]}; --timeout gives it longer.")
            self.services.check_running(self.stack, "at the start")
            time.sleep(_PAUSE)
        self.evidence["ready"] = {"seconds": round(time.monotonic() - started, 3)}

    def _readiness_problem(self, ready: set[str]) -> str | None:
        """Ask once; None where the answer is as it should be, and its replica is in ``ready`` then."""
        try:
            response = self.client.ask(timeout=RESPONSE_TIMEOUT)
        except NoResponse as error:
            return str(error)
        self.names_replicas = response.replica is not None
        self.counts = response.counter and self.stack.redis is not None
        if self.counts and response.visits is None:
            return f"the page beside Redis says {NO_REDIS!r}"
        if response.replica is not None:
            ready.add(response.replica)
        return None

    def _ask_many(self) -> None:
        replicas = len(self.stack.replicas)
        number = min(MAX_COUNTED, COUNTED_PER_REPLICA * replicas) if self.counts else REQUESTS_PER_REPLICA * replicas
        logged = len(self.stack.logged_replicas())
        responses, figures = self._ask_times(number, "while all was well")
        self.evidence["answers"] = figures
        names = self._answering_replicas(responses, logged)
        hosts = sorted({response.host for response in responses if response.host})
        figures["replicas"], figures["host_names"] = names, hosts
        if self.stack.proxy is not None and len(names) != replicas:
            raise self._failed(f"{number} answers came from {len(names)} of {replicas} replicas", "The proxy found the others dead.")
        if hosts and len(hosts) != replicas:
            raise self._failed(f"{replicas} replicas answered with {len(hosts)} host names", "Each container should have its own.")
        detail = f"{number} answers"
        if self.counts:
            self._check_numbers(responses, figures)
            detail += f" with {number} consecutive numbers"
        if hosts:
            detail += f" and {len(hosts)} host name{'s' if len(hosts) > 1 else ''}"
        self.details.append(detail)

    def _check_numbers(self, responses: list[StackResponse], figures: dict[str, object]) -> None:
        numbers = sorted(response.visits for response in responses if response.visits is not None)
        first, last = (numbers[0], numbers[-1]) if numbers else (None, None)
        figures["different_numbers"], figures["first"], figures["last"] = len(set(numbers)), first, last
        if not numbers or numbers != list(range(numbers[0], numbers[0] + len(responses))):
            raise self._failed(
                f"{len(responses)} answers carry {len(set(numbers))} different numbers from {first} to {last}",
                "Each visit should be counted once, by one Redis for all replicas.",
            )

    def _stop_counting(self, redis: str) -> int:
        """Stop Redis: the page must say, and in time, that it does not count. Returns the last number before."""
        last = self._ask(RESPONSE_TIMEOUT, "before Redis was stopped").visits or 0
        self.stack.environment.engine.stop(redis, timeout=5)
        number = 2 * len(self.stack.replicas)
        responses = [self._ask(NO_REDIS_TIMEOUT + NO_REDIS_MARGIN, "with Redis stopped") for _ in range(number)]
        slowest = _slowest(responses)
        self.evidence["redis_stopped"] = {"answers": number, "slowest": round(slowest, 3), "says": NO_REDIS, "last_number": last}
        counted = [response.visits for response in responses if response.visits is not None]
        if counted or not all(response.counter for response in responses):
            raise self._failed(
                f"with Redis stopped the page should say {NO_REDIS!r}, and it "
                + (f"counts {counted[0]}" if counted else "says something else"),
                "Does it count somewhere else?",
            )
        self.details.append(f"Redis stopped: counter disabled, within {slowest:.1f} s")
        return last

    def _start_counting(self, redis: str, last: int) -> None:
        """Start Redis: each replica must count again, with numbers that go up."""
        started = time.monotonic()
        self.stack.environment.engine.start(redis)
        numbers: list[int] = []
        replicas: set[str | None] = set()
        while len(numbers) < 2 * len(self.stack.replicas) or (self.names_replicas and len(replicas) < len(self.stack.replicas)):
            response = self._ask(NO_REDIS_TIMEOUT + NO_REDIS_MARGIN, "after Redis was started again")
            if response.visits is not None:
                numbers.append(response.visits)
                replicas.add(response.replica)
            elif time.monotonic() - started > RECOVERY_TIMEOUT:
                raise self._failed(
                    f"{RECOVERY_TIMEOUT:g} s after Redis was started again the page still says {NO_REDIS!r}", "It should try again."
                )
            else:
                time.sleep(_PAUSE)
        kept = numbers[0] > last
        seconds = round(time.monotonic() - started, 3)
        self.evidence["redis_started"] = {"seconds": seconds, "kept": kept, "first": numbers[0], "last": numbers[-1]}
        if sorted(set(numbers)) != numbers:
            raise self._failed(f"after Redis was started again the numbers are {', '.join(map(str, numbers))}", "They should only go up.")
        if not kept and self.stack.plan.file is None:
            raise self._failed(
                f"counting begins again at {numbers[0]} after {last}", "This Redis keeps what it counted (--appendonly yes)."
            )
        self.details.append(f"started again: counting {'goes on' if kept else 'begins'} at {numbers[0]}")

    def _restart_redis(self, redis: str) -> None:
        """Stop and start Redis under an app whose probe must hold all the time."""
        number = 2 * len(self.stack.replicas)
        self.stack.environment.engine.stop(redis, timeout=5)
        stopped = self.stack.environment.engine.container(redis)
        if stopped is not None and stopped.running:
            raise self._failed("Redis was stopped and still runs", "Something starts it again.")
        without, self.evidence["redis_stopped"] = self._ask_times(number, "with Redis stopped")
        self.stack.environment.engine.start(redis)
        after, self.evidence["redis_started"] = self._ask_times(number, "after Redis was started again")
        self.details.append(f"Redis stopped and started again: {2 * number} answers, the slowest after {_slowest(without + after):.1f} s")

    def _kill_replica(self) -> str:
        """Kill one: all others must answer, and it must not. Returns its name."""
        name, container = next(iter(self.stack.replicas.items()))
        self.stack.environment.engine.kill(container.id)
        lost = self._wait_for_detection()
        logged, number = len(self.stack.logged_replicas()), REQUESTS_PER_REPLICA * len(self.stack.replicas)
        responses, figures = self._ask_times(number, f"after {name} was killed")
        others = self._answering_replicas(responses, logged)
        self.evidence["replica_killed"] = {"replica": name, **figures, "replicas": others, "connections_lost": lost}
        dead = self.stack.environment.engine.container(container.id)
        if dead is not None and dead.running:
            raise self._failed(f"{name} was killed and still runs", "Something starts it again.")
        if set(others) != set(self.stack.replicas) - {name}:
            raise self._failed(
                f"after {name} was killed, answers came from {', '.join(others) or 'nobody'}",
                "All others should answer, and it should not.",
            )
        self.details.append(f"a replica killed: {number} answers, the slowest after {_slowest(responses):.1f} s")
        return name

    def _wait_for_detection(self) -> int:
        """Return how many of the first connections were lost: a request is repeated elsewhere, a connection is not."""
        lost, detected = 0, Deadline(DETECTION_TIME)
        while not self.names_replicas and not detected.passed:
            try:
                self.client.ask(timeout=RESPONSE_TIMEOUT)
            except NoResponse:
                lost += 1
        return lost

    def _ask_times(self, number: int, when: str) -> tuple[list[StackResponse], dict[str, object]]:
        """``number`` answers, and what the evidence has of them."""
        started = time.monotonic()
        responses = [self._ask(RESPONSE_TIMEOUT, when) for _ in range(number)]
        seconds = round(time.monotonic() - started, 3)
        return responses, {"answers": number, "seconds": seconds, "slowest": round(_slowest(responses), 3)}

    def _ask(self, timeout: float, when: str) -> StackResponse:
        if self.deadline.passed:
            raise self._failed(f"{when}: timed out", "Its answers may be slow.")
        try:
            return self.client.ask(timeout=timeout)
        except NoResponse as error:
            raise self._failed(f"{when}: {error}", _LOG_HINT) from error

    def _answering_replicas(self, responses: list[StackResponse], logged: int) -> list[str]:
        """The replicas of these answers: named in them, or in the proxy's log, which had ``logged`` connections before."""
        if self.names_replicas or self.stack.proxy is None:
            return sorted({response.replica for response in responses if response.replica})
        poll(lambda: len(self.stack.logged_replicas()) - logged >= len(responses), Deadline(_LOG_TIMEOUT), pause=_PAUSE)
        return sorted(set(self.stack.logged_replicas()[logged:]))

    def _failed(self, message: str, hint: str) -> VerificationFailed:
        return VerificationFailed(message, hint=hint, excerpt=self.stack.excerpt())


def _slowest(responses: list[StackResponse]) -> float:
    return max(response.seconds for response in responses)
