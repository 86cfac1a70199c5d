"""When undo records are stored, run, tried again and struck out, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config import Settings
from orchestrator.core.instructions import CommitUndo, EmitLog, OrderUndo, SendControl, UpdateUndo
from orchestrator.core.records import PendingTask
from orchestrator.core.slots import Assignment
from orchestrator.core.state import SupervisorState
from orchestrator.core.stimuli import UndoCommitted
from orchestrator.core.transitions import SlotEvent
from orchestrator.core.undo import MAX_RUNNING, UndoLedger
from orchestrator.core.undo_records import UndoState
from runtime.ipc.executor_protocol import UndoDeferred, UndoHeld, UndoReleased
from runtime.ipc.guardian_protocol import DropUndo, HoldUndo, RunUndo, UndoKeptReport, UndoReport
from runtime.ipc.undo import ORDER_SECONDS, UndoCommand, UndoResult

DONE, ABSENT = UndoResult(done=True), UndoResult(done=True, found=False)
FAILED = UndoResult(done=False, error="exit code 7")


class Bench:
    """A ledger, one executor with tasks 1 and 2, and a clock."""

    def __init__(self) -> None:
        self.state = SupervisorState(Settings.from_options(workers=1))
        self.ledger = UndoLedger(self.state)
        self.now = 100.0
        self.slot = self.state.slots[0]
        self.slot.apply(SlotEvent.START)
        self.slot.incarnation = 1
        for seq in (1, 2):
            self.slot.assigned[seq] = Assignment(PendingTask(seq, f"k{seq}", b"1"), 1)

    def did(self, *kinds: type[Any]) -> list[Any]:
        """What was ordered since the last call: of these kinds; of OrderUndo and SendControl, what they carry."""
        self.ledger.start_due(self.now)
        out = [each for each in self.state.drain_instructions() if not isinstance(each, EmitLog)]
        inner = [each.order if isinstance(each, OrderUndo | SendControl) else each for each in out]
        return [each for each in inner if isinstance(each, kinds)]

    def defer(self, local: int, *argv: str, task: int = 1) -> None:
        self.ledger.on_deferred(self.slot, UndoDeferred(task, local, UndoCommand(kind="c", argv=[*argv])), self.now)

    def open(self, local: int, *argv: str, task: int = 1) -> int:
        """Bring a record to where its task goes on; return its number."""
        self.defer(local, *argv, task=task)
        number = int(self.did(CommitUndo)[0].number)
        self.ledger.on_committed(UndoCommitted([number]), self.now)
        self.ledger.on_kept(UndoKeptReport(number), self.now)
        return number

    def end(self, task: int = 1) -> None:
        self.slot.assigned.pop(task, None)
        self.ledger.release_ended(self.now)

    def report(self, number: int, result: UndoResult) -> None:
        self.ledger.on_report(UndoReport(number, result), self.now)

    def runs(self) -> list[int]:
        return [order.number for order in self.did(RunUndo)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_task_goes_on_when_store_and_guardian_have_its_record(bench: Bench) -> None:
    bench.defer(5, "rm")
    assert [type(each) for each in bench.did(CommitUndo, HoldUndo, UndoHeld)] == [CommitUndo]
    bench.ledger.on_kept(UndoKeptReport(1), bench.now)  # nonsense: it was not handed over
    assert bench.did(UndoHeld) == []
    bench.ledger.on_committed(UndoCommitted([1, 99]), bench.now)
    assert [order.number for order in bench.did(HoldUndo)] == [1]
    bench.ledger.on_kept(UndoKeptReport(1), bench.now)
    assert bench.did(UndoHeld) == [UndoHeld(1, 5)]


@pytest.mark.parametrize("stage", ["storing", "holding"])
def test_what_was_never_made_is_struck_out_without_a_run(bench: Bench, stage: str) -> None:
    bench.defer(1, "rm")
    if stage == "holding":
        bench.ledger.on_committed(UndoCommitted([1]), bench.now)
    bench.end()
    assert [(each.number, each.state) for each in bench.did(UpdateUndo)] == [(1, UndoState.ABSENT)]
    assert bench.runs() == []
    assert not bench.ledger


def test_the_end_of_a_task_runs_its_own_records_and_the_last_first(bench: Bench) -> None:
    first, second, other = bench.open(1, "a"), bench.open(2, "b"), bench.open(3, "c", task=2)
    bench.end()
    assert bench.runs() == [second]
    bench.report(second, DONE)
    assert bench.runs() == [first]
    bench.report(first, ABSENT)
    assert [(each.number, each.state) for each in bench.did(UpdateUndo)] == [(first, UndoState.ABSENT)]
    bench.ledger.on_released(bench.slot, UndoReleased(2, 3), bench.now)
    assert bench.runs() == [other]


def test_one_that_hangs_keeps_the_others_for_a_moment_only(bench: Bench) -> None:
    first, second = bench.open(1, "a"), bench.open(2, "b")
    bench.end()
    assert bench.runs() == [second]
    assert bench.ledger.due == bench.now + ORDER_SECONDS
    bench.now += ORDER_SECONDS
    assert bench.runs() == [first]
    assert bench.ledger.due is None  # both run: nothing is to be started


def test_a_failure_is_tried_again_with_backoff_and_keeps_no_other(bench: Bench) -> None:
    first, second = bench.open(1, "a"), bench.open(2, "b")
    bench.end()
    assert bench.runs() == [second]
    bench.report(second, FAILED)
    assert bench.runs() == [first]
    delays = []
    for _ in range(8):
        due = bench.ledger.due
        assert due is not None
        delays.append(due - bench.now)
        bench.now = due
        assert bench.runs() == [second]
        bench.report(second, FAILED)
        bench.did()
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_is_kept_never_runs(bench: Bench) -> None:
    bench.open(1, "a")
    bench.ledger.on_released(bench.slot, UndoReleased(1, 1, kept=True), bench.now)
    bench.end()
    assert [type(each) for each in bench.did(UpdateUndo, DropUndo, RunUndo)] == [UpdateUndo, DropUndo]


def test_the_same_command_is_the_same_resource(bench: Bench) -> None:
    """A task waits while it is being removed; what failed to remove it waits while it is used again."""
    old = bench.open(1, "rm", "x")
    bench.end()
    assert bench.runs() == [old]
    bench.open(2, "rm", "x", task=2)
    assert bench.did(UndoHeld) == []
    bench.report(old, FAILED)
    assert bench.did(UndoHeld) == [UndoHeld(2, 2)]
    bench.now += 100
    assert bench.runs() == []
    bench.end(2)
    assert len(bench.runs()) == 1


def test_a_lost_guardian_s_commands_run_again_with_the_next_one(bench: Bench) -> None:
    number, other = bench.open(1, "a"), bench.open(2, "b", task=2)
    bench.end()
    assert bench.runs() == [number]
    bench.ledger.on_guardian_lost(bench.now)
    assert (bench.runs(), bench.ledger.due, bench.ledger.is_awaited) == ([], None, False)
    bench.ledger.on_guardian_ready()
    assert [(type(each), each.number) for each in bench.did(HoldUndo, RunUndo)] == [
        (HoldUndo, number),
        (HoldUndo, other),
        (RunUndo, number),
    ]


def test_no_more_than_a_limit_run_at_once_and_the_loop_does_not_spin(bench: Bench) -> None:
    for task in range(10, 10 + MAX_RUNNING + 5):
        bench.slot.assigned[task] = Assignment(PendingTask(task, str(task), b"1"), 1)
        bench.open(task, str(task), task=task)
    bench.slot.assigned.clear()
    bench.ledger.release_ended(bench.now)
    started = bench.runs()
    assert len(started) == MAX_RUNNING
    due = bench.ledger.due
    assert due is None or due > bench.now
    bench.report(started[0], DONE)
    assert len(bench.runs()) == 1


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"], ["x" * 40_000]])
def test_a_command_that_makes_no_sense_is_the_executor_s_fault(bench: Bench, argv: list[str]) -> None:
    with pytest.raises(ValueError, match="undo"):
        bench.defer(1, *argv)
    assert not bench.ledger
