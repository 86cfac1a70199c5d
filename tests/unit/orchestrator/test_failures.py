"""orchestrator.failures: failed tasks are grouped by what they failed of."""

from __future__ import annotations

import pytest

from orchestrator.core.records import TaskOutcome
from orchestrator.failures import Cause, cause_of, group_failures, summary_lines
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from runtime.user_frames import Frame

TRACE = 'Traceback (most recent call last):\n  File "/home/u/agents.py", line {}, in work\n    boom()\n{}\n'


def failed(seq: int, error: str, detail: str | None = None, reason: InterruptReason | None = None) -> TaskOutcome:
    signal = None if reason is None else InterruptSignal(reason=reason)
    return TaskOutcome(
        seq=seq, key=f"k{seq}", status=ExecutionStatus.FAILED, attempts=1, error=error, detail=detail, signal=signal
    )


def raised(seq: int, line: int, error: str) -> TaskOutcome:
    return failed(seq, error, TRACE.format(line, error))


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (raised(1, 3, "ValueError: 1 (one) is bad"), Cause("ValueError", Frame("/home/u/agents.py", 3, "work"))),
        (raised(1, 3, "KeyboardInterrupt"), Cause("KeyboardInterrupt", Frame("/home/u/agents.py", 3, "work"))),
        (failed(1, "timeout: after 3 s", "Traceback", InterruptReason.TIMEOUT), Cause("timeout")),
        (failed(1, "the executor died: SIGSEGV (3 times)"), Cause("the executor died: SIGSEGV")),
        (failed(1, ""), Cause("no error")),
    ],
)
def test_the_cause_of_a_failure(outcome: TaskOutcome, cause: Cause) -> None:
    assert cause_of(outcome) == cause


def test_a_file_is_shown_as_seen_from_the_working_directory_of_the_run() -> None:
    cause = cause_of(raised(1, 3, "ValueError: bad"))
    assert cause.text("/home/u") == cause.text("/home/u/") == "ValueError at agents.py:3 in work"
    assert cause.text("/home") == "ValueError at u/agents.py:3 in work"
    assert cause.text("/hom") == cause.text() == "ValueError at /home/u/agents.py:3 in work"


def test_groups_are_by_type_and_line_and_the_largest_comes_first() -> None:
    groups = group_failures(
        [
            raised(1, 3, "KeyError: 1"),
            raised(2, 4, "ValueError: 2"),
            raised(3, 3, "ValueError: 3"),
            raised(4, 4, "ValueError: 4"),
        ]
    ).largest_first()
    assert [(group.cause.text("/home/u"), group.count, group.example.key) for group in groups] == [
        ("ValueError at agents.py:4 in work", 2, "k2"),
        ("KeyError at agents.py:3 in work", 1, "k1"),
        ("ValueError at agents.py:3 in work", 1, "k3"),
    ]


def test_the_summary_names_three_groups_and_counts_the_rest() -> None:
    groups = group_failures([raised(n, n, "ValueError: \x1b[31m") for n in range(1, 7)]).largest_first()
    lines = summary_lines(groups, "/home/u")
    assert lines[0] == r"  1 task: ValueError at agents.py:1 in work (for example task k1: ValueError: \x1b[31m)"
    assert len(lines) == 4
    assert lines[3] == "  3 tasks: 3 more causes"
