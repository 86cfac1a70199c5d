"""Watching executors through shared memory: how long a task has been in hand. Pure."""

from __future__ import annotations

from orchestrator import stimuli as told
from orchestrator.mind import Mind
from orchestrator.stopping import Stopping
from orchestrator.view import Phase
from runtime.model import InterruptReason, InterruptSignal


class Watch:
    """The supervisor's clock decides, never the executor's: a thread there cannot run while C code holds the GIL."""

    def __init__(self, mind: Mind, stopping: Stopping) -> None:
        self._mind = mind
        self._stopping = stopping

    def progress(self, stimulus: told.Progress, now: float) -> None:
        """What shared memory shows."""
        for slot, (task, since, _beat) in zip(self._mind.slots, stimulus.slots, strict=True):
            one = slot.assigned.get(task)
            if one is not None:
                one.since = since
        if self._mind.phase is Phase.RUNNING and self._mind.settings.timeout is not None:
            self._limit_tasks(self._mind.settings.timeout, now)

    def _limit_tasks(self, timeout: float, now: float) -> None:
        for slot in self._mind.slots:
            for one in list(slot.assigned.values()):
                if one.since is not None and now - one.since >= timeout:
                    message = f"the task took longer than {timeout:g} s"
                    signal = InterruptSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="timeout")
                    self._stopping.ask(slot, one, signal, now)
