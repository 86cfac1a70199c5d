"""The ladder, a pure description: flag → SIGTERM → SIGKILL of the whole tree, each rung with its own grace."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Rung(IntEnum):
    """The rungs, in order. ABANDONED is the end of patience: what is left is reported as unkillable."""

    NONE = 0
    FLAG = 1
    TERM = 2
    KILL = 3
    ABANDONED = 4


@dataclass(frozen=True, slots=True)
class Ladder:
    """Seconds each rung is given before the next one.

    `grace` is the FLAG rung's: agents reach a checkpoint and leave by themselves. `term_grace` is the TERM rung's:
    `finally` blocks run. `kill_patience` bounds the wait for processes that even SIGKILL does not end at once.
    """

    grace: float = 10.0
    term_grace: float = 5.0
    kill_patience: float = 2.0

    def __post_init__(self) -> None:
        for name in ("grace", "term_grace", "kill_patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def seconds(self, rung: Rung) -> float:
        """How long this rung lasts, in seconds."""
        return {Rung.FLAG: self.grace, Rung.TERM: self.term_grace, Rung.KILL: self.kill_patience}.get(rung, 0.0)

    @property
    def total(self) -> float:
        """The longest that a stop can take, in seconds."""
        return self.grace + self.term_grace + self.kill_patience


@dataclass(frozen=True, slots=True)
class Climb:
    """Where on the ladder one stop is. Frozen; `next` gives the new one."""

    ladder: Ladder
    rung: Rung = Rung.NONE
    since: float = 0.0

    @property
    def due(self) -> float | None:
        """When the next rung comes (the clock of `now`), None at the ends."""
        if self.rung in (Rung.NONE, Rung.ABANDONED):
            return None
        return self.since + self.ladder.seconds(self.rung)

    @property
    def ends(self) -> float | None:
        """When the last rung is over (the clock of `now`), None before the first one."""
        if self.rung is Rung.NONE:
            return None
        return self.since + sum(self.ladder.seconds(rung) for rung in Rung if rung >= self.rung)

    def next(self, now: float) -> Climb:
        """One rung further, at `now`. The last rung is its own next."""
        return Climb(self.ladder, Rung(min(self.rung + 1, Rung.ABANDONED)), now)
