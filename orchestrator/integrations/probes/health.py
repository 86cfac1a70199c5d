"""What a host's probes are answered: is the loop alive, is there work being done, has it begun? Pure.

Everything is judged by the latest StatusView, which the supervision loop itself makes: whoever answers for the loop
from another thread proves nothing, unless it says how old its knowledge is.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.status import Phase, StatusView
from orchestrator.core.transitions import SlotState
from runtime.text import single_line

STALLED_SECONDS = 10.0
"""A loop that has not turned for so long is stuck. It turns four times a second; a full disk's log may cost it one."""

SHUTDOWN_TIMEOUT = 60.0
"""How long the end may take once the loop is over: the journal's last commit, and its checkpoint."""

_WHY = 500
"""Characters of the reason for a stop in an answer of one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and why in a few words."""

    ok: bool
    why: str


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a run: the latest view, if there was one, since when (monotonic), and whether it had begun."""

    since: float
    view: StatusView | None = None
    started: bool = False

    def seen(self, view: StatusView) -> Health:
        """The same, with a newer view. Once started, it stays so."""
        return Health(self.since, view, self.started or view.loaded)

    def live(self, now: float) -> Answer:
        """Whether the supervision loop turns. False means that only a restart helps."""
        age = now - (self.since if self.view is None else self.view.at)
        ended = self.view is not None and self.view.phase is Phase.ENDED
        if age > (SHUTDOWN_TIMEOUT if ended else STALLED_SECONDS):
            return Answer(False, f"the supervision loop has not turned for {age:.0f} s")
        return Answer(True, "the supervision loop turns")

    def startup(self, _now: float) -> Answer:
        """Whether an executor has ever loaded the agent. True for good from then on."""
        return Answer(self.started, "an executor has loaded the agent" if self.started else "no agent is loaded yet")

    def ready(self, now: float) -> Answer:
        """Whether tasks are being worked on. False from the moment a stop begins."""
        if self.view is None or not self.started:
            return self.startup(now)
        if self.view.phase is not Phase.RUNNING:
            return Answer(False, f"{self.view.phase.value}{_because(self.view)}")
        ready = sum(one.state == SlotState.READY.value for one in self.view.executors)
        if not ready:
            return Answer(False, "no executor is ready")
        live = self.live(now)
        return Answer(True, f"{ready} executors are ready") if live.ok else live


def _because(view: StatusView) -> str:
    return f": {single_line(view.signal.message or view.signal.reason.value, _WHY)}" if view.signal is not None else ""
