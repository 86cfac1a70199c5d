"""The lines of a run that has no live display, and the warnings of failed tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.core.progress import ProgressMeter, make_progress
from orchestrator.core.records import TaskOutcome
from orchestrator.core.status import Phase
from orchestrator.display.base import PlainDisplay
from orchestrator.display.failures import FailureWarnings
from runtime.model import ExecutionStatus, Severity
from tests.unit.orchestrator.integrations.views import view


class Log(list[tuple[str, Severity, Mapping[str, Any]]]):
    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        self.append((name, severity, fields))


def line_times(interval: float | None, until: int, **fields: Any) -> list[int]:
    """At which whole seconds a line is written."""
    log = Log()
    display = PlainDisplay(log, interval)
    times: list[int] = []
    for now in range(until):
        status = view(**fields)
        display.update(status, make_progress(status, now, ProgressMeter()), now)
        if len(log) > len(times):
            times.append(now)
    return times


def test_the_first_line_comes_soon_and_the_others_at_the_interval() -> None:
    assert line_times(10, 40) == [2, 12, 22, 32]
    assert line_times(1, 5) == [1, 2, 3, 4]


def test_a_short_run_has_no_line() -> None:
    assert line_times(10, 2) == []


def test_there_is_no_line_without_an_interval_without_a_task_or_after_the_last_one() -> None:
    assert line_times(None, 40) == line_times(10, 40, accepted=0) == line_times(10, 40, phase=Phase.SWEEPING) == []


def outcome(number: int, status: ExecutionStatus = ExecutionStatus.FAILED) -> TaskOutcome:
    return TaskOutcome(seq=number, key=f"k{number}", status=status, attempts=2, error=f"ValueError: {number}\nmore")


def test_failed_tasks_are_warned_of() -> None:
    log = Log()
    FailureWarnings(log)([outcome(1), outcome(2, ExecutionStatus.COMPLETED), outcome(3, ExecutionStatus.INTERRUPTED)])
    fields = {"key": "k1", "error": "ValueError: 1 more", "attempts": 2}
    assert log == [("task.failed", Severity.WARNING, fields)]


def test_of_many_failed_tasks_a_few_are_named_and_the_others_counted() -> None:
    log, now = Log(), 0.0
    warn = FailureWarnings(log, lambda: now)
    warn([outcome(number) for number in range(1000)])
    now = 2.5
    warn([outcome(1000)])
    assert len(log) == 11
    assert log[-1][2]["more"] == 990
