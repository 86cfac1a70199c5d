"""Runs: who has them, how they are found, how they end; and what others ask of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from orchestrator.journal import ClaimedError, JournalError, open_journal
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.errors import UsageError
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.unit.orchestrator.journal.helpers import COMPLETED, FAILED, INTERRUPTED, add

STOP = InterruptSignal(reason=InterruptReason.PRIORITY_OVERRIDE, message="make room", triggered_by="ops")


def test_a_run_comes_back_as_it_was_created(journal: SqliteJournal) -> None:
    """Specification, settings and place are the supervisor's business; the journal keeps them."""
    made = journal.create_run("r", agent={"source": "m:f"}, config={"workers": 2, "limits": [1, None]}, cwd="/srv")
    assert journal.get_run("r") == made
    assert (made.agent, made.config, made.cwd) == ({"source": "m:f"}, {"workers": 2, "limits": [1, None]}, "/srv")
    assert made.status is ExecutionStatus.AWAITING
    assert (made.sealed, made.starts, made.owner, made.signal) == (False, 0, None, None)
    with pytest.raises(UsageError, match="there is a run r already"):
        journal.create_run("r", agent=None)


def test_a_run_is_found_by_id_prefix_or_as_the_latest(journal: SqliteJournal) -> None:
    """An exact id wins over the runs that it begins; a wildcard is only a character."""
    with pytest.raises(UsageError, match="there is no run at all"):
        journal.get_run()
    for name in ("audit", "audit-2", "bench%"):
        journal.create_run(name, agent=None)
    assert journal.get_run("audit").run_id == "audit"
    assert journal.get_run("audit-").run_id == "audit-2"
    assert journal.get_run("bench%").run_id == "bench%"
    assert journal.get_run().run_id == "bench%"
    assert [run.run_id for run in journal.runs()] == ["audit", "audit-2", "bench%"]
    with pytest.raises(UsageError, match=r"2 runs .* begin with 'a': audit, audit-2"):
        journal.get_run("a")
    with pytest.raises(UsageError, match="there is no run %"):
        journal.get_run("%")


def test_what_can_be_resumed_is_the_latest_that_is_not_over(journal: SqliteJournal, path: Path) -> None:
    """A run without a supervisor goes before one that is being executed."""
    assert journal.latest_resumable() is None
    first, second, third = (journal.create_run(name, agent=None).id for name in "abc")
    journal.finish_run(third, COMPLETED)
    journal.finish_run(second, INTERRUPTED, STOP)
    _is_resumable(journal, "b")
    journal.claim(second)
    _is_resumable(journal, "a")
    journal.claim(first)
    _is_resumable(journal, "b")
    journal.finish_run(first, FAILED)
    journal.finish_run(second, FAILED)
    assert journal.latest_resumable() is None


def _is_resumable(journal: SqliteJournal, run_id: str) -> None:
    found = journal.latest_resumable()
    assert found is not None
    assert found.run_id == run_id


def test_a_claim_starts_the_run_and_each_one_counts(journal: SqliteJournal, run: int) -> None:
    """The first start is remembered; an interruption is forgotten when the run goes on."""
    first = journal.get_run("r1")
    assert (first.status, first.starts) == (ExecutionStatus.STARTED, 1)
    assert first.owner is not None
    assert (first.owner.pid, first.owner.alive) == (os.getpid(), True)
    interrupted = journal.finish_run(run, INTERRUPTED, STOP)
    assert (interrupted.signal, interrupted.ended) == (STOP, False)
    assert interrupted.ended_at is not None
    journal.release(run)
    owner = journal.get_run("r1").owner
    assert owner is not None
    assert not owner.alive
    again = journal.claim(run)
    assert (again.status, again.starts, again.signal, again.ended_at) == (ExecutionStatus.STARTED, 2, None, None)
    assert again.started_at == first.started_at


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
def test_a_run_that_is_over_stays_so(journal: SqliteJournal, run: int, status: ExecutionStatus) -> None:
    """A late SIGTERM does not turn completed into interrupted, nor does a look by resume."""
    ended = journal.finish_run(run, status)
    assert journal.finish_run(run, INTERRUPTED, STOP) == ended
    journal.release(run)
    again = journal.claim(run)
    assert (again.status, again.ended_at, again.ended) == (status, ended.ended_at, True)


def test_a_supervisor_is_known_until_its_processes_are_gone(journal: SqliteJournal, path: Path) -> None:
    """Whether it was the last one or one before: each is removed by itself."""
    run = journal.create_run("r", agent=None).id
    for token in ("1-a", "2-b", "3-c"):
        journal.claim(run, token)
        journal.release(run)
    assert [other.token for other in journal.other_supervisors(run, "3-c")] == ["1-a", "2-b"]
    assert {other.pid for other in journal.other_supervisors(run, "")} == {os.getpid()}
    journal.finish_run(run, INTERRUPTED, STOP, token="2-b")
    journal.remove_supervisor(run, "1-a")
    assert [other.token for other in journal.other_supervisors(run, "")] == ["3-c"]
    assert journal.other_supervisors(journal.create_run("another", agent=None).id, "") == []


@pytest.mark.parametrize("token", ["a/b", "a\0b", b"\xff"])
def test_a_damaged_token_is_refused(journal: SqliteJournal, path: Path, token: object) -> None:
    """It names a cgroup: nothing else must be meant by it."""
    run = journal.create_run("r", agent=None).id
    journal.claim(run, "1-a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE supervisors SET token = ?", (token,))
    with pytest.raises(JournalError, match="the file is corrupt"):
        journal.other_supervisors(run, "")


def test_a_claim_in_a_transaction_that_fails_changes_nothing(journal: SqliteJournal) -> None:
    run = journal.create_run("r", agent=None).id
    journal.finish_run(run, INTERRUPTED, STOP)
    before = journal.get_run("r")
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.claim(run, "1-a")
        raise ZeroDivisionError
    journal.release(run)
    assert journal.get_run("r") == before
    assert journal.other_supervisors(run, "") == []
    assert journal.claim(run).starts == before.starts + 1


def test_two_connections_of_one_process_exclude_each_other(journal: SqliteJournal, run: int, path: Path) -> None:
    """POSIX locks alone would let them both in; and closing one must not unlock what the other holds."""
    with SqliteJournal(str(path)) as other:
        with pytest.raises(ClaimedError, match=f"run r1 is being executed by process {os.getpid()}") as caught:
            other.claim(run)
        assert caught.value.pid == os.getpid()
        other.claim(other.create_run("r2", agent=None).id)
    with SqliteJournal(str(path)) as third:
        assert third.get_run("r1").owner == journal.get_run("r1").owner
        third.claim(third.get_run("r2").id)
        journal.release(run)
        third.claim(run)


def test_a_request_reaches_the_living_supervisor_once(journal: SqliteJournal, run: int, path: Path) -> None:
    """It shows in data_version, is taken once, and names the task by key and seq."""
    add(journal, run, "a", "b")
    before = journal.data_version()
    assert journal.take_requests(run) == []
    with SqliteJournal(str(path), "write") as other:
        owner = other.add_request(run, STOP)
        assert owner is not None
        assert owner.pid == os.getpid()
        assert other.add_request(run, STOP, "b") is not None
        with pytest.raises(UsageError, match="has no task with the key 'zz'"):
            other.add_request(run, STOP, "zz")
    assert journal.data_version() != before
    first, second = journal.take_requests(run)
    assert (first.signal, first.task, first.key) == (STOP, None, None)
    assert (second.task, second.key) == (2, "b")
    assert journal.take_requests(run) == []


def test_a_request_to_nobody_is_not_kept(journal: SqliteJournal, run: int) -> None:
    """The next supervisor must not be stopped by what was meant for the last one."""
    assert journal.add_request(run, STOP) is not None
    journal.release(run)
    assert journal.add_request(run, STOP) is None
    journal.claim(run)
    assert journal.take_requests(run) == []


def test_ones_own_commits_do_not_show_in_data_version(journal: SqliteJournal, run: int) -> None:
    """So a supervisor can poll it and look for requests only when another connection wrote."""
    before = journal.data_version()
    add(journal, run, "a")
    assert journal.data_version() == before


def test_closing_twice_and_releasing_nothing_are_harmless(journal: SqliteJournal, run: int, path: Path) -> None:
    """Clean-up code may run in any order."""
    journal.release(run)
    journal.release(run)
    journal.close()
    journal.close()
    journal.release(run)
    with open_journal(f"sqlite:///{path}", "read") as again:
        assert again.location == str(path)
