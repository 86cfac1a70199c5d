"""The order in which output is printed, and the lines of a job log."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.commands.ended_command import read_ended
from orchestrator.cli.commands.joblog import line_of
from orchestrator.cli.commands.printer import TaskOrder
from orchestrator.core.records import TaskOutcome
from runtime.ipc.codec import encode_json
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal


def outcome(seq: int, **value: Any) -> TaskOutcome:
    return TaskOutcome(seq=seq, key=f"k{seq}", status=ExecutionStatus.COMPLETED, attempts=1, encoded=encode_json(value))


def test_outcomes_come_in_the_order_of_their_numbers() -> None:
    order = TaskOrder()
    order.skip([1, 4])
    turns = [[one.seq for one in order.add(outcome(seq))] for seq in (3, 6, 2, 5)]
    assert turns == [[], [], [2, 3], [5, 6]]


def test_what_waits_at_the_end_comes_in_order() -> None:
    order = TaskOrder()
    assert [order.add(outcome(seq)) for seq in (9, 5)] == [[], []]
    assert [one.seq for one in order.rest()] == [5, 9]


def line(one: TaskOutcome) -> str:
    ended = read_ended(one)
    assert ended is not None
    return line_of(one, ended)


def test_a_line_of_the_job_log_is_that_of_parallel() -> None:
    record = {"command": "echo a", "exit": 3, "seconds": 0.25, "started_at": 1000.5, "stdout_bytes": 2}
    assert line(outcome(1, **record)) == "1\t:\t1000.500\t     0.250\t0\t2\t3\t0\techo a\n"
    assert line(outcome(2, **{**record, "exit": None, "signal": "SIGKILL"})).split("\t")[6:8] == ["0", "9"]
    assert line(outcome(3, command="nope")).split("\t")[6:8] == ["127", "0"]


def test_a_command_over_its_timeout_has_the_exit_value_of_parallel() -> None:
    signal = InterruptSignal(reason=InterruptReason.TIMEOUT, message="too long", triggered_by="timeout")
    late = TaskOutcome(
        seq=1, key="k", status=ExecutionStatus.FAILED, attempts=1, signal=signal,
        encoded=encode_json({"signal": "SIGTERM", "command": "sleep 9"}),
    )  # fmt: skip
    assert line(late).split("\t")[6:8] == ["-1", "15"]
