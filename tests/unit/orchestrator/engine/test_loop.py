"""The loop's own decisions, without processes: it reads no faster than the store writes, and a stop reads on."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.back_pressure import HIGH_PRESSURE
from orchestrator.engine.memory_store import MemoryStore
from orchestrator.engine.task_store import WriteBatch
from runtime.model import ExecutionStatus
from tests.support.fake_run import STOP, FakeRun
from tests.support.recorded_log import PATIENCE

EVENT = "x" * (1 << 16)


class SlowStore(MemoryStore):
    """A store whose disk stands still until `go_on` is called."""

    def __init__(self, run: FakeRun) -> None:
        super().__init__(run.session.hub, run.session.post)
        self._run = run
        self.is_full = threading.Event()
        self.is_slow = True
        self.weight = 0
        self.events = 0

    @property
    def unwritten_bytes(self) -> int:
        return self.weight if self.is_slow else 0

    def commit(self, batch: WriteBatch) -> None:
        self.weight += batch.weight
        self.events += sum(event.kind == "said" for event in batch.events)
        if self.weight > HIGH_PRESSURE:
            self.is_full.set()
        super().commit(batch)

    def go_on(self) -> None:
        """Write everything, from now on at once."""
        self.is_slow = False
        self._run.backend.advance(0)


class Chatty:
    """An agent that emits far more than may wait for the disk."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.emitted = 0

    def __call__(self, _input: str, state: Any) -> int:
        for _ in range(self.count):
            state.emit("said", text=EVENT)
            self.emitted += 1
        return self.emitted


@pytest.fixture
def chatty() -> Chatty:
    return Chatty(2 * HIGH_PRESSURE // len(EVENT))


def slow_run(chatty: Chatty) -> tuple[FakeRun, SlowStore]:
    run = FakeRun({"chatty": chatty})
    run.session._store = store = SlowStore(run)
    return run, store


def test_an_agent_waits_while_the_disk_does_not_write_and_nothing_is_lost(chatty: Chatty) -> None:
    run, store = slow_run(chatty)
    with run:
        run.add("chatty", "a")
        assert store.is_full.wait(PATIENCE)
        assert chatty.emitted < chatty.count
        store.go_on()
        assert run.finish().status is ExecutionStatus.COMPLETED
    assert store.events == chatty.emitted == chatty.count


def test_a_stop_reads_on_and_counts_what_it_drops(chatty: Chatty) -> None:
    """An executor that waits for the pipe cannot end."""
    run, store = slow_run(chatty)
    chatty.count *= 3
    with run:
        run.add("chatty", "a")
        assert store.is_full.wait(PATIENCE)
        run.session.interrupt(STOP)
        assert run.finish().status is ExecutionStatus.INTERRUPTED
    (lost,) = run.log.named("executor.events_lost")
    assert lost["slot"] == 0
    assert store.events + lost["events"] >= chatty.emitted
    assert chatty.emitted == chatty.count


def test_output_beyond_the_allowance_of_a_stop_is_counted() -> None:
    run = FakeRun({})
    began = threading.Event()

    def loud(_input: str, state: Any) -> None:
        stops = threading.Event()
        state.add_waker(stops.set)
        began.set()
        assert stops.wait(PATIENCE)
        with state.shield():
            for _ in range(20_000):
                run.backend.executor(0).write_output("stdout", b"a line of output that an agent prints\n")

    run.backend.agents["loud"] = loud
    with run:
        run.add("loud", "a")
        assert began.wait(PATIENCE)
        run.session.interrupt(STOP)
        run.finish()
    shown, lost = run.log.named("executor.output"), run.log.named("executor.output_lost")
    assert len(shown) + sum(fields["lines"] for fields in lost) == 20_000
    assert lost


def test_a_defect_in_a_turn_ends_the_run_and_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the history is there
    with FakeRun({"nothing": lambda _input, _state: None}) as run:
        run.load("nothing")

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(run.session._engine.machine, "handle", fail)
        run.backend.advance(1)
        result = run.finish()
    assert result.status is ExecutionStatus.INTERRUPTED
    assert result.error == "a defect in quiesce: ZeroDivisionError('a defect')"
    assert not run.backend.has_executors
