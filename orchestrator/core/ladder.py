"""The ladder, a pure description: flag → SIGTERM → SIGKILL of the whole tree, each rung with its own grace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from runtime.stop_limits import ABANDON_TIMEOUT, GRACE, KILL_SHARE, KILL_TIMEOUT, LEAVE_TIMEOUT, TERM_GRACE


class Rung(IntEnum):
    """Name the rungs, in order. At ABANDONED, what is left is reported as unkillable."""

    NONE = 0
    FLAG = 1
    TERM = 2
    KILL = 3
    ABANDONED = 4


@dataclass(frozen=True, slots=True)
class Ladder:
    """Hold the seconds that each rung is given before the next one.

    `grace` is the FLAG rung's: agents reach a checkpoint and leave by themselves. `term_grace` is the TERM rung's:
    `finally` blocks run. `kill_patience` bounds the wait for processes that even SIGKILL does not end at once.
    `last_look` comes after the rungs, when a stop looks for whatever process is left; see `for_stop`. One executor's
    own is `for_executor`.
    """

    grace: float = GRACE
    term_grace: float = TERM_GRACE
    kill_patience: float = KILL_TIMEOUT
    last_look: float = 0.0

    def __post_init__(self) -> None:
        for name in ("grace", "term_grace", "kill_patience", "last_look"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def seconds(self, rung: Rung) -> float:
        """Return how long a rung lasts, in seconds."""
        return {
            Rung.FLAG: self.grace,
            Rung.TERM: self.term_grace,
            Rung.KILL: self.kill_patience,
            Rung.ABANDONED: self.last_look,
        }.get(rung, 0.0)

    def with_seconds(self, seconds: Mapping[Rung, float]) -> Ladder:
        """Return this ladder with other seconds for some rungs."""
        names = {
            Rung.FLAG: "grace",
            Rung.TERM: "term_grace",
            Rung.KILL: "kill_patience",
            Rung.ABANDONED: "last_look",
        }
        return replace(self, **{names[rung]: value for rung, value in seconds.items() if rung in names})

    @property
    def for_stop(self) -> Ladder:
        """Return the ladder of a stop of everything: `kill_patience` is for the KILL rung and for the last look."""
        kill_patience = KILL_SHARE * self.kill_patience
        return replace(self, kill_patience=kill_patience, last_look=self.kill_patience - kill_patience)

    @property
    def for_executor(self) -> Ladder:
        """Return the ladder of one executor while the run continues: only its own slot waits for its end."""
        return replace(self, kill_patience=max(self.kill_patience, ABANDON_TIMEOUT))

    @property
    def for_leaving(self) -> Ladder:
        """Return the ladder of executors whose work is done: they have time for their exit, whatever the grace is."""
        return replace(self, grace=max(self.grace, LEAVE_TIMEOUT))

    @property
    def total(self) -> float:
        """Return the longest that a stop can take, in seconds."""
        return self.grace + self.term_grace + self.kill_patience + self.last_look


@dataclass(frozen=True, slots=True)
class Escalation:
    """Hold where on the ladder one stop is. Frozen; `next` gives the new one.

    `since` is when the rung began, `began` when the first one did (default: with this rung).
    """

    ladder: Ladder
    rung: Rung = Rung.NONE
    since: float = 0.0
    began: float | None = None

    @property
    def due(self) -> float | None:
        """Return when the next rung comes (the clock of `now`), None at the ends."""
        if self.rung in (Rung.NONE, Rung.ABANDONED):
            return None
        return self.since + self.ladder.seconds(self.rung)

    def is_for(self, leaving_since: float) -> bool:
        """Return whether what has been asked to leave since then is asked by this stop, and not by a later one."""
        return leaving_since <= (self.since if self.began is None else self.began)

    @property
    def ends(self) -> float | None:
        """Return when the last rung is over (the clock of `now`), None before the first one."""
        if self.rung is Rung.NONE:
            return None
        return self.since + sum(self.ladder.seconds(rung) for rung in Rung if rung >= self.rung)

    def shortened(self, now: float, seconds: float) -> Escalation:
        """Return the escalation whose last rung ends `seconds` after `now`, or before: what is left of each is cut."""
        ends = self.ends
        if ends is None or ends - now <= seconds:
            return self
        share = max(0.0, seconds) / (ends - now)
        left = {rung: share * self.ladder.seconds(rung) for rung in Rung if rung > self.rung}
        spent = now - self.since
        left[self.rung] = spent + share * max(0.0, self.ladder.seconds(self.rung) - spent)
        return replace(self, ladder=self.ladder.with_seconds(left))

    def next(self, now: float) -> Escalation:
        """Return the escalation one rung further, at `now`. The last rung is its own next."""
        began = self.began
        if began is None and self.rung is not Rung.NONE:
            began = self.since
        return Escalation(self.ladder, Rung(min(self.rung + 1, Rung.ABANDONED)), now, began)
