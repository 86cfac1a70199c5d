"""Stop a run of commands at so many failures, successes or ends: --halt, as GNU parallel has it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.command_settings import Halt, HaltCount, parse_halt
from orchestrator.core.records import TaskOutcome
from orchestrator.run_session import RunSession
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus


class HaltWatch:
    """Count the ends of this start. `now`: stop the run. `soon`: begin no command, and stop when none runs."""

    def __init__(self, condition: str | None) -> None:
        self._halt: Halt | None = None if condition is None else parse_halt(condition)
        self._text = condition or ""
        self._session: RunSession | None = None
        self._completed = 0
        self._failed = 0
        self._is_reached = False

    def begin(self, session: RunSession) -> None:
        """Begin to count for a run."""
        self._session = session

    def count(self, outcomes: Sequence[TaskOutcome]) -> None:
        """Count outcomes that have just been committed. Never waits."""
        session = self._session
        if self._halt is None or session is None:
            return
        for outcome in outcomes:
            self._completed += outcome.status is ExecutionStatus.COMPLETED
            self._failed += outcome.status is ExecutionStatus.FAILED
        if self._is_reached or not self._halt.is_reached(self._completed, self._failed, session.status.accepted):
            return
        if self._halt.now:
            session.interrupt(self._signal())
        else:
            session.drain(self._signal())
        self._is_reached = True

    def _signal(self) -> PlainSignal:
        assert self._halt is not None
        is_failure = self._halt.count is HaltCount.FAIL
        reason = InterruptReason.ERROR_THRESHOLD if is_failure else InterruptReason.CUSTOM
        message = f"halt {self._text}: {self._completed} completed, {self._failed} failed"
        return PlainSignal(reason=reason, message=message, triggered_by="halt")
