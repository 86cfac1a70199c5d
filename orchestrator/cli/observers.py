"""Serve the host of `run` and `resume`: health probes on a port, the termination message, and PID 1's duty to reap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.cli.options import PROBE_ADDRESS
from orchestrator.engine.status_board import Observer
from orchestrator.integrations import detect
from orchestrator.integrations.kubernetes.termination import TerminationMessage
from orchestrator.integrations.pid1 import Reaper, is_pid1
from orchestrator.logging.sinks import LogCallback
from runtime.errors import UsageError
from runtime.statuses import Severity

if TYPE_CHECKING:
    from orchestrator.integrations.probes.server import Probes


class HostObservers:
    """Observers of a run for its host.

    Takes the port of the probes at once, so that a port in use is known before the run begins. Raises UsageError.
    """

    def __init__(self, message: TerminationMessage, port: int | None, address: str) -> None:
        self._message = message
        self._address = address
        self._probes: Probes | None = None
        if port is not None:  # imported only now: a web server costs a tenth of a second
            self._probes = importlib.import_module("orchestrator.integrations.probes.server").Probes(port, address)
        elif address != PROBE_ADDRESS:
            raise UsageError("--probe-address needs --probe-port")

    def all(self, guardian: Callable[[], int | None]) -> list[Observer]:
        """Return all observers. `guardian` returns the guardian's pid, or None before it has started."""
        observers: list[Observer] = [*detect.detect_observers(), self._message]
        if self._probes is not None:
            observers.append(self._probes)
        if is_pid1():
            observers.append(Reaper(guardian))
        return observers

    @contextmanager
    def serving_probes(self, run_id: str, log: LogCallback) -> Iterator[None]:
        """Answer probes while the block runs."""
        if self._probes is None:
            yield
            return
        self._probes.start(run_id)
        log("probes.listening", Severity.INFO, {"address": self._address, "port": self._probes.port})
        try:
            yield
        finally:
            self._probes.close()
