"""One run without processes: the real session, engine and machine on a FakeBackend, and a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from orchestrator.config import Settings
from orchestrator.core.records import NewTask, TaskOutcome
from orchestrator.journal import Journal
from orchestrator.run_result import RunResult
from orchestrator.run_session import RunSession
from orchestrator.testing import FakeBackend, ManualClock
from runtime.model import InterruptReason, InterruptSignal
from tests.support.recorded_log import PATIENCE, RecordedLog

STOP = InterruptSignal(reason=InterruptReason.USER_CANCELLED, message="stop", triggered_by="test")

Agent = Callable[[Any, Any], Any]


class FakeRun:
    """Start a session in a `with` block; leaving it ends the run, if need be by an interrupt."""

    def __init__(self, agents: Mapping[str, Agent], journal: Journal | None = None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.began = self.clock.monotonic()
        self.backend = FakeBackend(agents, self.clock)
        self.log = RecordedLog(lambda: round(self.clock.monotonic() - self.began, 3))
        self.outcomes: dict[str, TaskOutcome | None] = {}
        self.session = RunSession(
            Settings(**{"workers": 1, **settings}),
            "r",
            self.log,
            journal,
            handle_signals=False,
            backend=self.backend,
            clock=self.clock,
        )
        self.result: RunResult | None = None

    def __enter__(self) -> Self:
        self.session.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.result is None:
            for executor in self.backend.executors:
                executor.kill()
            self.session.interrupt(STOP)
            self.session.finish()

    def load(self, agent: str) -> int:
        """Register an agent of the backend's. Return its number once an executor has loaded it."""
        number, loaded = self.session.register_agent(by_name=True, source=agent.encode())
        loaded.result(PATIENCE)
        self.session.begin_run({"name": agent})
        self.session.start_tasks()
        return number

    def add(self, agent: str, *keys: str) -> None:
        """Hand in one task a key, whose input is the key; its outcome goes to `outcomes`."""
        number = self.load(agent)
        for key in keys:
            self.session.hub.add_waiter(key, partial(self.outcomes.__setitem__, key))
        self.session.spool([NewTask(key, f'"{key}"'.encode(), "json", agent=number) for key in keys]).result(PATIENCE)

    def finish(self) -> RunResult:
        """Wait for the end of the run, which has all of its tasks."""
        self.session.seal()
        assert self.session.join(PATIENCE), self.log.events
        self.result = self.session.finish()
        return self.result


class WaitingAgent:
    """An agent that works until its state is interrupted. `began` is set by its first task."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.grace: list[float | None] = []

    def __call__(self, task_input: Any, state: Any) -> None:
        self.began.set()
        try:
            state.sleep(3600)
        finally:
            self.grace.append(state.remaining_grace)
