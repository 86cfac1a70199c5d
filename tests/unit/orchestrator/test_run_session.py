"""The life of a run, without processes: start, the guardian's death, a failing journal, the ladder."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import BackendFactory
from orchestrator.backends.local import LocalBackend
from orchestrator.config import Settings
from orchestrator.core.ladder import Rung
from orchestrator.core.status import Phase
from orchestrator.journal import Journal, JournalError, open_journal
from orchestrator.run_session import RunSession
from orchestrator.testing import FakeBackend
from runtime.errors import QuiesceError, UsageError
from runtime.model import ExecutionStatus
from tests.support.fake_run import STOP, FakeRun, WaitingAgent
from tests.support.recorded_log import PATIENCE, RecordedLog


def double(task_input: str, _state: Any) -> str:
    return 2 * task_input


def status(run: FakeRun, key: str) -> ExecutionStatus | None:
    outcome = run.outcomes[key]
    return None if outcome is None else outcome.status


# -- start -----------------------------------------------------------------------------------------------------


def test_a_run_executes_its_tasks_and_ends() -> None:
    with FakeRun({"double": double}, workers=2) as run:
        run.add("double", "a", "b", "c")
        result = run.finish()
    assert (result.status, result.view.completed) == (ExecutionStatus.COMPLETED, 3)
    assert sorted(outcome.encoded or b"" for outcome in run.outcomes.values() if outcome) == [b'"aa"', b'"bb"', b'"cc"']
    assert run.log.named("cleanup.verified") == [
        {"found": 0, "ended": 0, "remaining": [], "undone": 0, "undo_outstanding": 0}
    ]


def test_a_guardian_that_cannot_be_started_is_an_error_and_nothing_is_left() -> None:
    backend = FakeBackend()
    backend.fail_open = OSError(11, "Resource temporarily unavailable")
    session = RunSession(Settings(workers=1), "r", RecordedLog(), handle_signals=False, backend=backend)
    with pytest.raises(QuiesceError, match="guardian cannot be started: Resource temporarily unavailable"):
        session.start()


def test_an_executor_that_cannot_be_started_is_started_again_after_a_while() -> None:
    run = FakeRun({"double": double})
    run.backend.fail_starts.append(OSError(11, "Resource temporarily unavailable"))
    with run:
        exited = run.log.wait_for("executor.exited")
        assert "could not be started: Resource temporarily" in exited["exit"]
        run.session.register_agent(by_name=True, source=b"double")
        run.backend.advance(60)
        run.add("double", "a")
        assert run.finish().view.completed == 1
    assert run.backend.executors[0].incarnation == 2


def test_an_agent_that_cannot_be_loaded_is_refused_before_any_task() -> None:
    with FakeRun({}) as run, pytest.raises(UsageError, match="no agent 'missing'"):
        run.load("missing")


def test_the_backend_of_a_run_is_this_machine_unless_another_is_given() -> None:
    default: BackendFactory = LocalBackend
    assert inspect.signature(RunSession).parameters["backend"].default is default


# -- the guardian's death --------------------------------------------------------------------------------------


def test_tasks_of_executors_that_died_with_the_guardian_are_executed_again() -> None:
    attempts = []
    began = threading.Event()

    def agent(task_input: str, state: Any) -> int:
        attempts.append(task_input)
        if len(attempts) == 1:
            began.set()
            state.sleep(3600)
        return len(attempts)

    with FakeRun({"agent": agent}) as run:
        first = run.session.guardian
        run.add("agent", "a")
        assert began.wait(PATIENCE)
        run.backend.kill_guardian()
        assert run.finish().status is ExecutionStatus.COMPLETED
        assert run.session.guardian != first
    assert attempts == ["a", "a"]
    assert len(run.log.named("guardian.started")) == 2


def test_a_guardian_that_cannot_be_started_again_stops_the_run() -> None:
    waits = WaitingAgent()
    with FakeRun({"waits": waits}) as run:
        run.add("waits", "a")
        assert waits.began.wait(PATIENCE)
        run.backend.fail_open = OSError(12, "Cannot allocate memory")
        run.backend.kill_guardian()
        result = run.finish()
    assert result.status is ExecutionStatus.INTERRUPTED
    assert result.error == "the guardian cannot be started again: Cannot allocate memory"


def test_a_guardian_that_does_not_answer_is_replaced() -> None:
    with FakeRun({"double": double}) as run:
        run.load("double")
        run.backend.guardian_silence = 6.0
        run.backend.advance(1)
        assert run.log.wait_for("guardian.held") == {"seconds": 6.0}
        run.log.wait_for("guardian.started", 2)
        run.add("double", "a")
        assert run.finish().view.completed == 1


# -- the journal -----------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(tmp_path / "runs.db")


def test_a_journal_keeps_what_is_done(journal: Journal, tmp_path: Path) -> None:
    with FakeRun({"double": double}, journal) as run:
        run.add("double", "a")
        assert run.finish().status is ExecutionStatus.COMPLETED
    with open_journal(tmp_path / "runs.db", "read") as reader:
        (record,) = reader.runs()
        assert (record.status, reader.counts(record.id).completed) == (ExecutionStatus.COMPLETED, 1)


def test_a_journal_that_fails_stops_the_run_and_no_outcome_is_shown(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise JournalError("the disk is full")

    waits = WaitingAgent()
    with FakeRun({"double": double, "waits": waits}, journal, workers=2) as run:
        run.add("waits", "b")
        assert waits.began.wait(PATIENCE)
        monkeypatch.setattr(journal, "commit", fail)
        run.add("double", "a")
        result = run.finish()
    assert (result.status, result.error) == (ExecutionStatus.INTERRUPTED, "the disk is full")
    assert run.outcomes == {"a": None, "b": None}
    assert run.log.named("journal.failed") == [{"error": "the disk is full"}]


# -- the ladder ------------------------------------------------------------------------------------------------


def interrupted_run(held_through: Rung, advances: Sequence[float]) -> tuple[FakeRun, WaitingAgent]:
    """Interrupt a run whose executor is deaf up to a rung, and let the clock go on rung by rung."""
    waits = WaitingAgent()
    with FakeRun({"waits": waits}, grace=10, term_grace=5, kill_patience=2) as run:
        run.add("waits", "a")
        assert waits.began.wait(PATIENCE)
        run.backend.executor(0).hold(held_through)
        run.session.interrupt(STOP)
        for rung, seconds in enumerate(advances, 1):
            run.log.wait_for("ladder.rung", rung)
            run.backend.advance(seconds - 0.001)
            run.backend.advance(0.001)
        run.finish()
    return run, waits


@pytest.mark.parametrize(
    ("held_through", "advances", "rungs", "seconds"),
    [
        (Rung.NONE, [], [("FLAG", 0.0)], 0.0),
        (Rung.FLAG, [10], [("FLAG", 0.0), ("TERM", 10.0)], 10.0),
        (Rung.TERM, [10, 5], [("FLAG", 0.0), ("TERM", 10.0), ("KILL", 15.0)], 15.0),
    ],
)
def test_the_ladder_climbs_only_as_far_as_the_executor_is_deaf(
    held_through: Rung, advances: Sequence[float], rungs: Sequence[tuple[str, float]], seconds: float
) -> None:
    run, waits = interrupted_run(held_through, advances)
    assert run.result is not None
    climbed = [str(fields["rung"]) for fields in run.log.named("ladder.rung")]
    assert list(zip(climbed, run.log.times("ladder.rung"), strict=True)) == rungs
    assert run.result.seconds == pytest.approx(seconds)
    assert status(run, "a") is ExecutionStatus.INTERRUPTED
    assert run.result.status is ExecutionStatus.INTERRUPTED
    assert run.session.status.phase is Phase.ENDED
    if held_through is Rung.FLAG:
        assert waits.grace == [pytest.approx(5.0)]


def test_an_interrupt_of_one_task_leaves_the_run_alone() -> None:
    waits = WaitingAgent()
    with FakeRun({"waits": waits, "double": double}) as run:
        run.add("waits", "a")
        assert waits.began.wait(PATIENCE)
        run.session.interrupt(STOP, "a")
        run.add("double", "b")
        result = run.finish()
    assert (status(run, "a"), status(run, "b")) == (ExecutionStatus.INTERRUPTED, ExecutionStatus.COMPLETED)
    assert result.view.interrupted == 1


def test_a_task_that_is_deaf_to_its_interrupt_costs_its_executor_and_no_other_task() -> None:
    waits = WaitingAgent()
    with FakeRun({"waits": waits, "double": double}, grace=10, term_grace=5) as run:
        run.add("waits", "a")
        assert waits.began.wait(PATIENCE)
        run.backend.executor(0).hold(Rung.TERM)
        run.session.interrupt(STOP, "a")
        run.log.wait_for("task.interrupting")
        run.backend.advance(10)
        run.log.wait_for("ladder.rung", 1)
        run.backend.advance(5)
        run.add("double", "b")
        run.finish()
    assert (status(run, "a"), status(run, "b")) == (ExecutionStatus.INTERRUPTED, ExecutionStatus.COMPLETED)
    assert [executor.incarnation for executor in run.backend.executors] == [1, 2]


# -- other faults ----------------------------------------------------------------------------------------------


def test_an_executor_that_is_killed_costs_an_attempt() -> None:
    run = FakeRun({})

    def agent(_input: str, state: Any) -> str:
        executor = run.backend.executor(0)
        if executor.incarnation == 1:
            executor.kill(-11)
        return str(executor.incarnation)

    run.backend.agents["agent"] = agent
    with run:
        run.add("agent", "a")
        run.log.wait_for("executor.exited")
        run.backend.advance(60)
        run.finish()
    outcome = run.outcomes["a"]
    assert outcome is not None
    assert (outcome.encoded, outcome.attempts) == (b'"2"', 2)
    assert run.log.named("executor.exited")[0]["exit"] == "SIGSEGV"


def test_bytes_that_are_no_frame_end_the_executor_that_sent_them() -> None:
    run = FakeRun({})

    def agent(_input: str, state: Any) -> None:
        executor = run.backend.executor(0)
        if executor.incarnation == 1:
            executor.send_bytes(b"garbage that is no frame")
            state.sleep(3600)

    run.backend.agents["agent"] = agent
    with run:
        run.add("agent", "a")
        assert run.log.wait_for("executor.protocol_error")
        run.log.wait_for("executor.exited")
        run.backend.advance(60)
        assert run.finish().view.completed == 1


def test_an_executor_without_a_heartbeat_is_replaced() -> None:
    waits = WaitingAgent()
    with FakeRun({"waits": waits}, heartbeat_timeout=60) as run:
        run.add("waits", "a")
        assert waits.began.wait(PATIENCE)
        run.backend.executor(0).stop_heartbeat()
        run.backend.advance(61)
        assert run.log.wait_for("executor.heartbeat_lost")["slot"] == 0
