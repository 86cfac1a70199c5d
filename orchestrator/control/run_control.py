"""Answer the requests of the control socket for one run: read its status, and hand stimuli to its loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from orchestrator.control.protocol import (
    Done,
    EscalateRequest,
    InterruptRequest,
    LimitsReply,
    LimitsRequest,
    RemainingExecutor,
    Reply,
    RunRequest,
    StacksRequest,
    StatusReply,
    StatusRequest,
    StopReport,
)
from orchestrator.core import progress_report, stimuli
from orchestrator.core.progress import Progress
from orchestrator.core.settings import RunSettings
from orchestrator.core.status import Phase, StatusView
from runtime.errors import UsageError
from runtime.interrupt_signal import build_signal
from runtime.reasons import InterruptReason, escape_surrogates

LIMITS = (
    "workers", "concurrency", "grace", "term_grace", "timeout", "timeout_grace", "deadline", "retries", "max_failures",
    "memory_limit", "max_memory_per_executor", "max_tasks_per_executor", "heartbeat_timeout",
)  # fmt: skip
"""The settings that limit a run."""


class RunView(Protocol):
    """What is asked of a session. Any thread may call it."""

    run_id: str
    settings: RunSettings

    @property
    def status(self) -> StatusView:
        """The run as it stands."""
        ...

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        ...

    def is_executing(self, key: str) -> bool:
        """Return whether an executor executes the task of this key."""
        ...


class RunControl:
    """Answer requests about one run. `post` hands a stimulus to its loop, `now` is that one's monotonic clock."""

    def __init__(self, run: RunView, post: Callable[[stimuli.Stimulus], None], now: Callable[[], float]) -> None:
        self._run = run
        self._post = post
        self._now = now
        self._answers: dict[type[Any], Callable[[Any], Reply]] = {
            StatusRequest: self._status,
            InterruptRequest: self._interrupt,
            EscalateRequest: self._escalate,
            LimitsRequest: self._limits,
            StacksRequest: self._stacks,
        }

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._run.run_id

    def answer(self, request: RunRequest) -> Reply:
        """Answer a request. Raises UsageError for one that makes no sense now."""
        return self._answers[type(request)](request)

    def _status(self, _: StatusRequest) -> StatusReply:
        report = progress_report.encode(time.time(), self._run.progress)
        return StatusReply(report, self._stop_report(self._run.status))

    def _stop_report(self, view: StatusView) -> StopReport | None:
        if view.signal is None:
            return None
        age = self._now() - view.at
        return StopReport(
            reason=view.signal.reason.value,
            message=view.signal.message,
            triggered_by=view.signal.triggered_by,
            phase=view.phase.value,
            rung=view.rung.name,
            next_rung=None if view.next_rung is None else max(0.0, view.next_rung - age),
            ends=None if view.stop_bound is None else max(0.0, view.stop_bound - age),
            executors=[
                RemainingExecutor(executor.slot, executor.pid or 0, [task.key for task in executor.tasks])
                for executor in view.executors
            ],
        )

    def _interrupt(self, request: InterruptRequest) -> Done:
        try:
            reason = InterruptReason(request.reason)
        except ValueError:
            raise UsageError(f"there is no reason {request.reason!r}: {', '.join(InterruptReason)}") from None
        if request.key is not None and request.slot is not None:
            raise UsageError("interrupt a task or an executor, not both")
        if request.slot is not None and all(view.slot != request.slot for view in self._run.status.executors):
            raise UsageError(f"there is no executor {request.slot}")
        signal = build_signal(reason, request.message, request.triggered_by)
        key = None if request.key is None else escape_surrogates(request.key)
        self._post(stimuli.InterruptRequested(signal, key, slot=request.slot))
        return Done()

    def _escalate(self, request: EscalateRequest) -> Done:
        if self._run.status.phase not in (Phase.STOPPING, Phase.FINISHING):
            raise UsageError(f"run {self.run_id} is not being stopped: interrupt it first")
        self._post(stimuli.EscalationRequested(escape_surrogates(request.triggered_by)))
        return Done()

    def _stacks(self, request: StacksRequest) -> Done:
        self._post(stimuli.StacksRequested(escape_surrogates(request.triggered_by)))
        return Done()

    def _limits(self, _: LimitsRequest) -> LimitsReply:
        settings = {name: value for name, value in self._run.settings.model_dump(mode="json").items() if name in LIMITS}
        return LimitsReply(msgspec.json.encode(settings))
