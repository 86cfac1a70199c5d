"""Rates and estimates, by a clock that is a number."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.progress import ProgressMeter, TaskProgress, make_progress
from orchestrator.core.slots import ExecutorView, TaskView
from orchestrator.core.status import Phase
from tests.unit.orchestrator.integrations.views import STOP, view


def meter(*samples: tuple[float, int], in_flight: int = 2) -> ProgressMeter:
    """A meter that has seen how many tasks had ended at these times."""
    made = ProgressMeter()
    for at, finished in samples:
        made.add(at, finished, in_flight)
    return made


def test_there_is_no_rate_before_the_first_task_has_ended() -> None:
    assert meter().rate(5, 2) is None
    assert meter((0, 0), (9, 0)).rate(10, 2) is None


def test_the_rate_is_what_has_ended_by_the_time_that_it_took() -> None:
    assert meter((0, 0), (5, 10), (10, 20)).rate(10, 0) == 2


def test_what_an_earlier_start_has_done_does_not_count() -> None:
    assert meter((0, 1000), (10, 1020)).rate(10, 0) == 2


def test_the_time_before_the_first_task_begins_does_not_count() -> None:
    measured = ProgressMeter()
    measured.add(0, 7, 0)  # the agent is being imported
    measured.add(100, 7, 0)
    measured.add(101, 7, 2)
    measured.add(111, 17, 2)
    assert measured.rate(111, 0) == pytest.approx(10 / 11)


def test_the_rate_is_that_of_the_last_minute() -> None:
    slow = [(float(at), at) for at in range(101)]
    fast = [(100.0 + at, 100 + 10 * at) for at in range(1, 101)]
    assert meter(*slow, *fast).rate(200, 0) == pytest.approx(10)


def test_of_long_tasks_more_than_a_minute_counts() -> None:
    hours = [(3600.0 * count, count) for count in range(6)]
    assert meter(*hours).rate(5 * 3600, 0) == pytest.approx(1 / 3600)


def test_between_the_ends_of_long_tasks_the_rate_stays_until_the_next_are_late() -> None:
    """Two at a time, a minute each: at 119 s it is still 2 a minute."""
    measured = meter((0, 0), (60, 2))
    assert measured.rate(60, 2) == measured.rate(90, 2) == measured.rate(119, 2) == pytest.approx(2 / 60)
    assert measured.rate(240, 2) == pytest.approx(1 / 60)


def test_a_run_of_many_tasks_keeps_few_samples() -> None:
    measured = meter(*((at / 10, at) for at in range(100_000)))
    assert len(measured._samples) < 200


@pytest.mark.parametrize(
    ("fields", "eta"),
    [
        ({}, 40.0),
        ({"phase": Phase.STOPPING, "signal": STOP}, None),
        ({"is_total_known": False}, None),
        ({"interrupted": 20}, 30.0),
    ],
)
def test_the_estimate(fields: dict[str, Any], eta: float | None) -> None:
    status = view(**{"accepted": 100, "completed": 15, "failed": 5, "is_total_known": True, **fields})
    progress = make_progress(status, 10, meter((0, 0), (10, 20)))
    assert (progress.done, progress.completed, progress.failed, progress.rate, progress.eta) == (20, 15, 5, 2, eta)


def test_executors_come_in_the_order_of_their_longest_tasks() -> None:
    first = ExecutorView(0, 10, "ready", (TaskView("new", 1, 1, None),), 1)
    second = ExecutorView(1, 11, "ready", (TaskView("old", 2, 1, 4.0), TaskView("newer", 3, 1, 9.0)), 7)
    status = view(running=8)
    object.__setattr__(status, "executors", [first, second, ExecutorView(2, 12, "ready")])
    progress = make_progress(status, 10.0, meter(), lambda slot, task: (slot, None) if task.seq == 2 else None)
    assert [executor.slot for executor in progress.executors] == [1, 0]
    assert progress.executors[0].tasks == (TaskProgress("old", 6.0, 1, None), TaskProgress("newer", 1.0))
    assert (progress.executors[0].in_flight, progress.in_flight) == (7, 8)
