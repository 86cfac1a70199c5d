"""One synchronous commit of SQLite with the bytes that one task leaves in a journal: the yardstick of a durable trip.

Plain `sqlite3`, in the calling thread, with the settings of our journal: what it costs to have a task, its outcome
and its event on the disk, and nothing else.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.contenders import Contender

_TABLES = """
CREATE TABLE tasks(run INTEGER, seq INTEGER, key TEXT, input TEXT, encoding TEXT, priority INTEGER, agent INTEGER,
    PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_by_key ON tasks(run, key);
CREATE TABLE outcomes(run INTEGER, seq INTEGER, status TEXT, record TEXT, PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE TABLE events(run INTEGER, seq INTEGER, record TEXT, PRIMARY KEY (run, seq)) WITHOUT ROWID;
"""


class OneCommit(Contender):
    """A task that is executed by the caller itself and committed."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        path = os.path.join(os.environ["BENCH_FOLDER"], "commits.db")
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-16384"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_TABLES)
        self._seq = 0

    def call(self, work: Callable[..., Any], value: Any) -> Any:
        result = work(value)
        self._seq = seq = self._seq + 1
        now, execute = time.time(), self._connection.execute
        outcome = [1, str(result), "json", None, None, None, now, now, 0, 1, None, None]
        event = ["task.completed", now, json.dumps({"key": str(seq), "attempts": 1, "seconds": 0.00001}), "", seq, 0, 1]
        execute("BEGIN IMMEDIATE")
        execute("INSERT INTO tasks VALUES (1, ?, ?, ?, 'json', 0, 1)", (seq, str(seq), str(value)))
        execute("INSERT INTO outcomes VALUES (1, ?, 'completed', ?)", (seq, json.dumps(outcome)))
        execute("INSERT INTO events VALUES (1, ?, ?)", (seq, json.dumps(event)))
        execute("COMMIT")
        return result

    def each(self, work: Callable[..., Any], values: Iterable[Any]) -> Iterator[Any]:
        return (self.call(work, value) for value in values)

    def stop(self) -> None:
        self._connection.close()
