"""Progress as text."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress
from orchestrator.display import text


def progress(**fields: Any) -> Progress:
    given: dict[str, Any] = {
        "done": 12, "total": 40, "is_total_known": True, "failed": 0, "retried": 0, "interrupted": 0, "in_flight": 4,
    }  # fmt: skip
    return Progress(**{**given, **fields})


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (100_000, "1 d 3:46:40"), (-5, "0:00:00")],
)
def test_a_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(123.4, "123/s"), (1.25, "1.2/s"), (0.5, "30/min"), (0.002, "7.2/h"), (0.0001, "8.6/d"), (0, "0.0/d")],
)
def test_a_rate_has_the_unit_in_which_it_is_at_least_one(rate: float, shown: str) -> None:
    assert text.rate(rate) == shown


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        (TaskProgress("k"), ""),
        (TaskProgress("k", 1.0, 4, 10), "4/10"),
        (TaskProgress("k", 1.0, 0.12345), "0.1235"),
        (TaskProgress("k", 1.0, float("nan"), float("inf")), "?/?"),
        (TaskProgress("k", 1.0, 1e300, 2.0**40), "1e+300/1099511627776"),
    ],
)
def test_what_an_agent_said_of_its_progress(task: TaskProgress, shown: str) -> None:
    assert text.task_amount(task) == shown


def test_a_line_has_what_there_is_to_say() -> None:
    busy = progress(failed=2, retried=1, interrupted=3, rate=2.0, eta=14.0)
    assert text.line("r", busy) == (
        "r: 12/40 · 2.0/s · ETA 0:00:14 · 2 failed · 4 in flight · 1 retried · 3 interrupted"
    )
    assert text.line("r", progress(is_total_known=False)) == "r: 12/40+ · 4 in flight"


def test_what_does_not_fit_is_left_out() -> None:
    parts = text.summary(progress(failed=2, retried=1, rate=2.0, eta=14.0))
    assert text.fitted(parts, 30) == "2.0/s · ETA 0:00:14 · 2 failed"
    assert text.fitted(parts, 29) == "2.0/s · ETA 0:00:14"
    assert text.fitted(parts, 1) == "2.0/s"


def test_the_fields_of_a_log_line_are_numbers_for_programs_and_text_for_people() -> None:
    busy = progress(rate=2.0, eta=14.0)
    rest = {"done": 12, "total": 40, "failed": 0, "retried": 0, "in_flight": 4}
    assert text.fields(busy, for_people=False) == {**rest, "rate": 2.0, "eta": 14.0}
    assert text.fields(busy, for_people=True) == {**rest, "rate": "2.0/s", "eta": "0:00:14"}


def test_a_task_that_runs_long_is_named() -> None:
    executor = ExecutorProgress(1, 11, (TaskProgress("page\x1b7", 130.0, 3, 9),), 1)
    shown = progress(executors=(executor,))
    assert text.fields(shown, for_people=True, long_seconds=100)["longest"] == "page\\x1b7 3/9 0:02:10"
    assert "longest" not in text.fields(shown, for_people=True, long_seconds=200)


def test_an_estimate_beyond_all_reason_is_none() -> None:
    assert text.eta(1e300) == text.eta(None) == "?"
