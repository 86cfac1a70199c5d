"""Decide the answers to a host's probes: does the loop turn, has the run begun, is it at work? Pure.

Theory: the answers come from the latest StatusView, which the supervision loop itself makes. A thread that answers for
the loop proves nothing about it, so every answer depends on the age of that view.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.status import Phase, StatusView
from orchestrator.core.transitions import SlotState
from runtime.text import single_line

STALLED_SECONDS = 10.0
"""Seconds without a turn after which the loop counts as stuck. It turns four times a second."""

SHUTDOWN_TIMEOUT = 60.0
"""Seconds that the end may take once the loop is over: the journal's last commit and its checkpoint."""

_REASON_LENGTH = 500
"""Most characters of the reason for a stop in an answer of one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a probe: yes or no, and the reason in a few words."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes know of a run.

    since: when the supervisor began (monotonic seconds).
    view: the latest view; None before the first.
    started: whether an executor has ever loaded the agent.
    """

    since: float
    view: StatusView | None = None
    started: bool = False

    def seen(self, view: StatusView) -> Health:
        """Return the health with a newer view. `started` never becomes False again."""
        return Health(self.since, view, self.started or view.loaded)

    def live(self, now: float) -> Answer:
        """Answer whether the supervision loop turns. If it does not, only a restart helps."""
        age = now - (self.since if self.view is None else self.view.at)
        ended = self.view is not None and self.view.phase is Phase.ENDED
        if age > (SHUTDOWN_TIMEOUT if ended else STALLED_SECONDS):
            return Answer(False, f"the supervision loop has not turned for {age:.0f} s")
        return Answer(True, "the supervision loop turns")

    def startup(self, _now: float) -> Answer:
        """Answer whether an executor has ever loaded the agent."""
        return Answer(self.started, "an executor has loaded the agent" if self.started else "no agent is loaded yet")

    def ready(self, now: float) -> Answer:
        """Answer whether tasks are being executed. No from the moment a stop begins."""
        if self.view is None or not self.started:
            return self.startup(now)
        if self.view.phase is not Phase.RUNNING:
            return Answer(False, f"{self.view.phase.value}{_because(self.view)}")
        ready = sum(executor.state == SlotState.READY.value for executor in self.view.executors)
        if not ready:
            return Answer(False, "no executor is ready")
        live = self.live(now)
        return Answer(True, f"{ready} executors are ready") if live.ok else live


def _because(view: StatusView) -> str:
    return (
        f": {single_line(view.signal.message or view.signal.reason.value, _REASON_LENGTH)}"
        if view.signal is not None
        else ""
    )
