"""Tools for tests of what a supervisor does: executors without processes, and a clock that a test sets.

    backend = FakeBackend()
    with Supervisor(workers=2, backend=backend) as supervisor:
        outcomes = list(supervisor.map(agent, inputs))

Agents run in threads of the test's own process. See FakeBackend for the faults that a test can cause.
"""

from __future__ import annotations

from orchestrator.testing.backend import FakeBackend
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.executor import FakeExecutor

__all__ = ["FakeBackend", "FakeExecutor", "ManualClock"]
