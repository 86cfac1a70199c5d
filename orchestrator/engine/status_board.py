"""Publish the status of a run to other threads and to observers. The machine's own state belongs to the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.progress import Progress, ProgressMeter, Reported, make_progress
from orchestrator.core.status import StatusView

Observer = Callable[[StatusView], None]
"""Take the status at every sample and change of phase. The loop itself calls it, so a watchdog's pings that come from
it prove that the loop turns. It must neither block nor raise."""


class StatusBoard:
    """Show the status. Methods belong to the loop; any thread may read `status`. `now`: the loop's monotonic clock."""

    def __init__(
        self, machine: SupervisorStateMachine, observers: Sequence[Observer], now: Callable[[], float]
    ) -> None:
        self._machine = machine
        self._observers = observers
        self._now = now
        self.status: StatusView = machine.status(now())
        self._meter = ProgressMeter()
        self.announced = 0
        """How many tasks callers said that they will hand in."""

    def renew(self) -> None:
        """Renew the status."""
        self.status = self._machine.status(self._now())

    def progress(self, reported: Reported) -> Progress:
        """Return how far the run is now. `reported`: what tasks gave to `state.progress`. From any thread."""
        return make_progress(self.status, self._now(), self._meter, reported, announced=self.announced)

    def notify(self) -> None:
        """Renew the status, and show it to the observers."""
        self.renew()
        self._meter.add(self.status.at, self.status.finished, self.status.running)
        for observe in self._observers:
            observe(self.status)

    def notify_if_changed(self) -> None:
        """Notify if phase, signal or error are not those that are shown."""
        state, status = self._machine.state, self.status
        if state.phase is not status.phase or state.signal is not status.signal or state.error is not status.error:
            self.notify()
