"""What a supervisor tells other processes of its progress."""

from __future__ import annotations

import math

import msgspec
import pytest

from orchestrator.core import progress_report
from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress


def progress(*executors: ExecutorProgress) -> Progress:
    return Progress(3, 9, is_total_known=True, failed=1, retried=0, interrupted=0, in_flight=2, executors=executors)


def test_a_report_is_read_as_it_was_written() -> None:
    executor = ExecutorProgress(1, 11, (TaskProgress("k\N{SNOWMAN}", 1.5, 4, None),), 7)
    report = progress_report.decode(progress_report.encode(99.5, progress(executor)))
    assert report == progress_report.ProgressReport(99.5, progress(executor))


def test_of_many_executors_those_with_the_longest_tasks_are_told() -> None:
    executors = [ExecutorProgress(slot, None, (TaskProgress("k"),), 1) for slot in range(300)]
    report = progress_report.decode(progress_report.encode(0, progress(*executors)))
    assert [executor.slot for executor in report.progress.executors] == list(range(progress_report.MOST_EXECUTORS))


def test_a_number_that_json_does_not_have_is_none() -> None:
    executor = ExecutorProgress(1, 11, (TaskProgress("k", 1.5, math.inf, math.nan),), 1)
    (read,) = progress_report.decode(progress_report.encode(0, progress(executor))).progress.executors
    assert read.tasks == (TaskProgress("k", 1.5),)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"at": 1, "progress": {"done": "x"}}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        progress_report.decode(text)
