"""How a run ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.core.status import StatusView
from runtime.plain_signal import PlainSignal, public
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True, slots=True)
class RunResult:
    """Hold how a run ended. `remaining` names processes that SIGKILL did not end; `error` is one line or None."""

    status: ExecutionStatus
    signal: InterruptSignal | None
    error: str | None
    view: StatusView
    remaining: Sequence[str]
    seconds: float

    @property
    def signal_name(self) -> str | None:
        """The signal to die by: SIGINT, SIGTERM or SIGHUP, if it was the cause.

        Another signal of `stop_on` is a warning of the host: the run is to be resumed.
        """
        by = self.signal.triggered_by if self.signal is not None else ""
        name = by.removeprefix("signal:")
        return name if by.startswith("signal:") and name in ENDING_SIGNALS else None

    def log_fields(self, run_id: str) -> dict[str, Any]:
        """Return the fields of the log event `run.finished`."""
        view = self.view
        return {
            "run": run_id,
            "status": self.status.value,
            "completed": view.completed,
            "failed": view.failed,
            "interrupted": view.interrupted,
            "pending": view.pending,
            "seconds": round(self.seconds, 3),
        }


def public_view(view: StatusView) -> StatusView:
    """Return the view with an InterruptSignal, which the machinery does without."""
    return view if view.signal is None else replace(view, signal=public(view.signal))


def public_result(result: RunResult) -> RunResult:
    """Return the result with InterruptSignals, which the machinery does without."""
    if result.signal is None or not isinstance(result.signal, PlainSignal):
        return result
    return replace(result, signal=public(result.signal), view=public_view(result.view))


def final_status(view: StatusView, *, has_defect: bool) -> ExecutionStatus:
    """Return the status of a run that has ended so; `has_defect`: the supervisor's loop has raised."""
    if view.signal is not None or has_defect or view.left > 0:
        return ExecutionStatus.INTERRUPTED
    return ExecutionStatus.FAILED if view.failed else ExecutionStatus.COMPLETED
