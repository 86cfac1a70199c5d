#!/usr/bin/env python3
"""How fast is the journal, beside a busy Python thread? Ours beside plain executemany and fetchall.

The supervisor's loop is a thread that runs Python nearly all of the time, and the journal works in another one.
`sqlite3` gives up the GIL around every step of a statement and must wait to get it back: up to the switch
interval (5 ms), once for each row of an executemany or fetchall. The competitor here never blocks: the worst case.

    python scripts/bench_journal.py [--seconds S] [--batch N]

`thread cpu` is the journal thread's own; `loop left` is how much of its speed the competitor kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from orchestrator.core.records import NewTask, PendingTask, RunEvent, TaskOutcome
from orchestrator.journal.sqlite import columns, rows
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.model import ExecutionStatus

Work = Callable[[SqliteJournal, int, int, int], None]
"""Do something with tasks `first` .. `first + count - 1` of a run."""

_ONE_BY_ONE: Final = "INSERT INTO outcomes(run, seq, status, record) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"

_PLAIN_READ: Final = """
SELECT t.seq, t.key, t.input FROM tasks t WHERE t.run = ?1 AND t.seq > ?2 AND NOT EXISTS (
    SELECT 1 FROM outcomes o WHERE o.run = t.run AND o.seq = t.seq AND o.status IN ('completed', 'failed'))
ORDER BY t.seq LIMIT ?3
"""


class Competitor:
    """A thread that runs Python and nothing else."""

    def __init__(self) -> None:
        self.turns = 0
        self._stop = False
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def _spin(self) -> None:
        while not self._stop:
            for _ in range(1000):
                pass
            self.turns += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop = True
            self._thread.join()


def make_tasks(first: int, count: int) -> list[NewTask]:
    return [NewTask(str(n), b'{"n":%d}' % n) for n in range(first, first + count)]


def make_outcomes(first: int, count: int) -> list[TaskOutcome]:
    now = time.time()
    return [
        TaskOutcome(
            seq=n,
            key=str(n),
            status=ExecutionStatus.COMPLETED,
            attempts=1,
            encoded=b'{"square":%d}' % (n * n),
            started_at=now,
            ended_at=now,
            slot=1,
            incarnation=1,
        )
        for n in range(first, first + count)
    ]


def add(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    journal.add_tasks(run, make_tasks(first, count))


def commit(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    journal.commit(run, outcomes=make_outcomes(first, count))


def commit_with_events(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    events = [RunEvent(kind="task.ended", at=1.0, task=n) for n in range(first, first + count)]
    journal.commit(run, outcomes=make_outcomes(first, count), events=events)


def commit_with_executemany(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    values = [rows.outcome_row(outcome) for outcome in make_outcomes(first, count)]
    connection = journal._db._connection  # noqa: SLF001 - the same connection, so that only the statement differs
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_ONE_BY_ONE, [(run, row.seq, row.status, columns.to_json(row)) for row in values])
    connection.execute("COMMIT")


def commit_with_values(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    values = [rows.outcome_row(outcome) for outcome in make_outcomes(first, count)]
    connection = journal._db._connection  # noqa: SLF001 - (likewise)
    bound = [column for row in values for column in (run, row.seq, row.status, columns.to_json(row))]
    connection.execute("BEGIN IMMEDIATE")
    for at in range(0, len(bound), 32000):  # SQLite allows some 32,766 variables
        part = bound[at : at + 32000]
        places = ",".join(["(?,?,?,?)"] * (len(part) // 4))
        connection.execute(f"INSERT INTO outcomes(run, seq, status, record) VALUES {places}", part)  # noqa: S608
    connection.execute("COMMIT")


def read(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    tasks = journal.pending(run, first - 1, count)
    while tasks and tasks[-1].seq < first + count - 1:
        tasks = journal.pending(run, tasks[-1].seq, first + count - 1 - tasks[-1].seq)


def read_with_fetchall(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    found = journal._db._connection.execute(_PLAIN_READ, (run, first - 1, count)).fetchall()  # noqa: SLF001
    assert len([PendingTask(seq, key, text.encode()) for seq, key, text in found]) == count


def whole_way(journal: SqliteJournal, run: int, first: int, count: int) -> None:
    """Run what one task costs the journal: it is stored, read, and its outcome committed."""
    add(journal, run, first, count)
    read(journal, run, first, count)
    commit(journal, run, first, count)


def measure(name: str, work: Work, *, batch: int, seconds: float, busy: bool, prepared: int = 0) -> None:
    """Print one line: rows a second, CPU and what the competitor kept."""
    with tempfile.TemporaryDirectory(dir=".") as folder, SqliteJournal(os.path.join(folder, "bench.db")) as journal:
        run = journal.create_run("bench", agent="bench").id
        journal.claim(run)
        for first in range(1, prepared, 10_000):
            add(journal, run, first, 10_000)
        competitor = Competitor()
        with competitor.running() if busy else contextlib.nullcontext():
            done, wall, cpu = 0, time.perf_counter(), time.thread_time()
            while time.perf_counter() - wall < seconds and (not prepared or done + batch <= prepared):
                work(journal, run, done + 1, batch)
                done += batch
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            turns = competitor.turns / wall
        wal = os.path.getsize(journal.location + "-wal") / 1e6
    kept = f"loop left {turns / alone():4.0%}" if busy else ""
    print(
        f"  {name:30} {'busy' if busy else 'alone':5} {done / wall:10,.0f}/s"
        f"  thread cpu {cpu / done * 1e6:7.2f} us  wal {wal:5.1f} MB  {kept}"
    )


_alone: list[float] = []


def alone() -> float:
    """Return the competitor's turns per second without a run beside it."""
    if not _alone:
        competitor = Competitor()
        with competitor.running():
            time.sleep(0.5)
            _alone.append(competitor.turns / 0.5)
    return _alone[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each line")
    parser.add_argument("--batch", type=int, default=2000, help="tasks in one transaction")
    options = parser.parse_args()
    print(
        f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores,"
        f" batches of {options.batch}"
    )
    alone()
    works: list[tuple[str, Work, int]] = [
        ("outcomes: ours", commit, 0),
        ("outcomes: multi-row VALUES", commit_with_values, 0),
        ("outcomes: executemany", commit_with_executemany, 0),
        ("outcomes + events: ours", commit_with_events, 0),
        ("tasks in: ours", add, 0),
        ("tasks out: ours", read, 300_000),
        ("tasks out: fetchall", read_with_fetchall, 300_000),
        ("whole way: ours", whole_way, 0),
    ]
    for name, work, prepared in works:
        for busy in (False, True):
            measure(name, work, batch=options.batch, seconds=options.seconds, busy=busy, prepared=prepared)
    print("commits of one outcome each (an fsync each):")
    measure("outcomes: ours", commit, batch=1, seconds=options.seconds, busy=False)


if __name__ == "__main__":
    main()
