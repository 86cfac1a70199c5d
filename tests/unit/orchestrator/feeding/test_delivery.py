"""The order in which `map` yields, and what it keeps in memory: no threads, no processes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.records import TaskOutcome
from orchestrator.feeding import delivery
from orchestrator.feeding.delivery import MAX_BYTES, MAX_TASKS, Delivery
from orchestrator.outcome import Outcome
from runtime.model import ExecutionStatus


def record(number: int, value: bytes = b"1") -> TaskOutcome:
    return TaskOutcome(seq=number + 1, key=f"k{number}", status=ExecutionStatus.COMPLETED, attempts=1, encoded=value)


@given(st.permutations(range(8)), st.booleans())
def test_every_outcome_is_yielded_once_with_its_input(arriving: list[int], in_order: bool) -> None:
    delivered = Delivery(in_order=in_order, least=1)
    assert [delivered.expect(f"input {number}", 1) for number in range(8)] == list(range(8))
    yielded: list[Outcome[Any]] = []
    for index in arriving:
        yielded.extend(delivered.take(index, record(index)))
    assert [outcome.index for outcome in yielded] == (sorted(arriving) if in_order else arriving)
    assert all(outcome.input == f"input {outcome.index}" for outcome in yielded)
    assert delivered.outstanding == 0
    assert delivered.has_room


def test_in_order_an_early_outcome_waits_and_takes_room() -> None:
    delivered = Delivery(in_order=True, least=1)
    for number in range(MAX_TASKS):
        delivered.expect(number, 1)
    for number in range(1, MAX_TASKS):
        delivered.put(number, record(number))
    assert list(delivered.ready()) == []
    assert not delivered.has_room
    delivered.put(0, record(0))
    assert len(list(delivered.ready())) == MAX_TASKS
    assert delivered.has_room


def test_without_an_order_a_slow_task_delays_no_other() -> None:
    delivered = Delivery(in_order=False, least=1)
    for number in range(MAX_TASKS):
        delivered.expect(number, 1)
    delivered.put(7, record(7))
    assert [outcome.index for outcome in delivered.ready()] == [7]
    assert delivered.has_room


@pytest.mark.parametrize("what", ["inputs", "outcomes"])
def test_large_inputs_and_outcomes_leave_less_room(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(delivery, "MAX_BYTES", 100)
    delivered = Delivery(in_order=True, least=3 if what == "inputs" else 1)
    for number in range(3):
        delivered.expect(number, 50 if what == "inputs" else 0)
    if what == "outcomes":
        for number in (1, 2):
            delivered.put(number, record(number, b"x" * 50))
    assert not delivered.has_room
    delivered.put(0, record(0))
    assert [outcome.index for outcome in delivered.ready()] == ([0] if what == "inputs" else [0, 1, 2])
    assert delivered.has_room


def test_a_few_tasks_may_be_on_the_way_however_large_they_are() -> None:
    delivered = Delivery(in_order=True, least=3)
    for number in range(3):
        assert delivered.has_room
        delivered.expect(number, MAX_BYTES)
    assert not delivered.has_room


@pytest.mark.parametrize(("in_order", "expected"), [(True, [1, 4]), (False, [4, 1])])
def test_when_no_more_can_come_the_rest_is_yielded_over_the_gaps(in_order: bool, expected: list[int]) -> None:
    delivered = Delivery(in_order=in_order, least=1)
    for number in range(6):
        delivered.expect(number, 1)
    for number in (4, 1):
        delivered.put(number, record(number))
    assert [outcome.index for outcome in delivered.rest()] == expected
