"""Does the ladder fit into the time that the host grants between its SIGTERM and its SIGKILL? Pure.

A ladder that is longer than that is cut off by a SIGKILL in the middle of a rung, with results unwritten. So it
shrinks: first the patience with what SIGKILL does not end, which is hardly ever used up; then the graces, in
proportion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.core.ladder import Ladder
from runtime.stop_limits import HOST_MARGIN, LEAST_KILL_TIMEOUT

WARNING_EARLY_BY = 120.0
"""Seconds that a scheduler's warning may come too early: Slurm's may by a minute (sbatch(1), --signal), and it looks at
its jobs now and then only."""


@dataclass(frozen=True, slots=True)
class FittedLadder:
    """Hold a ladder, and the one that fits. Seconds; `granted` None is no limit."""

    wanted: Ladder
    ladder: Ladder
    granted: float | None

    @property
    def fits(self) -> bool:
        """Whether nothing had to shrink."""
        return self.wanted == self.ladder

    @property
    def needed(self) -> float:
        """Return what the host should grant, in seconds."""
        return self.wanted.total + HOST_MARGIN


def fit(ladder: Ladder, granted: float | None) -> FittedLadder:
    """Return the ladder, shrunk as far as it must be."""
    if granted is None or ladder.total + margin_of(granted) <= granted:
        return FittedLadder(ladder, ladder, granted)
    room = max(0.0, granted - margin_of(granted))
    patience = min(ladder.kill_patience, max(LEAST_KILL_TIMEOUT, room - ladder.grace - ladder.term_grace), room)
    graces = ladder.grace + ladder.term_grace
    share = min(1.0, (room - patience) / graces) if graces else 0.0
    return FittedLadder(
        ladder,
        replace(ladder, grace=ladder.grace * share, term_grace=ladder.term_grace * share, kill_patience=patience),
        granted,
    )


def use_up(ladder: Ladder, granted: float) -> FittedLadder:
    """Return the ladder that ends when the grant does, less the margin: a longer grant lengthens the FLAG rung.

    For a host that is taken away whatever the run does: time that is not used is lost.
    """
    fitted = fit(ladder, granted)
    spare = granted - margin_of(granted) - fitted.ladder.total
    return replace(fitted, ladder=replace(fitted.ladder, grace=fitted.ladder.grace + max(0.0, spare)))


def ladder_of_stop(ladder: Ladder, wanted: Ladder, left: float | None, *, is_warning: bool = False) -> Ladder:
    """Return the ladder of a stop that begins `left` seconds before the host ends this process; None: not known.

    `ladder` fits into the time between the host's SIGTERM and its SIGKILL, `wanted` is what was asked for. After a
    warning there is no SIGTERM yet, and all of the time is used: unless more of it is left than a host is early with,
    because then a person has sent the signal. A time that is over is that of the SIGTERM, which has come.
    """
    if left is None or left <= 0:
        return ladder
    if not is_warning:
        return fit(ladder, left).ladder
    is_of_host = left <= wanted.total + HOST_MARGIN + WARNING_EARLY_BY
    return (use_up if is_of_host else fit)(wanted, left).ladder


def grant_for(ladder: Ladder) -> float:
    """Return the shortest grant that a ladder fits into with its margin, in seconds."""
    return min(ladder.total + HOST_MARGIN, ladder.total * 5 / 4)


def margin_of(granted: float) -> float:
    """Return what is kept of a grant for what comes after the rungs: of a short one, a fifth."""
    return min(HOST_MARGIN, granted / 5)


def explain_shortening(fitted: FittedLadder) -> str:
    """Return the numbers and what to do, in one sentence."""
    got = fitted.ladder
    return (
        f"the host kills {fitted.granted:g} s after its SIGTERM, but the ladder needs {fitted.needed:g} s "
        f"({describe_rungs(fitted.wanted)}): shortened to "
        f"{got.grace:.3g} + {got.term_grace:.3g} + {got.kill_patience:.3g} s; "
        f"grant {fitted.needed:g} s (TimeoutStopSec=, terminationGracePeriodSeconds), or lower --grace and --term-grace"
    )


def describe_rungs(ladder: Ladder) -> str:
    """Return what the time of a stop is for, in one sentence."""
    return (
        f"{ladder.grace:g} s until SIGTERM, {ladder.term_grace:g} s until SIGKILL, "
        f"{ladder.kill_patience:g} s for what is left, {HOST_MARGIN:g} s to write down the end"
    )
