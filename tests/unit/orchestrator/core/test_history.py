"""The history: bounded, readable, and what a replay of it gives."""

from __future__ import annotations

import timeit
from typing import Any

import msgspec
import pytest

from orchestrator.config import Settings
from orchestrator.core import history_text, stimuli
from orchestrator.core.history import MAX_ITEMS, MAX_STIMULI, PAYLOAD_LIMIT, History
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.records import NewTask, PendingTask
from orchestrator.core.replay import comparable, replay
from runtime.ipc.executor_protocol import AgentLoaded, Snapshot, TaskDone
from runtime.model import Severity
from tests.support.described import describe
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun

LARGE = b"\xff" * (PAYLOAD_LIMIT + 100)


def stopped_run() -> SimulatedRun:
    """Return a run that has ended by a signal, in which tasks were completed, failed and interrupted."""
    run = SimulatedRun(6, retries=1, host_grace=2.0)
    run.pending = {seq: PendingTask(seq, task.key, LARGE, "pickle") for seq, task in run.pending.items()}
    run.begin()
    run.answer_fetch()
    run.come_up(0)
    run.come_up(1)
    run.end_task(0, "completed")
    run.end_task(1, "failed")
    run.tell(stimuli.LogRequested("a.name", Severity.INFO, {"at": [1, "x"], "none": None}))
    run.tell(stimuli.InterruptRequested(STOP, "k5"))
    run.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    run.tick(3.0)
    return run


def test_a_replay_of_what_was_written_gives_the_same_instructions_and_state() -> None:
    run = stopped_run()
    settings, history = history_text.load(history_text.dump(run.settings, run.machine.history))
    assert settings.ladder == run.settings.ladder
    assert settings.model_dump() == run.settings.model_dump()
    given = list(map(comparable, run.given))
    assert any("RaiseFlag" in text for step in given for text in step)
    assert any(str(len(LARGE)) in text for step in given for text in step)
    machine, replayed = replay(settings, history)
    assert list(map(comparable, replayed)) == given
    assert machine.due() == run.machine.due()
    assert describe(machine) == describe(run.machine)
    assert describe(machine.status(run.now)) == describe(run.machine.status(run.now))


def test_what_the_machine_reads_is_written_whole() -> None:
    history = History()
    options = b'{"name": "' + b"x" * PAYLOAD_LIMIT + b'"}'
    added = stimuli.RecordsReceived(0, 1, [AgentLoaded(0, "long" * PAYLOAD_LIMIT, asynchronous=False, options=options)])
    history.add(added, 1.0)
    _, read = history_text.load(history_text.dump(Settings(workers=1), history))
    assert [entry.stimulus for entry in read] == [added]


def test_a_time_of_the_wall_clock_is_no_difference_and_a_reason_is() -> None:
    def stop(name: str) -> list[str]:
        machine = SupervisorStateMachine(Settings(workers=1))
        return comparable(machine.handle(stimuli.OsSignalReceived(name, user=False), 1.0))

    assert stop("SIGTERM") == stop("SIGTERM") != stop("SIGHUP")


def test_the_last_thousand_are_kept_and_a_longer_run_is_not_replayed() -> None:
    history = History()
    for at in range(MAX_STIMULI + 7):
        history.add(stimuli.TimerFired(), float(at))
    assert (len(history), history.dropped) == (MAX_STIMULI, 7)
    assert next(iter(history)).now == 7.0
    with pytest.raises(ValueError, match="begins after 7 stimuli"):
        replay(Settings(workers=1), history)


def test_large_payloads_are_not_kept_but_their_length_is() -> None:
    history = History()
    task = PendingTask(1, "k", LARGE, snapshot=LARGE)
    done = TaskDone(1, "failed", LARGE, "pickle", "E", "line\n" * 1000, 0.0, 1.0)
    history.add(stimuli.TasksFetched([task, PendingTask(2, "k2", b"1")], 2), 1.0)
    history.add(stimuli.RecordsReceived(0, 1, [done]), 2.0)
    history.add(stimuli.AgentAdded(0, by_name=False, source=LARGE), 3.0)
    fetched, received, added = (entry.stimulus for entry in history)
    assert isinstance(fetched, stimuli.TasksFetched)
    assert isinstance(received, stimuli.RecordsReceived)
    assert isinstance(added, stimuli.AgentAdded)
    record = received.records[0]
    assert isinstance(record, TaskDone)
    kept = [fetched.tasks[0].input, fetched.tasks[0].snapshot, record.value, record.detail, added.source]
    assert [len(payload or b"") for payload in kept] == [len(LARGE), len(LARGE), len(LARGE), 5000, len(LARGE)]
    assert all(payload is not None and len(payload[:]) == PAYLOAD_LIMIT for payload in kept)
    assert task.input is LARGE
    assert fetched.tasks[1].input == b"1"


def test_many_tasks_push_out_the_oldest_stimuli() -> None:
    history = History()
    tasks = [PendingTask(seq, "k", b"1") for seq in range(MAX_ITEMS // 2)]
    for at in range(3):
        history.add(stimuli.TasksFetched(tasks, len(tasks)), float(at))
    assert [entry.now for entry in history] == [1.0, 2.0]
    history.add(stimuli.TasksFetched(tasks * 3, 1), 3.0)
    assert [entry.now for entry in history] == [3.0], "the last one is always kept"


def test_a_stimulus_that_makes_the_machine_raise_is_the_last_one_there() -> None:
    machine = SupervisorStateMachine(Settings(workers=1))
    broken = stimuli.AgentReleased(agent="none")  # type: ignore[arg-type]
    machine._handlers[stimuli.AgentReleased] = lambda *_: 1 / 0  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        machine.handle(broken, 1.0)
    assert [entry.stimulus for entry in machine.history] == [broken]


@pytest.mark.parametrize(
    "stimulus",
    [
        stimuli.TimerFired(),
        stimuli.RecordsReceived(0, 1, [TaskDone(1, "completed", b"1", "json", None, None, 0.0, 1.0)]),
    ],
)
def test_a_stimulus_is_kept_within_a_few_microseconds(stimulus: stimuli.Stimulus) -> None:
    """The aim is one microsecond (docs/architecture.md); a shared machine may be several times as slow."""
    history = History()
    seconds = min(timeit.repeat(lambda: history.add(stimulus, 1.0), number=5000, repeat=7)) / 5000
    assert seconds < 10e-6


def test_inputs_results_and_agents_are_not_written_whatever_their_size() -> None:
    history, secret = History(), b"a-secret"
    history.add(stimuli.AgentAdded(0, by_name=False, source=secret), 1.0)
    history.add(stimuli.TasksAdded(0, 1, [NewTask("k", secret)]), 2.0)
    history.add(stimuli.TasksFetched([PendingTask(1, "k", secret, snapshot=secret)], 1), 3.0)
    history.add(stimuli.RecordsReceived(0, 1, [Snapshot(1, secret, "json", secret)]), 4.0)
    done = TaskDone(1, "completed", secret, "pickle", None, None, 0.0, 1.0, None, secret)
    history.add(stimuli.RecordsReceived(0, 1, [done]), 5.0)
    text = history_text.dump(Settings(workers=1), history)
    assert secret.decode() not in text
    _, read = history_text.load(text)
    sizes = [len(payload) for entry in read for payload in _payloads(entry.stimulus)]
    assert sizes == [len(secret)] * 8


def _payloads(value: Any) -> list[bytes]:
    if isinstance(value, msgspec.Struct):
        return [found for name in value.__struct_fields__ for found in _payloads(getattr(value, name))]
    if isinstance(value, list):
        return [found for item in value for found in _payloads(item)]
    return [value] if isinstance(value, bytes) else []


def test_a_copy_does_not_change() -> None:
    history = History()
    history.add(stimuli.TimerFired(), 1.0)
    copy = history.copy()
    history.add(stimuli.TimerFired(), 2.0)
    assert [entry.now for entry in copy] == [1.0]
    assert (len(copy), copy.dropped) == (1, 0)
