"""Look at what executors write into shared memory, and at the processor time of those that show no heartbeat."""

from __future__ import annotations

from orchestrator.backends import Backend
from orchestrator.core import stimuli
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.engine.multiplexer import PipeMultiplexer


class Sampler:
    """Take samples. Belongs to the loop."""

    def __init__(self, backend: Backend, mux: PipeMultiplexer, machine: SupervisorStateMachine) -> None:
        self._backend = backend
        self._mux = mux
        self._machine = machine
        self.due_at = 0.0
        """When the next sample is due, in the loop's monotonic seconds."""
        self._is_slow = False

    def hasten(self, now: float) -> None:
        """Bring the next sample forward if there is work again. Called in each turn of the loop."""
        if self._is_slow and self._is_busy():
            self._is_slow = False
            self.due_at = min(self.due_at, now + self._machine.settings.sample_interval)

    def _is_busy(self) -> bool:
        state = self._machine.state
        return state.running > 0 or state.signal is not None

    def take(self, now: float) -> stimuli.ProgressSampled:
        """Return what is seen now."""
        settings = self._machine.settings
        self._is_slow = not self._is_busy()
        self.due_at = now + (settings.idle_sample_interval if self._is_slow else settings.sample_interval)
        progress = [self._backend.progress(slot) for slot in range(settings.workers)]
        if self._mux.paused:  # an executor that cannot write cannot be blamed for its silence
            progress = [slot._replace(heartbeat_at=now) for slot in progress]
        quiet = (
            (slot.number, self._backend.processor_use(slot.pid or 0))
            for slot in self._machine.slots_without_heartbeat(progress, now)
        )
        used = {slot: use for slot, use in quiet if use is not None}
        runnable = frozenset(slot for slot, use in used.items() if use.is_runnable)
        return stimuli.ProgressSampled(progress, {slot: use.seconds for slot, use in used.items()}, runnable)
