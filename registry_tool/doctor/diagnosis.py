"""What a check saw, and the report of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

State = Literal["ok", "warning", "wrong", "skipped"]
_WORST_FIRST: tuple[State, ...] = ("wrong", "warning", "skipped", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a check saw: ``fix`` is what a person can do, ``mend`` does it, where that is safe."""

    state: State
    seen: str
    fix: str = ""
    mend: Callable[[], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of one check. ``name`` is stable; ``mended``: ``--fix`` did something about it before ``seen``."""

    JSON_MEMBERS: ClassVar = "name state seen why fix mendable mended"
    name: str
    why: str
    observation: Observation
    mended: bool = False

    @property
    def state(self) -> State:
        """``ok``, ``warning``, ``wrong``, or ``skipped``: it does not apply here, or could not be looked at."""
        return self.observation.state

    @property
    def seen(self) -> str:
        """What was seen, in one line."""
        return self.observation.seen

    @property
    def fix(self) -> str | None:
        """What to do; None where nothing is to be done."""
        return self.observation.fix or None

    @property
    def mendable(self) -> bool:
        """Whether ``--fix`` can mend it."""
        return self.observation.mend is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """The results of all checks, in the order of the table; ``seconds`` is how long they took."""

    JSON_MEMBERS: ClassVar = "ok seconds checks"
    checks: tuple[Diagnosis, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return all(check.state != "wrong" for check in self.checks)

    @property
    def mendable(self) -> tuple[Diagnosis, ...]:
        """Those that ``--fix`` can mend."""
        return tuple(check for check in self.checks if check.mendable)


def ok(seen: str) -> Observation:
    """Nothing is wrong."""
    return Observation(state="ok", seen=seen)


def skipped(seen: str) -> Observation:
    """The check does not apply here, or could not be made."""
    return Observation(state="skipped", seen=seen)


def warning(seen: str, fix: str, *, mend: Callable[[], None] | None = None) -> Observation:
    """Something will be in the way one day, or of somebody."""
    return Observation(state="warning", seen=seen, fix=fix, mend=mend)


def wrong(seen: str, fix: str, *, mend: Callable[[], None] | None = None) -> Observation:
    """Something does not work."""
    return Observation(state="wrong", seen=seen, fix=fix, mend=mend)


def combined(observations: Iterable[Observation]) -> Observation:
    """One observation for several things: the worst state, and, worst first, each that is not ok; where all are, each of them."""
    every = sorted(observations, key=lambda each: _WORST_FIRST.index(each.state))
    shown = [each for each in every if each.state != "ok"] or every
    mends = [each.mend for each in shown if each.mend is not None]

    def mend_all() -> None:
        for mend in mends:
            mend()

    return Observation(
        state=shown[0].state,
        seen="; ".join(dict.fromkeys(each.seen for each in shown)),
        fix="; ".join(dict.fromkeys(each.fix for each in shown if each.fix)),
        mend=mend_all if mends else None,
    )
