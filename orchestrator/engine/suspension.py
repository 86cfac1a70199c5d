"""Carry out a Ctrl-Z: stop the processes below first, and then, once they are stopped, the supervisor itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from orchestrator.backends import Backend
from orchestrator.engine.signals import SignalPipe

HALT_SECONDS = 1.0
"""Seconds that a Ctrl-Z waits for the guardian to have stopped everything."""


class SupervisorSuspension:
    """Know the Ctrl-Z that is under way, if any. Belongs to the loop. `now`: its monotonic clock."""

    def __init__(self, backend: Backend, signals: SignalPipe | None, now: Callable[[], float]) -> None:
        self._backend = backend
        self._signals = signals
        self._now = now
        self._began: float | None = None
        self.around_stop: Callable[[], AbstractContextManager[object]] = nullcontext
        """What is entered while this process is stopped: the terminal is the shell's then."""

    @property
    def stops_at(self) -> float:
        """When this process stops, whatever the others do (monotonic seconds); infinite without a Ctrl-Z."""
        return math.inf if self._began is None else self._began + HALT_SECONDS

    def begin(self) -> bool:
        """Have the processes below stopped. Return whether that is new."""
        if self._began is not None:
            return False
        self._began = self._now()
        self._backend.suspend()
        return True

    def stop_process(self) -> float:
        """Stop this process, and return when it goes on, with the seconds since `begin`."""
        assert self._began is not None
        assert self._signals is not None
        with self.around_stop():
            self._signals.stop_process()
        began, self._began = self._began, None
        self._backend.resume()
        return self._now() - began
