"""A commit is whole, or is refused, whatever happens to the files underneath."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask
from orchestrator.journal import JournalError
from orchestrator.journal.sqlite import batches
from orchestrator.journal.sqlite.journal import SqliteJournal
from tests.support.journal_records import COMPLETED, add, event, found, outcome


def test_the_file_itself_refuses_to_change_a_terminal_outcome(journal: SqliteJournal, run: int, path: Path) -> None:
    """Not only this code: a constraint in the schema."""
    add(journal, run, "a")
    journal.commit(run, outcomes=[outcome(1)])
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        other.execute("UPDATE outcomes SET status = 'failed'")
    other.close()


def test_long_results_and_events_come_in_pages(
    journal: SqliteJournal, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, in order, however the pages fall; the reader holds no transaction open between them."""
    monkeypatch.setattr(batches, "PAGE", 2000)
    journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 701)])
    big = b'"%s"' % (b"x" * 300)
    journal.commit(
        run, outcomes=[outcome(n, value=big) for n in range(1, 701)], events=[event(f"e{n}") for n in range(1, 701)]
    )
    results, events = journal.results(run), journal.events(run)
    assert (next(results).seq, next(events).seq) == (1, 1)
    assert not journal._db._connection.in_transaction
    assert [each.seq for each in results] == list(range(2, 701))
    assert [each.seq for each in events] == list(range(2, 701))
    assert [each.seq for each in journal.events(run, 650, 3)] == [650, 651, 652]


def test_a_failed_commit_leaves_no_trace_and_no_gap(
    journal: SqliteJournal, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing; the next one gets the numbers."""
    add(journal, run, "a")
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.journal.sqlite.queries.USE_ATTEMPTS", "UPDATE nowhere SET x = 1")
        with pytest.raises(JournalError, match="nowhere"):
            journal.commit(run, outcomes=[outcome(1)], events=[event("e")], attempts={1: 1})
    assert found(journal, run) == []
    assert journal.commit(run, outcomes=[outcome(1)], events=[event("e")]).events == range(1, 2)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_deleted_underneath_is_noticed(journal: SqliteJournal, run: int, path: Path, suffix: str) -> None:
    """SQLite alone would go on and write into nothing."""
    journal.commit(run, events=[event("e")])
    path.with_name(path.name + suffix).unlink()
    with pytest.raises(JournalError, match="deleted, or replaced, underneath"):
        journal.commit(run, events=[event("e")])


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("left", [0, 5000])
def test_a_file_cut_short_underneath_is_noticed(
    journal: SqliteJournal, run: int, path: Path, suffix: str, left: int
) -> None:
    """SQLite alone would go on behind its end, and no reader would find what was committed before."""
    add(journal, run, *map(str, range(1, 101)))
    journal.commit(run, outcomes=[outcome(n, value=b'"%s"' % (b"x" * 1000)) for n in range(1, 101)])
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    other.close()
    journal.commit(run, events=[event("e")] * 100)
    journal.commit(run, events=[event("e")] * 100)
    os.truncate(path.with_name(path.name + suffix), left)
    with pytest.raises(JournalError, match="was cut short underneath this process"):
        journal.commit(run, events=[event("e")])
    with pytest.raises(JournalError):
        journal.finish_run(run, COMPLETED)


def test_a_log_cut_short_does_not_harm_what_was_in_the_file(journal: SqliteJournal, run: int, path: Path) -> None:
    """What a checkpoint had moved there is still there; what was only in the log is executed again."""
    add(journal, run, "a", "b")
    journal.commit(run, outcomes=[outcome(1)])
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # by another connection, and in order
    other.close()
    journal.commit(run, outcomes=[outcome(2)])
    os.truncate(path.with_name(path.name + "-wal"), 0)
    with pytest.raises(JournalError):
        journal.commit(run, events=[event("e")])
    journal.close()
    with SqliteJournal(str(path), "write") as again:
        assert again.counts(run).completed == 1
        assert [task.key for task in again.pending(run)] == ["b"]


def test_an_index_cut_short_is_made_anew(journal: SqliteJournal, run: int, path: Path) -> None:
    """All of it is in the log. (Touching what is cut off would be death by SIGBUS.)"""
    add(journal, run, "a", "b")
    journal.commit(run, outcomes=[outcome(1)])
    os.truncate(path.with_name(path.name + "-shm"), 0)
    journal.commit(run, outcomes=[outcome(2)])
    assert journal.counts(run).completed == 2


def test_vacuum_and_checkpoints_by_others_are_no_damage(journal: SqliteJournal, run: int, path: Path) -> None:
    big = b'"%s"' % (b"x" * 1000)
    journal.add_tasks(run, [NewTask(str(n), big) for n in range(1, 1001)])
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM tasks WHERE seq > 10", "VACUUM"):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(statement)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        journal.commit(run, events=[event("e")])
        journal.commit(run, events=[event("e")])
    assert path.stat().st_size < 200_000


def test_the_wal_does_not_grow_for_ever(journal: SqliteJournal, run: int, path: Path) -> None:
    """Checkpoints keep it at 16 MB and a batch; closing empties it."""
    blob = b'"%s"' % (b"x" * 100_000)
    journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 301)])
    wal = path.with_name(path.name + "-wal")
    for first in range(1, 301, 20):
        journal.commit(run, outcomes=[outcome(n, value=blob) for n in range(first, first + 20)])
        assert wal.stat().st_size < 24e6
    assert path.stat().st_size > 10e6
    journal.close()
    assert not wal.exists()
