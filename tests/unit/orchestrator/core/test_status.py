"""The counts of a run that are derived from others."""

from __future__ import annotations

from tests.unit.orchestrator.integrations.views import view


def test_tasks_are_finished_left_or_pending() -> None:
    status = view(accepted=10, completed=3, failed=2, interrupted=1)
    assert (status.finished, status.left, status.pending) == (5, 5, 4)
