"""Views of runs, made by hand."""

from __future__ import annotations

from typing import Any

from orchestrator.core.ladder import Rung
from orchestrator.core.slots import ExecutorView
from orchestrator.core.status import Phase, StatusView
from runtime.model import InterruptReason, InterruptSignal

STOP = InterruptSignal(
    reason=InterruptReason.SYSTEM_SHUTDOWN, message="received SIGTERM", triggered_by="signal:SIGTERM"
)


def view(at: float = 0.0, phase: Phase = Phase.RUNNING, executors: str = "ready ready", **fields: Any) -> StatusView:
    """A run with these executors, by their states."""
    given: dict[str, Any] = {
        "accepted": 10, "completed": 0, "failed": 0, "interrupted": 0, "running": 0, "signal": None,
        "rung": Rung.NONE, "next_rung": None, **fields,
    }  # fmt: skip
    views = [ExecutorView(slot, 100 + slot, state) for slot, state in enumerate(executors.split())]
    return StatusView(at=at, phase=phase, executors=views, **given)
