"""What the run does when the host is taken away, as the host's notices say. Pure.

*Theory.* A notice gives a time that is not ours to lengthen. What is certain (a Spot instance of AWS or Google)
interrupts the run at once, and the ladder takes all of the time that is left: nothing else happens on this machine any
more, and work that is cut off is lost. What the host may withdraw (Azure) stops only the dispatching at first: tasks
that end meanwhile are done, and the run is interrupted when its ladder just fits into the time that is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core import stimuli
from orchestrator.core.instructions import SendControl
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.stop_budget import grant_for, margin_of, use_up
from runtime.ipc import executor_protocol
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class HostEnd:
    """Pause and resume the dispatching, and stop the run, as the host announces, expects or withdraws its end."""

    def __init__(self, state: SupervisorState, shutdown: ShutdownController) -> None:
        self._state = state
        self._shutdown = shutdown
        self._announced: tuple[float, stimuli.HostEndAnnounced] | None = None
        """A notice that may be withdrawn, and when the host ends by it (monotonic seconds)."""
        self._drain_signal: InterruptSignal | None = None

    def on_announced(self, stimulus: stimuli.HostEndAnnounced, now: float) -> None:
        """Stop the run; or only its dispatching, while the host may withdraw the notice and there is time."""
        state = self._state
        seconds = round(stimulus.seconds, 1)
        state.log(
            "host.notice",
            Severity.WARNING,
            message=stimulus.message,
            seconds=seconds,
            triggered_by=stimulus.triggered_by,
        )
        ends = now + stimulus.seconds
        if state.phase is Phase.STOPPING:
            self._shutdown.shorten(stimulus.seconds - margin_of(stimulus.seconds), now)
        elif state.phase is Phase.RUNNING and stimulus.revocable and now < self._latest_start(ends):
            self._announced = (ends, stimulus)
            self._pause(stimulus.message, stimulus.triggered_by)
        else:
            self._stop(ends, stimulus, now)

    def on_expected(self, stimulus: stimuli.HostEndExpected, _now: float) -> None:
        """Stop the dispatching: tasks that run go on."""
        self._pause(stimulus.message, stimulus.triggered_by)

    def on_withdrawn(self, stimulus: stimuli.HostEndWithdrawn, _now: float) -> None:
        """Resume the dispatching. A stop that has begun goes on: tasks were interrupted already."""
        state = self._state
        self._announced = None
        if state.paused_by is not None and self._drain_signal is None:
            state.paused_by = None
            if state.phase is Phase.RUNNING:
                state.log("dispatch.resumed", message=stimulus.message, triggered_by=stimulus.triggered_by)

    def drain(self, signal: InterruptSignal) -> None:
        """Begin nothing more, and stop once nothing runs. The first signal wins."""
        self._drain_signal = self._drain_signal or signal
        self._pause(signal.message, signal.triggered_by)

    def stop_if_drained(self, now: float) -> bool:
        """Stop the run if nothing more is to begin in it and nothing runs. Return whether it did."""
        if self._drain_signal is None or any(slot.assigned for slot in self._state.slots):
            return False
        self._shutdown.stop(self._drain_signal, now)
        return True

    def due(self) -> list[float]:
        """Return when the run is to be stopped because of a notice (monotonic seconds)."""
        return [] if self._announced is None else [self._latest_start(self._announced[0])]

    def on_timer(self, now: float) -> None:
        """Stop the run if its ladder just fits into the time that is left."""
        if self._announced is not None and self._latest_start(self._announced[0]) <= now:
            self._stop(*self._announced, now)

    def _latest_start(self, ends: float) -> float:
        """Return the latest time at which a stop can begin (monotonic seconds)."""
        return ends - grant_for(self._state.wanted_ladder)

    def _stop(self, ends: float, stimulus: stimuli.HostEndAnnounced, now: float) -> None:
        self._announced = None
        reason = InterruptReason.SYSTEM_SHUTDOWN
        signal = PlainSignal(reason=reason, message=stimulus.message, triggered_by=stimulus.triggered_by)
        self._shutdown.stop(signal, now, use_up(self._state.wanted_ladder, max(0.0, ends - now)).ladder)

    def _pause(self, message: str, triggered_by: str) -> None:
        """Dispatch nothing more, and take back what executors have not begun."""
        state = self._state
        if state.phase is not Phase.RUNNING or state.paused_by is not None:
            return
        state.paused_by = message
        state.log(
            "dispatch.paused", Severity.WARNING, message=message, triggered_by=triggered_by, running=state.running
        )
        for slot in state.slots:
            if len(slot.assigned) > state.concurrency_per_executor:
                state.emit(SendControl(slot.number, executor_protocol.ReturnTasks(len(slot.assigned))))
