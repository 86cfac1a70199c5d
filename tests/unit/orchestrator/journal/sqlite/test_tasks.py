"""How SQLite is given tasks, and how much of them is read at once."""

from __future__ import annotations

import pytest

from orchestrator.core.records import NewTask, TaskSnapshot
from orchestrator.journal.sqlite import batches, rows
from orchestrator.journal.sqlite.journal import SqliteJournal
from tests.support.journal_records import INTERRUPTED, add, outcome


def test_tasks_named_by_their_line_take_the_short_way() -> None:
    """Keys that are the numbers are not sent to SQLite at all."""
    tasks = [NewTask(str(n), b'{"n": %d}' % n) for n in range(1, 301)]
    assert rows.are_default_tasks(tasks, range(1, 301))


def test_pages_shrink_when_tasks_are_large(journal: SqliteJournal, run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes, not by a number of tasks; nothing is left out."""
    monkeypatch.setattr(batches, "PAGE", 1000)
    journal.add_tasks(run, [NewTask(f"k{n}", b'"%s"' % (b"x" * 500)) for n in range(600)])
    sizes, after = [], 0
    while page := journal.pending(run, after):
        sizes.append(len(page))
        after = page[-1].seq
    assert sizes[0] == 256, "nothing is known yet"
    assert max(sizes[1:]) <= 2
    assert sum(sizes) == 600


def test_a_terminal_outcome_drops_its_tasks_snapshot(journal: SqliteJournal, run: int) -> None:
    add(journal, run, *"abc")
    journal.commit(run, snapshots=[TaskSnapshot(1, b'{"at": 2}'), TaskSnapshot(2, b"\x80", "dill")])
    journal.close()
    with SqliteJournal(journal.location) as again:
        again.claim(run)
        again.commit(run, outcomes=[outcome(1), outcome(2, INTERRUPTED)])
        assert again._db.fetch_values("SELECT seq FROM snapshots", int) == [2]
