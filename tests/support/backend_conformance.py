"""What every Backend does, as a suite: subclass BackendConformance, and give it a `backend` fixture.

It speaks to executors through their pipes as the engine does, and believes only what comes back.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from orchestrator.backends import Backend
from orchestrator.engine.executor_pipes import ExecutorPipes
from runtime.ipc import codec, guardian_protocol
from runtime.ipc.executor_protocol import (
    AgentLoaded,
    AgentLoadFailed,
    Control,
    ExecutorRecord,
    FinishAndExit,
    Interrupt,
    Leaving,
    LoadAgent,
    Ready,
    ReturnTasks,
    Snapshot,
    Task,
    TaskDone,
    TaskEvent,
    TaskOrder,
    Tasks,
    TasksReturned,
)
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal

PATIENCE = 30.0
STOP = InterruptSignal(reason=InterruptReason.USER_CANCELLED, message="stop", triggered_by="test")

R = TypeVar("R")


def double(task_input: int, _state: Any) -> int:
    return 2 * task_input


def report_and_wait(_input: Any, state: Any) -> None:
    """Say that it has begun, keep a snapshot, and work until it is interrupted."""
    state.emit("begun", resumed=state.snapshot)
    state.save_snapshot("half")
    state.sleep(3600)


def report_progress_and_wait(_input: Any, state: Any) -> None:
    """Say how far it is, and work until it is interrupted."""
    state.progress(3, 4)
    state.sleep(3600)


class Caller:
    """Call a backend as the supervisor's loop does, and keep what it answers."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.reports: list[guardian_protocol.Report] = []
        self.is_guardian_lost = False
        self.records: dict[tuple[int, int], list[ExecutorRecord]] = {}
        self._pipes: dict[int, ExecutorPipes] = {}

    def start(self, slot: int, incarnation: int = 1) -> ExecutorPipes:
        """Start an executor, and wait until it is ready."""
        if slot in self._pipes:
            self._pipes.pop(slot).close_all(lambda _: None)
        pipes = self._pipes[slot] = ExecutorPipes(slot, incarnation, self.backend.start(slot, incarnation))
        self.records[slot, incarnation] = []
        assert self.record(Ready, slot, incarnation).pid == self.report(guardian_protocol.ForkedReport, slot).pid
        return pipes

    def load(self, slot: int, function: Callable[[Any, Any], Any], agent: int = 1) -> None:
        """Have an executor load an agent."""
        self.send(slot, LoadAgent(agent, by_name=False, source=codec.encode_blob(function)))

    def task(self, number: int, task_input: Any = None, agent: int = 1, snapshot: Any = None) -> Task:
        """Make a task."""
        data, encoding = codec.encode(task_input)
        kept = (None, "") if snapshot is None else codec.encode(snapshot)
        return Task(number, f"key {number}", agent, 1, data, encoding, *kept)

    def send(self, slot: int, order: TaskOrder) -> None:
        """Give an executor an order on its tasks pipe."""
        assert self._pipes[slot].send(order)

    def send_control(self, slot: int, order: Control) -> None:
        """Give an executor an order on its control pipe."""
        self._pipes[slot].send_control(order)

    def record(self, kind: type[R], slot: int = 0, incarnation: int = 1) -> R:
        """Wait for a record of an executor, and take it."""
        taken: R = self._wait(lambda: _take(self.records[slot, incarnation], lambda record: isinstance(record, kind)))
        return taken

    def report(self, kind: type[R], slot: int | None = None) -> R:
        """Wait for a report of the guardian, and take it."""
        taken: R = self._wait(
            lambda: _take(
                self.reports,
                lambda report: isinstance(report, kind) and (slot is None or getattr(report, "slot", None) == slot),
            )
        )
        return taken

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Turn until something is so."""
        self._wait(lambda: condition() or None)

    def _wait(self, look: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while (found := look()) is None:
            assert time.monotonic() < end, (self.reports, self.records)
            self._turn()
        return found

    def _turn(self) -> None:
        self.backend.flush()
        fds = [] if self.is_guardian_lost else [self.backend.fileno()]
        fds += [fd for pipes in self._pipes.values() for fd in (pipes.channels.events, *pipes.output)]
        select.select(fds, [], [], 0.02)
        if not self.is_guardian_lost:
            reports = self.backend.reports()
            self.is_guardian_lost = reports is None
            self.reports += reports or []
        for slot, pipes in self._pipes.items():
            self.records[slot, pipes.incarnation] += pipes.read_events()[0]
            for fd in pipes.output:
                pipes.read_output(fd, lambda _: 0)

    def close(self) -> None:
        """Close every pipe, and the backend."""
        for pipes in self._pipes.values():
            pipes.close_all(lambda _: None)
        self.backend.close()


def _take(items: list[Any], is_meant: Callable[[Any], bool]) -> Any:
    for index, item in enumerate(items):
        if is_meant(item):
            return items.pop(index)
    return None


class BackendConformance:
    """The suite. Subclasses have a fixture `backend`: one that is not open yet, with two slots."""

    @pytest.fixture
    def caller(self, backend: Backend) -> Iterator[Caller]:
        backend.open()
        caller = Caller(backend)
        yield caller
        caller.close()

    def test_a_guardian_is_ready_after_open(self, caller: Caller) -> None:
        ready = caller.report(guardian_protocol.ReadyReport)
        assert ready.pid == caller.backend.guardian_pid
        assert caller.backend.silence() < 1.0
        assert not caller.backend.has_executors

    def test_an_executor_loads_an_agent_and_executes_its_tasks(self, caller: Caller) -> None:
        caller.start(0)
        assert caller.backend.has_executors
        caller.load(0, double)
        loaded = caller.record(AgentLoaded)
        assert (loaded.agent, loaded.name, loaded.asynchronous) == (1, "double", False)
        caller.send(0, Tasks([caller.task(1, 20), caller.task(2, 21)]))
        values = {}
        for _ in range(2):
            done = caller.record(TaskDone)
            assert done.value is not None
            values[done.task] = codec.decode(done.value, done.encoding)
        assert values == {1: 40, 2: 42}

    def test_an_agent_that_cannot_be_loaded_is_reported(self, caller: Caller) -> None:
        caller.start(0)
        caller.send(0, LoadAgent(7, by_name=False, source=b"no pickle"))
        assert caller.record(AgentLoadFailed).agent == 7

    def test_an_executor_that_has_finished_leaves_with_exit_code_0(self, caller: Caller) -> None:
        caller.start(0)
        caller.send(0, FinishAndExit())
        caller.record(Leaving)
        assert caller.report(guardian_protocol.ExitedReport, 0).code == 0
        assert not caller.backend.has_executors

    def test_events_and_snapshots_come_up_and_a_snapshot_goes_down(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_and_wait)
        caller.send(0, Tasks([caller.task(1, snapshot="kept")]))
        assert codec.decode_json(caller.record(TaskEvent).data) == {"resumed": "kept"}
        assert caller.record(Snapshot).data == b'"half"'
        caller.wait_until(lambda: caller.backend.progress(0).task == 1)
        assert caller.backend.progress(0).started_at <= time.monotonic()

    def test_what_a_task_reports_of_its_progress_can_be_read(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_progress_and_wait)
        caller.send(0, Tasks([caller.task(200)]))
        assert codec.decode_json(caller.record(TaskEvent).data) == {"done": 3, "total": 4}
        assert caller.backend.reported_progress(0, 200, 1) == (3.0, 4.0)
        assert caller.backend.reported_progress(0, 200, 2) is None
        assert caller.backend.reported_progress(0, 200 + 126, 1) is None

    def test_one_task_is_interrupted_and_the_next_one_is_executed(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_and_wait)
        caller.load(0, double, agent=2)
        caller.send(0, Tasks([caller.task(1), caller.task(2, 21, agent=2)]))
        caller.record(TaskEvent)
        caller.send_control(0, Interrupt(1, 1, STOP.model_dump_json().encode()))
        interrupted, completed = caller.record(TaskDone), caller.record(TaskDone)
        assert (interrupted.task, interrupted.status) == (1, ExecutionStatus.INTERRUPTED)
        assert interrupted.signal is not None
        assert InterruptSignal.model_validate_json(interrupted.signal).message == "stop"
        assert (completed.task, completed.status) == (2, ExecutionStatus.COMPLETED)

    def test_tasks_that_have_not_begun_are_returned_on_request_the_last_ones_first(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_and_wait)
        caller.send(0, Tasks([caller.task(number) for number in (1, 2, 3, 4)]))
        caller.record(TaskEvent)
        caller.send_control(0, ReturnTasks(2))
        assert sorted(caller.record(TasksReturned).tasks) == [3, 4]

    def test_the_flag_interrupts_every_slot_returns_the_rest_and_ends_the_executors(self, caller: Caller) -> None:
        for slot in (0, 1):
            caller.start(slot)
            caller.load(slot, report_and_wait)
            caller.send(slot, Tasks([caller.task(10 * slot + 1), caller.task(10 * slot + 2)]))
            caller.record(TaskEvent, slot)
        caller.backend.publish_next_rung(10.0)
        caller.backend.raise_flag(STOP)
        for slot in (0, 1):
            assert caller.record(TaskDone, slot).status == ExecutionStatus.INTERRUPTED
            assert caller.record(TasksReturned, slot).tasks == [10 * slot + 2]
            caller.record(Leaving, slot)
            assert caller.report(guardian_protocol.ExitedReport, slot).code == 0

    def test_sigterm_that_no_interrupt_precedes_ends_no_task(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_and_wait)
        caller.send(0, Tasks([caller.task(1)]))
        caller.record(TaskEvent)
        caller.backend.terminate(0, 1)
        caller.send_control(0, Interrupt(1, 1, STOP.model_dump_json().encode()))
        assert caller.record(TaskDone).status == ExecutionStatus.INTERRUPTED
        assert caller.backend.has_executors

    def test_sigkill_ends_an_executor_and_its_slot_can_be_used_again(self, caller: Caller) -> None:
        caller.start(0)
        caller.load(0, report_and_wait)
        caller.send(0, Tasks([caller.task(1)]))
        caller.record(TaskEvent)
        caller.wait_until(lambda: caller.backend.progress(0).task == 1)
        caller.backend.kill_tree(0, 1)
        assert caller.report(guardian_protocol.ExitedReport, 0).code == -9
        assert caller.backend.progress(0).task == 1, "what it had in hand is known after its end"
        caller.start(0, 2)
        caller.load(0, double)
        caller.record(AgentLoaded, 0, 2)

    def test_orders_for_an_incarnation_that_is_gone_are_ignored(self, caller: Caller) -> None:
        caller.start(0)
        caller.backend.kill_tree(0, 7)
        caller.backend.terminate(1, 1)
        caller.load(0, double)
        caller.record(AgentLoaded)

    def test_a_guardian_that_died_is_replaced(self, caller: Caller) -> None:
        caller.start(0)
        first = caller.report(guardian_protocol.ReadyReport).pid
        self.kill_guardian(caller.backend)
        caller.wait_until(lambda: caller.is_guardian_lost)
        caller.backend.discard_guardian(5.0)
        caller.backend.open()
        caller.is_guardian_lost = False
        assert caller.report(guardian_protocol.ReadyReport).pid not in (first, 0)
        caller.start(0, 2)

    def test_suspended_processes_are_counted_and_resumed(self, caller: Caller) -> None:
        caller.start(0)
        caller.backend.suspend()
        assert caller.report(guardian_protocol.HaltedReport).count == 1
        caller.backend.resume()
        caller.load(0, double)
        caller.record(AgentLoaded)

    def test_a_sweep_ends_what_is_left_and_finds_nothing_after_a_clean_end(self, caller: Caller) -> None:
        caller.start(0)
        caller.send(0, FinishAndExit())
        caller.report(guardian_protocol.ExitedReport, 0)
        caller.backend.sweep(5.0)
        report = caller.report(guardian_protocol.SweepReport)
        assert (report.found, report.remaining) == (0, [])
        assert caller.backend.kill_by_run_token(report.remaining) == ([], [])

    def test_what_is_called_at_every_sample_never_fails(self, caller: Caller) -> None:
        caller.start(0)
        caller.backend.ensure_running()
        caller.backend.set_graces(1.0, 2.0)
        caller.backend.dump_stacks(0)
        caller.backend.processor_use(os.getpid())
        assert caller.backend.progress(1) == (0, 0.0, 0.0) or caller.backend.progress(1).task == 0
        assert caller.backend.flush() in (True, False)

    def test_close_is_safe_twice_and_before_open(self, backend: Backend) -> None:
        backend.close()
        backend.close()

    def kill_guardian(self, backend: Backend) -> None:
        """End the guardian from outside."""
        assert backend.guardian_pid is not None
        os.kill(backend.guardian_pid, 9)
