"""What a stack must bear, each tried once: many looks, a Redis that stops and comes back, a replica that dies.

The tutorial's page is known by its line of visits; there the numbers are held to. Of any other page it is known only that it
answers: its numbers, and what it says without Redis, are not looked at, and the evidence says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import NoResponse
from registry_tool.local.sample_page import NO_REDIS
from registry_tool.verify.stack.running_stack import RunningStack
from registry_tool.verify.stack.stack_client import StackClient, StackResponse

EACH, MOST = 100, 300
"""Answers that are counted: for each replica, and in all."""
SOME = 10
"""Answers for each replica where nothing is counted."""
WITHOUT_REDIS, MARGIN = 3.0, 1.0
"""Seconds that the page may take without Redis, as the tutorial's page promises, and what the way to it may take."""
ONE_LOOK = 10.0
AGAIN = 20.0
"""Seconds until a page counts again after Redis came back."""
NOTICED = 1.0
"""Seconds in which the proxy notices that a replica is dead, where it passes connections."""
_PAUSE = 0.05
_TOLD = 3.0
"""Seconds until the proxy has told of the last connection."""


@dataclass(kw_only=True)
class Resilience:
    """Tries one stack; ``evidence`` grows as it goes, ``said`` with it in words. Raises ProofFailed where something does not hold."""

    stack: RunningStack
    looks: StackClient
    timeout: float
    """Seconds until it is ready."""
    until: float
    """When all of it has to be over, as ``time.monotonic`` counts."""
    counts: bool = False
    """Whether the page counts visits in Redis."""
    told_apart: bool = False
    """Whether answers say which replica they come from."""
    evidence: dict[str, object] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def run(self) -> None:
        """All of it, in order."""
        self._ready()
        self._many()
        redis = self.stack.redis
        if self.counts and redis is not None:
            last = self._stop_redis(redis.id)
            self._start_redis(redis.id, last)
        if len(self.stack.replicas) > 1:
            self._kill_replica()

    def _ready(self) -> None:
        """Wait until every replica answers and, beside Redis, counts."""
        begun, names = time.monotonic(), set(self.stack.replicas)
        ready: set[str] = set()
        while True:
            trouble = self._is_ready(ready)
            if trouble is None and (not self.told_apart or ready == names):
                break
            if time.monotonic() - begun > self.timeout:
                trouble = trouble or f"no answer comes from {', '.join(sorted(names - ready))}"
                raise self._failed(f"after {self.timeout:g} s, {trouble}", "Its last lines may say why; --timeout gives it longer.")
            self._check_running()
            time.sleep(_PAUSE)
        self.evidence["ready"] = {"seconds": round(time.monotonic() - begun, 3)}

    def _is_ready(self, ready: set[str]) -> str | None:
        """Look once; what is missing, None where that answer is as it should be."""
        try:
            look = self.looks.look(timeout=ONE_LOOK)
        except NoResponse as error:
            return str(error)
        self.told_apart = look.replica is not None
        self.counts = look.counter and self.stack.redis is not None
        if self.counts and look.visits is None:
            return f"the page beside Redis says {NO_REDIS!r}"
        if look.replica is not None:
            ready.add(look.replica)
        return None

    def _many(self) -> None:
        replicas = len(self.stack.replicas)
        number = min(MOST, EACH * replicas) if self.counts else SOME * replicas
        begun, served = time.monotonic(), len(self.stack.served())
        looks = [self._look(ONE_LOOK, "while all was well") for _ in range(number)]
        seen: dict[str, object] = {
            "answers": number,
            "seconds": round(time.monotonic() - begun, 3),
            "slowest": round(max(look.seconds for look in looks), 3),
        }
        self.evidence["answers"] = seen
        names = self._served(looks, served)
        hosts = sorted({look.host for look in looks if look.host})
        seen["replicas"], seen["host_names"] = names, hosts
        if self.stack.proxy is not None and len(names) != replicas:
            raise self._failed(f"{number} answers came from {len(names)} of {replicas} replicas", "The proxy found the others dead.")
        if hosts and len(hosts) != replicas:
            raise self._failed(f"{replicas} replicas answered with {len(hosts)} host names", "Each container should have its own.")
        words = f"{number} answers"
        if self.counts:
            numbers = [look.visits for look in looks if look.visits is not None]
            seen["different_numbers"], seen["first"], seen["last"] = (
                len(set(numbers)),
                min(numbers, default=None),
                max(numbers, default=None),
            )
            if sorted(numbers) != list(range(min(numbers, default=0), min(numbers, default=0) + number)):
                raise self._failed(
                    f"{number} answers carry {len(set(numbers))} different numbers from {seen['first']} to {seen['last']}",
                    "Each visit should be counted once, by one Redis for all replicas.",
                )
            words += f" with {number} consecutive numbers"
        if hosts:
            words += f" and {len(hosts)} host name{'s' if len(hosts) > 1 else ''}"
        self.said.append(words)

    def _stop_redis(self, redis: str) -> int:
        """The page says that it does not count, and in time; returns the last number before."""
        last = self._look(ONE_LOOK, "before Redis was stopped").visits or 0
        self.stack.place.engine.stop(redis, timeout=5)
        looks = [self._look(WITHOUT_REDIS + MARGIN, "with Redis stopped") for _ in range(2 * len(self.stack.replicas))]
        slowest = max(look.seconds for look in looks)
        self.evidence["redis_stopped"] = {"answers": len(looks), "slowest": round(slowest, 3), "says": NO_REDIS, "last_number": last}
        counted = [look.visits for look in looks if look.visits is not None]
        if counted or not all(look.counter for look in looks):
            raise self._failed(
                f"with Redis stopped the page should say {NO_REDIS!r}, and it "
                + (f"counts {counted[0]}" if counted else "says something else"),
                "Does it count somewhere else?",
            )
        self.said.append(f"Redis stopped: counter disabled, within {slowest:.1f} s")
        return last

    def _start_redis(self, redis: str, last: int) -> None:
        begun = time.monotonic()
        self.stack.place.engine.start(redis)
        numbers: list[int] = []
        hosts: set[str | None] = set()
        # Each replica has to find its way back.
        while len(numbers) < 2 * len(self.stack.replicas) or (self.told_apart and len(hosts) < len(self.stack.replicas)):
            look = self._look(WITHOUT_REDIS + MARGIN, "after Redis was started again")
            if look.visits is not None:
                numbers.append(look.visits)
                hosts.add(look.replica)
            elif time.monotonic() - begun > AGAIN:
                raise self._failed(f"{AGAIN:g} s after Redis was started again the page still says {NO_REDIS!r}", "It should try again.")
            else:
                time.sleep(_PAUSE)
        kept = numbers[0] > last
        self.evidence["redis_started"] = {
            "seconds": round(time.monotonic() - begun, 3),
            "kept": kept,
            "first": numbers[0],
            "last": numbers[-1],
        }
        if sorted(set(numbers)) != numbers:
            raise self._failed(f"after Redis was started again the numbers are {', '.join(map(str, numbers))}", "They should only go up.")
        if not kept and self.stack.plan.file is None:
            raise self._failed(
                f"counting begins again at {numbers[0]} after {last}", "This Redis keeps what it counted (--appendonly yes)."
            )
        self.said.append(f"started again: counting goes on at {numbers[0]}" if kept else f"started again: counting begins at {numbers[0]}")

    def _kill_replica(self) -> None:
        name, container = next(iter(self.stack.replicas.items()))
        self.stack.place.engine.kill(container.id)
        lost = self._wait_until_noticed()
        begun, served = time.monotonic(), len(self.stack.served())
        number = SOME * len(self.stack.replicas)
        looks = [self._look(ONE_LOOK, f"after {name} was killed") for _ in range(number)]
        slowest = max(look.seconds for look in looks)
        others = self._served(looks, served)
        self.evidence["replica_killed"] = {
            "replica": name,
            "answers": number,
            "seconds": round(time.monotonic() - begun, 3),
            "slowest": round(slowest, 3),
            "replicas": others,
            "connections_lost": lost,
        }
        dead = self.stack.place.engine.container(container.id)
        if dead is not None and dead.running:
            raise self._failed(f"{name} was killed and still runs", "Something starts it again.")
        if name in others or not others:
            raise self._failed(f"after {name} was killed, answers came from {', '.join(others) or 'nobody'}", "Is it dead?")
        self.said.append(f"a replica killed: {number} answers, the slowest after {slowest:.1f} s")

    def _wait_until_noticed(self) -> int:
        """A request is sent again elsewhere; a connection that a dying replica had taken is lost. How many were, of the first ones."""
        lost, begun = 0, time.monotonic()
        while not self.told_apart and time.monotonic() - begun < NOTICED:
            try:
                self.looks.look(timeout=ONE_LOOK)
            except NoResponse:
                lost += 1
        return lost

    # --- one look ---

    def _look(self, timeout: float, when: str) -> StackResponse:
        if time.monotonic() > self.until:
            raise self._failed(f"{when}: the time for the proof is over", "Its answers may be slow.")
        try:
            return self.looks.look(timeout=timeout)
        except NoResponse as error:
            raise self._failed(f"{when}: {error}", "Its last lines may say why.") from error

    def _served(self, looks: list[StackResponse], earlier: int) -> list[str]:
        """The replicas that these looks were at: said by the answers, or by the proxy, which had told of ``earlier`` before."""
        if self.told_apart or self.stack.proxy is None:
            return sorted({look.replica for look in looks if look.replica})
        poll(lambda: len(self.stack.served()) - earlier >= len(looks), Deadline(_TOLD), pause=_PAUSE)
        return sorted(set(self.stack.served()[earlier:]))

    def _check_running(self) -> None:
        for name, container in self.stack.replicas.items():
            now = self.stack.place.engine.container(container.id)
            if now is None or not now.running:
                raise self._failed(
                    f"{name} {'is gone' if now is None else f'ended with code {now.exit_code}'}", "Its last lines may say why."
                )

    def _failed(self, message: str, hint: str) -> VerificationFailed:
        return VerificationFailed(message, hint=hint, excerpt=self.stack.excerpt())
