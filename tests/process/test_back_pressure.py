"""A disk that cannot keep up: executors wait, the supervisor's memory does not grow, and nothing is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator import QuiesceError, Supervisor
from orchestrator.core import machine
from orchestrator.engine.back_pressure import HIGH_PRESSURE
from orchestrator.engine.executor_pipes import READ_SIZE
from orchestrator.journal import open_journal
from orchestrator.journal.base import Committed
from orchestrator.journal.sqlite.journal import SqliteJournal
from orchestrator.run_session import RunSession
from runtime import ExecutionState
from runtime.model import ExecutionStatus
from tests.support.wait import wait_until

EVENTS = 6000
SIZE = 4000


def talks(task_input: int, state: ExecutionState) -> int:
    """Says far more than may wait."""
    for number in range(EVENTS):
        state.emit("word", n=number, text="x" * SIZE)
    return task_input


def silent(*_: Any) -> None:
    """A log that is not looked at."""


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that writes nothing from the first words of an agent on, until this is set."""
    works = threading.Event()
    commit = SqliteJournal.commit

    def slow(self: SqliteJournal, run: int, **what: Any) -> Committed:
        if any(event.kind == "word" for event in what["events"]):
            assert works.wait(30)
        return commit(self, run, **what)

    monkeypatch.setattr(SqliteJournal, "commit", slow)
    return works


def paused(session: RunSession) -> bool:
    return session._engine._mux.paused


def test_who_writes_faster_than_the_disk_has_to_wait(tmp_path: Path, disk: threading.Event) -> None:
    journal = tmp_path / "j.db"
    with Supervisor(workers=1, journal=journal, run_id="talk", log=silent) as supervisor:
        handle = supervisor.submit(talks, 1)
        session = supervisor._require_session()
        wait_until(lambda: paused(session), what="no executor was paused")
        assert session._store.unwritten_bytes < HIGH_PRESSURE + 2 * READ_SIZE
        disk.set()
        assert handle.result() == 1
        wait_until(lambda: not paused(session), what="executors are read again")
    with open_journal(journal, "read") as found:
        run = found.get_run("talk").id
        said = [json.loads(event.data)["n"] for event in found.events(run) if event.kind == "word"]
    assert said == list(range(EVENTS))


def test_a_stop_reads_on_so_that_who_was_made_to_wait_can_end(tmp_path: Path, disk: threading.Event) -> None:
    journal = tmp_path / "j.db"
    log: list[tuple[str, Any]] = []
    with Supervisor(
        workers=1, journal=journal, run_id="talk", grace=20, log=lambda name, _, fields: log.append((name, fields))
    ) as supervisor:
        handle = supervisor.submit(talks, 1)
        session = supervisor._require_session()
        wait_until(lambda: paused(session), what="no executor was paused")
        supervisor.interrupt()
        wait_until(lambda: not session.status.executors, what="they wait")
        disk.set()
    assert handle.outcome().status is ExecutionStatus.COMPLETED
    assert [fields["rung"] for name, fields in log if name == "ladder.rung"] == ["FLAG"]


def test_a_disk_that_hangs_holds_up_no_end(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "JOURNAL_TIMEOUT", 0.5)
    supervisor = Supervisor(workers=1, journal=tmp_path / "j.db", run_id="talk", log=silent)
    try:
        with pytest.raises(QuiesceError, match=r"the journal did not answer for 0\.5 s"), supervisor:
            supervisor.submit(talks, 1)
            session = supervisor._require_session()
            wait_until(lambda: paused(session), what="no executor was paused")
            supervisor.interrupt()
    finally:
        disk.set()
        assert session._store.close(10)
        assert session.journal is not None
        session.journal.close()
    assert supervisor.ending is not None
    assert supervisor.ending.status is ExecutionStatus.INTERRUPTED
